"""Malformed inputs of `collect`: runs, networks, weights, samples, images, options, outputs."""

from __future__ import annotations

import json

import h5py
import numpy as np
import torch
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
    image,
    kernel,
    keys,
    link,
    pickled,
    pipe,
    poisoned,
    put,
    samples,
    tensors,
    text,
    torch_saved,
)
from malformed_inputs import PARTS, STEP
from malformed_rows import row

CKPT = f"bare/checkpoints/{STEP}.safetensors"
INFO = f"bare/checkpoints/{STEP}.json"
LONG = "n" * 300
RANDOM = np.random.default_rng(1)
X, Y = RANDOM.normal(size=(12, 4)).astype(np.float32), np.arange(12) % 3


def run(name, kind, damage, *says):
    return row(f"run: {name}", kind, "collect bare --samples 5", *says, damage=damage)


def toml(name, old, new, *says):
    return run(name, "toml", text("bare/recipe.toml", old, new), "bare/recipe.toml", *says)


def info(name, *says, **values):
    return run(f"info with {name}", "json", keys(INFO, **values), INFO, *says)


RUNS = [
    row("run: none there", "missing", "collect gone", "gone is no run directory"),
    row("run: a file", "kind of file", "collect my.toml", "my.toml is no run directory"),
    row("run: somebody else's folder", "foreign", "collect other", "other is no run directory"),
    row("run: a loop's recording", "foreign", "collect loop", "loop holds what was", "no model"),
    row("run: a name of 300 letters", "paths", f"collect {LONG}", LONG),
    row("run: no name", "options", ["collect", ""], "after collect is empty"),
    row("run: -", "options", "collect -", "run directory"),
    row("run: a circular link", "kind of file", "collect c", "c is no", damage=link("c", "c")),
    row("run: code unasked", "code", "collect net", "net/source.toml names code", "--run-code"),
    run("interrupted before a checkpoint", "missing", gone("bare/checkpoints"), "no checkpoint"),
    run("checkpoints that are a file", "kind of file", put("bare/checkpoints", "x"),
        "no checkpoint"),
    run("weights cut in half", "truncated", cut(CKPT, 0.5), f"{STEP}.safetensors"),
    run("weights cut in the header", "truncated", cut(CKPT, 0.01), f"{STEP}.safetensors"),
    run("weights of no bytes", "truncated", cut(CKPT, 0.0), f"{STEP}.safetensors"),
    run("length of the header flipped", "flipped", flip(CKPT, 5), f"{STEP}.safetensors"),
    run("header flipped", "flipped", flip(CKPT, 30, 20), f"{STEP}.safetensors"),
    run("weights that are a folder", "kind of file", folder(CKPT), f"{STEP}.safetensors"),
    run("weights that are a pipe", "kind of file", pipe(CKPT), f"{STEP}.safetensors", "pipe"),
    run("weights with infinity", "weights", tensors(CKPT, poisoned(float("-inf"))), "not finite"),
    run("info cut off", "truncated", cut(INFO, 0.5), INFO),
    run("info of no bytes", "truncated", cut(INFO, 0.0), INFO),
    run("info gone", "missing", gone(INFO), INFO),
    run("info nested 100,000 deep", "json", put(INFO, "[" * 100_000), INFO),
    run("info that is a pipe", "kind of file", pipe(INFO), INFO, "pipe"),
    info("means in words", mean="abc"),
    info("a mean that is NaN", mean=[float("nan")]),
    info("too many means", mean=[0.1] * 3, std=[1.0] * 3),
    info("a deviation of 0", std=[0.0]),
    info("a deviation below 0", std=[-1.0]),
    info("no deviations", std=None),
    run("recipe cut off", "truncated", cut("bare/recipe.toml", 0.03), "bare/recipe.toml"),
    run("recipe of no bytes", "truncated", cut("bare/recipe.toml", 0.0), "bare/recipe.toml"),
    run("recipe that is a folder", "kind of file", folder("bare/recipe.toml"), "recipe.toml"),
    run("recipe that is a pipe", "kind of file", pipe("bare/recipe.toml"), "recipe.toml", "pipe"),
    run("recipe that is not text", "foreign", put("bare/recipe.toml", b"\xff\xfe"), "recipe.toml"),
    toml("recipe without data", "[data]", "[date]", "data"),
    toml("recipe with a number for the data set", 'name = "digits"', "name = 3", "data.name = 3"),
    toml("recipe with a seed in words", "\nseed = 0", '\nseed = "x"', "train.seed = 'x'"),
    run("recipe of an unknown data set", "names",
        text("bare/recipe.toml", 'name = "digits"', 'name = "digit"'), "did you mean digits"),
    run("recipe of another depth", "together", text("bare/recipe.toml", "depth = 8", "depth = 14"),
        "does not fit the model"),
    run("other images than trained on", "together", keys(INFO, data_fingerprint="x"),
        "fingerprints differ"),
    run("collected that is a file", "kind of file", put("bare/collected", "x"), "bare/collected"),
    row("run: measured with other samples", "together", "collect run", "--overwrite"),
    row("run: norms that are no HDF5", "foreign", "collect run --samples 20",
        f"{STEP}/norms.h5", damage=put(f"run/collected/{STEP}/norms.h5", "x")),
    row("run: norms cut off", "truncated", "collect run --samples 20", f"{STEP}/norms.h5",
        damage=cut(f"run/collected/{STEP}/norms.h5", 0.5)),
]  # fmt: skip


def option(words, *says, kind="numbers"):
    return row(words, kind, f"collect bare {words}", *says)


def network(name, kind, words, *says, damage=lambda place: None):
    return row(f"network: {name}", kind, f"collect {words}", *says, damage=damage)


OPTIONS = [
    option("--samples 0", "0 samples"),
    option("--samples=-1", "-1 samples"),
    option(f"--samples {2**63}", "samples"),
    option("--samples 1e308", "'1e308'"),
    option("--samples nan", "'nan'"),
    option("--samples 5 --sample-seed=-1", "--sample-seed -1"),
    option(f"--sample-indices {10**20}", "--sample-indices"),
    option("--sample-indices=-1", "-1"),
    option("--sample-indices 1,,2", "'1,,2'"),
    option("--sample-indices 0.5", "'0.5'"),
    option("--samples 5 --sample-indices 1", "exclude each other", kind="options"),
    option(f"--checkpoint {10**20}", "no checkpoint of step"),
    option("--checkpoint=-1", "'-1'"),
    option("--checkpoint 4.0", "'4.0'"),
    option("--checkpoint lsat", "'lsat'", kind="names"),
    option("--preset standrad", "did you mean standard", kind="names"),
    option("--quantity margn", "did you mean margin", kind="names"),
    option("--quantity +", "unknown quantity", kind="names"),
    option("--device cuda:999", "'cuda:999'", kind="names"),
    option("--device ''", "after --device is empty", kind="options"),
    option("--sample-indices=", "--sample-indices is empty", kind="options"),
    option("--weights w.pt", "--weights belongs to --model", kind="options"),
    option("--data digits", "--data belongs to --model", kind="options"),
    option("-o new", "-o belongs to --model", kind="options"),
    option("--normalize 0", "--normalize", kind="options"),
    option("run", "run", kind="options"),
    row("nothing to collect", "options", "collect", "give a RUN directory"),
    network("no data", "options", "--model net.py:Net -o new", "--data"),
    network("a run as well", "options", "run --model net.py:Net --data d.npz -o new", "RUN"),
    network("no output", "options", "--model net.py:Net --data d.npz", "-o OUT"),
    network("--run-code", "options", "--model net.py:Net --data d.npz -o new --run-code",
            "--run-code belongs to a RUN"),
    network("argument without a key", "options",
            "--model net.py:Net --data d.npz -o new --model-arg =3", "KEY=VALUE"),
    network("argument that is near one", "names",
            "--model net.py:Net --data d.npz -o new --model-arg clases=3", "did you mean classes"),
    network("argument of another type", "numbers",
            "--model net.py:Net --data d.npz -o new --model-arg classes=nan", "classes"),
    network("no classes", "numbers",
            "--model net.py:Net --data d.npz -o new --model-arg classes=0", "classes"),
    network("argument of 2^63", "numbers",
            f"--model net.py:Net --data d.npz -o new --model-arg classes={2**63}", "classes"),
    network("unknown", "names", "--model cifar-resnt --data digits -o new",
            "did you mean cifar-resnet"),
    network("of no name", "options", "--model '' --data d.npz -o new",
            "after --model is empty"),
    network("code of the system", "code", "--model os:system --data d.npz -o new", "os:system"),
    network("a file that goes in a circle", "kind of file", "--model c.py:Net --data d.npz -o new",
            "c.py", damage=link("c.py", "c.py")),
    network("a file that is a folder", "kind of file", "--model c.py:Net --data d.npz -o new",
            "c.py", damage=folder("c.py")),
    network("a file that is no Python", "foreign", "--model net.py:Net --data d.npz -o new",
            "net.py", damage=put("net.py", bytes(range(256)))),
    network("a file of no bytes", "truncated", "--model net.py:Net --data d.npz -o new",
            "'Net'", damage=cut("net.py", 0.0)),
    network("a file of 300 letters", "paths", f"--model {LONG}.py:Net --data d.npz -o new", LONG),
]  # fmt: skip


def weights(name, kind, damage, *says, file="w.safetensors"):
    words = f"collect {PARTS} --weights {file} --data digits --samples 5 -o new.h5"
    return row(f"weights: {name}", kind, words, *says, damage=damage)


def wrong_shape(state):
    name = kernel(state)
    state[name] = state[name][:-1].clone()


def integers(state):
    for name in list(state):
        state[name] = state[name].to(torch.int8)


def transformers_folder(index):
    return put("f/model.safetensors.index.json", index)


HARM = {"state_dict": Harmful()}
WEIGHTS = [
    weights("none there", "missing", gone("w.safetensors"), "w.safetensors does not exist"),
    weights("cut in half", "truncated", cut("w.safetensors", 0.5), "w.safetensors"),
    weights("of no bytes", "truncated", cut("w.safetensors", 0.0), "w.safetensors"),
    weights("header flipped", "flipped", flip("w.safetensors", 30, 20), "w.safetensors"),
    weights(".pt cut in half", "truncated", cut("w.pt", 0.5), "w.pt", file="w.pt"),
    weights(".pt of no bytes", "truncated", cut("w.pt", 0.0), "w.pt", file="w.pt"),
    weights(".pt with its directory flipped", "flipped", flip_at("w.pt", b"PK\x05\x06"), "w.pt",
            file="w.pt"),
    weights(".pt with its pickle flipped", "flipped", flip("w.pt", 80, 40), "w.pt", file="w.pt"),
    weights("a pipe", "kind of file", pipe("w.pt"), "w.pt", "pipe", file="w.pt"),
    weights("a circular link", "kind of file", link("w.pt", "w.pt"), "w.pt", file="w.pt"),
    weights("a folder", "kind of file", folder("f"), "f is a folder", file="f"),
    weights("a device", "kind of file", lambda place: None, "/dev/null", file="/dev/null"),
    weights("NaN", "weights", tensors("w.safetensors", poisoned(float("nan"))), "not finite"),
    weights("infinity in a .pt", "weights",
            tensors("w.safetensors", poisoned(float("inf")), "w.pt"), "not finite", file="w.pt"),
    weights("of another shape", "shapes", tensors("w.safetensors", wrong_shape), "shape of"),
    weights("one missing", "missing",
            tensors("w.safetensors", lambda state: state.pop(kernel(state))), "missing"),
    weights("one too many", "missing",
            tensors("w.safetensors", lambda state: state.update(odd=torch.zeros(1))),
            "unexpected odd"),
    weights("none in it", "empty", tensors("w.safetensors", dict.clear), "missing"),
    weights("a pickle with code", "code", pickled("w.pt", HARM), "w.pt", "could run code",
            file="w.pt"),
    weights("code as torch saves it", "code", torch_saved("w.pt", HARM), "w.pt", "could run code",
            file="w.pt"),
    weights("code in a folder", "code", torch_saved("pytorch_model.bin", HARM),
            "could run code", file="."),
    weights("a list", "foreign", torch_saved("w.pt", [1, 2]), "w.pt", file="w.pt"),
    weights("a text", "foreign", put("w.pt", "no weights"), "w.pt", file="w.pt"),
    weights("HDF5", "foreign", copied("lone.h5", "w.pt"), "w.pt", file="w.pt"),
    weights("an index that is none", "json", transformers_folder("[]"), "index.json", file="f"),
    weights("an index that points outside", "json",
            transformers_folder(json.dumps({"weight_map": {"a": "../w.safetensors"}})),
            "w.safetensors", file="f"),
]  # fmt: skip


def arrays(name, kind, *says, damage=None, file="d.npz", **values):
    words = f"collect --model net.py:Net --weights n.safetensors --data {file} -o new"
    return row(
        f"samples: {name}", kind, words, file, *says, damage=damage or samples(file, **values)
    )


def in_hdf5(**values):
    def change(file):
        for name, value in values.items():
            file[name] = value

    return hdf5("x.h5", change)


SAMPLES = [
    arrays("cut in half", "truncated", damage=cut("d.npz", 0.5)),
    arrays("of no bytes", "truncated", damage=cut("d.npz", 0.0)),
    arrays("an array's header flipped", "flipped", damage=flip_at("d.npz", b"NUMPY")),
    arrays("the archive's directory flipped", "flipped", damage=flip_at("d.npz", b"PK\x05\x06")),
    arrays("the numbers flipped", "flipped", damage=flip("d.npz", 200, 4)),
    arrays("a pipe", "kind of file", damage=pipe("d.npz")),
    arrays("none there", "missing", damage=gone("d.npz")),
    arrays("a single array", "foreign", damage=lambda place: _single(place / "d.npz")),
    arrays("objects with code", "code", "could run code", x=np.array([Harmful()] * 2), y=Y[:2]),
    arrays("no y", "missing", "no y", x=X),
    arrays("y alone", "missing", "y alone", y=Y),
    arrays("no samples", "empty", "no samples", x=X[:0], y=Y[:0]),
    arrays("fewer labels than inputs", "shapes", "11", x=X, y=Y[:11]),
    row("samples: inputs of another width", "shapes",
        "collect --model net.py:Net --weights n.safetensors --data d.npz -o new",
        "the model does not take float32 (4, 0)", damage=samples("d.npz", x=X[:, :0], y=Y)),
    arrays("labels as floats", "labels", "y is float64", x=X, y=Y * 1.0),
    arrays("labels that are NaN", "labels", "y is float64", x=X, y=Y * np.nan),
    arrays("a label below 0", "labels", "y has -1", x=X, y=Y - 1),
    row("samples: a label beyond the classes", "labels",
        "collect --model net.py:Net --weights n.safetensors --data d.npz -o new",
        "rates 3 classes, but the labels go up to 9", damage=samples("d.npz", x=X, y=Y + 7)),
    arrays("a label of 10^12", "labels", "y has 1000000000002", x=X, y=Y + 10**12),
    arrays("a label of 2^63", "labels", "y has 922337203685477581", x=X,
           y=Y.astype(np.uint64) + np.uint64(2**63)),
    arrays("labels in rows", "labels", "argmax", x=X, y=np.eye(3, dtype=int)[Y]),
    arrays("labels in words", "labels", "y is", x=X, y=np.array(["a"] * 12)),
    arrays("fewer names than classes", "labels", "classes", x=X, y=Y, classes=["a"]),
    arrays("inputs with NaN", "dtypes", "not finite at sample 0", x=X * np.nan, y=Y),
    arrays("inputs in words", "dtypes", "x is", x=np.array(["a"] * 12), y=Y),
    arrays("complex inputs", "dtypes", "x is complex", x=X * 1j, y=Y),
    arrays("bytes that look like no image", "shapes", "uint8", y=Y,
           x=np.zeros((12, 8, 8, 3), np.uint8)),
    arrays("safetensors cut off", "truncated", file="d.safetensors",
           damage=cut("d.safetensors", 0.4)),
    arrays("HDF5 cut off", "truncated", file="x.h5",
           damage=both(in_hdf5(x=X, y=Y), cut("x.h5", 0.5))),
    arrays("HDF5 of our own", "foreign", "no y", file="lone.h5", damage=lambda place: None),
    arrays("HDF5 with code for y", "dtypes", "y is", file="x.h5",
           damage=in_hdf5(x=X, y=np.array([b"a"] * 12))),
    arrays("HDF5 with a table", "dtypes", "x is", file="x.h5", damage=in_hdf5(
        y=Y, x=np.zeros(12, [("a", "f4"), ("b", "f4")]))),
    arrays("HDF5 with references", "dtypes", file="x.h5", damage=both(in_hdf5(y=Y), hdf5(
        "x.h5", lambda f: f.create_dataset("x", (12,), dtype=h5py.ref_dtype)))),
    arrays("a file of another kind", "foreign", file="my.toml", damage=lambda place: None),
    row("samples: a loader that is not there", "names",
        "collect --model net.py:Net --data net.py:Nett -o new", "did you mean Net"),
]  # fmt: skip


def _single(path):
    with path.open("wb") as stream:
        np.save(stream, X)


def photos(name, kind, damage, *says, options="", data="photos"):
    words = f"collect --model net.py:Net --weights n.safetensors --data {data} {options} -o new"
    return row(f"images: {name}", kind, words, *says, damage=damage)


FIRST = "photos/test/a/0.png"
PIXELS = np.zeros((8, 8), np.uint8)
IMAGES = [
    photos("cut off", "truncated", cut(FIRST, 0.6), FIRST),
    photos("of no bytes", "truncated", cut(FIRST, 0.0), FIRST),
    photos("signature flipped", "flipped", flip(FIRST, 1, 3), FIRST),
    photos("header flipped", "flipped", flip(FIRST, 16, 8), FIRST),
    photos("pixels flipped", "flipped", flip_at(FIRST, b"IDAT"), FIRST),
    photos("a text", "foreign", put(FIRST, "no image"), FIRST),
    photos("a pipe", "kind of file", pipe(FIRST), FIRST, "pipe"),
    photos("a circular link", "kind of file", link(FIRST, "0.png"), FIRST),
    photos("a folder", "kind of file", folder(FIRST), FIRST),
    photos("of another size", "shapes", image("photos/test/b/0.png", PIXELS[:, :7]), "8×7",
           "--resize"),
    photos("of 16 bits", "dtypes", image(FIRST, PIXELS.astype(np.uint16)), FIRST, "8 bits"),
    photos("of floats", "dtypes", image("photos/test/a/x.tiff", PIXELS.astype(np.float32)),
           "x.tiff"),
    photos("a class that training has not", "labels", image("photos/test/d/0.png", PIXELS),
           "unknown class", "'d'"),
    photos("no classes", "empty", folder("photos"), "photos holds no images"),
    photos("classes without images", "empty", both(folder("photos"), folder("photos/a")),
           "photos holds no images"),
    photos("training images gone", "empty", both(folder("photos/train"), folder("photos/train/a"),
           folder("photos/train/b"), folder("photos/train/c")), "photos/train"),
    photos("--resize 0", "numbers", lambda place: None, "--resize 0", options="--resize 0"),
    photos("--resize huge", "numbers", lambda place: None, "--resize", options=f"--resize {2**63}"),
    photos("--resize nan", "numbers", lambda place: None, "--resize nan", options="--resize nan"),
    photos("--resize of three", "numbers", lambda place: None, "--resize 8,8,8",
           options="--resize 8,8,8"),
    photos("--normalize inf", "numbers", lambda place: None, "--normalize",
           options="--normalize 0 inf"),
    photos("--normalize by 0", "numbers", lambda place: None, "--normalize",
           options="--normalize 0 0"),
    photos("--normalize of 4 channels", "numbers", lambda place: None, "4 means",
           options="--normalize 0,0,0,0 1,1,1,1"),
    photos("a folder of 300 letters", "paths", lambda place: None, LONG, data=LONG),
    photos("no folder", "options", lambda place: None, "after --data is empty", data="''"),
    photos("below a file", "paths", lambda place: None, "my.toml/x", data="my.toml/x"),
]  # fmt: skip


def output(name, kind, out, *says, damage=lambda place: None, more=""):
    words = f"collect --model net.py:Net --weights n.safetensors --data d.npz -o {out} {more}"
    return row(f"output: {name}", kind, words, *says, damage=damage)


OUTPUTS = [
    output("a file", "together", "other/precious.txt", "precious.txt"),
    output("below a file", "paths", "other/precious.txt/x", "precious.txt"),
    output("a lone file below a file", "paths", "other/precious.txt/x.h5", "precious.txt"),
    output("somebody else's folder", "together", "other", "other exists"),
    output("a trained run", "together", "run", "run exists"),
    output("inside a run", "together", "run/training.h5", "run", more="--overwrite"),
    output("the weights", "together", "n.safetensors", "n.safetensors"),
    output("the data", "together", "d.npz", "d.npz"),
    output("the images", "together", "photos", "photos"),
    output("another network's file", "together", "lone.h5", "lone.h5", "--overwrite"),
    output("a folder that ends in .h5", "kind of file", "x.h5", "x.h5", damage=folder("x.h5")),
    output("a text that ends in .h5", "foreign", "x.h5", "x.h5", damage=put("x.h5", "mine")),
    output("foreign HDF5", "foreign", "x.h5", "x.h5 is HDF5 but not resprobe's",
           damage=in_hdf5(x=X), more="--overwrite"),
    output("a pipe", "kind of file", "x.h5", "x.h5", damage=pipe("x.h5")),
    output("a circular link", "kind of file", "x.h5", "x.h5", damage=link("x.h5", "x.h5")),
    output("a device", "paths", "/dev/full", "/dev/full"),
    output("below /proc", "paths", "/proc/x.h5", "/proc"),
    output("a name of 300 letters", "paths", LONG, LONG),
    output("a file of 300 letters", "paths", f"{LONG}.h5", LONG),
    output("no name", "options", "''", "after -o is empty"),
    output("a dangling link", "kind of file", "x.h5", "x.h5", damage=link("x.h5", "gone")),
]  # fmt: skip

ROWS = [*RUNS, *OPTIONS, *WEIGHTS, *SAMPLES, *IMAGES, *OUTPUTS]
