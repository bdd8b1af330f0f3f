"""Malformed inputs of the commands that read: `analyze`, `inspect`, `list`, `check`, `export`."""

from __future__ import annotations

import numpy as np
import xarray as xr
from malformed_damage import (
    Harmful,
    both,
    copied,
    cut,
    flip,
    flip_at,
    folder,
    gone,
    hdf5,
    keys,
    link,
    nothing,
    pipe,
    poisoned,
    put,
    tensors,
    text,
    torch_saved,
)
from malformed_inputs import LESION, NORMS, STEP, TRAINING, WEIGHTS
from malformed_rows import row

LONG = "n" * 300
READERS = {
    "analyze": "analyze {}",
    "analyze lesion": "analyze lesion {}",
    "inspect": "inspect {}",
    "export": "export {} -o new.h5",
    "check": "check {}",
}

ALL = ("analyze", "inspect", "export", "check")


def each(
    name, kind, path, damage, *says, readers=("analyze", "inspect", "export", "check"), code=2
):
    """Give the rows of one damage, a reader each."""
    return [
        row(f"{reader}: {name}", kind, READERS[reader].format(path), *says, damage=damage,
            code=code if reader == "check" else 2)
        for reader in readers
    ]  # fmt: skip


def netcdf(place):
    xr.Dataset({"x": ("t", np.arange(3))}).to_netcdf(place / "x.h5", engine="h5netcdf")


def schema(value):
    return hdf5("lone.h5", lambda file: file.attrs.__setitem__("resprobe_schema", value))


def without(name, file="lone.h5"):
    return hdf5(file, lambda opened: opened.__delitem__(name))


def stored(name, value, file="lone.h5"):
    """Put another value in the place of a variable."""

    def change(opened):
        del opened[name]
        opened[name] = value

    return hdf5(file, change)


def attribute(group, name, value=None, file="lone.h5"):
    def change(opened):
        if value is None:
            del opened[group].attrs[name]
        else:
            opened[group].attrs[name] = value

    return hdf5(file, change)


def renamed_block(opened):
    opened["lesion/block"][0] = "other"


def damaged(name, kind, damage, *says, path="lone.h5", readers=("analyze lesion", "check")):
    """A resprobe file that breaks its schema: 1 for `check`, 2 for who would use it."""
    return each(name, kind, path, damage, *says, readers=readers, code=1)


FILES = [
    *each("not there", "missing", "gone.h5", nothing, "gone.h5"),
    *each("a text", "foreign", "my.toml", nothing, "my.toml is not an HDF5 file"),
    *each("no bytes", "truncated", "lone.h5", cut("lone.h5", 0.0), "lone.h5 is not an HDF5 file"),
    *each("8 bytes", "truncated", "lone.h5", cut("lone.h5", 0.0001), "lone.h5"),
    *each("signature flipped", "flipped", "lone.h5", flip("lone.h5", 1), "not an HDF5 file"),
    *each("superblock flipped", "flipped", "lone.h5", flip("lone.h5", 8), "lone.h5 is damaged"),
    *each("foreign HDF5", "foreign", "x.h5", hdf5("x.h5", lambda file: file.create_group("g")),
          "not resprobe's"),
    *each("foreign netCDF", "foreign", "x.h5", netcdf, "not resprobe's"),
    *each("a newer schema", "schema", "lone.h5", schema(np.int64(99)), "newer than this resprobe"),
    *each("a schema in words", "schema", "lone.h5", schema("one"), "not resprobe's",
          readers=("analyze", "check")),
    *each("a schema that is NaN", "schema", "lone.h5", schema(np.nan), "not resprobe's",
          readers=("inspect", "check")),
    *each("a pipe", "kind of file", "x.h5", pipe("x.h5"), "x.h5", "pipe"),
    *each("a circular link", "kind of file", "x.h5", link("x.h5", "x.h5"), "x.h5"),
    *each("a folder", "kind of file", "x.h5", folder("x.h5"), "x.h5 is no run directory"),
    *each("a device", "kind of file", "/dev/null", nothing, "/dev/null"),
    *each("a loop's folder", "truncated", "loop", cut("loop/training.h5", 0.5), "loop/training.h5"),
    *each("a name of 300 letters", "paths", LONG, nothing, LONG),
    *each("below a file", "paths", "my.toml/x.h5", nothing, "my.toml/x.h5"),
    *each("no name", "options", "''", nothing, "is empty"),
    *each("-", "options", "-", nothing, "-"),
]  # fmt: skip

FLIPS = [
    *each("the name of an attribute flipped", "flipped", "lone.h5",
          flip_at("lone.h5", b"resprobe_schema"), "lone.h5"),
]  # fmt: skip

CUTS = [
    entry
    for part in (0.05, 0.2, 0.4, 0.6, 0.8, 0.999)
    for file in ("lone.h5", "loop/training.h5")
    for entry in each(
        f"{file} cut at {part:.1%}", "truncated", file, cut(file, part), file,
        readers=("inspect", "check"),
    )
]  # fmt: skip

SCHEMA = [
    *damaged("a group without its status", "schema", without("lesion/status"), "lesion"),
    *damaged("a group without committed", "schema", without("lesion/committed"), "lesion"),
    *damaged("a status of 77", "schema", stored("lesion/status", np.int8(77)), "status 77",
             readers=("check",)),
    *damaged("a status in words", "dtypes", stored("lesion/status", "finished"), "lone.h5"),
    *damaged("more rows committed than there are", "schema",
             stored("lesion/committed", np.int64(10**9)), "lone.h5"),
    *damaged("rows committed below 0", "schema", stored("lesion/committed", np.int64(-1)),
             "lone.h5"),
    *damaged("no blocks", "missing", without("lesion/block"), "lone.h5"),
    *damaged("no lesions", "missing", without("lesion/lesion_correct"), "lesion_correct",
             readers=("analyze lesion", "check")),
    *damaged("lesions as floats", "dtypes", stored("lesion/lesion_error", np.zeros(3, np.float32)),
             "lone.h5", readers=("check",)),
    *damaged("lesions of another shape", "shapes",
             stored("lesion/lesion_correct", np.zeros((2, 2), np.int8)), "lone.h5",
             readers=("analyze lesion", "check")),
    *damaged("a variable at the root", "schema", hdf5("lone.h5", lambda f: f.create_dataset(
             "x", data=3)), "x", readers=("check",)),
    *damaged("no groups at all", "empty", hdf5("lone.h5", lambda file: file.clear()), "lone.h5"),
    *damaged("no attribute rows", "schema", attribute("lesion", "rows"), "lesion",
             readers=("check",)),
    *damaged("a recipe that is none", "schema", hdf5("lone.h5", lambda file:
             file.attrs.__setitem__("recipe", "[")), "attribute recipe",
             readers=("analyze lesion",)),
    *damaged("a seed in words", "schema", hdf5("lone.h5", lambda file:
             file.attrs.__setitem__("seed", "x")), "attribute recipe or seed",
             readers=("analyze lesion",)),
    *damaged("an attribute rows of nothing", "schema", attribute("lesion", "rows", "nothing"),
             "lesion"),
]  # fmt: skip


def in_run(name, kind, damage, *says, readers=ALL):
    return each(name, kind, "run", damage, *says, readers=readers, code=1)


RUNS = [
    *in_run("training.h5 cut in half", "truncated", cut(TRAINING, 0.5), TRAINING),
    *in_run("training.h5 of no bytes", "truncated", cut(TRAINING, 0.0), TRAINING),
    *in_run("training.h5 a folder", "kind of file", folder(TRAINING), TRAINING),
    *in_run("training.h5 a pipe", "kind of file", pipe(TRAINING), TRAINING),
    *in_run("norms.h5 cut in half", "truncated", cut(NORMS, 0.5), NORMS),
    *in_run("norms.h5 a folder", "kind of file", folder(NORMS), NORMS,
            readers=("analyze", "check")),
    *in_run("norms.h5 foreign", "foreign", put(NORMS, "x"), NORMS, readers=("analyze", "check")),
    *in_run("norms.h5 newer", "schema",
            hdf5(NORMS, lambda file: file.attrs.__setitem__("resprobe_schema", 9)), NORMS,
            readers=("inspect", "check")),
    *in_run("recipe cut off", "truncated", cut("run/recipe.toml", 0.03), "run/recipe.toml"),
    *in_run("recipe with a number for a table", "toml", put("run/recipe.toml", "train = 3\n"),
            "run/recipe.toml"),
    *in_run("recipe nested 5,000 deep", "toml",
            put("run/recipe.toml", "x = " + "[" * 5000 + "]" * 5000), "run/recipe.toml",
            readers=("inspect", "check")),
    *in_run("recipe a pipe", "kind of file", pipe("run/recipe.toml"), "run/recipe.toml"),
    *in_run("weights of no bytes", "truncated", cut(WEIGHTS, 0.0), WEIGHTS, readers=("check",)),
    *in_run("weights cut off", "truncated", cut(WEIGHTS, 0.99), WEIGHTS, readers=("check",)),
    *in_run("weights a folder", "kind of file", folder(WEIGHTS), WEIGHTS, readers=("check",)),
    *in_run("weights a pipe", "kind of file", pipe(WEIGHTS), WEIGHTS, readers=("check",)),
    *in_run("weights changed since", "together", tensors(WEIGHTS, poisoned(1.0)), "other weights",
            readers=("check",)),
    *in_run("header of the weights flipped", "flipped", flip(WEIGHTS, 20, 30), WEIGHTS,
            readers=("check",)),
    *in_run("header of the weights nested deep", "json",
            put(WEIGHTS, (100_000).to_bytes(8, "little") + b"[" * 100_000), WEIGHTS,
            readers=("check",)),
    *in_run("a trainer's state gone", "missing",
            gone(f"run/checkpoints/{STEP}.state.safetensors"), "state.safetensors",
            readers=("check",)),
    *in_run("info of another step", "json", keys(f"run/checkpoints/{STEP}.json", step=5), "step 5",
            readers=("check",)),
    *in_run("info nested deep", "json", put(f"run/checkpoints/{STEP}.json", "[" * 100_000),
            f"{STEP}.json", readers=("check",)),
    *in_run("a checkpoint gone", "missing",
            both(gone(WEIGHTS), gone(f"run/checkpoints/{STEP}.json")), f"{STEP}",
            readers=("check",)),
    *in_run("a recording gone", "missing", gone(TRAINING), "training.h5 is missing",
            readers=("check",)),
    *in_run("a family in the place of another", "together", copied(LESION, NORMS), NORMS,
            readers=("check",)),
    *in_run("a lock that is a folder and no training.h5", "kind of file",
            both(folder("run/.lock"), gone(TRAINING)), "training.h5", readers=("check",)),
]  # fmt: skip

ANALYZE = [
    row("analyze: nothing", "options", "analyze", "INPUT"),
    row("analyze: no input", "options", "analyze lesion", "at least one INPUT"),
    row("analyze: a near name", "names", "analyze lession run", "did you mean lesion"),
    row("analyze: the second not there", "missing", "analyze lesion run gone", "gone"),
    row("analyze: a name after its inputs", "options", "analyze run lesion", "lesion does not"),
    row("analyze: lesions of a loop", "missing", "analyze lesion loop/training.h5",
        "loop/training.h5 lacks"),
    row("analyze: spans of a file without", "missing", "analyze spans lone.h5",
        "lone.h5 lacks lesion-span", "--quantity +"),
    row("analyze: code unasked", "code", "analyze lesion net",
        "net.py:Net, which is not run unasked",
        damage=gone("net/collected/step-00000000/lesion.h5")),
    row("analyze: a run without checkpoints", "missing", "analyze lesion bare", "no checkpoint",
        damage=gone("bare/checkpoints")),
    row("analyze: blocks of another network", "together", "analyze lesion lone.h5", "lone: the",
        damage=hdf5("lone.h5", renamed_block)),
    row("analyze: the same twice", "together", "analyze lesion lone.h5 lone.h5 -o out", "twice"),
    row("analyze: the same by another name", "together", "analyze lesion run ./run -o out",
        "twice"),
    row("analyze: results into a file", "paths", "analyze lesion run -o my.toml", "my.toml"),
    row("analyze: results below a file", "paths", "analyze lesion run -o my.toml/x", "my.toml"),
    row("analyze: results into a folder of 300 letters", "paths", f"analyze lesion run -o {LONG}",
        LONG),
    row("analyze: a file for the run's results", "kind of file", "analyze lesion run",
        "run/analyses", damage=put("run/analyses", "x")),
    row("analyze: a folder for dataset.nc", "kind of file", "analyze lesion run", "dataset.nc",
        damage=folder("run/analyses/lesion/dataset.nc")),
]  # fmt: skip

OTHERS = [
    row("list: a near kind", "names", "list recipies", "did you mean recipes"),
    row("list: no kind", "options", ["list", ""], "after list is empty"),
    row("list: two kinds", "options", "list models recipes", "recipes"),
    row("list: an option that is none", "options", "list --jsn", "--jsn"),
    row("a command that is none", "names", "chekc run", "did you mean check"),
    row("no command of no name", "options", [""], "command"),
    row("check: nothing", "options", "check", "INPUT"),
    row("check: two", "options", "check run lone.h5", "lone.h5"),
    row("export: no output", "options", "export run", "-o"),
    row("export: onto another file", "together", "export run -o my.toml", "ends in .h5"),
    row("export: onto itself", "together", "export lone.h5 -o lone.h5", "exists"),
    row("export: onto itself, overwritten", "together", "export lone.h5 -o ./lone.h5 --overwrite",
        "lone.h5 is the INPUT itself"),
    row("export: into the run", "together", "export run -o run/all.h5", "lies in the run run"),
    row("export: into the run by a link", "together", "export run -o l/all.h5", "lies in the run",
        damage=link("l", "run")),
    row("export: to below a file", "paths", "export run -o my.toml/x.h5", "my.toml/x.h5"),
    row("export: onto a name of 300 letters", "paths", f"export run -o {LONG}.h5", LONG),
    row("export: onto a folder", "kind of file", "export run -o x.h5 --overwrite", "x.h5",
        damage=folder("x.h5")),
    row("export: onto a pipe", "kind of file", "export run -o x.h5 --overwrite", "x.h5",
        damage=pipe("x.h5")),
    row("export: onto a circular link", "kind of file", "export run -o x.h5", "x.h5",
        damage=link("x.h5", "x.h5")),
    row("export: a run of nothing", "empty", "export bare -o x.h5", "nothing is recorded",
        damage=gone("bare/training.h5")),
    row("inspect: no argument", "options", "inspect", "MODEL|INPUT"),
    row("inspect: a near model", "names", "inspect cifar-resnets", "did you mean cifar-resnet"),
    row("inspect: a shape of 0", "numbers", "inspect cifar-resnet --input-shape 0,3",
        "--input-shape '0,3'"),
    row("inspect: a shape below 0", "numbers", "inspect cifar-resnet --input-shape=-3,8,8",
        "--input-shape"),
    row("inspect: a shape of 10^20", "numbers", f"inspect cifar-resnet --input-shape {10**20}",
        "--input-shape"),
    row("inspect: a shape of 120 GB", "numbers",
        "inspect cifar-resnet --input-shape 3,100000,100000", "--input-shape"),
    row("inspect: no shape", "options", ["inspect", "cifar-resnet", "--input-shape", ""],
        "--input-shape is empty"),
    row("inspect: a type that is none", "names",
        "inspect net.py:Net --input-shape 4 --input-dtype float23", "did you mean float32"),
    row("inspect: an argument that is NaN", "numbers",
        "inspect cifar-resnet --model-arg width_factor=nan", "width_factor"),
    row("inspect: weights with code", "code",
        "inspect net.py:Net --input-shape 4 --weights w.pt", "could run code",
        damage=torch_saved("w.pt", {"state_dict": Harmful()})),
    row("inspect: samples and a shape", "options",
        "inspect net.py:Net --input-shape 4 --data d.npz", "leave --input-shape"),
    row("inspect: a run with a shape", "options", "inspect run --input-shape 4",
        "--input-shape belongs to a MODEL"),
    row("inspect: a network that raises", "foreign", "inspect net.py:Net --input-shape 4",
        "no such weights", damage=text("net.py", "super().__init__()\n        self.blocks",
        'raise OSError("no such weights")\n        self.blocks')),
]  # fmt: skip

ROWS = [*FILES, *FLIPS, *CUTS, *SCHEMA, *RUNS, *ANALYZE, *OTHERS]
