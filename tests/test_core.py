"""Options, plug-ins, plans and records."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import record as made_by_hand

from suite import options, plan, plugins, record
from suite.context import Budget, Run, hashed
from suite.contract import Method, option, options_of
from suite.data.embedded import procedural
from suite.errors import UserError

COMMITTED = Path(__file__).parent.parent / "results"


@dataclass
class Plugin(Method):
    share: float = option(0.5, "a share", bounds=(0, 1))
    width: int = option(4, "a width", choices=(1, 2, 4))
    blocks: tuple[int, ...] = option((), "a list")
    flag: bool = option(True, "a switch")
    mode: Literal["one", "two"] = option("one", "a mode")
    limit: int | None = option(None, "a limit")


@pytest.mark.parametrize("text, key, found", [
    ("0.25", "share", 0.25), ("2", "width", 2), ("2:4", "blocks", (2, 4)), ("no", "flag", False), ("two", "mode", "two"),
    ("none", "limit", None), ("7", "limit", 7),
])
def test_converts_to_the_fields_type(text, key, found):
    assert options.convert(Plugin, "plugin", key, text) == found


@pytest.mark.parametrize("text, key, sentence", [
    ("1.5", "share", "share=1.5 is out of range for 'plugin'; share lies in 0 to 1."),
    ("nan", "share", "share=nan does not fit option 'share' of 'plugin', which is a number."),
    ("3", "width", "width=3 is not possible for 'plugin'; width is one of 1, 2, 4."),
    ("x", "blocks", "blocks=x does not fit option 'blocks' of 'plugin', which is a list of a whole number separated by ':'."),
    ("three", "mode", "mode=three does not fit option 'mode' of 'plugin', which is one of one, two."),
])
def test_says_what_would_fit(text, key, sentence):
    with pytest.raises(UserError) as error:
        options.convert(Plugin, "plugin", key, text)
    assert str(error.value) == sentence


def test_a_comma_makes_a_grid_and_words_go_to_their_owner():
    words = options.parse(["share=0.1,0.2", "width=1,2", "task.size=64"], ["plugin"])
    own = [word for word in words if word.owner != "task"]
    assert options.grid(Plugin, "plugin", own) == [
        {"share": share, "width": width} for share in (0.1, 0.2) for width in (1, 2)]
    assert words[2] == options.Word("task", "size", ("64",))


@pytest.mark.parametrize("words, sentence", [
    (["share"], "'share' is not an option; options look like key=value"),
    (["other.share=1"], "is for 'other', which is neither 'task' nor one of plugin"),
    (["shar=1"], "'plugin' has no option 'shar'; did you mean 'share'?"),
    (["share=0.1", "share=0.2"], "'share' is given twice"),
])
def test_refuses_words_that_mean_nothing(words, sentence):
    with pytest.raises(UserError, match=sentence.replace("?", r"\?")):
        options.grid(Plugin, "plugin", options.parse(words, ["plugin"]))


@given(st.integers(0, 9), st.text(max_size=5), st.text(max_size=5))
def test_seeds_depend_on_number_and_parts_alone(number, one, other):
    run = Run(number, "smoke", Budget(1), None, None)
    assert run.seed(one) == hashed(number, one) == Run(number, "full", Budget(9), None, None).seed(one)
    assert (run.seed(one) == run.seed(other)) == (one == other)
    assert 0 <= run.seed(one) < 2**63


def test_the_digest_of_a_plugin_is_that_of_what_it_does(tmp_path):
    path = tmp_path / "method.py"
    code = '"""One."""\nclass A(Method):\n    """Doc."""\n    tags = ("x",)\n    n = 1\n    def fit(self):\n        """Doc."""\n        return 1\n'
    path.write_text(code)
    first = plugins.digest(path)
    path.write_text(code.replace("One", "Two").replace('("x",)', '("y",)').replace("        return", "        # why\n        return"))
    assert plugins.digest(path) == first
    path.write_text(code.replace("return 1", "return 2"))
    assert plugins.digest(path) != first


def test_a_plan_names_references_and_the_reference_trained_on(fresh_results):
    made = plan.specs("cifar10", [("one_by_n", {"sparsity": 0.5}), ("one_by_n", {"sparsity": 0.75})], [0, 1], "smoke")
    assert len(made.wanted) == 4
    assert [spec.method_name for spec in made.missing] == ["plain", "plain", "one_by_n", "plain", "plain", "one_by_n", "one_by_n", "one_by_n"]
    spec = made.wanted[0]
    assert spec.references["resnet20"].method.starts == "scratch" and spec.trained_on.method.starts == "reference"
    assert spec.parents == {"resnet20": spec.references["resnet20"].artifact} and spec.needed_as == {"resnet20": "reference"}
    assert spec.command == "suite run cifar10 one_by_n --scale smoke --seed 0 --data embedded"
    assert made.wanted[2].command == "suite run cifar10 one_by_n sparsity=0.75 --scale smoke --seed 0 --data embedded"


def test_fingerprints_ignore_the_seed_and_nothing_else(fresh_results):
    def fingerprint(method="one_by_n", seed=0, scale="smoke", **chosen):
        return plan.specs("cifar10", [(method, chosen)], [seed], scale).wanted[0].fingerprint

    assert fingerprint(sparsity=0.5, n=4) == fingerprint(n=4, sparsity=0.5) == fingerprint(seed=3)
    others = {fingerprint(), fingerprint(sparsity=0.6), fingerprint(n=8), fingerprint(scale="short"), fingerprint("magnitude")}
    assert len(others) == 5


def test_what_made_the_committed_records_on_embedded_data_makes_the_same_runs_today(fresh_results):
    """Same data, same options: another id would mean that nobody can repeat the number. One seed of each configuration."""
    found = [record.read(path) for path in sorted(COMMITTED.glob("*/*/*-s0.json"))]
    checked = 0
    for item in found:
        origin = item["task"]["source"]
        if origin["kind"] == "embedded" and item["task"]["name"] != "imagenet":  # its JPEG files are the encoder's
            assert plan.spec_of(item).id == item["id"]
            checked += 1
        elif origin["kind"] == "embedded":
            assert origin["counts"] == procedural.PHOTOGRAPH_COUNTS
    assert checked > 20


@pytest.mark.parametrize(("task", "method"), [("coco_detection", "retinanet"), ("change_detection", "c3po")])
def test_of_a_file_that_an_option_names_the_contents_count_and_not_the_name(fresh_results, tmp_path, task, method):
    def fingerprint(name, text):
        (tmp_path / name).write_text(text)
        return plan.specs(task, [(method, {"weights": str(tmp_path / name)})], [0], "smoke").wanted[0].fingerprint

    assert fingerprint("one.pt", "weights") == fingerprint("two.pt", "weights") != fingerprint("one.pt", "others!")


def test_records_are_written_whole_and_found_by_a_beginning(tmp_path):
    one = {**made_by_hand("method", task__name="task"), "id": "task/method/abcdef012345-s0"}
    path = record.write(one, tmp_path)
    assert record.read(path) == one and json.loads(path.read_text()) == one
    assert list(path.parent.iterdir()) == [path]
    assert record.find("abcd", tmp_path) == record.find("task/method/abcdef012345-s0", tmp_path) == one
    record.write({**one, "id": "task/method/abcdef012345-s1", "seed": 1}, tmp_path)
    with pytest.raises(UserError, match="names 2 records"):
        record.find("abcd", tmp_path)
    with pytest.raises(UserError, match="No record 'x'"):
        record.find("x", tmp_path)


def test_a_full_disk_leaves_no_part_of_a_record(tmp_path, monkeypatch):
    import os

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device.*the finished training is kept"):
        record.write({"schema": 1, "id": "task/method/abc-s0"}, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_file_that_is_no_record_is_one_sentence(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("{")
    with pytest.raises(UserError, match="is not a record"):
        record.read(path)
    path.write_text('{"schema": 99}')
    with pytest.raises(UserError, match="install a newer suite"):
        record.read(path)


def test_a_record_older_than_an_option_keeps_its_id_and_its_command_names_what_the_scale_would_set(monkeypatch):
    monkeypatch.delenv("SUITE_DATA", raising=False)
    spec = plan.specs("cifar10", [("plain", {"arch": "resnet8"})], [0], "short", task_options={"padding": 4}).wanted[0]
    assert "task.padding=4" in spec.command and "padding" not in options_of(spec.task)
    older = made_by_hand("plain", task__options=options_of(spec.task), method__options=options_of(spec.method), scale="short", seed=0)
    older["task"]["source"] = {**older["task"]["source"], "kind": "embedded"}
    older["id"] = spec.id
    assert plan.spec_of(older).id == spec.id
    assert plan.specs("cifar10", [("plain", {"arch": "resnet8"})], [0], "short").wanted[0].id != spec.id


def test_a_declared_change_of_the_core_leaves_its_digest(monkeypatch):
    from suite import core

    def digest():
        return core.digest(*(plugins.find(kind)[name].path for kind, name in (("tasks", "cifar10"), ("baselines", "plain"))))

    def declare(**more):
        monkeypatch.setattr(core, "_unchanged", lambda: {**known, **more})

    before, code, known = digest(), core._code, core._unchanged()
    loop, modes = (code(Path(core.__file__).with_name("train") / "loop.py", 0), code(Path(core.__file__).with_name("modes.py"), 0))
    monkeypatch.setattr(core, "_code", lambda path, changed: "new" if path.name == "loop.py" else code(path, changed))
    assert digest() != before
    loop = known.get(loop, {}).get("same as", loop)  # it may be declared itself
    declare(new={"same as": loop})
    assert digest() == before
    declare(new={"same as": loop}, **{modes: {"same as": ""}})
    assert digest() != before  # a module that is not counted at all
    declare(new={"same as": loop, "was": "train.steps"})
    assert digest() != before  # a module that had another name


def test_the_digest_of_the_core_is_the_same_where_the_plug_ins_lie_inside_of_the_package(monkeypatch, tmp_path):
    import shutil

    import suite
    from suite import core

    paths = [plugins.find(kind)[name].path for kind, name in (("tasks", "cifar10"), ("baselines", "one_by_n"))]
    before = core.digest(*paths)
    installed = tmp_path / "suite"
    shutil.copytree(Path(suite.__file__).parent, installed, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for path, kind in zip(paths, ("tasks", "baselines"), strict=True):
        shutil.copytree(path.parent, installed / kind, dirs_exist_ok=True)  # tox tests a suite that is installed so already
    monkeypatch.setattr(suite, "__file__", str(installed / "__init__.py"))
    assert core.digest(installed / "tasks" / "cifar10.py", installed / "baselines" / "one_by_n.py") == before
