"""Every malformed input ends in one message and exit 2 (`check`: 1 or 2), and harms nothing.

The rows are in `malformed_train`, `malformed_collect` and `malformed_read`; each damages a fresh
copy of the good inputs of `malformed_inputs` and runs one command in their folder.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import malformed_collect
import malformed_read
import malformed_train
import pytest
from malformed_damage import MARKER
from malformed_inputs import invoke, make, snapshot
from malformed_rows import Row


def named(rows):
    """Give rows as parameters with names; slow are those of a kind that was met often enough."""
    met: Counter[tuple[str, str]] = Counter()
    parameters = []
    for row in rows:
        met[row.command, row.kind] += 1
        marks = [pytest.mark.slow] if met[row.command, row.kind] > OFTEN else []
        parameters.append(pytest.param(row, id=f"{row.command}: {row.name}"[:80], marks=marks))
    return parameters


ROWS = [*malformed_train.ROWS, *malformed_collect.ROWS, *malformed_read.ROWS]
COMMANDS = {"train", "collect", "analyze", "inspect", "list", "check", "export", "demo"}
# Longest message, in letters, without known names and long paths: a few lines.
LONGEST = 500
# Seconds that no refusal takes, on any machine.
HANGS = 120
# Rows of one command and kind that run by default; the others run with `-m slow`.
OFTEN = 4
# One row in so many is run with --json as well.
WITH_JSON = 20


@pytest.fixture(scope="session")
def good_inputs(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("good")
    make(place)
    return place


@pytest.fixture
def place(good_inputs, tmp_path, monkeypatch) -> Path:
    """A copy of the good inputs, which is the working directory."""
    folder = shutil.copytree(good_inputs, tmp_path / "place", symlinks=True)
    monkeypatch.chdir(folder)
    return Path(folder)


def refused(row: Row, place: Path, *more: str) -> str:
    """Run the command of a row; give what it says, when all else is as promised."""
    before = snapshot(place)
    with alarm(row):
        result = invoke([*row.words, *quiet(row), *more])
    assert result.exit_code == row.code, result.output
    assert "Traceback" not in result.output
    assert not (place / MARKER).exists(), "what was read has run code"
    after = snapshot(place)
    changed = {n for n in before.keys() | after.keys() if before.get(n) != after.get(n)}
    assert not changed
    if row.code == 1:
        assert result.stderr == ""
        return violations(result.stdout, bool(more))
    assert result.stdout == ""
    *usage, message = result.stderr.splitlines()
    assert message.startswith("Error: ")
    assert all(line.startswith(("Usage: ", "Try ")) or not line for line in usage), result.stderr
    told = message.partition("Known: ")[0].replace("n" * 300, "").replace(str(place), "")
    assert len(told) <= LONGEST, message
    return message


def quiet(row: Row) -> list[str]:
    """Keep progress and notes from standard error, so that all that is left is the message."""
    return ["--quiet"] if row.command in COMMANDS else []


@contextmanager
def alarm(row: Row):
    """Let a command that waits for ever, such as for the writer of a pipe, fail its test."""

    def ring(number, frame):
        raise AssertionError(f"resprobe {' '.join(row.words)[:80]} does not end")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(HANGS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def violations(stdout: str, as_json: bool) -> str:
    """Give the violations that a check printed."""
    found = (
        json.loads(stdout)["violations"]
        if as_json
        else [line for line in stdout.splitlines() if line.startswith("violation: ")]
    )
    assert found
    return "\n".join(found)


@pytest.mark.parametrize("row", named(ROWS))
def test_a_malformed_input_is_refused_in_one_message_and_harms_nothing(row, place):
    row.damage(place)
    message = refused(row, place)
    for words in row.says:
        assert words in message


@pytest.mark.parametrize("row", named(ROWS[::WITH_JSON]))
def test_with_json_the_same_is_said(row, place):
    row.damage(place)
    message = refused(row, place, "--json")
    for words in row.says:
        assert words in message


def test_the_table_covers_every_command_and_has_no_row_twice():
    assert len(ROWS) >= 130
    assert {row.command for row in ROWS} >= COMMANDS
    assert max(Counter((row.command, row.name) for row in ROWS).values()) == 1


def test_a_run_that_another_process_trains_is_refused_by_its_name_and_not_harmed(place):
    """The live process holds the lock as a trainer does; readers are not kept out."""
    script = (
        "import sys; from resprobe.store.lock import run_lock\n"
        "with run_lock('bare'): print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        for words in ("--resume", "--overwrite"):
            row = Row("live", "live", ("train", "my.toml", "-o", "bare", words), (f"{holder.pid}",))
            assert f"process {holder.pid}" in refused(row, place)
        assert invoke(["check", "bare"]).exit_code == 0
        assert invoke(["inspect", "bare"]).exit_code == 0
        holder.stdin.close()
        holder.wait()


@pytest.mark.parametrize(
    "name",
    [
        "größere Läufe",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("a'b\"c", "📁 №1", "-x", "n" * 200)),
    ],
)
def test_good_inputs_work_whatever_their_paths_are_called(place, name):
    folder = place / name
    folder.mkdir()
    for item in ("bare", "my.toml", "d.npz", "n.safetensors", "net.py", "photos"):
        (place / item).rename(folder / item)
    commands = [
        ["train", folder / "my.toml", "--resume", "-o", folder / "bare"],
        ["collect", folder / "bare", "--samples", "5", "--preset", "economy"],
        ["check", folder / "bare"],
        ["inspect", folder / "bare"],
        ["export", folder / "bare", "-o", folder / "all.h5"],
        ["check", folder / "all.h5"],
        ["inspect", f"{folder / 'net.py'}:Net", "--data", folder / "photos"],
        ["collect", "--model", f"{folder / 'net.py'}:Net", "--weights", folder / "n.safetensors",
         "--data", folder / "d.npz", "-o", folder / "net.h5", "--preset", "economy"],
    ]  # fmt: skip
    for words in commands:
        result = invoke([*map(str, words), "--quiet"])
        assert result.exit_code == 0, result.output


def test_a_data_directory_of_any_letters_is_the_one_that_is_looked_in(place):
    (place / "📁").mkdir()
    result = invoke(["train", "resnet-20-cifar10", "--data-dir", "📁", "-o", "new"])
    assert result.exit_code == 2
    assert f"{place / '📁'}" in result.stderr


def test_results_go_beside_somebody_elses_figures_without_deleting_them(place):
    (place / "figure-mine.png").write_bytes(b"mine")
    result = invoke(["analyze", "lesion", "lone.h5", "-o", "."])
    assert result.exit_code == 0, result.output
    assert (place / "figure-mine.png").read_bytes() == b"mine"
