"""Nothing that a record, a plug-in or an error says steers the terminal; the timing lock cannot be planted."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import sys
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock
from records import record as made_by_hand
from rich.progress import Progress
from rich.table import Table

from suite import cli, paths, record
from suite.errors import UserError
from suite.terminal import Output, console, printable

EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\r\x08\u202e"
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def test_control_characters_are_shown_as_question_marks():
    assert printable(f"a{EVIL}b\tc\nd é ✓") == "a?]0;title??[2J?31m???b\tc\nd é ✓"
    assert not STEERING.search(printable("".join(map(chr, range(0x3000))).replace("\t", "").replace("\n", "")))


def test_every_text_of_a_stream_is_cleaned_and_can_be_encoded():
    inside = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream = Output(inside)
    print("a", EVIL, "é \udcff", file=stream)
    stream.writelines([EVIL, "b"])
    stream.flush()
    text = inside.buffer.getvalue().decode()
    assert not STEERING.search(text.replace("\n", "")) and text.startswith("a ?]0;title") and "\\xe9 \\udcff" in text
    assert not hasattr(stream, "buffer") and stream.encoding == "ascii"


def test_a_console_has_its_own_colours_and_no_others(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Output(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")))
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = console()
    table = Table(title=f"title{EVIL}")
    table.add_column(f"column{EVIL}")
    table.add_row(f"[red]cell{EVIL}[/]")
    shown.print(table)
    shown.print(f"[bold]words{EVIL}[/]", EVIL)
    sys.stdout.flush()
    text = sys.stdout.stream.buffer.getvalue().decode()
    assert "\x1b[31m" in text and not STEERING.search(COLOURS.sub("", text).replace("\n", ""))


def test_a_progress_bar_too(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Output(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")))
    with Progress(console=console(stderr=True)) as bars:
        bars.add_task(f"name{EVIL}", total=2)
    sys.stderr.flush()
    text = sys.stderr.stream.buffer.getvalue().decode()
    assert "name?]0;title" in text and "\x1b]0" not in text and "\x9b" not in text


def test_no_command_says_what_steers(tmp_path, monkeypatch):
    made = made_by_hand("kd", notes={EVIL: EVIL}, reason=EVIL, code__commit=EVIL)
    record.write(made, tmp_path / "results")
    (tmp_path / "plugins" / "tasks").mkdir(parents=True)
    (tmp_path / "plugins" / "tasks" / "evil.py").write_text(f'"""Says {EVIL.encode("unicode_escape").decode()}."""\n')
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("SUITE_PLUGINS", str(tmp_path / "plugins"))
    for words in (["list"], ["list", "records"], ["show", made["id"]], ["diff", made["id"], made["id"]], ["show", f"none{EVIL}"],
                  ["run", f"evil{EVIL}", "plain"], [f"verb{EVIL}"], ["show", made["id"], f"--{EVIL}"]):
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
        monkeypatch.setattr(sys, "argv", ["suite", *words])
        with contextlib.suppress(SystemExit):
            cli.main()
        shown = ""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            shown += stream.stream.buffer.getvalue().decode()
        assert shown and not STEERING.search(shown.replace("\n", "").replace("\t", "")), words


def test_only_one_place_makes_consoles():
    for path in (Path(__file__).parents[1] / "suite").rglob("*.py"):
        if path.name != "terminal.py" or path.parent.name != "suite":
            assert not re.search(r"\bConsole\(", path.read_text()), f"{path} makes a console; take suite.terminal.console()"


def test_the_timing_lock_lies_in_a_folder_of_the_users_own(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    lock = paths.timing_lock()
    assert lock == paths.timing_lock() and stat.S_IMODE(lock.parent.stat().st_mode) == 0o700
    with FileLock(lock):
        pass
    own = lock.parent
    for path in own.iterdir():
        path.unlink()
    precious = tmp_path / "precious"
    precious.write_text("mine")
    lock.symlink_to(precious)
    with pytest.raises(UserError, match="timing.lock' is a link; remove it"):
        paths.timing_lock()
    lock.unlink()
    own.rmdir()
    for planted in (lambda: own.symlink_to(tmp_path), lambda: own.symlink_to("nowhere"), lambda: own.write_text(""),
                    lambda: (own.mkdir(), own.chmod(0o777))):
        planted()
        with pytest.raises(UserError, match="for the timing lock, is no folder that you alone can write; remove it or set TMPDIR"):
            paths.timing_lock()
        own.rmdir() if own.is_dir() and not own.is_symlink() else own.unlink()
    assert precious.read_text() == "mine"
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    (tmp_path / "suite-12345").mkdir(mode=0o700)
    with pytest.raises(UserError, match="you alone can write"):
        paths.timing_lock()
