"""Every notebook runs from top to bottom, and is kept with the outputs of its own code."""

from __future__ import annotations

import base64
import importlib.util
import re
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
REFRESH = "run `python notebooks/refresh.py`"

LARGEST_FILE = 1_500_000  # bytes; a page that opens at once, and a history that stays small
LARGEST_IMAGE = 150_000  # bytes
LARGEST_WEIGHTS = 300_000  # bytes
WIDEST_IMAGE = 1200  # pixels: what fits beside a notebook's margin

# What an output may not hold: it would differ on the next machine, or tell about this one.
OF_ONE_RUN = {
    "an absolute path": re.compile(
        r"(?<![\w.~<])/(?:home|root|tmp|var|usr|opt|mnt|work|Users|private)(?![\w-])|\b[A-Z]:\\\w|~/"
    ),
    "a time that something took": re.compile(
        r"\b\d[\d.,]*\s?(?:s|ms|µs|min|seconds?|minutes?)\b|\b(?:images|it|samples)/s\b"
    ),
    "a date or time of day": re.compile(r"\b20\d\d-\d\d-\d\d(?!\d)|(?<!\d)\d\d:\d\d:\d\d(?!\d)"),
    "an address in memory": re.compile(r"\b0x[0-9a-f]{6,}\b"),
    "a process": re.compile(r"\bpid\s?\d+|\bipykernel_\d+"),
}

of_each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def _refresh() -> ModuleType:
    """Import notebooks/refresh.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("refresh", FOLDER / "refresh.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _outputs(notebook: Any) -> Iterator[Any]:
    for cell in _code_cells(notebook):
        yield from cell.outputs


def _visible_text(output: Any) -> str:
    """Give what a reader sees of an output: text, without the marks and styles of HTML."""
    data = output.get("data", {})
    html = re.sub(r"<style.*?</style>|<svg.*?</svg>", " ", data.get("text/html", ""), flags=re.S)
    return "\n".join(
        [output.get("text", ""), data.get("text/plain", ""), re.sub(r"<[^>]*>", " ", html)]
    )


def _images(notebook: Any) -> Iterator[tuple[int, int, int]]:
    """Give width and height in pixels and the size in bytes of each figure."""
    for output in _outputs(notebook):
        if "image/png" in output.get("data", {}):
            png = base64.b64decode(output.data["image/png"])
            width, height = struct.unpack(">II", png[16:24])
            yield width, height, len(png)


def _kind(output: Any) -> tuple[Any, ...]:
    """Give what an output is, whatever its numbers are: they differ between platforms."""
    data = output.get("data", {})
    rows = len(re.findall(r"<tr\b", data.get("text/html", "")))
    return output.output_type, output.get("name", ""), tuple(sorted(data)), rows


def _kinds(notebook: Any) -> list[tuple[str, list[tuple[Any, ...]]]]:
    return [(cell.id, [_kind(output) for output in cell.outputs]) for cell in _code_cells(notebook)]


def _of_one_run(text: str) -> list[str]:
    return [what for what, pattern in OF_ONE_RUN.items() if pattern.search(text)]


def test_there_are_notebooks():
    assert NOTEBOOKS


@of_each
def test_the_kept_outputs_are_those_of_the_code_beside_them(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.get("outputs_of_code") == _refresh().code_hash(notebook), REFRESH
    cells = _code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), REFRESH
    assert any("image/png" in output.get("data", {}) for output in _outputs(notebook))


@of_each
def test_no_kept_output_is_an_error_or_a_warning(path):
    notebook = nbformat.read(path, as_version=4)
    assert not [output for output in _outputs(notebook) if output.output_type == "error"]
    assert not [output for output in _outputs(notebook) if output.get("name") == "stderr"]


@of_each
def test_kept_outputs_tell_nothing_about_one_run_or_machine(path):
    notebook = nbformat.read(path, as_version=4)
    texts = [_visible_text(output) for output in _outputs(notebook)]
    assert not [(found, text) for text in texts if (found := _of_one_run(text))]
    here = {str(Path.home()), str(FOLDER.parent), tempfile.gettempdir()} - {"/"}
    whole = path.read_text(encoding="utf-8")
    assert not [place for place in here if f"{place}/" in whole]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("written to /home/somebody/run", "an absolute path"),
        ("'/tmp/xyz/net'", "an absolute path"),
        (r"C:\Users\somebody", "an absolute path"),
        ("norms of 500 samples in 0.2 s", "a time that something took"),
        ("1,806 images/s", "a time that something took"),
        ("created 2026-01-31T10:00:00", "a date or time of day"),
        ("<Runner object at 0x7f292c6940d0>", "an address in memory"),
        ("File ipykernel_1234", "a process"),
    ],
)
def test_what_belongs_to_one_run_is_recognised(text, what):
    assert what in _of_one_run(text)


def test_what_every_run_prints_is_not_taken_for_one_run_s():
    assert not _of_one_run(
        "/step-00000000/norms {'sample': 500}\nlesion: net/analyses/lesion\n‖G‖/‖s‖ +0.086 [+0.072]"
    )


@of_each
def test_a_notebook_is_small_enough_to_keep(path):
    assert path.stat().st_size < LARGEST_FILE
    for width, height, size in _images(nbformat.read(path, as_version=4)):
        assert width <= WIDEST_IMAGE
        assert height <= WIDEST_IMAGE
        assert size <= LARGEST_IMAGE


def test_what_is_handed_over_is_small_and_knows_nothing_of_resprobe():
    files = [path for path in (FOLDER / "handed_over").iterdir() if path.is_file()]
    assert {path.name for path in files} == {"net.py", "train.py", "weights.safetensors"}
    for path in files:
        assert b"resprobe" not in path.read_bytes()
        assert path.stat().st_size < LARGEST_WEIGHTS


@pytest.mark.filterwarnings("default")  # of the kernel's own machinery
@of_each
def test_a_notebook_runs_anew_to_the_kinds_of_outputs_that_are_kept(path, tmp_path):
    kept, anew = nbformat.read(path, as_version=4), _refresh().execute(path, tmp_path)
    assert _kinds(anew) == _kinds(kept), REFRESH
    for new, old in zip(_images(anew), _images(kept), strict=True):
        # the numbers on an axis decide how wide it is drawn
        assert new[:2] == pytest.approx(old[:2], rel=0.1)
    # torch makes a cache directory of its own among the temporary ones
    left = [*(tmp_path / "here").iterdir(), *(tmp_path / "temporary").glob("tmp*")]
    assert left == []
