"""Whatever is wrong with a run or a file is named, with the file it is in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import stored

STEP = "step-00000008"


def edit(name, change):
    """Damage one HDF5 file of a run."""

    def harm(run: Path) -> None:
        with h5py.File(run / name, "r+") as file:
            change(file)

    return harm


def put(place, value):
    return lambda file: file[place].__setitem__((), value)


def cut(name, keep=0.5):
    def harm(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: int(len(content) * keep)])

    return harm


def rewrite(name, old, new):
    def harm(run: Path) -> None:
        text = (run / name).read_text(encoding="utf-8")
        assert old in text
        (run / name).write_text(text.replace(old, new), encoding="utf-8")

    return harm


def flip(name, place):
    def harm(run: Path) -> None:
        content = bytearray((run / name).read_bytes())
        for offset in range(place, place + 24):
            content[offset] ^= 0xFF
        (run / name).write_bytes(content)

    return harm


def foreign(run: Path) -> None:
    with h5py.File(run / "training.h5", "w") as file:
        file["x"] = np.arange(3)


def other_weights(run: Path) -> None:
    """A whole checkpoint, but not the one that was measured."""
    path = run / "checkpoints" / f"{STEP}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def unscaled(file: h5py.File) -> None:
    rows = file["norms/branch_norm"]
    rows.dims[1].detach_scale(rows.dims[1][0])


NORMS = f"collected/{STEP}/norms.h5"
LESION = f"collected/{STEP}/lesion.h5"
WEIGHTS = f"checkpoints/{STEP}.safetensors"
STATE = f"checkpoints/{STEP}.state.safetensors"
DAMAGE = {
    "truncated recording": (cut("training.h5"), "training.h5 is damaged or truncated"),
    "empty file": (cut("training.h5", 0), "training.h5 is not an HDF5 file"),
    "foreign HDF5": (foreign, "training.h5 is HDF5 but not resprobe's"),
    "flipped bytes at the start": (flip(NORMS, 0), "norms.h5 is not an HDF5 file"),
    "flipped bytes in the superblock": (flip(NORMS, 16), "norms.h5 is damaged"),
    "newer schema": (
        edit("training.h5", lambda f: f.attrs.__setitem__("resprobe_schema", np.int64(7))),
        "training.h5 has schema 7, newer than this resprobe's 1",
    ),
    "truncated weights": (cut(WEIGHTS), f"{STEP}.safetensors is damaged: it has"),
    "weights without a header": (cut(WEIGHTS, 0), f"{STEP}.safetensors is damaged"),
    "truncated trainer state": (cut(STATE), f"{STEP}.state.safetensors is damaged: it has"),
    "missing trainer state": (
        lambda run: (run / STATE).unlink(),
        f"{STEP}.state.safetensors is missing",
    ),
    "another step in the json": (
        rewrite(f"checkpoints/{STEP}.json", '"step": 8', '"step": 9'),
        f"{STEP}.json says step 9",
    ),
    "no json in the json": (cut(f"checkpoints/{STEP}.json"), f"{STEP}.json cannot be read"),
    "missing json": (
        lambda run: (run / f"checkpoints/{STEP}.json").unlink(),
        f"{STEP}.json cannot be read",
    ),
    "missing recipe table": (
        rewrite("recipe.toml", "[model]", "[modell]"),
        "recipe.toml lacks the table [model]",
    ),
    "no recipe in the recipe": (cut("recipe.toml", 0.03), "recipe.toml"),
    "collected from other weights": (
        other_weights,
        f"norms.h5 was measured on other weights than those of {STEP}",
    ),
    "deleted checkpoint": (
        lambda run: [path.unlink() for path in (run / "checkpoints").glob(f"{STEP}.*")],
        f"norms.h5 was measured on a checkpoint that is not there: {STEP}",
    ),
    "missing variable": (
        edit(NORMS, lambda f: f.__delitem__("norms/margin")),
        "norms.h5/norms: the variable margin is missing",
    ),
    "missing total": (
        edit(LESION, lambda f: f.__delitem__("lesion/lesion_error")),
        "lesion.h5/lesion: the variable lesion_error is missing",
    ),
    "wrong units": (
        edit(NORMS, lambda f: f["norms/branch_norm"].attrs.__setitem__("units", "m")),
        "norms.h5/norms: branch_norm has units 'm' instead of '1'",
    ),
    "more committed than there": (
        edit("training.h5", put("training/step/committed", 10_000)),
        "training.h5/training/step: loss holds 8 rows, but 10000 are committed",
    ),
    "fewer than no rows": (
        edit("training.h5", put("training/step/committed", -1)),
        "training.h5/training/step: committed is -1",
    ),
    "steps that go back": (
        edit("training.h5", lambda f: f["training/step/step"].__setitem__(3, 1)),
        "training.h5/training/step: step does not increase from row to row",
    ),
    "samples that repeat": (
        edit(NORMS, lambda f: f["norms/sample"].__setitem__(slice(3, 5), 9)),
        "norms.h5/norms: sample does not increase from row to row",
    ),
    "status out of range": (
        edit(NORMS, put("norms/status", 77)),
        "norms.h5/norms: status 77 is none of recording, finished",
    ),
    "variable at the root": (
        edit(NORMS, lambda f: f.create_dataset("loose", data=np.arange(3))),
        "norms.h5 holds variables outside its groups: loose",
    ),
    "missing bookkeeping": (
        edit(NORMS, lambda f: f.__delitem__("norms/committed")),
        "norms.h5/norms: lacks committed",
    ),
    "missing dimension scale": (
        edit(NORMS, unscaled),
        "norms.h5/norms: axis 1 of branch_norm has no dimension scale",
    ),
    "a collection of nothing": (
        edit(NORMS, lambda f: f.__delitem__("norms")),
        "norms.h5 holds no group of measurements",
    ),
    "another group in a collection": (
        edit(NORMS, lambda f: f.copy("norms", "lesion")),
        "norms.h5 holds /lesion, /norms instead of /norms alone",
    ),
    "a collection of another name": (
        lambda run: (run / NORMS).rename(run / f"collected/{STEP}/norm.h5"),
        "norm.h5 holds /norms instead of /norm alone",
    ),
    "missing recording": (
        lambda run: (run / "training.h5").unlink(),
        "training.h5 is missing, but the recipe records every 1 steps",
    ),
    "half a collection under a finished name": (
        edit(NORMS, put("norms/status", 4)),
        "norms.h5/norms: its status is interrupted",
    ),
}


def test_a_whole_run_passes(collected, resprobe, tree_hash):
    before = tree_hash(collected)
    result = resprobe("check", collected)
    assert result.exit_code == 0
    assert "no violations" in result.stdout
    assert result.stderr == ""
    assert tree_hash(collected) == before


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_in_a_run_is_named_by_file_and_kind(measured, resprobe, what):
    harm, words = DAMAGE[what]
    harm(measured)
    result = resprobe("check", measured)
    assert result.exit_code == 1
    violations = [line for line in result.stdout.splitlines() if line.startswith("violation: ")]
    assert any(words in line for line in violations), result.stdout


def test_every_damage_is_reported_at_once(measured, resprobe):
    for what in ("truncated recording", "wrong units", "truncated trainer state"):
        DAMAGE[what][0](measured)
    result = resprobe("check", measured, "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert len(document["violations"]) == 3
    assert document["input"] == str(measured)


def test_a_lone_file_that_breaks_its_schema_is_a_violation(measured, resprobe):
    path = measured / NORMS
    assert resprobe("check", path).exit_code == 0
    edit(NORMS, put("norms/status", 77))(measured)
    assert resprobe("check", path).exit_code == 1


@pytest.mark.parametrize("name", ["truncated recording", "empty file", "foreign HDF5"])
def test_a_lone_file_that_is_none_of_ours_is_bad_input(measured, resprobe, name):
    harm, words = DAMAGE[name]
    harm(measured)
    result = resprobe("check", measured / "training.h5")
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


def test_a_newer_lone_file_is_bad_input_that_says_to_upgrade(measured, resprobe):
    DAMAGE["newer schema"][0](measured)
    result = resprobe("check", measured / "training.h5")
    assert result.exit_code == 2
    assert "upgrade resprobe" in result.stderr


def test_a_directory_that_is_no_run_is_bad_input(tmp_path, resprobe):
    result = resprobe("check", tmp_path)
    assert result.exit_code == 2
    assert "no run directory" in result.stderr


def test_an_interrupted_collection_and_a_missing_checkpoint_are_notes(run, resprobe):
    folder = run / "collected" / STEP
    folder.mkdir(parents=True)
    stored.written(folder / "norms.h5.partial", 2)
    shutil.rmtree(run / "checkpoints")
    result = resprobe("check", run)
    assert result.exit_code == 0
    assert "note: " in result.stdout
    assert "norms.h5.partial is an interrupted collection" in result.stdout
    assert "holds no checkpoint" in result.stdout


def test_a_killed_recording_is_a_note(measured, resprobe):
    edit("training.h5", put("training/step/status", 0))(measured)
    result = resprobe("check", measured)
    assert result.exit_code == 0
    assert "training/step is being recorded or was killed" in result.stdout


def test_a_run_that_records_nothing_needs_no_recording(measured, resprobe):
    rewrite("recipe.toml", "[record]\nevery = 1", "[record]\nevery = 0")(measured)
    (measured / "training.h5").unlink()
    assert resprobe("check", measured).exit_code == 0
