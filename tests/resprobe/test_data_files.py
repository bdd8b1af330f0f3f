"""Samples in files of arrays and from loaders of a user's own."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from resprobe import data_files
from resprobe.errors import InputError

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(6, 4)).astype(np.float32)
PIXELS = RANDOM.integers(0, 256, (6, 3, 5, 5)).astype(np.uint8)
TOKENS = RANDOM.integers(0, 9, (6, 7))
Y = np.array([0, 2, 1, 1, 0, 2])
MASK = np.ones((6, 7), bool)


def write(path, arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                text = array.dtype.kind == "U"
                file[name] = array.astype(object) if text else array
    return path


@pytest.mark.parametrize("suffix", data_files.SUFFIXES)
def test_x_and_y_are_read_from_every_format(suffix, tmp_path):
    images = data_files.read(write(tmp_path / f"d{suffix}", {"x": X, "y": Y}))
    np.testing.assert_array_equal(images.images, X)
    assert images.images.dtype == np.float32
    np.testing.assert_array_equal(images.labels, Y)
    assert images.labels.dtype == np.int64
    assert images.classes == ("0", "1", "2")
    assert (images.name, dict(images.extras)) == ("", {})


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_classes_are_read_where_the_format_has_texts(suffix, tmp_path):
    arrays = {"x": X, "y": Y, "classes": np.array(["cat", "dog", "größer"])}
    images = data_files.read(write(tmp_path / f"d{suffix}", arrays))
    assert images.classes == ("cat", "dog", "größer")
    assert not images.extras


@pytest.mark.parametrize("suffix", data_files.SUFFIXES)
def test_further_arrays_are_keyword_arguments_of_their_names(suffix, tmp_path):
    arrays = {"x": TOKENS, "y": Y, "attention_mask": MASK, "weight": X}
    images = data_files.read(write(tmp_path / f"d{suffix}", arrays))
    assert images.are_ids
    assert images.extras["attention_mask"].dtype == np.int64
    np.testing.assert_array_equal(images.extras["weight"], X)
    taken = images.take(np.array([4, 1]))
    np.testing.assert_array_equal(taken.extras["weight"], X[[4, 1]])
    np.testing.assert_array_equal(taken.images, TOKENS[[4, 1]])


@pytest.mark.parametrize(
    ("arrays", "main"),
    [
        ({"input_ids": TOKENS, "attention_mask": MASK}, "attention_mask"),
        ({"pixel_values": PIXELS, "bool_masked_pos": MASK}, "pixel_values"),
        ({"inputs_embeds": X, "attention_mask": MASK}, "inputs_embeds"),
    ],
)
def test_without_x_all_are_keyword_arguments(arrays, main):
    images = data_files.images_of({**arrays, "y": Y}, "here")
    assert images.name == main
    assert {images.name, *images.extras} == set(arrays)
    assert len(images) == 6


def test_tensors_and_lists_of_a_loader_become_arrays():
    given = {"x": torch.tensor(X, requires_grad=True), "y": torch.tensor(Y), "z": [1.5] * 6}
    images = data_files.images_of(given, "here")
    np.testing.assert_array_equal(images.images, X)
    assert images.extras["z"].dtype == np.float64
    assert data_files.images_of({"x": torch.ones(6, 2).bfloat16(), "y": Y}, "").images.sum() == 12


def test_a_fingerprint_sees_every_part():
    arrays = {"x": TOKENS, "y": Y, "mask": MASK}
    other = MASK.copy()
    other[3, 3] = False
    prints = [
        data_files.images_of(given, "here").fingerprint()
        for given in (
            arrays,
            {**arrays, "mask": other},
            {"x": TOKENS, "y": Y, "musk": MASK},
            {"x": TOKENS, "y": Y},
            {"ids": TOKENS, "y": Y},
            {"x": TOKENS + 1, "y": Y},
        )
    ]
    assert len(set(prints)) == len(prints)
    assert data_files.images_of(arrays, "there").fingerprint() == prints[0]


def bad_float():
    broken = X.copy()
    broken[4, 1] = np.nan
    return broken


BAD = {
    "no y": ({"x": X}, "holds x, but no y; expected x (the inputs) and y"),
    "y alone": ({"y": Y}, "holds y alone"),
    "nothing": ({}, "holds nothing, but no y"),
    "one-hot y": ({"x": X, "y": np.eye(6)}, "take y.argmax(1)"),
    "y of floats": ({"x": X, "y": Y / 2}, "y is float64 of shape (6,)"),
    "y below zero": ({"x": X, "y": Y - 1}, "y has -1 at sample 0"),
    "no samples": ({"x": X[:0], "y": Y[:0]}, "holds no samples"),
    "another number of x": ({"x": X[:5], "y": Y}, "x has 5 samples, but y has 6"),
    "another number of a keyword": ({"x": X, "y": Y, "m": MASK[:2]}, "m has 2 samples"),
    "not finite": ({"x": bad_float(), "y": Y}, "x is not finite at sample 4"),
    "texts": ({"x": np.array(list("abcdef")), "y": Y}, "x is <U1 of shape (6,)"),
    "complex numbers": ({"x": X + 1j, "y": Y}, "x is complex64"),
    "a number": ({"x": np.float32(3), "y": Y}, "x is float32 of shape ()"),
    "images of one plane": ({"x": PIXELS[:, 0], "y": Y}, "(sample, channel, height, width)"),
    "channels last": ({"x": PIXELS.transpose(0, 2, 3, 1), "y": Y}, "shape (6, 5, 5, 3)"),
    "too few classes": ({"x": X, "y": Y, "classes": ["a", "b"]}, "2 names, but y goes up to 2"),
    "ragged rows": ({"x": [[1], [1, 2]], "y": Y}, "x can't be made an array"),
}


@pytest.mark.parametrize("what", BAD)
def test_arrays_that_are_not_that_are_refused(what):
    arrays, expected = BAD[what]
    with pytest.raises(InputError) as raised:
        data_files.images_of(arrays, "data.npz")
    assert expected in str(raised.value)
    assert str(raised.value).startswith("data.npz")


class Harmful:
    def __reduce__(self):
        import os

        return (os.system, ("touch harmed",))


def test_an_npz_with_objects_is_refused_and_nothing_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "d.npz", x=np.array([Harmful()] * 2, dtype=object), y=Y[:2])
    with pytest.raises(InputError, match="which could run code"):
        data_files.read(tmp_path / "d.npz")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("suffix", data_files.SUFFIXES)
def test_a_damaged_or_missing_file_is_refused_by_name(suffix, tmp_path):
    path = write(tmp_path / f"d{suffix}", {"x": X, "y": Y})
    data = path.read_bytes()
    for content in (data[: len(data) // 2], b"", b"something else"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"d{suffix} can.?n?o?.?t be read"):
            data_files.read(path)
    with pytest.raises(InputError, match=f"gone{suffix} is no file"):
        data_files.read(tmp_path / f"gone{suffix}")


def test_a_single_array_is_no_npz(tmp_path):
    with (tmp_path / "d.npz").open("wb") as stream:
        np.save(stream, X)
    with pytest.raises(InputError, match="a single array"):
        data_files.read(tmp_path / "d.npz")


LOADERS = """
import numpy as np
X, Y = np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1])
def pair(): return X, Y
def named(): return X, Y, ["cat", "dog"]
def mapping(): return {"input_ids": np.ones((4, 3), int), "y": Y}
def one(): return X
def none(): return None
def four(): return X, Y, ["a", "b"], 3
def broken(): raise OSError("no disk")
number = 3
"""


@pytest.fixture
def loader(tmp_path, monkeypatch):
    (tmp_path / "load.py").write_text(LOADERS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return lambda name: data_files.load(f"load.py:{name}")[0]


def test_a_loader_gives_a_pair_names_or_a_mapping(loader):
    assert loader("pair").images.shape == (4, 2)
    assert loader("named").classes == ("cat", "dog")
    assert loader("mapping").name == "input_ids"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("one", "gave ndarray, expected (x, y), (x, y, classes) or a mapping"),
        ("none", "gave NoneType"),
        ("four", "gave tuple"),
        ("broken", "load.py:broken failed (OSError: no disk)"),
        ("number", "is int, expected a function"),
        ("pairs", "did you mean pair"),
    ],
)
def test_a_loader_that_gives_something_else_is_refused(loader, name, expected):
    with pytest.raises(InputError) as raised:
        loader(name)
    assert expected in str(raised.value)
