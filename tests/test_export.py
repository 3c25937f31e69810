"""Networks in files: each format gives back what torch computes, says what it is, and is not written where it is wrong."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import suite
from suite import kernel, record
from suite.artifacts import Detector, Network
from suite.cli.export import command
from suite.context import load
from suite.errors import UserError
from suite.export import BOUND, Deployed, export, of_arch, of_record
from suite.export import files as formats
from suite.nn import build
from suite.nn.detection import Body, retinanet
from suite.testing import contract
from suite.train import Normalise

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def close(found, wanted):
    return float(np.abs(np.asarray(found) - wanted.numpy()).max()) <= BOUND * float(wanted.abs().max())


@pytest.fixture
def recorded(suite_home):
    """The record of a pruned network of seed 0, whose channels are cut, and its artifact."""
    spec, _ = contract.fit_once("cifar10", "l1_filter", options={"arch": "resnet8"})
    return record.read(record.results_folder() / f"{spec.id}.json"), load(spec.artifact).module.eval()


def test_an_onnx_file_computes_on_any_batch_what_torch_does_and_says_what_it_is(recorded, tmp_path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    found, network = recorded
    written = export(of_record(found), tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"))
    with torch.no_grad():
        assert close(session.run(["logits"], {"image": IMAGES.numpy()})[0], network(IMAGES))
    facts = {item.key: item.value for item in onnx.load(str(tmp_path / "a.onnx")).metadata_props}
    assert facts == written.facts and written.error < BOUND and written.inputs == 4
    assert facts["record"] == found["id"] and facts["task"] == "cifar10" and facts["method"] == "l1_filter"
    assert facts["commit"] == found["code"]["commit"] and facts["weights"] == found["weights"]
    assert json.loads(facts["quality"])["top1"] == {"value": found["scores"]["top1"], "unit": "%"}
    assert len(json.loads(facts["labels"])) == 10
    assert json.loads(facts["inputs"]) == [{"name": "image", "shape": ["batch", 3, 32, 32], "type": "float32"}]
    assert json.loads(facts["outputs"]) == [{"name": "logits", "shape": ["batch", 10], "type": "float32"}]


def test_pixels_prepared_as_the_facts_say_are_the_tasks_inputs(recorded):
    item = of_record(recorded[0])
    told = json.loads(item.facts["preprocessing"])
    assert told["layout"] == "NCHW" and told["colour"] == "RGB" and told["size"] == [32, 32] and told["range"] == [0, 1]
    pixels = item.inputs[0][0] * torch.tensor(told["std"]).view(1, 3, 1, 1) + torch.tensor(told["mean"]).view(1, 3, 1, 1)
    stored = (pixels * 255).round().to(torch.uint8)
    assert torch.allclose(pixels, stored / 255, atol=1e-5)
    assert torch.equal(Normalise(tuple(told["mean"]), tuple(told["std"]))(stored), item.inputs[0][0])


def test_a_safetensors_file_of_a_cut_network_gives_it_back(recorded, tmp_path):
    found, network = recorded
    export(of_record(found), tmp_path / "a.safetensors")
    again = suite.load(tmp_path / "a.safetensors")
    assert repr(again) == repr(network) and not again.training
    with torch.no_grad():
        assert torch.equal(again(IMAGES), network(IMAGES))
    from safetensors import safe_open

    with safe_open(tmp_path / "a.safetensors", "numpy") as file:
        assert file.metadata()["record"] == found["id"]


def test_a_safetensors_file_of_a_detector_whose_filters_lie_in_several_formats_gives_it_back(tmp_path):
    torch.manual_seed(0)
    detector = retinanet(build("slim_resnet10", 10, 32), 7, 64, width=16, anchor=4.0, first=1).eval()
    detector.backbone.to(memory_format=torch.channels_last)
    body = Body(detector).eval()
    item = Deployed("mine", body, [(torch.rand(1, 3, 64, 64),)], {"preprocessing": "{}"}, Detector(detector, body))
    assert export(item, tmp_path / "a.safetensors").error < BOUND
    assert repr(suite.load(tmp_path / "a.safetensors")) == repr(detector)


def test_a_pytorch_program_runs_without_the_suite(recorded, tmp_path):
    found, network = recorded
    written = export(of_record(found), tmp_path / "a.pt2")
    torch.save({"images": IMAGES, "wanted": network(IMAGES).detach()}, tmp_path / "wanted.pt")
    code = ("import sys, json, torch\nfacts = {'suite.json': ''}\n"
            "program = torch.export.load('a.pt2', extra_files=facts)\nheld = torch.load('wanted.pt')\n"
            "assert torch.allclose(program.module()(held['images']), held['wanted'], atol=1e-5)\n"
            "assert 'suite' not in sys.modules\nprint(json.loads(facts['suite.json'])['record'])\n")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == found["id"] == written.facts["record"], done.stderr


@pytest.mark.parametrize(("arch", "threads"), [("resnet8", 2), ("mobilenet_v3_small", 1), ("narrow_resnet10", 1)])
def test_a_stored_plan_computes_the_plans_numbers_to_the_bit(arch, threads, tmp_path):
    item = of_arch(arch, 64)
    image = item.inputs[0][0]
    kernel.store(item.network, image, tmp_path / "a.plan", {"record": "r"})
    stored = kernel.load(tmp_path / "a.plan", threads)
    found = stored(image.numpy())
    assert isinstance(found, np.ndarray) and stored.facts["record"] == "r"
    assert np.array_equal(found, kernel.lower(item.network, image, threads=threads)(image).numpy())
    assert np.array_equal(stored(image.numpy()), found)  # a second call finds the zeros in their places
    with pytest.raises(ValueError, match=r"takes arrays of \[\(1, 3, 64, 64\)\]"):
        stored(np.zeros((1, 3, 32, 32), np.float32))


def test_a_stored_plan_does_not_depend_on_the_processor_it_was_written_on(tmp_path, monkeypatch):
    item = of_arch("resnet8", 32)
    image = item.inputs[0][0]
    kernel.store(item.network, image, tmp_path / "here.plan", {})
    wanted = item.outputs()[0]
    monkeypatch.setenv("SUITE_SIMD", "portable")
    kernel.store(item.network, image, tmp_path / "there.plan", {})
    here, there = (kernel.load(tmp_path / name) for name in ("here.plan", "there.plan"))
    assert here.engine.simd == "portable" and np.array_equal(here(image), there(image)) and close(here(image), wanted)


def test_loading_a_plan_takes_no_training_code(tmp_path):
    kernel.store(of_arch("resnet8", 32).network, IMAGES[:1], tmp_path / "x.plan", {})
    code = ("import sys\nimport numpy\nfrom suite.kernel import load\nplan = load('x.plan')\n"
            "print(plan(numpy.zeros((1, 3, 32, 32), numpy.float32)).shape)\n"
            "assert not [name for name in sys.modules if name.startswith(('suite.train', 'suite.tasks', 'suite.baselines', 'mlflow'))]\n")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 10)", done.stderr


def test_a_plan_with_parts_in_torch_or_a_damaged_one_is_refused_in_a_sentence(tmp_path):
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 3)

        def forward(self, images):
            return self.layer(images).sort(-1).values

    with pytest.raises(UserError, match=r"The network's part 'sort' runs in torch"):
        kernel.store(Sorted(), IMAGES[:1], tmp_path / "a.plan", {})
    assert list(tmp_path.iterdir()) == []
    kernel.store(nn.Sequential(nn.Conv2d(3, 4, 3)), IMAGES[:1], tmp_path / "a.plan", {})
    content = bytearray((tmp_path / "a.plan").read_bytes())
    content[-9] ^= 1
    (tmp_path / "a.plan").write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged: its digest is another; write it again"):
        kernel.load(tmp_path / "a.plan")
    (tmp_path / "a.plan").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is no plan"):
        kernel.load(tmp_path / "a.plan")
    with pytest.raises(UserError, match="There is no file"):
        kernel.load(tmp_path / "b.plan")


def test_several_outputs_of_a_plan_keep_their_structure(tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1)

        def forward(self, images):
            maps = torch.relu(self.one(images))
            return {"maps": maps, "more": (self.two(maps), maps)}

    network = Two().eval()
    kernel.store(network, IMAGES[:1], tmp_path / "a.plan", {})
    found, wanted = kernel.load(tmp_path / "a.plan")(IMAGES[:1]), network(IMAGES[:1])
    assert close(found["maps"], wanted["maps"].detach()) and close(found["more"][0], wanted["more"][0].detach())


def test_what_differs_from_torch_is_not_written_and_the_old_file_stays(tmp_path, monkeypatch):
    (tmp_path / "a.plan").write_text("old")
    load_plan = kernel.load
    monkeypatch.setattr(kernel, "load", lambda path: lambda *call: 1.001 * load_plan(path)(*call))
    with pytest.raises(UserError, match=r"a.plan' was not written: its outputs differ from torch's by 0.001 of the largest; at most 0.0001"):
        export(of_arch("resnet8"), tmp_path / "a.plan")
    assert [path.name for path in tmp_path.iterdir()] == ["a.plan"] and (tmp_path / "a.plan").read_text() == "old"


def test_what_cannot_be_exported_is_refused_in_a_sentence(tmp_path, monkeypatch):
    class Reads(nn.Module):
        def forward(self, images):
            return images * float(images.sum()) if images.sum() > 0 else images

    item = Deployed("mine", Reads(), [(IMAGES[:1],)], {"preprocessing": "{}"}, Network(Reads()))
    for suffix, sentence in {"pt2": "'mine' cannot be exported as a PyTorch program: torch.export stops at it",
                             "safetensors": "its network is not one that suite.nn builds",
                             "plan": "export it as .onnx or .pt2"}.items():
        with pytest.raises(UserError, match=sentence):
            export(item, tmp_path / f"a.{suffix}")
    item = Deployed("mine", Reads(), [(IMAGES[:1],)], {}, Network(Reads()), gradients=True)
    with pytest.raises(UserError, match="'mine' back-propagates when it is used"):
        export(item, tmp_path / "a.pt2")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"An .onnx file needs .*type: pip install 'suite\[export\]'"):
        export(of_arch("resnet8"), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words, sentence", [
    (("resnet8", "--to", "a.tflite"), "names no format by its suffix '.tflite'"),
    (("resnet9", "--to", "a.pt2"), "There is no record and no network 'resnet9'; did you mean 'resnet8'"),
    (("cifar10/plain/0", "--to", "a.pt2"), "No record 'cifar10/plain/0'"),
    (("resnet8", "--to", "nowhere/a.plan"), "there is no such folder"),
    (("resnet8", "--to", "a.plan", "--size", "8"), "needs at least 16"),
])
def test_a_users_mistake_is_a_sentence(words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command, words)
    assert isinstance(done.exception, UserError) and sentence in str(done.exception) and list(tmp_path.iterdir()) == []


def test_the_command_tells_what_is_in_the_file(recorded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command, [recorded[0]["id"], "--to", "a.plan"])
    assert done.exit_code == 0 and max(map(len, done.output.splitlines())) <= 80, done.output
    for part in ("input         image: float32 1 x 3 x 32 x 32", "mean          0.4914, 0.4822, 0.4465", "labels        10: ",
                 "checked       within ", 'load it with  from suite.kernel import load; plan = load("a.plan")'):
        assert part in done.output
    assert "random" in CliRunner().invoke(command, ["resnet8", "--to", "b.plan"]).output


def test_every_format_is_named_in_the_help():
    assert all(suffix in CliRunner().invoke(command, ["--help"]).output for suffix in formats.SUFFIXES)
