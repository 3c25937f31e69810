"""``suite profile --update`` over many records: which ones, one after another, and what cannot be timed."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from records import MACHINE, profile, record, timed

from suite import recorded, timing
from suite.cli import profile as cli
from suite.errors import UserError
from suite.kernel import VERSION
from suite.record import read, results_folder, write


def quiet(**changes):
    return {**profile(**changes), "kernel": {**profile()["kernel"], "version": VERSION}}


@pytest.fixture
def known(tmp_path, monkeypatch):
    """Records by name: quiet here, noisy, timed by the task noisily, on another machine, by an older kernel, never timed."""
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr("suite.profile.machine", lambda: MACHINE)
    made = {
        "quiet": record("a", profile=quiet(), timed_on=MACHINE),
        "noisy": record("b", profile=quiet(noisy=True), timed_on=MACHINE),
        "task": record("c", profile=quiet(), timed_on=MACHINE, timings=[timed("postprocess", 1.0, noisy=True)]),
        "elsewhere": record("d", profile=quiet(), timed_on={**MACHINE, "id": "other"}),
        "older": record("e", profile={**profile(), "kernel": {**profile()["kernel"], "version": "0"}}, timed_on=MACHINE),
        "never": record("f", profile=None, timed_on={}),
    }
    for item in made.values():
        write(item)
    return {name: item["id"] for name, item in made.items()}


@pytest.fixture
def turns(known, monkeypatch):
    """The ids that are timed, in their order; the network of one is gone."""
    found: list[str] = []

    def again(item, spec):
        found.append(item["id"])
        made = {**item, "profile": quiet(), "timings": [], "timed_on": MACHINE}
        write(made)
        return made

    def spec(item, data):
        if item["id"] == known["older"]:
            raise UserError("The network is not in the cache")
        return item["id"]

    monkeypatch.setattr(recorded, "spec_with_artifact", spec)
    monkeypatch.setattr(timing, "profile_again", again)
    return found


def test_noisy_takes_all_that_no_quiet_machine_like_this_has_timed_and_goes_on_where_it_was(known, turns):
    done = CliRunner().invoke(cli.command, ["--update", "--noisy"])
    assert done.exit_code == 0 and turns == [known[name] for name in ("noisy", "task", "elsewhere")]
    assert "not timed: The network is not in the cache" in done.output and "3 records timed, 0 of them noisy; 1 could not be timed." in done.output
    assert read(results_folder() / f"{known['noisy']}.json")["timed_on"] == MACHINE
    turns.clear()
    again = CliRunner().invoke(cli.command, ["--update", "--noisy"])
    assert turns == [] and isinstance(again.exception, UserError)  # only the one without a network is left


def test_records_are_named_by_patterns_and_beginnings(known, turns):
    CliRunner().invoke(cli.command, ["--update", "cifar10/[ab]/*", known["quiet"], known["task"]])
    assert turns == [known[name] for name in ("quiet", "noisy", "task")]
    turns.clear()
    CliRunner().invoke(cli.command, ["--update", "--noisy", "cifar10/[ab]/*"])
    assert turns == []  # both are quiet now


@pytest.mark.parametrize("words, sentence", [
    (["--update"], "--update needs the RECORDs"), (["--noisy"], "--noisy chooses what is timed again"), ([], "0 are named"),
    (["a", "b"], "One MODEL or RECORD is shown at a time and 2 are named"), (["--update", "x*"], "No record's id is like 'x*'"),
])
def test_what_makes_no_sense_is_a_sentence(known, words, sentence):
    done = CliRunner().invoke(cli.command, words)
    assert isinstance(done.exception, UserError) and sentence in str(done.exception)
