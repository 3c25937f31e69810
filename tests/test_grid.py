"""A grid in a file: the plan of its tables is that of the same command lines, and a mistake names the table and the key."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from suite.cli.run import command, grid_plan, make_plan
from suite.errors import UserError

GRID = """
[[runs]]
task = "cifar10"
methods = ["one_by_n"]
options = ["sparsity=0.5,0.75"]
scale = "smoke"
seeds = 2

[[runs]]
task = "cifar10"
methods = ["plain"]
options = ["arch=resnet8"]
scale = "smoke"
"""


@pytest.fixture
def grid(fresh_results, tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(GRID)
    return path


def test_a_grid_is_its_command_lines(grid):
    plan = grid_plan(grid, [], None, None)
    lines = [make_plan("cifar10", ["one_by_n"], ("sparsity=0.5,0.75",), [0, 1], "smoke", None),
             make_plan("cifar10", ["plain"], ("arch=resnet8",), [0], "smoke", None)]
    assert [spec.id for spec in plan.wanted] == [spec.id for line in lines for spec in line.wanted] and len(plan.wanted) == 5
    assert {spec.id for spec in plan.missing} == {spec.id for line in lines for spec in line.missing}
    (plain,) = [spec for spec in grid_plan(grid, [7], "short", None, threads=2).wanted if spec.method_name == "plain"]
    assert (plain.seed, plain.scale, plain.threads) == (7, "short", 2)


def test_the_flags_of_the_command_apply(grid, fresh_results):
    done = CliRunner().invoke(command, [str(grid), "--dry-run", "--jobs", "2", "--seed", "3"], catch_exceptions=False)
    assert "5 runs to make, 0 recorded" in done.stdout and "seed=3" in done.stdout and "seed=0" not in done.stdout
    assert not fresh_results.exists()


@pytest.mark.parametrize("old, new, sentence", [
    ("seeds = 2", "sedes = 2", "table 1 of .* sets 'sedes', which means nothing; did you mean 'seeds'"),
    ("seeds = 2", "seeds = 0", "table 1 of .* sets 'seeds' to 0"),
    ('methods = ["plain"]', 'methods = "plain"', "table 2 of .* sets 'methods' to 'plain'"),
    ('task = "cifar10"', "", "table 1 of .* has no 'task'"),
    ('["arch=resnet8"]', '["arch=resnet8", "rat=1"]', "table 2 of .*: 'plain' has no option 'rat'"),
    ('scale = "smoke"', 'scale = "huge"', "table 1 of .*: Task 'cifar10' has no scale 'huge'"),
    ("[[runs]]", "title = 3\n[[runs]]", "sets 'title'; a grid holds tables"),
    ("[[runs]]", "[runs", "is no TOML"),
    (GRID, "", "asks for no runs"),
])
def test_a_mistake_names_the_table_and_the_key(grid, old, new, sentence):
    assert old in GRID
    grid.write_text(GRID.replace(old, new, 1))
    with pytest.raises(UserError, match=sentence):
        grid_plan(grid, [], None, None)


def test_a_grid_names_its_methods_itself(grid):
    for words, sentence in (([str(grid), "plain"], "names its methods and options itself"), ([f"{grid}x.toml"], "cannot be read")):
        assert sentence in str(CliRunner().invoke(command, words).exception)
    assert "Missing argument 'METHODS'" in CliRunner().invoke(command, ["cifar10"]).stderr
