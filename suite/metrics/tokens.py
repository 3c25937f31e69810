"""Captions as the words that caption scores count: the Penn Treebank's, lower-case, without punctuation.

The field takes its tokens from a Java program, Stanford's ``PTBTokenizer`` (CoreNLP 3.4.1, ``-lowerCase``), and pycocoevalcap drops
the punctuation. Here is a small lexer that gives the same for captions: at each place the rule that looks furthest wins, of equal
ones the first. Tests compare it with recorded output of the Java program. Left out is what captions do not hold: most
entities, Asian smileys, names of single companies, scripts whose letters carry separate marks.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from functools import cache

#: Tokens that do not count. Brackets are in lower case by then (``-lrb-``) and stay, as they do in the field's scores.
PUNCTUATION = frozenset(["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"])

NUMERALS = r"²³¹¼½¾\u2070-\u209c\u2150-\u2189\u2460-\u24ff\u3007\u3021-\u3029"  # which Python takes for letters
BEYOND = r"\U00010000-\U0010ffff"  # two characters to Java, and neither a letter
LETTER = rf"[^\W\d_{NUMERALS}{BEYOND}]"
IN_WORD = rf"(?:{LETTER}|[\u00ad\u0300-\u036f])"  # also a soft hyphen or an accent that stands by itself
SIGN = rf"[^\W_{NUMERALS}{BEYOND}]"  # a letter or digit
SPACE = r"[ \t\u00a0\u2000-\u200a\u3000]"
BLANK = r"[ \t\u00a0\u2000-\u200a\u3000\r\n\u2028\u2029\x0b\x0c\x85]"
APOSTROPHE = "(?:['\x92’]|&apos;)"
ANY_QUOTE = "(?:['\x92’`\x91‘‛]|&apos;)"
ENDING = rf"{APOSTROPHE}(?i:[msd]|re|ve|ll)"  # 's, 'll: words of their own
NOT = rf"[nN]{ANY_QUOTE}[tT]"
WORD = rf"{IN_WORD}(?:{IN_WORD}|\d)*(?:[.!?]{IN_WORD}(?:{IN_WORD}|\d)*)*"
INITIALS = r"[A-Za-z](?:\.[A-Za-z])*"
PIECE = rf"(?:[dDoOlL]{ANY_QUOTE}{SIGN})?{SIGN}+"
HYPHENED = rf"{PIECE}(?:[-_\u058a\u2010\u2011]{PIECE})*"
HYPHENED_ASCII = r"[A-Za-z0-9][A-Za-z0-9.,\u00ad]*(?:-(?:[A-Za-z](?:\.[A-Za-z])+\.|[A-Za-z0-9\u00ad]+))+"
SLASHED = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
LINKED = r"[A-Z]+(?:(?:[+&]|(?i:&amp;))[A-Z]+)+"  # AT&T
GOES_ON = r"[,;:、]"
URL_END = r"[^\s\"<>|.!?(){},-]"

# Words that keep a full stop; in brackets where a small letter makes it another word.
ABBREVIATED = (r"Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|Mon|Tues?|Wed|Thu(?:rs)?|Fri|Ala|Ariz|[A]z|[A]rk|Calif|Colo|Conn|Ct|"
               r"Dak|[D]el|Fla|Ga|[I]ll|Ind|Kans?|Ky|[L]a|[M]ass|Md|Mich|Minn|[M]iss|Mo|Mont|Neb|Nev|Okla|[O]re|[P]a|Penn|Tenn|[T]ex|Va|"
               r"Vt|[W]ash|Wisc?|Wyo|Inc|Cos?|Corp|Ltd|Assn|Univ|tel|est|ext|sq|Jr|Sr|Bros|(?:Ed|Ph)\.D|Blvd|Rd|Esq|etc|al|seq|Bldg")
TITLES = (r"Mr|Mrs|Ms|Miss|Drs?|Profs?|Sens?|Reps?|Lt|Col|Gen|Govs?|Adm|Rev|Maj|Sgt|Cpl|Pvt|Capt|Ste?|Ave|Pres|Hon|Det|Mt|Ft|Asst|"
          r"Assoc|vs|cf|Ph|Dept|Mfg|Natl|Elec|Alex|Wm|Jos")
#: After an initial these begin a sentence: the full stop is the sentence's.
BEGINNING = ("About|According|Additionally|After|An|A|As|At|But|Earlier|Her|Here|He|However|If|In|It|Last|Many|More|Mr\\.|Ms\\.|"
             "Now|Once|One|Other|Our|She|Since|Some|So|Such|That|Their|There|Then|These|They|The|This|We|When|While|What|Yet|You")

FRACTIONS = {"¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
CURRENCIES = {"¢": "cents", "£": "#", "\x80": "$", "¤": "$", "₠": "$", "€": "$"}
BRACKETS = {"(": "-lrb-", ")": "-rrb-", "{": "-lcb-", "}": "-rcb-", "[": "-lsb-", "]": "-rsb-"}
CURLY = {"\x91": "`", "‘": "`", "‛": "`", "‹": "`", "\x92": "'", "’": "'", "›": "'",
         "\x93": "``", "“": "``", "«": "``", "\x94": "''", "”": "''", "»": "''"}  # fmt: skip


def tokens(caption: str) -> str:
    """The words of `caption`, separated by single spaces: what every score takes. A fraction as ``3 1/4`` has a no-break space."""
    return " ".join(word for word in _lexed(caption.replace("\n", " ") + "\n") if word not in PUNCTUATION)


_PLAIN = re.compile(r"[A-Za-z]{2,}(?=[ \n])")  # most words: no rule looks further
_NOT_ONE = {"cannot", "gonna", "gotta", "lemme", "gimme", "wanna"}


def _lexed(text: str) -> list[str]:
    at, found = 0, []
    while at < len(text):
        if text[at] == " ":
            at += 1
        elif (plain := _PLAIN.match(text, at)) and plain[0].lower() not in _NOT_ONE:
            found.append(plain[0].lower())
            at = plain.end()
        else:
            word, at = _longest(text, at)
            found += [word] if word else []
    return found


def _longest(text: str, at: int) -> tuple[str, int]:
    """The token at `at` and where it ends; none of blanks and of what no rule knows."""
    best: re.Match[str] | None = None
    best_spelling: Callable[[str], str] = str
    for rule, spelling in _rules():
        match = rule.match(text, at)
        if match and match.end(1) > at and (best is None or match.end() > best.end()):
            best, best_spelling = match, spelling
    if best is None:
        return "", at + 1
    return best_spelling(best[1]).replace("\u00ad", "").lower(), best.end(1)


def _mapped(text: str, table: dict[str, str]) -> str:
    return "".join(table.get(sign, sign) for sign in text)


def _opening(text: str) -> str:
    return _mapped(html.unescape(text), {**CURLY, '"': "``", "'": "`"})


def _closing(text: str) -> str:
    return _mapped(html.unescape(text), {**CURLY, '"': "''"})


def _unbroken(text: str) -> str:
    return text.replace(" ", "\u00a0")


@cache
def _rules() -> list[tuple[re.Pattern[str], Callable[[str], str]]]:
    """Pattern, whose first group is the token and whose end is how far it looks, and spelling; of equal length the first wins."""
    cased = re.sub(r"(\[[A-Z]\])", r"(?-i:\1)", ABBREVIATED)
    listed: list[tuple[str, Callable[[str], str]]] = [
        (r"([cC]\+\+|[cCfF]#)", str),
        (r"((?i:can))(?i:not)", str),
        (r"((?i:'t))(?i:was|is)", str),
        (r"((?i:gon|wan))(?i:na)", str),
        (r"((?i:got))(?i:ta)", str),
        (r"((?i:lem|gim))(?i:me)", str),
        (r"(</?[A-Za-z][\w:.-]*(?: +[\w:.-]+(?: *= *(?:'[^']*'|\"[^\"]*\"))?)* */? *>)", _unbroken),
        (r"((?i:&[mn]dash;)|[\x96\x97–—―])", lambda text: "--"),
        (r"((?i:&amp;))", lambda text: "&"),
        (r"((?i:&nbsp;))", lambda text: ""),
        (rf"({WORD}){ENDING}", str),
        (rf"([A-Za-z\u00ad]*[A-MO-Za-mo-z]\u00ad*){NOT}", str),
        (rf"({WORD})", str),
        # Words with an apostrophe: 'n', 'em, '90s, 'til, O'Reilly, ma'am, y'all (which is two)
        (rf"({APOSTROPHE}[nN]{APOSTROPHE}?|[lLdDjJ]{APOSTROPHE}|(?i:dunkin|somethin|ol){APOSTROPHE})", str),
        (rf"({APOSTROPHE}(?i:em|cause|till?)|{APOSTROPHE}[2-9]0[sS])", str),
        (rf"([A-HJ-XZn]{ANY_QUOTE}{LETTER}{{2,}}|{LETTER}+[aeiouyAEIOUY]{ANY_QUOTE}[aeiouA-Z]{LETTER}*)", str),
        (rf"((?i:cont'd\.?|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l|cap'n)|[oO]{ANY_QUOTE}[oO])", str),
        (rf"([yY]{APOSTROPHE}){LETTER}", str),
        # Addresses, names and subjects of the web
        (rf"((?i:https?)://[^\s\"<>|(){{}}]+{URL_END})", str),
        (rf"((?i:www)\.(?:[^\s\"<>|.!?(){{}},]+\.)+[a-zA-Z]{{2,4}}(?:/[^\s\"<>|()]+{URL_END})?)", str),
        (rf"((?:[^\s\"`'<>|.!?(){{}},-_$]+\.)+(?i:com|net|org|edu)(?:/[^\s\"<>|()]+{URL_END})?)", str),
        (r"(<?[a-zA-Z0-9][^\s\"<>|(){}]*@(?:[^\s\"<>|(){}.]+\.)*[^\s\"<>|(){}.]+>?)", str),
        (rf"(@[a-zA-Z_][a-zA-Z_0-9]*|\#{IN_WORD}+)", str),
        (rf"({ENDING})[^A-Za-z]", _closing),
        (rf"({NOT})[^A-Za-z]", _closing),
        # Numbers: 10/12/2014, 1,000.5, 10:30, m², 3 1/4, $5
        (r"(\d{1,2}[-/]\d{1,2}[-/]\d{2,4})", str),
        (r"([-+]?(?:\d*(?:[.:,\u00ad]\d+)+|\d+))", str),
        (r"([⁺⁻₊₋]?(?:[⁰¹²³⁴-⁹]+|[₀-₉]+))", str),
        (r"((?:\d{1,4}[- \u00a0])?\d{1,4}(?:\\?/|⁄)\d{1,4})", _unbroken),
        (r"([¼½¾⅓-⅞])", lambda text: _mapped(text, FRACTIONS)),
        (r"((?i:pro-|anti-|-[lr][rcs]b-))", str),
        (rf"({SLASHED}(?:\\?/{SLASHED}){{1,2}})", str),
        (r"([A-Z]*\$|\#)", str),
        (r"([¢£¤¥\x80₠€؋฿₤￠￡￥￦])", lambda text: _mapped(text, CURRENCIES)),
        # Abbreviations
        (rf"([A-Za-z])\.{BLANK}+(?:{BEGINNING}){BLANK}", str),
        (rf"({INITIALS}\.){BLANK}+(?:{BEGINNING}){BLANK}", str),
        (rf"((?i:ca|figs?|prop|nos?|art|bldg|pp|op)\.){BLANK}?\d", str),
        (rf"((?i:{cased})\.)(?:[^\0][^\0])?", str),
        (rf"((?i:{TITLES})\.)", str),
        (rf"({INITIALS}\.)", str),
        (rf"({APOSTROPHE}[0-9][0-9]){BLANK}", str),
        (rf"({SIGN}+(?:\.{SIGN}+)*\.(?i:mp3|docx?|jpe?g|html?|c|h|x|py|pdf|png|txt|zip))(?:{BLANK}|[.?!,])", str),
        (rf"({WORD}\.){GOES_ON}", str),
        (r"((?:\+\+?)?(?:\d{2,4}\.)?\d{2,4}\.\d{3,4}\.\d{3,5})", str),  # telephone numbers
        (r"((?:\+\+?)?(?:\d{2,4}[- \u00a0])?\d{2,4}[- \u00a0]\d{3,4}[- \u00a0]?\d{3,5})", _unbroken),
        # Quotation marks, smileys, brackets, dashes, dots
        (r'("|&quot;)[A-Za-z0-9$]', _opening),
        (r'("|&quot;)', _closing),
        (r"(<|>|&lt;|&gt;)", html.unescape),
        (r"([<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]])[^A-Za-z0-9]", lambda text: text.replace("(", "-lrb-").replace(")", "-rrb-")),
        (r"([(){}\[\]])", lambda text: BRACKETS[text]),
        (r"(-+)", lambda text: "--" if len(text) in (3, 4) else text),
        (r"(\.{3,5}|(?:\.[ \u00a0]){2,4}\.|[\x85…])", lambda text: "..."),
        (r"(@+|\#+|_+|\*+|(?:\\\*){1,3})", str),
        (rf"({GOES_ON}|[?!]+|[.¡¿。]|=|/)", str),
        # What hyphens and signs hold together
        (rf"({HYPHENED_ASCII}\.){GOES_ON}", str),
        (rf"({HYPHENED_ASCII})", str),
        (rf"({HYPHENED}\.){GOES_ON}", str),
        (rf"({HYPHENED})", str),
        (rf"({LINKED}\.){GOES_ON}", html.unescape),
        (rf"({LINKED})", html.unescape),
        (r"(')[A-Za-z][^ \t\n\r\u00a0]", _opening),
        (rf"({ENDING}|{NOT})", _closing),
        (rf"(''|[`‘’‚‛“”\x91-\x94„‟‹›«»]{{1,2}}|{APOSTROPHE})", _closing),
        (r"(<<|>>)", str),
        (r"([+%&~^|\\¦§¨©¬®¯°-´¶-¹º×÷‖‗†-‣‰-‸※‾-⁂⁄⁺-ⁿ₊-₎℀-⅏←-⇿∀-⯿〒・！-／：-＠［-｀｛-･])", str),
    ]
    return [(re.compile(pattern), spelling) for pattern, spelling in listed]
