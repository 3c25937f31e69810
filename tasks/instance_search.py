"""Instance search: all pictures of a gallery that show one particular object, which a query shows in a box."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from suite.artifacts import Figure, Probe, Retriever, Timed
from suite.context import Run
from suite.contract import Metric, Scale, Task, option
from suite.data.instances import Instances, Queries, corners
from suite.data.pictures import Pictures
from suite.errors import UserError
from suite.metrics.retrieval import average_precision, chance_precision
from suite.paths import timing_lock
from suite.profile import call_latency
from suite.settings import InstanceSearch

PROBED = 4  # pictures that are counted and timed
SHOWN, FIRST = 4, 5  # queries shown, and ranks of each


class Described(NamedTuple):
    """A picture's regions: boxes (n, 4) in its own pixels, descriptors (n, D); and how many pixels it has once prepared."""

    boxes: Tensor
    features: Tensor
    pixels: int


@dataclass
class InstanceSearchTask(Task):
    """Mean average precision of the gallery ranked by the largest cosine of a region's descriptor with the query's.

    A query's own picture counts neither way where it is in the gallery. ``iou`` is the mean overlap of the best region with the
    object where it is shown, ``best_iou`` that of whichever region overlaps it most; both over all pairs of a query and a picture
    that holds its object with a known box. All is in percent.

    Nothing is drawn here: a seed is that of the recorded classifier, and pictures and queries are the same for all. Deviations over
    seeds are those of classifiers, then, and not of samples of objects; of these the note ``deviation_of_mAP`` tells, the standard
    error over the queries.
    """

    title = "Instance search"
    data = "instances"
    version = 1
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("mAP"), Metric("iou"), Metric("best_iou"))
    accepts = ("Retriever",)
    reference = "global_pooling"
    trained_on = False
    scales: ClassVar[Mapping[str, Scale]] = {  # nothing is trained here: a budget is for methods that learn to describe
        "smoke": Scale(scratch=32, extra=16, options={"queries": 4, "images": 12}),
        "short": Scale(scratch=40_000, extra=15_000),
        "long": Scale(scratch=600_000, extra=200_000),
        "full": Scale(scratch=115_305_030, extra=230_610_060),
    }

    queries: int = option(0, "judge by the first so many queries; 0 is all", bounds=(0, 1_000_000))
    images: int = option(0, "search the first so many pictures; queries whose object is in none are left out; 0 is all",
                         bounds=(0, 10_000_000))

    def dataset(self) -> Instances:
        return Instances()

    def setting(self, run: Run) -> InstanceSearch:
        return InstanceSearch(self.gallery(run))

    def gallery(self, run: Run) -> Pictures:
        """The pictures that are searched."""
        found = self.dataset().read(run.data, "gallery")
        return replace(found, files=found.files[: self.images or None])

    def asked(self, run: Run, count: int) -> list[Query]:
        """The queries; UserError where the `count` pictures that are searched hold the object of none."""
        found = self.dataset().read(run.data, "queries")
        assert isinstance(found, Queries)
        rows = range(min(self.queries or len(found), len(found)))
        made = [Query(found, row, {place: boxes for place, boxes in found.relevant[row].items()
                                   if place < count and place != found.own[row]}) for row in rows]
        if not (kept := [query for query in made if query.holding]):
            raise UserError(f"The first {count} pictures hold the object of none of the {len(made)} queries; raise task.images.")
        return kept

    def evaluate(self, artifact: Retriever, run: Run) -> dict[str, float]:
        gallery = self.gallery(run)
        queries = self.asked(run, len(gallery))
        rows = run.progress(range(len(gallery)), "describe", total=len(gallery))
        regions = [described(artifact.module, gallery.image(row), run.device) for row in rows]
        found = [Found.of(query, regions, artifact.module, run.device) for query in run.progress(queries, "search")]
        precision = np.array([average_precision(item.scores, item.query.relevant(len(gallery)), item.query.counted(len(gallery)))
                              for item in found])
        pairs = [pair for item in found for pair in item.overlaps(regions)]
        chance = [chance_precision(int(query.counted(len(gallery)).sum()), len(query.holding)) for query in queries]
        deviation = float(precision.std(ddof=1)) / math.sqrt(len(precision)) if len(precision) > 1 else math.nan
        run.note(regions_per_image=sum(len(item.boxes) for item in regions) / len(regions), deviation_of_mAP=100 * deviation)
        artifact.spare["regions"] = regions
        artifact.spare["ranks"] = [(item.first(), item.best.tolist()) for item in found[:SHOWN]]
        return {
            "mAP": 100 * float(precision.mean()),
            "iou": 100 * sum(pair[0] for pair in pairs) / len(pairs) if pairs else 0.0,
            "best_iou": 100 * sum(pair[1] for pair in pairs) / len(pairs) if pairs else 0.0,
            "trivial_mAP": 100 * sum(chance) / len(chance),
        }

    def probe(self, artifact: Retriever, run: Run) -> Probe:
        """Whole descriptions of pictures, backward passes included, averaged over `PROBED` of them. They are spread evenly over the
        gallery ordered by regions times pixels, so that both are nearly the gallery's on average.
        """
        gallery, module, regions = self.gallery(run), artifact.module.cpu().eval(), artifact.spare["regions"]
        order = sorted(range(len(gallery)), key=lambda row: len(regions[row].boxes) * regions[row].pixels)
        count = min(PROBED, len(order))
        rows = [order[(2 * place + 1) * len(order) // (2 * count)] for place in range(count)]
        run.note(regions_per_probed_image=sum(len(regions[row].boxes) for row in rows) / count,
                 pixels_per_image=sum(item.pixels for item in regions) / len(regions),
                 pixels_per_probed_image=sum(regions[row].pixels for row in rows) / count)
        return Probe(module, tuple(module.prepare(gallery.image(row)) for row in rows), artifact.gradients)

    def timings(self, artifact: Retriever, run: Run) -> Sequence[Timed]:
        """In PyTorch: ``describe`` one picture from its pixels, resizing included, and ``search`` the gallery for one query."""
        gallery, module = self.gallery(run), artifact.module.cpu().eval()
        query = self.asked(run, len(gallery))[0]
        pictures = cycle([gallery.image(row) for row in range(min(PROBED, len(gallery)))])
        regions = artifact.spare["regions"]
        calls = {"describe": lambda: module(*module.prepare(next(pictures))),
                 "search": lambda: Found.of(query, regions, module, "cpu")}
        timings = call_latency(calls, timing_lock())
        return [Timed(name, timings[name]["median_ms"], noisy=timings[name]["noisy"]) for name in calls]

    def show(self, artifact: Retriever, run: Run) -> Iterable[Figure]:
        """Of the first queries the query's box and the first ranks with all regions, the best one thick, and what is right."""
        gallery, regions = self.gallery(run), artifact.spare["regions"]
        for query, (ranks, best) in zip(self.asked(run, len(gallery)), artifact.spare["ranks"], strict=False):
            yield ranked(query, ranks, best, gallery, regions)


@dataclass(frozen=True)
class Query:
    """A query, and the rows of the searched pictures that hold its object, with its boxes there as far as they are known."""

    source: Queries
    row: int
    holding: Mapping[int, Sequence[Any]]

    def relevant(self, count: int) -> np.ndarray:
        """bool (count,): the pictures that hold the object."""
        return np.isin(np.arange(count), list(self.holding))

    def counted(self, count: int) -> np.ndarray:
        """bool (count,): all pictures but the query's own."""
        return np.arange(count) != (-1 if self.source.own[self.row] is None else self.source.own[self.row])


class Found(NamedTuple):
    """What a query found: of each picture the largest cosine, and the region that has it."""

    query: Query
    scores: np.ndarray  # (N,)
    best: np.ndarray  # (N,) int64

    @classmethod
    def of(cls, query: Query, regions: Sequence[Described], module: torch.nn.Module, device: torch.device | str) -> Found:
        source = query.source
        with torch.no_grad():
            feature = module.query(source.image(query.row).to(device), source.box(query.row).to(device))[0].cpu()
        cosines = torch.cat([item.features for item in regions]) @ feature
        largest = [part.max(0) for part in cosines.split([len(item.boxes) for item in regions])]
        scores, best = (torch.stack([item[place] for item in largest]).numpy() for place in range(2))
        return cls(query, scores, best)

    def first(self) -> list[int]:
        """The rows of the first ranks, the query's own picture left out."""
        order = np.argsort(-self.scores, kind="stable")
        return order[self.query.counted(len(order))[order]][:FIRST].tolist()

    def overlaps(self, regions: Sequence[Described]) -> Iterable[tuple[float, float]]:
        """Of each picture that holds the object with a known box the overlap of the best region, and the largest of any."""
        for row, boxes in self.query.holding.items():
            if boxes:
                overlap = box_iou(regions[row].boxes, corners(boxes)).amax(1)
                yield float(overlap[self.best[row]]), float(overlap.max())


def described(module: torch.nn.Module, image: Tensor, device: torch.device | str) -> Described:
    """What a retriever makes of an image uint8 (3, H, W). ValueError where it gives no region, or descriptors that have neither
    length 1 nor, where nothing responds, 0.
    """
    prepared = module.to(device).prepare(image.to(device))
    boxes, features = (item.detach().cpu() for item in module(*prepared))
    lengths = features.norm(dim=1)
    if not len(boxes) or len(boxes) != len(features) or not bool(((lengths - 1).abs().le(1e-3) | lengths.eq(0)).all()):
        raise ValueError(f"a retriever gives as many boxes as descriptors of length 1, one at least, and this one gave "
                         f"{len(boxes)} and {len(features)} of lengths {lengths.tolist()[:5]}")
    (high, wide), (rows, columns) = image.shape[1:], prepared[0].shape[2:]
    return Described(boxes * torch.tensor([wide / columns, high / rows] * 2), features, rows * columns)


def ranked(query: Query, ranks: Sequence[int], best: Sequence[int], gallery: Pictures, regions: Sequence[Described]) -> Figure:
    """The query and its first ranks side by side."""
    from matplotlib.figure import Figure as Canvas
    from matplotlib.patches import Rectangle

    canvas = Canvas(figsize=(2.4 * (len(ranks) + 1), 2.8), layout="constrained")
    left, *others = canvas.subplots(1, len(ranks) + 1)

    def frame(axes: Any, box: Tensor, colour: str, width: float) -> None:
        x, y, right, bottom = box.tolist()
        axes.add_patch(Rectangle((x, y), right - x, bottom - y, fill=False, edgecolor=colour, linewidth=width))

    left.imshow(query.source.image(query.row).permute(1, 2, 0).numpy())
    left.set_title(query.source.names[query.row], fontsize=8, parse_math=False)
    frame(left, query.source.box(query.row)[0], "yellow", 2)
    for rank, (axes, row) in enumerate(zip(others, ranks, strict=True), 1):
        axes.imshow(gallery.image(row).permute(1, 2, 0).numpy())
        axes.set_title(f"{rank}: {'right' if row in query.holding else 'wrong'}", fontsize=8)
        for number, box in enumerate(regions[row].boxes):
            frame(axes, box, "white" if number == best[row] else "black", 2 if number == best[row] else 1)
        for box in corners(query.holding.get(row, ())):
            frame(axes, box, "yellow", 1)
    for axes in (left, *others):
        axes.set_axis_off()
    return Figure(f"query-{query.row:04d}", canvas)
