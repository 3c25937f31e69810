"""Makes ``reference_captions.json`` again: what pycocoevalcap and its Java tokenizer say of real captions and of hard cases.

Needs Java and the packages pycocoevalcap and numpy, in an environment of their own, and COCO's caption files::

    python tests/metrics/make_reference_captions.py COCO_FOLDER tests/metrics/reference_captions.json

The tokenizer reads all lines as one text and looks over their ends, so a line of small letters stands between any two captions.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

WRITTEN = r'''
A man's dog isn't here, he'll say "don't".
I can't, won't, shan't, cannot, gonna, gotta, wanna, lemme, gimme, d'ye, 'tis 'twas
A black-and-white x-ray of a T-shirt; well-known semi-circle
Two (2) people [with] {braces} <tags>
$5.00 and £3 or 4€ and 20% of #3, 5¢
1/2 of 3 1/4 and 10/12/2014 at 10:30 a.m. or 5pm
The U.S. flag, the U.S.A. and St. Louis, Mr. Smith and Dr. Who etc.
A dog & a cat &amp; mouse, AT&T and R&B. R&B, cats&dogs
Wait... what..... no . . . ok… .. so
e-mail me@example.com or http://example.com/page.html www.foo.com foo.org
A "quoted" word and 'single quoted' words ``latex'' quotes
“smart quotes” and ‘single’ and it’s don’t «angled»
Café naïve façade ñandú 日本語 привет ﬁ Ünï ß
colour grey centre theatre tyre jewellery programme favourite
1,000 people and 3.5 and -5 and +3 1st 2nd 20th '90s 1990's '06 .
hello/world and and/or w/ w/o he/she/it
:) ;-) :D <3 =)
a--b and a -- b and a – b and a — b --- ---- -----
children's boys' James' it's what's 's
Hello!!! What?! really??
O'Reilly rock'n'roll y'all 'em 'n' ol' o'clock ma'am c'mon
no. 5, No. 7, Inc. Co. Corp. Ltd. vs. e.g. i.e. approx. ft. in. lb. oz.
5ft tall 10'6" 6'2 50mm f/2.8 2x4 3-D mid-1990s 10-15 555-1234
*stars* _under_ ~tilde~ ^caret^ back\slash pipe|pipe @@ ## **
a+b=c 5*3 @home #tag #4
½ cup ¼ mile 3½ ° 20° 20°C © ® ™ € ⅓ m²
one. Two.Three ,comma , comma,comma;semi:colon
end of sentence U.S.
end of sentence etc.
I. The plan B. A. Lincoln, J.F.K. It is.
Jan. 5 Feb. Sept. Mon. Tues. Ave. Blvd. Mt. Ft.
&lt;b&gt; it&apos;s &quot;a&quot; &mdash; b
THE QUICK BROWN FOX IS ON THE U.S. FLAG!
a	tab and a no-break space and
😀 an emoji in the mid😀dle
...

'
'''
PARTS = """a the dog cats red 2 10 3.5 1,000 it's dogs' don't o'clock St. Mr. U.S. etc. e.g. no. in. black-and-white t-shirt x-ray 1/2 10/12
10:30 a.m. $5 £3 €4 50% & AT&T ( ) [ ] " ' `` '' “ ” ‘ ’ … ... - -- --- – — ; : , . ! ? !! ?! / * # ½ 20° é café naïve 'n' y'all can't
cannot I'll we've he'd Jones' '90s 1950's 5pm 6'2" w/ #3 :) o.k. p.m. A. I. the The A And Inc. Co. Ltd., Sept. 3-d 3D mid-1990s 2x4
semi- -5 +3 1st 2nd pic.jpg no.5 one.Two hello,world x=y 3*4 © ® €"""
SEPARATOR = "zz"


def constructed(count: int) -> list[str]:
    """Random strings of hard parts, with and without spaces between them."""
    draw, parts = random.Random(0), PARTS.split()
    return ["".join(draw.choice(parts) + (" " if draw.random() < 0.75 else "") for _ in range(draw.randint(2, 12)))
            for _ in range(count)]


def tokenized(captions: list[str]) -> list[str]:
    """Each caption's tokens by pycocoevalcap's wrapper of the Java program."""
    lines = [line for caption in captions for line in (caption, SEPARATOR)]
    found = PTBTokenizer().tokenize({row: [{"caption": line}] for row, line in enumerate(lines)})
    return [found[2 * row][0] for row in range(len(captions))]


def caption_sets(images: list[list[int]], hard: list[int]) -> list[list]:
    """[candidate, references], as rows of the captions: of the image itself, of another image, and hard cases of both."""
    draw = random.Random(1)
    sets = [[rows[0], rows[1:]] for rows in images]
    sets += [[images[number - 1][2], rows] for number, rows in enumerate(images)]
    for row in hard:
        sets.append([row, [*draw.sample(hard, draw.randint(1, 5)), *draw.sample(images[row % len(images)], draw.randint(0, 2))]])
    return sets


def main(coco: Path, out: Path) -> None:
    captions, images = [], []
    for split in ("train", "val"):
        content = json.loads((coco / "annotations" / f"captions_{split}2017.json").read_text(encoding="utf-8"))
        by_image: dict[int, list[str]] = {}
        for item in content["annotations"]:
            by_image.setdefault(item["image_id"], []).append(item["caption"])
        for texts in by_image.values():
            images.append(list(range(len(captions), len(captions) + len(texts))))
            captions += texts
    hard = [line for line in WRITTEN.split("\n")[1:-1]] + constructed(150)
    rows = list(range(len(captions), len(captions) + len(hard)))
    tokens = tokenized(captions + hard)
    sets = caption_sets(images, rows)
    results = {row: [tokens[candidate]] for row, (candidate, _) in enumerate(sets)}
    truth = {row: [tokens[item] for item in references] for row, (_, references) in enumerate(sets)}
    bleu, _ = Bleu(4).compute_score(truth, results, verbose=0)
    rouge, each_rouge = Rouge().compute_score(truth, results)
    cider, each_cider = Cider().compute_score(truth, results)
    meteor, _ = Meteor().compute_score(truth, results)
    java = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True).stderr.split("\n")[0]
    made = {"by": Path(__file__).name, "on": date.today().isoformat(), "java": java,
            "packages": {name: version(name) for name in ("pycocoevalcap", "numpy")},
            "captions": f"the first {len(captions)} are COCO's (CC BY 4.0, COCO Consortium), the others made up"}
    content = {"made": made, "captions": [list(pair) for pair in zip(captions + hard, tokens, strict=True)], "sets": sets,
               "scores": {**{f"BLEU-{order}": score for order, score in enumerate(bleu, 1)}, "ROUGE-L": float(rouge),
                          "CIDEr-D": float(cider), "METEOR": meteor},
               "each": {"ROUGE-L": [round(float(item), 9) for item in each_rouge],
                        "CIDEr-D": [round(float(item), 9) for item in each_cider]}}
    text = json.dumps(content, ensure_ascii=False)
    for name in ("made", "captions", "sets", "scores", "each"):
        text = text.replace(f'"{name}": ', f'\n"{name}": ', 1)
    out.write_text(text.replace('], ["', '],\n["') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
