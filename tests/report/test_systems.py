"""The README's table of systems: its cells from records, its place, and which cells are empty today."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from records import family, profile, record
from test_declarations import report, store

from suite.errors import UserError
from suite.record import read_all
from suite.reporting import systems
from suite.reporting.declare import Report, System, load

ROOT = Path(__file__).parents[2]
LISTED = Report("x", systems=(System("one_by_n", "1xN", ("cifar10", "imagenet")), System("rbnn", "RBNN", ("cifar10",))))
#: Tasks on which a system is to run and has no record yet.
EMPTY = {
    "imagenet": {"opq", "rbnn", "fda_bnn", "adder_net", "tiny_net", "tnt", "ffsd", "feature_mimicking"},
    "cifar10": {"rbnn", "fda_bnn", "adder_net", "tiny_net", "tnt"},
    "cifar100": {"feature_mimicking", "role_kd"},
    "tiny_set_compression": {"practise", "dc_vit"},
    "self_supervised": {"disco"}, "semi_supervised": {"r2d2"}, "model_stealing": {"black_box_dissector"},
    "blackbox_attack": {"query_prior_attack"}, "graph_distillation": {"g_crd"}, "distributed_training": {"topk_comm"},
    "super_resolution": {"fadn", "ghost_sr"}, "image_restoration": {"ipt"}, "image_translation": {"hisd", "dmad"},
    "image_compression": {"evc"}, "encrypted_inference": {"ffconv"},
}  # fmt: skip


def test_a_row_says_the_largest_scale_its_seeds_the_latencies_and_the_verdicts():
    found = [item for seed in range(3) for item in family(seed, {"one_by_n": 1.0})]
    made, without, absent = systems.rows(LISTED, found)
    assert made[:4] == ("1xN", "one_by_n", "cifar10", "short, 3 seeds") and made[4] == "0.650 to 0.900"  # two sparsities
    assert without == ("1xN", "one_by_n", "imagenet", "–", "–", "–") and absent == ("RBNN", "rbnn", "cifar10", "–", "–", "–")
    long = record("one_by_n", scale="long", options={"n": 2}, profile=profile(0.5, 1.25))
    assert systems.rows(LISTED, [*found, long])[0][3:5] == ("long, 1 seed", "1.25")
    other = record("one_by_n", seed=1, options={"n": 2}, profile=profile(0.5, 0.25))
    assert systems.rows(LISTED, [*found, other])[0][3:5] == ("short, 3 seeds", "0.250 to 0.900")  # of all its rows there


def test_verdicts_are_counted_in_the_order_of_how_much_they_say(monkeypatch):
    claims = [SimpleNamespace(method="rbnn", claim=SimpleNamespace(task="cifar10"), verdict=SimpleNamespace(finding=finding))
              for finding in ("not decided", "holds", "refuted", "holds")]
    monkeypatch.setattr(systems.verdicts, "verdicts", lambda records, methods: claims)
    assert [row[5] for row in systems.rows(LISTED, [])] == ["–", "–", "2 hold, 1 refuted, 1 not decided"]


def test_the_table_has_its_place_and_nothing_else_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    store(tmp_path / "results", family(0, {"one_by_n": 1.0}))
    declared = tmp_path / "reports"
    declared.mkdir()
    (declared / "all.toml").write_text('title = "x"\ninto = "../PAGE.md"\n[[systems]]\nname = "one_by_n"\ntitle = "1xN"\ntasks = ["cifar10"]\n')
    assert "'" + str(tmp_path / "PAGE.md") + "' has no lines" in report("all", "--reports", declared)
    (tmp_path / "PAGE.md").write_text("# Before\n<!-- systems -->\nold\n<!-- end -->\nafter <!-- end -->\n")
    assert "is not what the records say; type: suite report all" in report("all", "--reports", declared, "--check")
    report("all", "--reports", declared)
    text = (tmp_path / "PAGE.md").read_text()
    assert text.startswith("# Before\n<!-- systems -->\n") and text.endswith("<!-- end -->\nafter <!-- end -->\n") and "old" not in text
    assert "| 1xN | one\\_by\\_n | cifar10 | short, 1 seed |" in text
    assert "up to date" in report("all", "--reports", declared, "--check")
    report("all", "--reports", declared, "--to", tmp_path / "elsewhere")  # somebody's own folder: the page stays
    assert (tmp_path / "PAGE.md").read_text() == text and not (tmp_path / "elsewhere").exists()
    with pytest.raises(UserError, match="has no lines"):
        systems.text(LISTED, [], declared)  # no `into`: the folder itself


def test_which_cells_of_the_readme_are_empty():
    found: dict[str, set[str]] = {}
    for row in systems.rows(load("systems", ROOT / "reports"), read_all(ROOT / "results")):
        if row[3] == "–":
            found.setdefault(row[2], set()).add(row[1])
    assert found == EMPTY
