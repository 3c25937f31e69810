"""Networks that the suite does not know by name: a user's file, torchvision's and timm's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from suite.baselines.l1_filter import L1FilterMethod
from suite.baselines.one_by_n import OneByNMethod
from torch import nn

from suite import networks
from suite.bench.curve import Point, proposal, sparsity_for
from suite.errors import UserError
from suite.kernel import check, lower
from suite.nn import build, choose_cut, prunable, streams
from suite.spec import counted

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "my_network.py"


@pytest.fixture
def here(suite_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, body: str) -> str:
    path.write_text("import torch\nfrom torch import nn\n\n\n" + body, encoding="utf-8")
    return path.name


def suite(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "suite", *words], cwd=cwd, capture_output=True, text=True, check=False)


def test_a_function_in_a_file_makes_a_network(here: Path) -> None:
    shutil.copy(EXAMPLE, here / "mine.py")
    for name in ("mine.py:net", "mine:net", f"{here}/mine.py:net"):
        assert build(name, 7, 32)(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert networks.pixels("mine:net") == 32 and networks.takes_classes("mine:net")


def test_a_class_and_a_function_without_parameters_will_do(here: Path) -> None:
    write(here / "plain.py", "class Net(nn.Sequential):\n    def __init__(self, classes):\n"
          "        super().__init__(nn.Flatten(), nn.Linear(12, classes))\n\n\n"
          "def three():\n    return Net(3)\n")
    assert build("plain.py:Net", 5, 2)(torch.zeros(1, 3, 2, 2)).shape == (1, 5)
    assert build("plain.py:three", 3, 2)(torch.zeros(1, 3, 2, 2)).shape == (1, 3)
    assert not networks.takes_classes("plain.py:three")


def test_names_of_torchvision_stand_for_its_networks() -> None:
    for name in ("torchvision:squeezenet1_1", "squeezenet1_1", "torchvision:resnet18"):
        assert build(name, 3, 64)(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


BODIES = {
    "noisy": ("def net(classes):\n    raise ValueError('no luck')\n", r"called with \(classes=10\), raised ValueError in line 6 \(no luck\)"),
    "word": ("def net(classes):\n    return 'a network'\n", "gave a str and must give an nn.Module"),
    "wide": ("def net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 4))\n", r"gives \(1, 4\).*\(1, 10\).*parameter 'classes'"),
    "maps": ("def net(classes):\n    return nn.Conv2d(3, classes, 1)\n", r"gives \(1, 10, 32, 32\) .* must give logits \(1, 10\)\."),
    "pair": ("class net(nn.Module):\n    def forward(self, x):\n        return x, x\n", "gives a tuple for images"),
    "small": ("def net(classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(12, classes))\n",
              "cannot take images of 32x32 pixels.*Choose another size"),
    "broken": ("net = undefined\n", r"'broken.py' cannot be imported: it raised NameError in line 5"),
    "other": ("def nett(classes):\n    return nn.Linear(1, 1)\n", "has no function 'net'; did you mean 'nett'?"),
    "made": ("net = nn.Linear(1, 1)\n", "has a Linear called 'net', and must have a function that makes one"),
}


@pytest.mark.parametrize("name", BODIES)
def test_what_is_wrong_is_one_sentence(here: Path, name: str) -> None:
    body, message = BODIES[name]
    write(here / f"{name}.py", body)
    with pytest.raises(UserError, match=message):
        build(f"{name}.py:net", 10, 32)


@pytest.mark.parametrize(("arch", "message"), [
    ("nowhere.py:net", "There is no file 'nowhere.py'"),
    ("nowhere.at.all:net", "names no network: there is no file 'nowhere/at/all.py', and importing"),
    ("torchvision:resnet19", "torchvision has no network 'resnet19'; did you mean"),
    ("resnet19", "unknown network 'resnet19'; did you mean"),
])
def test_a_name_that_names_nothing_is_one_sentence(here: Path, arch: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(arch, 10, 32)


def test_without_timm_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"needs timm, which is not installed; type: pip install 'suite\[timm\]'"):
        build("timm:resnet18", 10, 32)


@pytest.mark.parametrize("method", (OneByNMethod, L1FilterMethod))
def test_the_contents_of_the_file_count_and_not_its_name(here: Path, method: type) -> None:
    shutil.copy(EXAMPLE, here / "one.py")
    shutil.copy(EXAMPLE, here / "two.py")
    first = counted(method(arch="one.py:net"))
    assert counted(method(arch="two:net")) == first
    assert counted(method(arch="one.py:other")) != first
    (here / "two.py").write_text(EXAMPLE.read_text(encoding="utf-8") + "\nMORE = 1\n", encoding="utf-8")
    assert counted(method(arch="two:net")) != first


def test_a_network_outlives_its_file(here: Path) -> None:
    shutil.copy(EXAMPLE, here / "gone.py")
    torch.save(build("gone.py:net", 10, 32), here / "network.pt")
    (here / "gone.py").unlink()
    code = "import torch; print(type(torch.load('network.pt', weights_only=False)[3]).__name__)"
    assert subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True).stdout == "Block\n"


def test_a_users_network_is_followed_and_lowered_whole(here: Path) -> None:
    network, images = build(f"{EXAMPLE}:net", 10, 32).eval(), torch.randn(1, 3, 32, 32)
    names = {layer.name for layer in prunable(network, images)}
    assert {"3.body.0", "5.body.3", "5.shortcut", "4.gate.2"} <= names and "0" not in names
    inner = next(stream for stream in streams(network, images) if stream.writers == ("4.body.0",))
    assert not inner.fixed and {port.name for port in inner.readers} == {"4.body.3"}
    plan = lower(network, images)
    assert plan.macs_share == pytest.approx(1) and not plan.outside
    assert check(plan, network, images) < 1e-5


class ByShape(nn.Module):
    """Code that depends on shapes, a layer called as a function, standardised weights, a linear layer over maps of channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding="same"), nn.BatchNorm2d(8)
        self.body, self.mlp = nn.Conv2d(8, 8, 3), nn.Linear(8, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.norm(self.stem(images))
        height, width = features.shape[-2:]
        if max(height % 2, 0):
            features = nn.functional.pad(features, (0, width % 2, 0, height % 2))
        weight = self.body.weight - self.body.weight.mean((1, 2, 3), keepdim=True)
        features = torch.relu(nn.functional.conv2d(features, weight, self.body.bias, padding=1))
        features = self.mlp(features.permute(0, 2, 3, 1))
        return self.head(features.mean((1, 2)))


@pytest.mark.parametrize("arch", ("vit_ti_16", "resnet8"))
def test_the_suites_own_networks_are_traced_for_all_shapes(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.kernel.functions.spelt_out", None)  # what depends on shapes would go through it
    monkeypatch.setattr("suite.nn.trace._like", lambda network, example: pytest.fail("traced for one shape"))
    network, images = build(arch, 10, 32), torch.zeros(1, 3, 32, 32)
    assert lower(network, images).layers
    from suite.nn.trace import _traced

    assert _traced(network, images)[0].inputs is None


def test_code_that_depends_on_shapes_is_lowered_for_its_shapes() -> None:
    torch.manual_seed(0)
    network, images = ByShape().eval(), torch.randn(1, 3, 7, 9)
    network.norm.running_mean.uniform_(-1, 1)
    plan = lower(network, images)
    assert {layer.name for layer in plan.layers} == {"stem", "body", "mlp", "head"}
    assert plan.macs_share == pytest.approx(1) and not plan.outside
    assert check(plan, network, images) < 1e-5
    assert [layer.name for layer in prunable(network, images)] == ["mlp"]  # nobody sees which channels `body` computes


class Forked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.layer(images)
        if features.sum() > 0:
            features = -features
        return self.head(features.mean((2, 3)))


def test_a_network_that_cannot_be_traced_says_at_which_line() -> None:
    network, images = Forked().eval(), torch.randn(1, 3, 4, 4)
    with pytest.raises(UserError, match=r"cannot be traced.* line \d+ of 'test_own_networks.py', `if features.sum\(\) > 0:`"):
        prunable(network, images)
    plan = lower(network, images)
    assert plan.macs_share == 0 and plan.outside[0].startswith("network: cannot be traced")
    assert check(plan, network, images) == 0


def test_a_network_without_layers_to_prune_says_so() -> None:
    with pytest.raises(UserError, match="no layer that pruning touches"):
        prunable(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.zeros(1, 3, 4, 4))


def test_layers_over_tokens_are_pruned_and_cut() -> None:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.up, self.down, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            tokens = self.patches(images).flatten(2).transpose(1, 2)
            return self.head((tokens + self.down(torch.relu(self.up(tokens)))).mean(1))

    network, images = Mixer(), torch.zeros(1, 3, 8, 8)
    layers = {layer.name: layer for layer in prunable(network, images)}
    assert layers.keys() == {"up", "down"} and layers["up"].rearrange and not layers["down"].rearrange
    decision = choose_cut(network, {"up": torch.arange(16.0)}, images, rates=0.5)
    assert [len(kept) for kept in decision.kept.values()] == [8]


@pytest.mark.parametrize(("wanted", "share"), [(5.0, 0.0), (4.0, 0.0), (3.0, 0.25), (2.0, 0.5), (1.75, 0.6), (1.0, 0.9), (0.5, None)])
def test_a_latency_is_read_off_between_measured_points(wanted: float, share: float | None) -> None:
    points = [Point(0.0, 4.0), Point(0.5, 2.0), Point(0.9, 1.0)]
    assert sparsity_for(points, wanted) == (pytest.approx(share) if share is not None else None)


def test_a_proposal_names_the_command_to_type_next() -> None:
    points = [Point(0.0, 40.0), Point(0.5, 20.0, noisy=True)]
    said = proposal(points, 30.0, "timm:resnet18", 4, 224)
    assert said[1].endswith("20.000 ms (noisy)") and "a sparsity of 0.25, read off a straight line" in said[2]
    assert said[3] == "  suite run imagenet one_by_n arch=timm:resnet18 n=4 sparsity=0.25 task.size=224 --data DIR"
    assert "0.50, as measured" in proposal(points, 20.0, "timm:resnet18", 4, 224)[2]
    assert "20.000 ms is the least" in proposal(points, 10.0, "timm:resnet18", 4, 224)[-1]
    assert "without pruning" in proposal(points, 50.0, "timm:resnet18", 4, 224)[-1]


def test_profile_proposes_what_to_type_next(here: Path) -> None:
    shutil.copy(EXAMPLE, here / "mine.py")
    done = suite("profile", "mine.py:net", "--sparsity", "0,0.9", "--latency", "0.0001", cwd=here)
    assert done.returncode == 0 and "0.0001 ms are not reached" in done.stdout, done.stderr
    done = suite("profile", "mine.py:nett", cwd=here)
    assert done.returncode == 2 and done.stderr == "suite: 'mine.py' has no function 'nett'; did you mean 'net'?\n"


def test_pruners_run_on_a_users_network(here: Path) -> None:
    shutil.copy(EXAMPLE, here / "mine.py")
    done = suite("run", "cifar10", "one_by_n,l1_filter", "arch=mine.py:net", "sparsity=0.5", "--scale", "smoke", "--data", "embedded",
                 "--jobs", "1", cwd=here)
    assert done.returncode == 0, done.stderr
    assert "mine.py:net" in done.stdout
