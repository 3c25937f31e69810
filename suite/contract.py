"""What a task is and what a method is. Read this first: everything else serves it.

A *task* hands a method a setting and judges the artifact that it gets back. A *method* is one dataclass of
hyper-parameters with one function, ``fit``. Both live in one file each (``tasks/<name>.py``, ``baselines/<name>.py``)
and know nothing of each other; the settings and artifacts of :mod:`suite.settings` and :mod:`suite.artifacts` are
all that passes between them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

if TYPE_CHECKING:
    from suite.artifacts import Artifact, Figure, Probe, Timed
    from suite.context import Run
    from suite.data.dataset import Dataset
    from suite.settings import Setting


class Skip(Exception):
    """Raised by ``fit`` or ``setting`` for a combination that makes no sense; the sentence becomes the record's reason."""


@dataclass(frozen=True)
class Metric:
    """A score's name, unit, direction and range; the first metric of a task is its primary one."""

    name: str
    unit: str = "%"
    higher_is_better: bool = True
    bounds: tuple[float, float] = (0.0, 100.0)


@dataclass(frozen=True)
class Paper:
    """Where a method comes from."""

    title: str
    authors: str
    venue: str
    year: int
    url: str


@dataclass(frozen=True)
class Published:
    """A number that the paper reports, with its place; shown beside ours, never mixed with it."""

    task: str
    metric: str
    value: float
    where: str  # e.g. "README, Table 1"
    options: Mapping[str, Any] = field(default_factory=dict)  # the configuration it belongs to


class Side(NamedTuple):
    """One side of a claim: a method and the options that differ from the claim's common ones.

    `grid` gives an option several values: the points of a ``frontier``, a run each.
    """

    method: str
    options: Mapping[str, Any] = {}
    grid: Mapping[str, tuple[Any, ...]] = {}


Role = Literal["reference", "teacher", "backbone", "judge", "victim"]


class Needed(NamedTuple):
    """A recorded run that another one rests on and that is made first: a network to start from, to learn from, to judge by.

    Its `role` decides where tables compare with it. `seed` and `scale` are those of the run that needs it unless given; judges
    have seed 0. It reads the data of that run where both tasks read the same data set, else data found as any command's are.
    `task_options` unset are those of the run that needs it where it is on the same task, else the task's usual ones.
    """

    task: str
    method: str
    options: Mapping[str, Any] = {}
    role: Role = "backbone"
    seed: int | None = None
    scale: str = ""
    task_options: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Claim:
    """One falsifiable sentence of a paper as a check over seeds; :mod:`suite.claims` says with how many, and when it is decided.

    `value` names what is compared: a metric of the task (``"top1"``), ``"note.<name>"`` (written by ``run.note``),
    ``"timing.<what>"`` or ``"timing.<what>.<items>"`` (the ms of one of the task's ``timings``) or a dotted path into the
    record's profile (``"profile.latency.one.speedup"``).

    kind ``above``: ours minus the rival's (or minus `bound`) exceeds `margin`.
    kind ``within``: ours and the rival's differ by less than `margin`.
    kind ``ordered``: the values of `sides`, in order, fall by more than -`margin` at every step.
    kind ``frontier``: ``above`` at equal cost. The sides are ours, the rival's and a reference. The points of each seed that a
    side's `grid` gives are joined by straight lines over the value of `cost`, and read off at `share` of the reference's `cost`.
    """

    name: str
    sentence: str  # what the paper says
    task: str
    value: str
    kind: Literal["above", "within", "ordered", "frontier"]
    sides: tuple[Side, ...]  # ours first; one side alone is compared with `bound`
    bound: float | None = None
    margin: float = 0.0
    held_equal: tuple[tuple[str, float], ...] = ()  # e.g. (("total", 0.01),): relative tolerance, else inconclusive
    least_scale: str = "short"
    options: Mapping[str, Any] = field(default_factory=dict)  # common to all sides
    task_options: Mapping[str, Any] = field(default_factory=dict)
    rival_value: str = ""  # where the rival's value lies elsewhere than ours
    cost: str = ""  # of a frontier, such as "profile.latency.one.sparse.median_ms"
    share: float = 1.0  # of the reference's cost, at which a frontier is compared


@dataclass(frozen=True)
class Scale:
    """What one scale means for a task: a budget in samples through forward and backward, task options it sets, and options that
    it `proposes` to all methods alike, over what these shrink: one recipe for rivals."""

    scratch: int  # for a method that starts from nothing
    extra: int  # for a method that starts from a reference
    options: Mapping[str, Any] = field(default_factory=dict)
    proposes: Mapping[str, Any] = field(default_factory=dict)


def option(
    default: Any,
    help: str,
    *,
    bounds: tuple[float, float] | None = None,
    choices: Sequence[Any] | None = None,
    later: bool = False,
) -> Any:
    """A dataclass field that the command line can set; `bounds` are inclusive.

    Where its value names a file, the contents count and not the name: the same name with other contents is another run. One
    that came `later` than records were made is left out of them and of fingerprints at its default, so that they stay.
    """
    return field(default=default, metadata={"help": help, "bounds": bounds, "choices": choices, "later": later})


class Task:
    """Base of every task: a dataclass whose fields are the task's options.

    Class attributes are literals, so that ``suite list`` can read them without importing the file.
    """

    title: ClassVar[str]
    version: ClassVar[int] = 1  # a task whose numbers change gets a new version
    metrics: ClassVar[tuple[Metric, ...]]  # [0] is primary
    data: ClassVar[str]  # the name of its reader and embedded generator in suite.data
    accepts: ClassVar[tuple[str, ...]]  # names of artifact types it can judge
    reference: ClassVar[str]  # the method whose recorded runs are this task's references
    defaults: ClassVar[Mapping[str, Any]] = {}  # proposals for method options of the same name, e.g. {"arch": "resnet20"}
    scales: ClassVar[Mapping[str, Scale]]

    #: The option that the data decides where the user leaves it out: that of its choices whose data set lies there. Runs have what
    #: was found among their options, as if it had been typed.
    found_by: ClassVar[str] = ""

    trained_on: ClassVar[bool] = True  # whether a reference trained on with the same budget is a rival that makes sense

    def needs(self) -> Mapping[str, Needed]:
        """Recorded runs that the task itself rests on, by the name ``run.judge`` knows them by; ``fit`` cannot reach them."""
        return {}

    def reference_options(self, name: str) -> Mapping[str, Any]:
        """The options of the `reference` method that make the reference which methods call `name`: the first of `defaults`."""
        return {key: name for key in list(self.defaults)[:1]}

    def dataset(self) -> Dataset:
        """The data set this task reads. Called by the plan, before any run, to find and digest the data."""
        raise NotImplementedError

    def setting(self, run: Run) -> Setting:
        """What the method may see; never the test labels. Called once per run, before ``fit``."""
        raise NotImplementedError

    def evaluate(self, artifact: Artifact, run: Run) -> dict[str, float]:
        """Scores by metric name, on data the method never saw. Called once per artifact that ``fit`` gives.

        Further names are kept too; tables show ``trivial_<metric>``, what a predictor that looks at nothing scores.
        """
        raise NotImplementedError

    def summarise(self, steps: list[dict[str, float]]) -> dict[str, float]:
        """One set of scores for a method that yielded several artifacts; the last step unless overridden."""
        return steps[-1]

    def show(self, artifact: Artifact, run: Run) -> Iterable[Figure]:
        """Pictures for people (predictions, confusion matrix). Called after ``evaluate``."""
        return ()

    def probe(self, artifact: Artifact, run: Run) -> Probe | None:
        """The callable and the real inputs on which cost is counted and latency is measured; None where neither applies."""
        return None

    def timings(self, artifact: Artifact, run: Run) -> Sequence[Timed]:
        """What else is timed, on one thread: post-processing, a function without a network, latency at several sizes.

        Called after ``evaluate``, and again where a record is timed again.
        """
        return ()


class Method:
    """Base of every method: a dataclass whose fields are the paper's hyper-parameters with the paper's defaults.

    Class attributes are literals (see `Task`). `scales` maps a scale to the fields that shrink with it.
    """

    paper: ClassVar[Paper]
    tags: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[tuple[str, ...]]  # names of setting types
    gives: ClassVar[str]  # name of its artifact type
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    published: ClassVar[tuple[Published, ...]] = ()
    claims: ClassVar[tuple[Claim, ...]] = ()
    standins: ClassVar[tuple[str, ...]] = ()  # what the paper left open and we had to choose
    extras: ClassVar[tuple[str, ...]] = ()  # optional packages it needs, by the name of our extra

    asks: ClassVar[tuple[str, ...]] = ()  # options that the user must give, such as a file; no default can stand in for them

    #: "reference" for a method that goes on from ``run.reference(...)``: it gets the smaller `Scale.extra` budget and
    #: stands beside the reference trained on. A method may make this an option.
    starts: Literal["scratch", "reference"] = "scratch"

    def references(self) -> tuple[str, ...]:
        """The references of the task that ``fit`` will ask ``run.reference`` for, by the task's names: architectures, mostly.

        The plan runs them first. A method that starts from its only one has it as a reference, others as teachers.
        """
        return (getattr(self, "arch", "reference"),) if self.starts == "reference" else ()

    def needs(self) -> Mapping[str, Needed]:
        """Other recorded runs that ``fit`` will ask ``run.reference`` for, by name: a pre-trained backbone, for example."""
        return {}

    def fit(self, setting: Any, run: Run) -> Artifact | Iterator[Artifact]:
        """Train, and return the *deployed* artifact (folded, cut, permuted). Called once per run.

        A method that yields gives several artifacts in order; each is judged before the next is asked for.
        """
        raise NotImplementedError


def offers(task: Task | type[Task]) -> str:
    """The name of the setting type that a task's ``setting`` is annotated with."""
    found: Any = task.setting.__annotations__.get("return", "")
    return str(getattr(found, "__name__", found))


def options_of(plugin: Task | Method, *, whole: bool = False) -> dict[str, Any]:
    """The resolved options of a task or method, by field name; those that came later only where they are not the default, or all
    of them if `whole`."""
    found = {item: getattr(plugin, item.name) for item in dataclasses.fields(plugin)}  # type: ignore[arg-type]
    return {item.name: value for item, value in found.items() if whole or not item.metadata.get("later") or value != item.default}


def options_then(plugin: type[Task | Method], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a record: where one came later than the record, its default."""
    later = {item.name: item.default for item in dataclasses.fields(plugin) if item.metadata.get("later")}  # type: ignore[arg-type]
    return {**later, **recorded}
