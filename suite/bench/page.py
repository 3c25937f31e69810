"""The page of ``suite bench``: Markdown and figures from its results, without timing anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from markdown_it import MarkdownIt

from suite.bench.benchmark import LAYER_WIDTH, SCHEMA, SHARES, SUBJECTS, WIDTHS, contender
from suite.bench.figures import FIGURES
from suite.bench.numbers import Results, families, fastest, filled, noisy, ratio, shapes, speedup
from suite.errors import UserError
from suite.record import write_text
from suite.reporting.cells import MISSING, count, digits, times
from suite.reporting.columns import NOISY
from suite.reporting.page import embedded, plain
from suite.statistics import break_even

SHOWN = tuple(share for share in SHARES if share != 0.3)  # in the summary
LANES = {"avx512": 16, "avx2": 8, "portable": 4}  # floats in a vector

_TEXT = """\
# The shared 1xN kernel against other engines

Made by `suite bench` (timing, then this page) or `suite report kernel` (this page alone, from the JSON beside it). Batch 1,
float32, random weights; the networks are pruned by magnitude, the same share in every layer that pruning touches, and their
batch normalisation is settled on noise. All contenders of a row ran in one process in interleaved rounds: in its turn each makes
two calls that do not count and three that do. Figures are medians; ~ marks a noisy one and every ratio with one
(`suite/profile/latency.py` says when). Outputs were compared with torch's first. Engines get the network with its batch
normalisation folded, in their own layout, and as many threads as the plan. They do not use the zeros.
"""

_BARS = """\
How many times faster than its rival the plan is, which is the fastest fp32 engine of that row. In brackets the bar that this
project set itself (5 % more at N = 8), bold where it is reached by a ratio that is not noisy. Break-even: from which share of
removed blocks on the plan is faster. 30 %: the plan pruned by so much over the same plan unpruned, which must not be below 1.
"""

_OTHERS = """\
The same fp32 plan against the fastest engine of another arithmetic, which computes less exactly (the error is in the tables below):
"""

_LAYERS = f"""\
One thread, 1x{LAYER_WIDTH} blocks; milliseconds of one layer alone, the mean of those alike. In brackets: the share of the
multiply-add peak, measured beside the layers, that is reached on non-zero weights, and how many times faster than OpenVINO
(fp32), which ran the whole network and profiled itself, sums and activations included. In a whole plan some layers are fused,
and so faster.
"""

_LIMITS = f"""\
Where the time goes and what bounds it: one thread, 1x{LAYER_WIDTH} blocks, layers alone as in the tables below. Each cell: the
share of the convolutions' time, and in brackets the share of the multiply-add peak of those seconds that is reached on non-zero
weights. No layer can exceed its filled lanes, as vectors run over the column of zeros between rows and past the end of a map.
Few input channels, large maps and high shares are bound by memory instead: they write more than they compute. A 1x1 layer of 4
output channels a block loads six vectors for 24 multiply-adds, more than the L2 cache delivers for long; a 3x3 layer finds two
thirds of them in the L1 cache.
"""

_ROOFLINE = f"""\
Every layer of the networks above at every share, one thread, 1x{LAYER_WIDTH} blocks; operations on non-zero weights only. A layer's
bytes are its packed weights, its input and its output, each once.
"""


def render(folder: Path, to: Path | None = None) -> list[Path]:
    """Write README.md, the same as index.html, and two figures per results*.json in `folder`, to it or another; what was written.

    The same results give the same bytes.
    """
    made, drawn, to = text(folder), [], to or folder
    to.mkdir(parents=True, exist_ok=True)
    for stem, results in _found(folder).items():
        drawn += [paint(results, _names(results), to / f"{name}{stem}") for name, paint in FIGURES.items()]
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(made)
    for path in drawn:
        body = body.replace(f'src="{path.name}"', f'src="{embedded(path)}"')
    write_text(to / "README.md", made)
    write_text(to / "index.html", plain("The shared 1xN kernel against other engines", f'<main class="text">{body}</main>'))
    return [to / "README.md", *drawn, to / "index.html"]


def text(folder: Path) -> str:
    """The page as Markdown, from every results*.json in `folder`."""
    sections = [_section(results, _names(results), stem) for stem, results in _found(folder).items()]
    return "\n".join([_TEXT, *(line for section in sections for line in section)])


def _found(folder: Path) -> dict[str, Results]:
    """Results by what the names of their figures end in: ``""``, ``"-avx2"``."""
    paths = sorted(folder.glob("results*.json"), key=lambda path: path.stem)
    found = {path.stem.removeprefix("results"): _read(path) for path in paths}
    if not found:
        raise UserError(f"There are no results in '{folder}'; make some with: suite bench --to {folder}")
    return found


def _names(results: Results) -> list[str]:
    return [name for name in SUBJECTS if name in results["networks"]]


def _read(path: Path) -> Results:
    try:
        results = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"'{path}' is not JSON ({error}); delete it and type: suite bench --to {path.parent}") from error
    if results.get("schema") != SCHEMA:
        raise UserError(f"'{path}' has the schema {results.get('schema')}, not {SCHEMA}; type: suite bench --to {path.parent}")
    return results


def _section(results: Results, names: Sequence[str], stem: str) -> list[str]:
    machine, kernel = results["machine"], results["kernel"]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(results["packages"].items()))
    text = [
        f"## {kernel['simd'].upper()}", "",
        f"{machine['cpu']}, {machine['cores']} cores ({machine['system']}; machine `{machine['id']}`); kernel {kernel['version']} "
        f"(build `{kernel['digest']}`), {versions}.", "",
        *_ceilings(results), "", "### Whole networks", "",
        _BARS,
        *_table(["network", "threads", "N", *(f"{share:.0%}" for share in SHOWN), "break-even", "30 %", "rival"],
                _bars(results, names)), "",
        *_against_others(results, names),
        f"![ratios](ratios{stem}.svg)", "",
    ]
    for name in names:
        text += _network(name, results["networks"][name])
    text += ["### Limits", "", _LIMITS]
    for name in names:
        text += _limits(name, results)
    text += ["### Roofline", "", _ROOFLINE, f"![roofline](roofline{stem}.svg)", ""]
    for name in names:
        text += _layers(name, results)
    return text


def _against_others(results: Results, names: Sequence[str]) -> list[str]:
    rows = list(_others(results, names))
    heads = ["network", "threads", "N", *(f"{share:.0%}" for share in SHOWN), "rival", "its arithmetic"]
    return [_OTHERS, *_table(heads, rows), ""] if rows else []


def _ceilings(results: Results) -> list[str]:
    rows = []
    for threads, roof in sorted(results["ceilings"].items(), key=lambda item: int(item[0])):
        rows.append([threads, digits(roof["fma"]), *(digits(rate) for rate in roof["read"].values())])
    levels: dict[str, float] = next(iter(results["ceilings"].values()), {"read": {}})["read"]
    return ["Measured ceilings: multiply-adds on registers, and reading, by all threads together.", "",
            *_table(["threads", "GFLOP/s", *(f"{level}, GB/s" for level in levels)], rows)]


def _bars(results: Results, names: Sequence[str]) -> Iterable[list[str]]:
    for name, threads, n, heat in _heats(results, names):
        bars = SUBJECTS[name].bar.get(threads, {})
        made = []
        for share in SHOWN:
            bar = bars.get(share)
            made.append(_judged(heat, contender(n, share), bar * 1.05 if bar and n == 8 and share else bar))
        found = {share: speedup(heat, contender(n, share)) for share in SHARES}
        known = {share: gain for share, gain in found.items() if gain is not None}
        even = break_even(list(known), list(known.values()))
        doubt = NOISY if any(noisy(heat, contender(n, share)) for share in known) else ""
        yield [SUBJECTS[name].title, str(threads), str(n), *made, MISSING if even is None else f"{even:.0%}{doubt}",
               ratio(heat, contender(n, 0.3), "dense"), fastest(heat) or MISSING]


def _others(results: Results, names: Sequence[str]) -> Iterable[list[str]]:
    """As `_bars`, against the fastest engine of each arithmetic that is not fp32."""
    for name, threads, n, heat in _heats(results, names):
        for precision in sorted(set(heat["precisions"].values()) - {"fp32"}):
            if rival := fastest(heat, precision):
                yield [SUBJECTS[name].title, str(threads), str(n), *(ratio(heat, contender(n, share), rival) for share in SHOWN),
                       rival, precision]


def _heats(results: Results, names: Sequence[str]) -> Iterable[tuple[str, int, int, Results]]:
    """Every network, number of threads and N with its race."""
    for name in names:
        for threads, heat in sorted(results["networks"][name]["races"].items(), key=lambda item: int(item[0])):
            for n in WIDTHS:
                yield name, int(threads), n, heat


def _judged(heat: Results, name: str, bar: float | None) -> str:
    if bar is None:
        return ratio(heat, name)
    text, found = f"{ratio(heat, name)} ({bar:.2f})", speedup(heat, name)
    return f"**{text}**" if found is not None and found >= bar and not noisy(heat, name) else text


def _network(name: str, network: Results) -> list[str]:
    subject = SUBJECTS[name]
    races = [heat for _, heat in sorted(network["races"].items(), key=lambda item: int(item[0]))]
    rows = []
    for row in dict.fromkeys(item for heat in races for item in heat["timings"]):
        precision = next((heat["precisions"][row] for heat in races if row in heat["precisions"]), "")
        cells = [f"plan {row}" if not precision else row, precision or "fp32"]
        for heat in races:
            timing = heat["timings"].get(row)
            cells += [f"{digits(timing['median_ms'])}{'~' if timing['noisy'] else ''}" if timing else MISSING,
                      f"{digits(timing['low_ms'])} to {digits(timing['high_ms'])}" if timing else MISSING,
                      ratio(heat, row)]
        rows.append([*cells, f"{max(heat['errors'].get(row, 0.0) for heat in races):.0e}"])
    heading = ["contender", "arithmetic"]
    for heat in races:
        heading += [f"{heat['threads']}T ms", "95 %", "over fastest"]
    absent = dict.fromkeys(sentence for heat in races for sentence in heat["absent"].values())
    facts = (f"{count(network['macs']['dense'])} MACs, {network['in_plan']:.0%} of them in the plan; load average "
             f"{network['load']:.1f} when it began.")
    return [f"### {subject.title}", "", facts, "", *_table([*heading, "error"], rows), "",
            *(f"Not timed: {sentence}.\n" for sentence in absent)]


def _limits(name: str, results: Results) -> list[str]:
    network, lanes = results["networks"][name], LANES[results["kernel"]["simd"]]
    peak = {float(share): rate for share, rate in network["peak"].items()}
    found = families(network)
    whole = {share: sum(item.milliseconds[share] for item in found) for share in peak}
    rows = []
    for item in found:
        cells = [f"{spent / whole[share]:.0%} ({item.work[share] / spent / 1e6 / peak[share]:.0%})"
                 for share, spent in item.milliseconds.items()]
        full = MISSING if item.kind == "depthwise" else f"{filled(item.side, lanes):.0%}"
        rows.append([f"{item.side} x {item.side}", item.kind, str(item.layers), full, *cells])
    shares = [f"{share:.0%}" for share in peak]
    return [f"{SUBJECTS[name].title}:", "", *_table(["maps", "kind", "layers", "filled lanes", *shares], rows), ""]


def _layers(name: str, results: Results) -> list[str]:
    peak = {float(share): rate for share, rate in results["networks"][name]["peak"].items()}
    rows = []
    for item in shapes(results["networks"][name]):
        gains = {share: item.openvino / spent for share, spent in item.milliseconds.items()} if item.openvino else {}
        even = break_even(list(gains), list(gains.values())) if len(set(item.work.values())) > 1 else None
        cells = [f"{digits(spent)} ({item.rate(share) / peak[share]:.0%}, {times(gains.get(share))})"
                 for share, spent in item.milliseconds.items()]
        rows.append([item.kind, item.shape, str(item.layers), count(item.macs), digits(item.openvino), *cells,
                     MISSING if even is None else f"{even:.0%}"])
    shares = [f"{float(share):.0%}" for share in results["networks"][name]["layers"]]
    return [f"### Layers of {SUBJECTS[name].title}", "", _LAYERS, "",
            *_table(["kind", "shape", "layers", "MACs", "OpenVINO", *shares, "break-even"], rows), ""]


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(heading)} |", "|" + "---|" * len(heading), *(f"| {' | '.join(row)} |" for row in rows)]
