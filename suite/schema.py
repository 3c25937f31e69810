"""The shape of a record, as types; `fault` says where one differs. Imported by the first record that is read."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, BeforeValidator, Field, FiniteFloat, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType, TypedDict  # pydantic reads those of `typing` from Python 3.12 on

Json = TypeAliasType("Json", "bool | int | FiniteFloat | str | list[Json] | dict[str, Json] | None")
Count = Annotated[int, Field(ge=0, lt=2**63)]
Number = FiniteFloat
Gap = Number | None  # None: there was a number, and it was not finite
STARTED = "%Y-%m-%dT%H:%M:%SZ"


def _points(curve: Any) -> Any:
    if not isinstance(curve, list) or not all(
            isinstance(point, list) and len(point) == 2 and type(point[0]) is int and abs(point[0]) < 2**63 for point in curve):
        raise PydanticCustomError("curve", "a curve is a list of [whole step, number]")
    return curve


def _time(text: str) -> str:
    try:
        datetime.strptime(text, STARTED)
    except ValueError:
        raise PydanticCustomError("time", "a time is written as 2026-11-28T09:00:00Z") from None
    return text


class Metric(TypedDict):
    name: str
    unit: str
    higher_is_better: bool
    bounds: Annotated[list[Gap], Field(min_length=2, max_length=2)]


class Source(TypedDict):
    kind: str
    name: str
    digest: str
    counts: dict[str, Count]
    trained_on: NotRequired[Source]  # where the data has no training part


class Task(TypedDict):
    name: str
    version: int
    options: dict[str, Json]
    primary: str
    metrics: Annotated[list[Metric], Field(min_length=1)]
    source: Source


class Paper(TypedDict):
    title: str
    authors: str
    venue: str
    year: int
    url: str


class Method(TypedDict):
    name: str
    digest: str
    options: dict[str, Json]
    starts: Literal["scratch", "reference"]
    standins: list[str]
    tags: list[str]
    paper: Paper
    summary: str


class Budget(TypedDict):
    allowed: Count
    total: Count
    final: Count


class Way(TypedDict):
    """The timings of one way to run a network, in ms."""

    median_ms: Number
    p90_ms: Number
    low_ms: Number
    high_ms: Number
    calls: Count
    noisy: bool


class Spread(TypedDict):
    """Between which a ratio of two timings lay, round by round."""

    low: Number
    high: Number
    noisy: bool


class Ways(TypedDict):
    threads: Count
    torch: Way
    dense: Way
    sparse: Way
    speedup: Number
    speedup_torch: Number
    speedup_spread: NotRequired[Spread]  # not in older records, nor is the next
    speedup_torch_spread: NotRequired[Spread]


class Latency(TypedDict):
    one: Ways
    all: Ways


class Kernel(TypedDict):
    version: str
    simd: str
    macs_share: Number
    outside: list[str]
    relative_error: Number
    checked: NotRequired[Count]  # different real inputs that the outputs were compared on; older records have neither
    mirrored: NotRequired[Count]
    theoretical: bool


class Profile(TypedDict):
    params: Count
    params_nonzero: Count
    bytes_dense: Count
    bytes_packed: Count | None
    macs: Count
    macs_effective: Count
    uncounted: list[str]
    input: list[Json]
    ops: NotRequired[dict[str, Number]]
    kernel: Kernel | None
    latency: Latency | None


class Timing(TypedDict):
    what: str
    items: Count | None
    ms: Number
    noisy: bool


class Machine(TypedDict):
    cpu: str
    cores: Count
    features: list[str]
    id: str
    system: str


class Training(TypedDict):
    device: str
    threads: Count | None
    precision: str


class Code(TypedDict):
    commit: str
    dirty: bool
    packages: dict[str, str]
    core: str


class Published(TypedDict):
    task: str
    metric: str
    value: Number
    where: str
    options: dict[str, Json]


class Seconds(TypedDict):
    fit: Number
    evaluate: Number
    profile: Number
    overhead: Number
    total: Number


class Time(TypedDict):
    started: Annotated[str, AfterValidator(_time)]
    seconds: Seconds


class Outcomes(TypedDict):
    """Which test images were right: `bits` is ``numpy.packbits`` of `count` booleans in base64."""

    score: str
    bits: str
    count: Count


Nothing = Annotated[dict[str, Json], Field(max_length=0)]
Curve = Annotated[list[list[Gap]], BeforeValidator(_points)]


class Shape(TypedDict):
    """All that a record holds; see `suite.record` for what each part means."""

    schema: int
    id: Annotated[str, Field(pattern=r"^\w+/\w+/\w+-s-?\d+$")]
    status: Literal["done", "skipped", "failed", "interrupted"]
    reason: str
    task: Task
    method: Method
    seed: int
    scale: str
    budget: Budget
    scores: dict[str, Gap]
    steps: list[dict[str, Gap]]
    notes: dict[str, Json]
    ledger: dict[str, Gap]
    curves: dict[str, Curve]
    profile: Profile | None
    timings: list[Timing]
    untimed: str
    timed_on: Machine | Nothing
    machine: Machine
    training: Training
    code: Code
    parents: dict[str, str]
    roles: dict[str, str]
    parent_digests: dict[str, str]
    trained_on: str
    weights: str
    parent_weights: dict[str, str]
    outcomes: Outcomes | Nothing
    published: list[Published]
    time: Time
    command: str


_ADAPTER = TypeAdapter(Shape)


def fault(record: Mapping[str, Any]) -> str:
    """What is wrong with a record of the present schema, with its place; empty where nothing is."""
    try:
        _ADAPTER.validate_python(record, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return _contradiction(record)


def _contradiction(record: Mapping[str, Any]) -> str:
    """Which two parts of a well-formed record do not fit each other; empty where all do."""
    named = f"{record['task']['name']}/{record['method']['name']}/"
    if not record["id"].startswith(named) or not record["id"].endswith(f"-s{record['seed']}"):
        return f"id: '{record['id']}' is not of {named}, seed {record['seed']}"
    if record["roles"].keys() != record["parents"].keys():
        return "roles: they are not those of the parents"
    metrics = {metric["name"] for metric in record["task"]["metrics"]}
    if record["task"]["primary"] not in metrics:
        return f"task.primary: '{record['task']['primary']}' is none of the metrics"
    if record["status"] == "done" and (lacking := {name for name in metrics if record["scores"].get(name) is None}):
        return f"scores.{min(lacking)}: it is missing"
    outcomes = record["outcomes"]
    if outcomes and _bytes(outcomes["bits"]) != (outcomes["count"] + 7) // 8:
        return f"outcomes.bits: they are not {outcomes['count']} bits in base64"
    return ""


def _bytes(text: str) -> int:
    """How many bytes `text` in base64 holds; -1 of another text."""
    try:
        return len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return -1
