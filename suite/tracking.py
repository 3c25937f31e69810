"""Mirroring records into MLflow: experiment = task, run = record, parent run = a configuration over its seeds.

Records are the truth; the store can be deleted and is filled again by ``suite track``. Runs are found by the tag
``suite.id`` and replaced when the record's digest changed, so mirroring twice changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock

from suite import record as records_
from suite import store, tracked
from suite.paths import full_disk, results_folder, run_folder
from suite.statistics import interval

if TYPE_CHECKING:
    from mlflow import MlflowClient

Record = records_.Record
SECONDS = 5.0  # that a server is given to answer
_KNOWN = "mlflow-mirrored.json"
_STATUS = {"done": "FINISHED", "skipped": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


def default_uri(cache: Path) -> str:
    """The local store."""
    return f"sqlite:///{cache.resolve() / 'mlflow.db'}"


class Mirrored(NamedTuple):
    """What became of a mirroring: the sentence for people, and how many of the records are in the store now."""

    sentence: str
    runs: int


def mirror(records: Sequence[Record], uri: str | None, cache: Path, afresh: bool = False) -> str:
    """`replay`, for whom its sentence is enough."""
    return replay(records, uri, cache, afresh).sentence


def replay(records: Sequence[Record], uri: str | None, cache: Path, afresh: bool = False) -> Mirrored:
    """Bring the store up to the records; its sentence says where the runs are, or why they are not.

    `uri` None is the local SQLite store in `cache`. Nothing is imported and nothing happens if all records are known to be
    there; `afresh` looks all the same. A server that does not answer costs `SECONDS` and loses nothing. A record that the store
    refuses is named, and the others are mirrored; a damaged local store is renamed, and made again from `records`.
    """
    uri = uri or default_uri(cache)
    mirrored = {} if afresh or _gone(uri) else _known(cache).get(uri, {})
    digests = {item["id"]: _digest(item) for item in records}
    fresh = [item for item in records if mirrored.get(item["id"]) != digests[item["id"]]]
    if not fresh:
        return Mirrored(_where(len(records), uri, cache), len(records))
    safe = f"the records are safe in {results_folder()}/, replay them with: suite track --track {uri}"
    if uri.startswith("http") and (reason := _silent(uri)):
        return Mirrored(f"The MLflow server at {uri} did not answer ({reason}); {safe}", 0)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / "mlflow.lock"), store.quiet(SECONDS):
            opened, damage = _opened(uri, cache)
            if damage:
                mirrored, fresh = {}, list(records)
            refused = opened.put(fresh)
            now = mirrored | {item["id"]: digests[item["id"]] for item in fresh if item["id"] not in refused}
            records_.write_text(cache / _KNOWN, json.dumps(_known(cache) | {uri: now}, indent=1))
    except Exception as error:  # whatever a store does, a finished run is not lost over it
        return Mirrored(f"MLflow at {uri} refused ({_brief(error)}); {safe}", 0)
    there = len(records) - len(refused)
    sentences = [damage, _where(there, uri, cache), *(f"It refused '{name}' ({reason})." for name, reason in refused.items())]
    return Mirrored(" ".join(filter(None, sentences)), there)


def _where(count: int, uri: str, cache: Path) -> str:
    end = "; `suite ui` shows them." if uri == default_uri(cache) else "."
    return f"MLflow: {count} run{'' if count == 1 else 's'} in {uri}{end}"


def _brief(error: BaseException) -> str:
    """The kind and the first line of an error."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"


def _opened(uri: str, cache: Path) -> tuple[_Store, str]:
    """The store, and what was damaged about the local one that it replaces, "" in general."""
    local, path = uri == default_uri(cache), Path(default_uri(cache).removeprefix("sqlite:///"))
    if not (problem := store.damage(path) if local else ""):
        try:
            return _Store(uri, cache), ""
        except Exception as error:
            if not local or store.busy(path) or full_disk(error):
                raise
            problem = _brief(error)
    aside = store.set_aside(path, uri)
    return _Store(uri, cache), f"The local MLflow store was damaged ({problem}); it is '{aside}' now, and a new one has been made."


def _known(cache: Path) -> dict[str, dict[str, str]]:
    """What was mirrored: {uri: {suite.id: digest}}. A file that holds anything else costs a second look at the store."""
    try:
        found = json.loads((cache / _KNOWN).read_text(encoding="utf-8"))
        return {uri: dict(known) for uri, known in found.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _gone(uri: str) -> bool:
    """Whether a local store's file is not there (any more)."""
    return uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists()


def _digest(record: Record) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


def _silent(uri: str) -> str:
    """Why a server is not there; empty if it answers, with whatever."""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SECONDS):
            return ""
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError, HTTPException) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__


class _Store:
    """An MLflow store, written through the client with explicit run ids only."""

    def __init__(self, uri: str, cache: Path) -> None:
        import logging

        logging.getLogger("alembic").setLevel(logging.WARNING)  # it narrates the creation of the database otherwise
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # its errors are raised too, and told in one sentence
        self.uri = uri
        self.client: MlflowClient = MlflowClient(uri)
        self.client.search_experiments(max_results=1)  # opens, and where there is none makes, the store
        local = uri.startswith("sqlite:")  # a server and a file store know their own place
        self.artifacts = (cache / "mlflow-artifacts").resolve().as_uri() if local else None

    def put(self, fresh: Sequence[Record]) -> dict[str, str]:
        """Add or replace the runs of `fresh`, then the summaries of their groups; why the store refuses a record, by its id."""
        groups: dict[str, tuple[str, str]] = {}
        refused = self._put(fresh, groups)
        if refused:  # another command may have made the same experiment or tag at the same moment
            refused = self._put([item for item in fresh if item["id"] in refused], groups)
        for group, (experiment, parent) in groups.items():
            self._summarise(experiment, self._sole(experiment, group, parent))
        return refused

    def _put(self, fresh: Sequence[Record], groups: dict[str, tuple[str, str]]) -> dict[str, str]:
        """`put` without summaries, once; enters experiments and parents in `groups`."""
        refused: dict[str, str] = {}
        for item in fresh:
            try:
                experiment = self._experiment(item["task"])
                group = item["id"].rpartition("-s")[0]
                if group not in groups:
                    groups[group] = (experiment, self._parent(experiment, group, item))
                self._run(experiment, groups[group][1], item)
            except Exception as error:
                if self._is_lost(error):
                    raise
                refused[item["id"]] = _brief(error)
        return refused

    def _is_lost(self, error: Exception) -> bool:
        """Whether an error is the store's, which every other record would meet too."""
        code = getattr(error, "error_code", "")
        return code == "TEMPORARILY_UNAVAILABLE" or full_disk(error) is not None or (
            self.uri.startswith("http") and _silent(self.uri) != "")

    def _experiment(self, task: dict[str, Any]) -> str:
        """The experiment of a task, tagged so that MLflow's pages open on runs and charts of its primary metric."""
        found = self.client.get_experiment_by_name(task["name"])
        if found is None:
            found = self.client.get_experiment(self.client.create_experiment(task["name"], artifact_location=self.artifacts))
        elif found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        higher = next((metric["higher_is_better"] for metric in task["metrics"] if metric["name"] == task["primary"]), True)
        wanted = {"mlflow.experimentKind": "custom_model_development",  # not the pages for language models
                  "mlflow.experiment.primaryMetric.name": f"test/{task['primary']}",
                  "mlflow.experiment.primaryMetric.greaterIsBetter": str(higher),
                  "mlflow.sharedViewState.suite": tracked.view(task, found.creation_time or 0),
                  "mlflow.note.content": tracked.about(found.experiment_id)}
        for name, text in wanted.items():
            if found.tags.get(name) != text:
                self.client.set_experiment_tag(found.experiment_id, name, text)
        return found.experiment_id

    def _find(self, experiment: str, tag: str, text: str) -> list[Any]:
        return list(self.client.search_runs([experiment], f"tags.`{tag}` = '{text}'"))

    def _parent(self, experiment: str, group: str, item: Record) -> str:
        found = self._find(experiment, "suite.group", group)
        if found:
            return found[0].info.run_id
        start, end = tracked.times(item)
        run = self.client.create_run(experiment, start_time=start, run_name=f"{tracked.name(item)} all seeds",
                                     tags={"suite.group": group, **tracked.notes(item)})
        self._params(run.info.run_id, item, seed=False)
        self._lineage(run.info.run_id, item)
        self.client.set_terminated(run.info.run_id, end_time=end)
        return run.info.run_id

    def _sole(self, experiment: str, group: str, parent: str) -> str:
        """The one parent of a group. Commands at once make one each; the first by id stays, with the children of the others."""
        from mlflow.exceptions import MlflowException

        found = {run.info.run_id for run in self._find(experiment, "suite.group", group)}
        first = min(found, default=parent)
        for other in {*found, parent} - {first}:
            for child in self._find(experiment, "mlflow.parentRunId", other):
                self.client.set_tag(child.info.run_id, "mlflow.parentRunId", first)
            with suppress(MlflowException):  # where another command has deleted it
                self.client.delete_run(other)
        return first

    def _params(self, run_id: str, item: Record, seed: bool = True) -> None:
        from mlflow.entities import Param

        options = {**item["method"]["options"], **{f"task.{key}": text for key, text in item["task"]["options"].items()},
                   "method": item["method"]["name"], "scale": item["scale"], "source": item["task"]["source"]["kind"]}
        options |= {"seed": item["seed"], **{f"training.{key}": text for key, text in item["training"].items()}} if seed else {}
        options |= tracked.facts(item) if seed else {}
        params = [Param(tracked.cleaned(key), str(text)) for key, text in options.items()]
        for first in range(0, len(params), 100):  # the client's limit per batch
            self.client.log_batch(run_id, params=params[first : first + 100])

    def _lineage(self, run_id: str, item: Record) -> None:
        """The data that a run was made from: its name, digest, source and the sizes of its splits."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = item["task"]["source"]
        data = Dataset(source["name"], source["digest"][:36], source["kind"], json.dumps(source["counts"]))
        self.client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])

    def _run(self, experiment: str, parent: str, item: Record) -> None:
        digest = _digest(item)
        for old in self._find(experiment, "suite.id", item["id"]):
            if old.data.tags.get("suite.digest") == digest:
                return
            self.client.delete_run(old.info.run_id)
        start, end = tracked.times(item)
        tags = {"suite.id": item["id"], "suite.status": item["status"], "mlflow.parentRunId": parent,
                "suite.machine": item["machine"]["id"], "suite.timed_on": item["timed_on"].get("id", ""),
                "suite.command": item["command"], **tracked.notes(item)}
        run_id = self.client.create_run(experiment, start_time=start, tags=tags,
                                        run_name=f"{tracked.name(item)} seed {item['seed']}").info.run_id
        try:
            self._fill(run_id, item, end)
        except Exception:
            self.client.delete_run(run_id)  # no half of a run stays
            raise
        self.client.set_tag(run_id, "suite.digest", digest)  # last: a run without it was cut short and is made again

    def _fill(self, run_id: str, item: Record, end: int) -> None:
        """What a run holds: parameters, numbers, data, the record itself, pictures."""
        from mlflow.entities import Metric

        self._params(run_id, item)
        points = [Metric(name, number, end, step) for name, step, number in tracked.points(item)]
        for first in range(0, len(points), 1000):  # the client's limit per batch
            self.client.log_batch(run_id, metrics=points[first : first + 1000])
        self._lineage(run_id, item)
        self.client.log_text(run_id, json.dumps(item, indent=1, sort_keys=True), "record.json")
        folder = run_folder(item["id"])
        for path in [*sorted((folder / "figures").glob("*.png")), *folder.glob("layers.json")]:
            self.client.log_artifact(run_id, str(path), "figures" if path.suffix == ".png" else None)
        self.client.set_terminated(run_id, _STATUS[item["status"]], end)

    def _summarise(self, experiment: str, parent: str) -> None:
        """Means over the children of a parent run, under the children's names; of scores and latency how far to trust them."""
        from mlflow.entities import Metric

        children = self._find(experiment, "mlflow.parentRunId", parent)
        kinds = ("test/", "cost/", "ledger/", "timing/")
        names = {name for child in children for name in child.data.metrics if name.startswith(kinds)}
        now, found = int(time.time() * 1000), []
        for name in sorted(names):
            numbers = [child.data.metrics[name] for child in children if name in child.data.metrics]
            found.append(Metric(name, statistics.fmean(numbers), now, 0))
            if name.startswith(("test/", tracked.LATENCY)) and (between := interval(numbers)):
                more = {"deviation": statistics.stdev(numbers), "low": between.low, "high": between.high}
                found += [Metric(f"{name}/{what}", number, now, 0) for what, number in more.items()]
        self.client.log_batch(parent, metrics=found)
