"""Records outlive machines: networks that others rest on lie beside their records, and no record is rewritten unasked."""

from __future__ import annotations

import copy
import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from suite import plan, record, references, runner, timing
from suite.artifacts import Detector, Network, Suppressor
from suite.context import load, save
from suite.contract import Skip
from suite.errors import UserError
from suite.nn import build
from suite.nn.detection import Body, retinanet
from suite.profile import latency
from suite.reporting.terminal import run_table
from suite.runner import run_plan
from suite.testing import contract

CHILD = ("one_by_n", {"arch": "resnet8", "sparsity": 0.5})


def planned(*methods, **more):
    """At seed 1: of seed 0 more networks are kept."""
    return plan.specs("cifar10", methods or [CHILD], [1], "smoke", **more)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Timings of a few calls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "measure", partial(latency.measure, calls=6, seconds=0.01, limit=1.0))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory, quick):
    """A folder with the records of a reference, of the reference trained on, and of a child of the reference, and its cache."""
    home = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUITE_RESULTS", str(home / "results"))
        patch.setenv("SUITE_CACHE", str(home / "cache"))
        patch.delenv("SUITE_DATA", raising=False)
        run_plan(planned())
    return home


@pytest.fixture
def clone(made, tmp_path, monkeypatch):
    """These records elsewhere, as in a fresh clone: the data is in the cache, and no network."""
    shutil.copytree(made / "results", tmp_path / "results")
    shutil.copytree(made / "cache", tmp_path / "cache", ignore=shutil.ignore_patterns("runs", "timed", "*.db"))
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SUITE_WEIGHTS", raising=False)
    monkeypatch.delenv("SUITE_DATA", raising=False)
    return tmp_path / "results"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def of(spec) -> Path:
    return record.results_folder() / f"{spec.id}.json"


def weights_of(spec) -> Path:
    return of(spec).with_suffix(".safetensors")


def test_what_others_rest_on_lies_beside_its_record_and_nothing_else_does(made, clone):
    spec = planned().wanted[0]
    reference, child = record.read(of(spec.references["resnet8"])), record.read(of(spec))
    assert [path.stem for path in clone.rglob("*.safetensors")] == [of(spec.references["resnet8"]).stem]
    assert weights_of(spec.references["resnet8"]).stat().st_size < references.LIMIT
    assert len(reference["weights"]) == len(child["weights"]) == 64 and reference["weights"] != child["weights"]
    assert child["parent_weights"] == child["parent_digests"] == {reference["id"]: reference["weights"]}


def test_of_seed_0_what_starts_from_a_reference_is_kept_too(suite_home):
    spec, _ = contract.fit_once("cifar10", "l1_filter")
    assert weights_of(spec).is_file() and weights_of(spec.references[spec.method.arch]).is_file()
    trained = load(spec.artifact).module
    spec.artifact.unlink()
    assert references.provide(spec.artifact, record.read(of(spec)))
    found, images = load(spec.artifact).module, torch.randn(2, 3, 32, 32)
    assert repr(found) == repr(trained) and torch.equal(found(images), trained(images))  # a network that was cut


def test_in_a_fresh_clone_a_child_of_a_committed_reference_needs_one_training(clone):
    before = contents(clone)
    fresh = planned(("one_by_n", {"arch": "resnet8", "sparsity": 0.75}))
    assert [spec.method_name for spec in fresh.missing] == ["one_by_n"] and fresh.stale == [] and not fresh.into_cache(fresh.missing[0])
    said: list[str] = []
    found = run_plan(fresh, say=said.append)
    assert [item["status"] for item in found] == ["done"] * 3 and sum(line.startswith("[") for line in said) == 1
    assert before.items() <= contents(clone).items()


def test_a_network_from_its_file_is_the_trained_one_to_the_bit(made, clone):
    spec = planned().wanted[0]
    original = load(made / "cache" / "runs" / spec.references["resnet8"].id / "artifact.pt").module
    before, state = record.read(of(spec)), torch.random.get_rng_state()
    assert references.provide(spec.references["resnet8"].artifact, record.read(of(spec.references["resnet8"])))
    assert torch.equal(state, torch.random.get_rng_state())
    network = load(spec.references["resnet8"].artifact).module
    for ours, theirs in zip(network.state_dict().values(), original.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs) and ours.stride() == theirs.stride() and ours.dtype == theirs.dtype
    again = runner.execute(planned(again=True).wanted[0], again={spec.id})
    assert all(again[key] == before[key] for key in ("scores", "curves", "weights", "parent_weights", "budget"))


def test_a_reference_that_lies_in_no_file_is_made_into_the_cache_and_neither_replaced_nor_are_its_children_stale(clone):
    spec = planned().wanted[0]
    weights_of(spec.references["resnet8"]).unlink()
    before = contents(clone)
    fresh = planned(CHILD, ("one_by_n", {"arch": "resnet8", "sparsity": 0.75}))
    assert [item.method_name for item in fresh.missing] == ["plain", "one_by_n"] and fresh.stale == []
    assert [fresh.into_cache(item) for item in fresh.missing] == [True, False]
    run_plan(fresh)
    after = contents(clone)
    assert weights_of(spec.references["resnet8"]).is_file()  # kept again: the same machine made the same network
    assert before.items() <= after.items() and planned(CHILD).missing == []


def test_a_child_says_what_it_really_started_from(clone):
    """On another processor a reference made again is another network; its record stays, and the child names the other's weights."""
    reference = planned().wanted[0].references["resnet8"]
    weights_of(reference).unlink()
    other = Network(build("resnet8", 10, 32))
    save(other, reference.artifact)
    child = runner.execute(planned(("one_by_n", {"arch": "resnet8", "sparsity": 0.75})).wanted[0])
    known = record.read(of(reference))
    assert child["parent_weights"] == {reference.id: references.digest_of(other)} != {reference.id: known["weights"]}
    assert child["parent_digests"] == {reference.id: known["weights"]} and not weights_of(reference).exists()
    assert planned(("one_by_n", {"arch": "resnet8", "sparsity": 0.75})).stale == []


def test_the_file_wins_over_another_network_in_the_cache(clone):
    reference = planned().wanted[0].references["resnet8"]
    save(Network(build("resnet8", 10, 32)), reference.artifact)
    child = runner.execute(planned(("one_by_n", {"arch": "resnet8", "sparsity": 0.75})).wanted[0])
    assert child["parent_weights"] == {reference.id: record.read(of(reference))["weights"]}


def test_a_reference_made_again_with_other_weights_makes_its_children_stale_and_an_older_record_goes_by_its_scores(clone):
    spec = planned().wanted[0]
    path = of(spec.references["resnet8"])
    old = json.loads(path.read_text())
    path.write_text(json.dumps({**old, "weights": "0" * 64, "scores": {**old["scores"], "top1": 1.0}}))
    assert "has been made again" in planned().stale[0] and spec.references["resnet8"].id not in [item.id for item in planned().wanted]
    path.write_text(json.dumps(old))
    child = json.loads(of(spec).read_text())
    of(spec).write_text(json.dumps({**child, "parent_digests": {old["id"]: plan.outcome(old)}}))
    assert planned().stale == []


def test_large_networks_lie_in_the_folder_that_suite_weights_names(clone, tmp_path, monkeypatch):
    spec = planned().wanted[0]
    reference = spec.references["resnet8"]
    references.provide(reference.artifact, record.read(of(reference)))
    weights_of(reference).unlink()
    monkeypatch.setattr(references, "LIMIT", 1000)
    references.keep(record.read(of(reference)), load(reference.artifact))
    assert not list(tmp_path.rglob("*.safetensors"))
    monkeypatch.setenv("SUITE_WEIGHTS", str(tmp_path / "large"))
    references.keep(record.read(of(reference)), load(reference.artifact))
    assert (tmp_path / "large" / f"{reference.id}.safetensors").is_file() and not weights_of(reference).exists()
    reference.artifact.unlink()
    assert [item.method_name for item in planned(("one_by_n", {"arch": "resnet8", "sparsity": 0.75})).missing] == ["one_by_n"]
    assert references.provide(reference.artifact, record.read(of(reference)))


def test_a_damaged_file_is_one_sentence_and_leaves_the_cache_alone(clone):
    reference = planned().wanted[0].references["resnet8"]
    path, found = weights_of(reference), record.read(of(reference))
    whole = path.read_bytes()
    path.write_bytes(whole[:-8] + b"\0\0\0\0\0\0\0\1")
    with pytest.raises(UserError, match="does not hold the weights of its record .*restore the file, or remove it"):
        references.provide(reference.artifact, found)
    path.write_bytes(whole[:100])
    with pytest.raises(UserError, match="does not hold the weights of its record"):
        planned(("one_by_n", {"arch": "resnet8", "sparsity": 0.75}))
    assert not reference.artifact.exists()
    references.renew(found, Network(build("resnet8", 10, 32)))  # what is made again is another network: no file of the old one
    assert not path.exists()


def halved(network):
    network.fc = nn.Linear(64, 5)


def doubled(network):
    network.double()


def shifted(network):
    network.register_forward_hook(lambda module, inputs, output: output + 1)


def forgotten(network):
    del network.built


def test_a_detector_from_its_file_is_the_trained_one(tmp_path):
    torch.manual_seed(0)
    network = retinanet(build("narrow_resnet10", 2, 64), 4, 64, width=16, anchor=4.0, first=1, he=True).eval()
    nn.init.zeros_(network.head.classification_head.cls_logits.bias)  # so that it finds something
    detector, image = Detector(network, Body(network).eval()), torch.rand(3, 64, 64)
    (tmp_path / "x.safetensors").write_bytes(references.packed(detector, digest := references.digest_of(detector)))
    found = references._read(tmp_path / "x.safetensors", digest)
    with torch.inference_mode():
        ours, theirs = found.module([image])[0], network([image])[0]
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs) and len(ours["boxes"]) > 0
        assert torch.equal(found.body(found.body.prepare([image])), detector.body(detector.body.prepare([image])))
    backbone = build("narrow_resnet10", 2, 64)
    backbone.built = None
    assert retinanet(backbone, 4, 64, width=16, anchor=4.0).built is None
    assert build("resnet8", size=32, classes=10).built == build("resnet8", 10, 32).built


@pytest.mark.parametrize("change", [halved, doubled, shifted, forgotten])
def test_what_build_does_not_make_stays_in_the_cache(change):
    network = build("resnet8", 10, 32).eval()
    assert references.packed(Network(copy.deepcopy(network)), "x")
    change(network)
    assert references.packed(Network(network), "x") is None
    assert references.packed(Suppressor(nn.Linear(1, 1)), "x") is None


def test_the_digest_is_of_names_types_shapes_and_values():
    network = build("resnet8", 10, 32)
    first = references.digest_of(Network(network))
    assert first == references.digest_of(Network(copy.deepcopy(network).to(memory_format=torch.channels_last)))
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] += 1
    assert references.digest_of(Network(network)) != first != references.digest_of(Network(network.double()))
    assert references.digest_of(Suppressor(lambda candidates: None)) == "" and len(references.digest_of(Suppressor(nn.Linear(1, 1)))) == 64


def test_again_leaves_the_old_record_until_the_new_one_is_done(clone, monkeypatch):
    spec = planned(("plain", {"arch": "resnet8"})).wanted[0]
    before = contents(clone)
    asked = planned(("plain", {"arch": "resnet8"}), again=True)
    assert [item.id for item in asked.missing] == [spec.id] and not asked.into_cache(spec)  # and not read from its file

    def ends(error):
        def fit(self, setting, run):
            raise error
        monkeypatch.setattr(type(spec.method), "fit", fit)

    ends(ValueError("broken"))
    with pytest.raises(UserError, match=r"was run again and failed \(ValueError: broken\); its record of before stays.*error.txt"):
        run_plan(asked)
    assert "ValueError: broken" in (spec.artifact.parent / "error.txt").read_text()
    ends(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run_plan(asked)
    assert contents(clone) == before
    ends(Skip("no more"))
    run_plan(asked)
    assert record.read(of(spec))["reason"] == "no more"


def test_again_trains_what_others_rest_on_first_and_renews_its_file(clone):
    both = planned(CHILD, ("plain", {"arch": "resnet8"}), again=True)
    assert [item.method_name for item in both.missing] == ["plain", "one_by_n"]
    before = contents(clone)
    runner.execute(both.missing[0], again=both.again)
    after = contents(clone)
    assert before[f"{both.missing[0].id}.json"] != after[f"{both.missing[0].id}.json"]  # the time of day
    assert before[f"{both.missing[0].id}.safetensors"] == after[f"{both.missing[0].id}.safetensors"]


def test_again_that_was_stopped_before_its_timing_goes_on_with_that(clone):
    asked = planned(("plain", {"arch": "resnet8"}), again=True)
    runner.execute(asked.wanted[0], again=asked.again)
    before = record.read(of(asked.wanted[0]))
    assert before["untimed"] == record.WAITING
    going_on = planned(("plain", {"arch": "resnet8"}), again=True)
    assert not going_on.again and going_on.missing == going_on.wanted
    (found,) = run_plan(going_on)
    assert found["time"]["started"] == before["time"]["started"] and not found["untimed"]
    assert planned(("plain", {"arch": "resnet8"}), again=True).again


def test_a_network_that_is_not_the_records_is_not_timed_for_it(clone):
    spec = planned().wanted[0]
    found = record.read(of(spec))
    references.save(Network(build("resnet8", 10, 32)), spec.artifact)  # made again elsewhere: the child has no file
    with pytest.raises(UserError, match=f"network of '{spec.id}' in the cache is another one than its record's.*--again"):
        timing.profile_again(found, spec)
    assert record.read(of(spec)) == found


def test_a_damaged_artifact_in_the_cache_is_made_again_from_the_file(clone):
    reference = planned().wanted[0].references["resnet8"]
    reference.artifact.parent.mkdir(parents=True, exist_ok=True)
    reference.artifact.write_bytes(b"half a file")
    found = record.read(of(reference))
    assert references.provide(reference.artifact, found) and references.digest_of(load(reference.artifact)) == found["weights"]


def elsewhere(path: Path) -> None:
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "timed_on": {**found["timed_on"], "id": "another", "cpu": "Another CPU"}}, indent=1))


def test_a_runs_own_table_has_this_machines_numbers_alone_and_leaves_the_records(clone, tmp_path, monkeypatch):
    made = planned()
    for spec in made.shown:
        elsewhere(of(spec))
    before, said = contents(clone), list[str]()
    shown = timing.timed_here(run_plan(made), made.shown, said.append)
    reference = made.wanted[0].references["resnet8"]
    assert said == [f"timing {reference.id} on this machine"] and contents(clone) == before  # its network is there, no other is
    assert all(not timing.timed_elsewhere(item) for item in shown) and {item["id"]: bool(item["timed_on"]) for item in shown} == {
        item.id: item.id == reference.id for item in made.shown}
    with (tmp_path / "table.txt").open("w") as file:
        run_table(shown, Console(file=file, width=140))
    text = (tmp_path / "table.txt").read_text()
    assert text.count(f"not timed, {timing.ELSEWHERE}") == 1 and "Another CPU" not in text and "sparse" in text
    monkeypatch.setattr(timing, "_timed", None)  # the second time they come from the cache
    assert timing.timed_here(run_plan(made), made.shown, said.append) == shown and len(said) == 1
    (tmp_path / "cache" / "timed" / f"{reference.id}.json").write_text("[]")
    monkeypatch.setattr(timing, "_timed", lambda spec, run: {"profile": {"latency": None, "kernel": None}, "timings": [], "timed_on": {}, "untimed": "x"})
    assert "x" in [item["untimed"] for item in timing.timed_here(run_plan(made), made.shown, said.append)]


def test_a_damaged_file_leaves_its_row_untimed_and_the_table_whole(clone):
    made = planned()
    reference = made.wanted[0].references["resnet8"]
    elsewhere(of(reference))
    weights_of(reference).write_bytes(weights_of(reference).read_bytes()[:100])
    records = [record.read(of(spec)) for spec in made.shown]
    shown = {item["id"]: item for item in timing.timed_here(records, made.shown, lambda sentence: None)}
    assert "does not hold the weights of its record" in shown[reference.id]["untimed"] and len(shown) == len(records)


def test_a_timing_in_the_cache_serves_only_the_weights_it_was_made_of(clone, tmp_path):
    made = planned()
    reference = made.wanted[0].references["resnet8"]
    elsewhere(of(reference))
    found, said = record.read(of(reference)), list[str]()
    for _ in range(2):
        timing.timed_here([found], [reference], said.append)
    assert len(said) == 1
    path = tmp_path / "cache" / "timed" / f"{reference.id}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights": "b" * 64}))
    timing.timed_here([found], [reference], said.append)
    assert len(said) == 2


def test_a_device_that_is_not_there_is_one_sentence_before_anything_runs(clone):
    before = contents(clone.parent)
    wrong = {"cuda": "no CUDA here; leave --device out"} if not torch.cuda.is_available() else {"cuda:99": "the CUDA devices here are"}
    for device, sentence in {**wrong, "gpu": "there is no such device"}.items():
        with pytest.raises(UserError, match=f"--device {device} cannot be used: {sentence}"):
            run_plan(planned(("one_by_n", {"arch": "resnet8", "sparsity": 0.75}), device=device))
    assert contents(clone.parent) == before
