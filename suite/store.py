"""MLflow's environment, and the file of the local store: whether it is damaged, and setting it aside."""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

#: Tables that MLflow's store has since long before the oldest version that this suite works with.
TABLES = {"alembic_version", "experiments", "runs", "metrics", "params", "tags", "datasets", "inputs"}


def damage(path: Path) -> str:
    """What is wrong with the file of a store: no database, or half of one; empty where that is nothing, or cannot be seen now."""
    if not path.exists():
        return ""
    try:
        with closing(sqlite3.connect(path)) as database:
            [found] = database.execute("PRAGMA quick_check(1)").fetchone()
            tables = {name for name, in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        lacking = sorted(TABLES - tables)
        return str(found) if found != "ok" else f"it has no table '{lacking[0]}'" if lacking else ""
    except sqlite3.OperationalError:  # locked, or not ours to read
        return ""
    except sqlite3.DatabaseError as error:
        return str(error)


def busy(path: Path) -> bool:
    """Whether a database cannot be written now: it is locked, or read-only."""
    try:
        with closing(sqlite3.connect(path)) as database:
            database.execute("BEGIN IMMEDIATE")
        return False
    except sqlite3.OperationalError:
        return True


def set_aside(path: Path, uri: str) -> Path:
    """Rename a database, with the files that SQLite keeps beside it; its new path. MLflow forgets that it has opened `uri`."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    aside = next(name for count in itertools.count(1) if not (name := path.with_name(f"{path.name}.damaged-{count}")).exists())
    for end in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    if engine := SqlAlchemyStore._engine_map.pop(uri, None):  # its connections lead to the renamed file
        engine.dispose()
    return aside


@contextmanager
def quiet(seconds: float) -> Iterator[None]:
    """MLflow for the duration: no waits longer than `seconds`, no calls home, no tales of how it made its database."""
    wanted = {"MLFLOW_HTTP_REQUEST_TIMEOUT": f"{seconds:.0f}", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
              "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "CRITICAL",
              "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, text in before.items():
            if text is None:
                del os.environ[name]
            else:
                os.environ[name] = text
