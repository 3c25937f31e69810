"""What users type: the commands of the README, plug-ins of a stranger, mistakes, killed and simultaneous runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMOKE = ("--scale", "smoke")


def suite(*words, check=None, env=None, timeout=300):
    """Run the command line as a user does, in a folder that is not the checkout."""
    done = subprocess.run([sys.executable, "-m", "suite", *map(str, words)], capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, **(env or {})}, cwd=Path(os.environ["SUITE_CACHE"]).parent)
    if check is not None:
        assert done.returncode == check, done.stdout + done.stderr
    return done


@pytest.fixture(autouse=True)
def home(suite_home):
    (suite_home / "cache").mkdir(exist_ok=True)
    return suite_home


@pytest.mark.parametrize("words", [("--help",), ("list",), ("list", "records"), ("info", "--help"), ("completion", "zsh")])
def test_help_and_list_are_quick_and_import_no_torch(words):
    code = ("import sys\nsys.argv = ['suite', *%r]\nfrom suite.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
            "assert not {'torch', 'pandas', 'mlflow', 'matplotlib', 'numpy'} & set(sys.modules)\n" % (words,))
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=Path(os.environ["SUITE_CACHE"])).returncode == 0


def test_help_names_every_command_and_the_readme_only_real_ones():
    from suite.cli import VERBS

    shown = suite("--help", check=0).stdout
    assert all(verb in shown for verb in VERBS)
    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"^    suite ([a-z]+)", readme, re.M)) <= set(VERBS)
    assert suite("--version", check=0).stdout.startswith("suite, version")


@pytest.mark.parametrize("words, sentence", [
    (("run", "cifar11", "plain"), "There is no task 'cifar11'; did you mean 'cifar10'"),
    (("run", "cifar10", "one_by_m"), "There is no method 'one_by_m'; did you mean 'one_by_n'?"),
    (("run", "cifar10", "one_by_n", "sparsety=0.5"), "'one_by_n' has no option 'sparsety'; did you mean 'sparsity'?"),
    (("run", "cifar10", "one_by_n,magnitude", "n=4"), "'magnitude' has no option 'n'"),
    (("run", "cifar10", "one_by_n", "sparsity=1.5"), "sparsity=1.5 is out of range for 'one_by_n'"),
    (("run", "cifar10", "one_by_n", "n=0"), "n=0 is not possible for 'one_by_n'; n is one of 1, 2, 4, 8, 16, 32."),
    (("run", "cifar10", "one_by_n", "n=3"), "n=3 is not possible for 'one_by_n'"),
    (("run", "cifar10", "plain", "--scale", "huge"), "Task 'cifar10' has no scale 'huge'"),
    (("run", "cifar10", "plain", "arch=resnet21", "--scale", "smoke"), "unknown network 'resnet21'"),
    (("run", "cifar10", "plain", "--seed", "1", "--seeds", "2"), "--seed and --seeds exclude each other"),
    (("run", "cifar10", "plain", "--data", "nowhere"), "'cifar10' was looked for in"),
    (("run", "cifar10", "plain", "task.weights=nowhere.pt"), "There is no state-dict file 'nowhere.pt'"),
    (("run", "coco_detection", "retinanet", f"weights={'x' * 300}"), "An option of 'retinanet' names a file that cannot be opened"),
    (("data", "check", "change_detection", "task.layout=levir,street"), "give each option one value"),
    (("data", "check", "cifar10", "layout=x"), "'cifar10' has no option 'layout'"),
    (("rum",), "There is no command 'rum'; did you mean 'run'?"),
    (("show", "nothing"), "No record 'nothing': there are no records in"),
    (("info", "one_by_m"), "There is no method, task, network or report 'one_by_m'"),
    (("info", "cifar10", "--kind", "method"), "There is no method 'cifar10', but a task; leave --kind out."),
    (("list", "records", "--tag", "cnn/*"), "Tags are of methods; type: suite list methods --tag PATTERN"),
    (("report", "nothing"), "There is no report 'nothing'"),
    (("claims", "plain"), "'plain' has no claims"),
    (("check", "nowhere"), "There is nothing at 'nowhere'"),
    (("profile", "resnet20", "--sparsity", "2"), "--sparsity 2 is no list of shares"),
])
def test_a_users_mistake_is_one_sentence_and_exit_code_2(words, sentence, tmp_path):
    done = suite(*words, env={"SUITE_RESULTS": str(tmp_path / "results")})
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert sentence in done.stderr and done.stdout == ""
    assert len([line for line in done.stderr.splitlines() if line.startswith("suite: ")]) == 1
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").rglob("*.json"))


def test_a_results_folder_that_cannot_be_written_is_found_before_training():
    done = suite("run", "cifar10", "plain", *SMOKE, env={"SUITE_RESULTS": "/proc/suite"})
    assert done.returncode == 2 and "The results folder '/proc/suite' cannot be written" in done.stderr


def test_run_ends_with_a_table_and_a_second_call_only_prints_it():
    first = suite("run", "cifar10", "one_by_n", "sparsity=0.5", *SMOKE, check=0)
    for text in ("one_by_n", "plain", "top1", "reference", "trained on", "MACs", "1T", "embedded data, scale smoke"):
        assert text in first.stdout, first.stdout
    start = time.monotonic()
    second = suite("run", "cifar10", "one_by_n", "sparsity=0.5", *SMOKE, check=0)
    assert time.monotonic() - start < 20
    assert second.stderr == "" and second.stdout == first.stdout


def test_the_network_of_a_record_runs_against_peers(monkeypatch):
    from click.testing import CliRunner

    from suite import record
    from suite.bench import peers
    from suite.cli.profile import command

    suite("run", "cifar10", "plain", *SMOKE, check=0)
    (found, *_) = [item for item in record.read_all() if item["method"]["name"] == "plain"]
    monkeypatch.setattr(peers, "PEERS", (peers.PEERS[0], peers.Peer("nobody", lambda model, threads: None, ("no_such_module",))))
    shown = CliRunner().invoke(command, [found["id"], "--peers"], catch_exceptions=False).stdout
    assert "plan sparse" in shown and "torch eager" in shown and "conv 3x3" in shown
    assert "nobody needs no_such_module, which is missing; type: pip install 'suite[peers]'" in shown


def test_dry_run_prints_a_plan_and_runs_nothing(tmp_path):
    done = suite("run", "cifar10", "one_by_n", "sparsity=0.5,0.75", "--dry-run", env={"SUITE_RESULTS": str(tmp_path / "r")}, check=0)
    assert "4 runs to make, 0 recorded" in done.stdout and not (tmp_path / "r").exists()


def records(folder):
    return {path.relative_to(folder).as_posix(): json.loads(path.read_text()) for path in Path(folder).rglob("*-s*.json")}


def test_a_killed_run_goes_on_to_the_same_scores_and_budget(tmp_path):
    code = ("import sys, suite.train.loop as loop\nloop.CHECKPOINT_SECONDS = 0.0\n"
            "sys.argv = ['suite', 'run', 'cifar10', 'plain', 'arch=resnet8', 'batch=2', '--scale', 'smoke', '--seed', '7']\n"
            "from suite.tasks.cifar10 import Cifar10Task\n"
            "setting = Cifar10Task.setting\n"
            "def short(self, run):\n"  # epochs of 64 images, so that there are checkpoints to resume from
            "    import torch\n    from dataclasses import replace\n"
            "    made = setting(self, run)\n    return replace(made, train=made.train.subset(torch.arange(64)))\n"
            "short.__annotations__ = setting.__annotations__\nCifar10Task.setting = short\nfrom suite.cli import main\nmain()\n")

    def start(home):
        env = {**os.environ, "SUITE_RESULTS": str(home / "results"), "OMP_NUM_THREADS": "1",
               "SUITE_CACHE": str(home / "cache")}
        return subprocess.Popen([sys.executable, "-c", code], env=env, cwd=tmp_path, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)

    (tmp_path / "a").mkdir()
    killed = start(tmp_path / "a")
    deadline = time.monotonic() + 240
    while not list((tmp_path / "a" / "cache").rglob("*.checkpoint.pt")):
        assert killed.poll() is None and time.monotonic() < deadline, "no checkpoint was written before the run ended"
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not records(tmp_path / "a" / "results")
    assert start(tmp_path / "a").wait() == 0
    (resumed,) = records(tmp_path / "a" / "results").values()
    assert start(tmp_path / "b").wait() == 0
    (whole,) = records(tmp_path / "b" / "results").values()
    assert [resumed[key] for key in ("scores", "budget", "curves", "notes")] == [whole[key] for key in ("scores", "budget", "curves", "notes")]


def test_two_commands_at_once_run_everything_once(tmp_path):
    env = {**os.environ, "SUITE_RESULTS": str(tmp_path / "results"), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "suite", "run", "cifar10", "plain", "arch=resnet8", "--seed", "5", *SMOKE]
    both = [subprocess.Popen(words, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    outputs = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    (found,) = records(tmp_path / "results").values()
    assert found["budget"]["total"] == 512


STRANGER = {
    "tasks/halves.py": None,  # the examples of tasks/README.md and baselines/README.md, to the letter
    "baselines/trim.py": None,
    "baselines/broken.py": '"""Needs what nobody has."""\nimport a_package_that_is_not_there\n',
}


@pytest.fixture
def stranger(tmp_path):
    for name, text in STRANGER.items():
        path = tmp_path / "stranger" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shown = ROOT / name.partition("/")[0] / "README.md"
        path.write_text(text or re.search(r"```python\n(.*?)```", shown.read_text(), re.S).group(1))
    return tmp_path / "stranger"


def test_a_strangers_plugins_run_through_the_same_commands(stranger, tmp_path):
    env = {"SUITE_PLUGINS": str(stranger), "SUITE_RESULTS": str(tmp_path / "results")}
    listed = suite("list", env=env, check=0).stdout
    assert "halves" in listed and "trim" in listed and "broken" in listed
    refused = suite("run", "cifar10", "broken", env=env, check=2).stderr
    assert "cannot be imported (ModuleNotFoundError" in refused
    shown = suite("run", "halves", "trim", "threshold=0.05", "task.border=3", *SMOKE, env=env, check=0).stdout
    assert "trim" in shown and "top1" in shown and "top5" not in shown
    assert {item.split("/")[1] for item in records(tmp_path / "results")} == {"plain", "trim"}


def test_check_tests_a_strangers_plugins(stranger):
    (stranger / "baselines" / "broken.py").unlink()
    done = suite("check", stranger, check=0)
    assert "All checks passed." in done.stdout and "trim on halves" in done.stdout
    path = stranger / "baselines" / "trim.py"
    path.write_text(path.read_text().replace('gives = "Network"', "").replace("threshold: float = option(0.01", "threshold: float = option(7.0"))
    assert "FAIL" in suite("check", stranger, check=1).stdout


def test_show_diff_profile_list_and_track_explain_records():
    suite("run", "cifar10", "one_by_n", "sparsity=0.5,0.75", *SMOKE, check=0)
    folder = os.environ["SUITE_RESULTS"]
    found = {item["command"]: item["id"] for item in records(folder).values() if item["method"]["name"] == "one_by_n"}
    half, three = (next(name for command, name in found.items() if text in command)
                   for text in ("one_by_n --scale", "sparsity=0.75"))
    shown = suite("show", half, check=0).stdout
    assert ("top1" in shown and "one thread" in shown) or "1 thread" in shown
    assert suite("show", half, "--command", check=0).stdout.strip().startswith("suite run cifar10 one_by_n")
    assert "confusion.png" in suite("show", half, "--pictures", check=0).stdout
    difference = suite("diff", half, three, check=0).stdout
    assert "options: sparsity: A 0.5, B 0.75" in difference
    profiled = suite("profile", half, "--update", check=0).stdout
    assert "thread(s)" in profiled and "In the plan: 100.0% of the MACs\n" in profiled
    listed = suite("list", "records", "cifar10/one_by_n", check=0).stdout
    assert re.search(rf"^  {half.split('/')[2][:12]}  smoke  embedded  top1 .* seed 0$", listed, re.M), listed
    assert re.search(rf"^  {three.split('/')[2][:12]} .* sparsity=0.75$", listed, re.M), listed
    assert "MLflow" in suite("track", check=0).stdout
    report = suite("report", "--reports", ROOT / "reports", "--to", Path(folder).parent / "report", check=0).stdout
    assert {Path(line).suffix for line in report.split()} == {".md", ".tex", ".csv", ".svg", ".pdf", ".html"}


def test_claims_print_a_verdict_each():
    done = suite("claims", "one_by_n", "--scale", "smoke", check=0)
    assert done.stdout.count("not decidable at") >= 1
    assert "17 claims are decided from scale short on; type: suite claims one_by_n --scale short" in done.stdout
