"""The data sets: what they hold, and what happens to damaged or hostile files."""

import contextlib
import io
import pickle
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from resprobe_models.datasets.cifar10 import FILES, load
from resprobe_models.datasets.digits import double
from resprobe_models.datasets.digits import load as load_digits_split
from resprobe_models.datasets.restricted_pickle import load_pickled_arrays

from resprobe import registry
from resprobe.errors import InputError

ROWS = 3
NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


SMALL = replace(FILES, rows={"train": ROWS, "test": ROWS})


@pytest.mark.parametrize("name", registry.entries("datasets"))
def test_every_data_set_loads_or_says_where_its_files_come_from(name, tmp_path):
    load_named = registry.load("datasets", name)
    if name in ("digits", "two-moons"):
        for split in ("train", "test"):
            samples = load_named(split=split)
            assert len(samples.images) == len(samples.labels)
            assert samples.images.dtype == np.float32
            assert set(samples.labels) == set(range(len(samples.classes)))
            assert samples.fingerprint() == load_named(split=split).fingerprint()
    else:
        with pytest.raises(InputError, match=r"cannot be downloaded from .*--data-dir"):
            load_named(split="test")
        with pytest.raises(InputError, match=f"{tmp_path}.*leave out --data-dir"):
            load_named(split="test", data_dir=tmp_path)


@pytest.mark.parametrize("name", registry.entries("datasets"))
def test_every_data_set_is_listed_in_words(name, capsys):
    from resprobe.cli.list import list_

    list_.main(["datasets"], standalone_mode=False)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if f"  {name} " in line]
    assert len(line.split()) > 8
    assert "resprobe_models" not in line


class TestDigits:
    def test_the_split_is_fixed_disjoint_and_stratified(self):
        train, test = load_digits_split(split="train"), load_digits_split(split="test")
        assert (len(train), len(test)) == (1297, 500)
        assert train.images.shape[1:] == test.images.shape[1:] == (1, 16, 16)
        assert train.images.dtype == np.float32
        assert test.fingerprint() == load_digits_split(split="test").fingerprint()
        share = np.bincount(np.concatenate([train.labels, test.labels])) * 500 / 1797
        assert np.abs(np.bincount(test.labels) - share).max() <= 1

        def sums(images):
            return {image.tobytes() for image in images.images}

        assert not sums(train) & sums(test)

    def test_the_pixels_are_exact_multiples_within_0_and_1(self):
        images = load_digits_split(split="train").images
        assert images.min() == 0
        assert images.max() == 1
        assert np.array_equal(images * 256, np.round(images * 256))

    def test_doubling_is_bilinear_interpolation(self):
        import torch
        from torch.nn.functional import interpolate

        x = np.random.default_rng(0).random((2, 1, 5, 4))
        ours = double(double(x, 2), 3)
        theirs = interpolate(torch.from_numpy(x), scale_factor=2, mode="bilinear").numpy()
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def rows(seed):
    generator = np.random.default_rng(seed)
    table = generator.integers(0, 256, (ROWS, 3073), dtype=np.uint8)
    table[:, 0] %= 10
    return table


@pytest.fixture
def binary(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        (folder / f"{name}.bin").write_bytes(rows(seed).tobytes())
    return folder


def python2_pickle(table):
    """Write a batch opcode by opcode, as Python 2 wrote CIFAR-10's own (protocol 2)."""

    def text(value):
        return b"U" + bytes([len(value)]) + value  # SHORT_BINSTRING: a Python 2 str

    def number(value):
        return b"J" + struct.pack("<i", value)

    pixels = table[:, 1:].tobytes()
    dtype = (
        b"cnumpy\ndtype\n(" + text(b"u1") + number(0) + number(1) + b"tR("
        + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    )  # fmt: skip
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n("
        + number(0) + b"t" + text(b"b") + b"tR("
        + number(1) + b"(" + number(len(table)) + number(3072) + b"t" + dtype + b"\x89"
        + b"T" + struct.pack("<i", len(pixels)) + pixels + b"tb"
    )  # fmt: skip
    labels = b"](" + b"".join(number(int(label)) for label in table[:, 0]) + b"e"
    return (
        b"\x80\x02}(" + text(b"batch_label") + text(b"training batch")
        + text(b"labels") + labels + text(b"data") + array + b"u."
    )  # fmt: skip


def python3_pickle(table, protocol=2):
    batch = {"labels": table[:, 0].tolist(), "data": np.ascontiguousarray(table[:, 1:])}
    return pickle.dumps(batch, protocol=protocol)


@pytest.fixture(params=["python 2", 2, 3, 4])
def python(request, tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        data = (
            python2_pickle(rows(seed))
            if request.param == "python 2"
            else python3_pickle(rows(seed), request.param)
        )
        (folder / name).write_bytes(data)
    return folder


class TestCifar10:
    def check(self, folder):
        train, test = SMALL.load("train", folder), SMALL.load("test", folder)
        expected = np.concatenate([rows(seed) for seed in range(5)])
        assert np.array_equal(train.images, expected[:, 1:].reshape(-1, 3, 32, 32))
        assert np.array_equal(train.labels, expected[:, 0])
        assert train.images.dtype == np.uint8
        assert np.array_equal(test.labels, rows(5)[:, 0])
        assert train.classes[6] == "frog"

    def test_the_binary_layout_is_read_from_the_folder_and_its_parent(self, binary):
        self.check(binary)
        self.check(binary.parent)

    def test_the_python_layout_is_read_from_the_folder_and_its_parent(self, python):
        self.check(python)
        self.check(python.parent)

    def test_only_the_canonical_number_of_rows_is_accepted(self, binary):
        with pytest.raises(InputError, match=r"9,219 bytes, expected 30,730,000"):
            load(split="train", data_dir=binary)

    def test_a_folder_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(InputError, match="nowhere is not there"):
            load(split="train", data_dir=tmp_path / "nowhere")

    def test_an_empty_folder_says_which_files_it_lacks_and_where(self, tmp_path):
        with pytest.raises(InputError) as raised:
            load(split="test", data_dir=tmp_path)
        message = str(raised.value)
        assert "lacks test_batch.bin" in message
        assert str(tmp_path) in message
        assert FILES.site in message

    def test_one_missing_file_is_named(self, binary):
        (binary / "data_batch_3.bin").unlink()
        with pytest.raises(InputError, match=r"lacks data_batch_3\.bin"):
            SMALL.load("train", binary.parent)

    @pytest.mark.parametrize("change", [-1, 1, -3073])
    def test_a_file_of_another_length_is_refused(self, binary, change):
        path = binary / "test_batch.bin"
        data = path.read_bytes()
        path.write_bytes(data[:change] if change < 0 else data + b"\0" * change)
        with pytest.raises(InputError, match=r"test_batch\.bin holds .* expected 9,219"):
            SMALL.load("test", binary)

    def test_a_label_out_of_range_is_refused(self, binary):
        table = rows(5)
        table[1, 0] = 10
        (binary / "test_batch.bin").write_bytes(table.tobytes())
        with pytest.raises(InputError, match="row 1 has the label 10, expected 0 to 9"):
            SMALL.load("test", binary)

    @pytest.mark.parametrize(
        ("batch", "words"),
        [
            ({"labels": [1, 2, 3]}, "without 'data'"),
            ([1, 2], "a list without 'data'"),
            ({"data": b"x", "labels": []}, "data is a bytes"),
            ({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 2]}, "of shape \\(2, 3072\\)"),
            ({"data": np.zeros((3, 3072), np.uint8), "labels": [1, 2]}, "2 labels for 3 images"),
            ({"data": np.zeros((3, 3072), np.uint8), "labels": [1, 2, -1]}, "label -1"),
            ({"data": np.zeros((3, 3072), np.uint8), "labels": [1, 2, 2**70]}, "list of numbers"),
            ({"data": np.zeros((3, 3072), np.uint8), "labels": "012"}, "expected a list"),
            ({"data": np.zeros((3, 3072), np.uint8), "labels": [1, 2.0, 3]}, "list of numbers"),
        ],
    )
    def test_a_python_batch_of_another_shape_is_described(self, tmp_path, batch, words):
        (tmp_path / "cifar-10-batches-py").mkdir()
        (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(batch))
        with pytest.raises(InputError, match=words):
            SMALL.load("test", tmp_path)


class Exploit:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class TestRestrictedPickle:
    @settings(max_examples=50, deadline=None)
    @given(
        st.dictionaries(
            st.text(max_size=5),
            st.one_of(
                st.integers(),
                st.binary(min_size=1, max_size=20),
                st.lists(st.floats(allow_nan=False)),
                arrays.arrays(np.uint8, arrays.array_shapes(max_dims=3, max_side=4)),
            ),
            max_size=3,
        ),
        st.integers(2, 4),
    )
    def test_plain_data_comes_back_as_it_was(self, value, protocol):
        back = load_pickled_arrays(pickle.dumps(value, protocol), "it")
        assert back.keys() == value.keys()
        for name, item in value.items():
            assert np.array_equal(back[name], item)

    @pytest.mark.parametrize(
        "hostile",
        [
            Exploit(eval, "1/0"),
            Exploit(io.FileIO, "/dev/null"),
            Exploit(np.frombuffer, b"abc"),
            Exploit(np.dtype, "O"),
            np.array([{}], dtype=object),
            np.zeros(2, dtype=np.float64),
            b"".__class__,
        ],
        ids=["eval", "file", "frombuffer", "object dtype", "object array", "float array", "class"],
    )
    def test_anything_else_is_refused_and_not_called(self, hostile):
        with pytest.raises(InputError, match="asks for"):
            load_pickled_arrays(pickle.dumps({"data": hostile}, 2), "the file")

    def test_a_codec_by_another_name_is_refused(self):
        data = b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR."
        with pytest.raises(InputError, match="the codec 'rot13'"):
            load_pickled_arrays(data, "the file")

    def test_an_array_of_a_subclass_is_refused(self):
        data = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I0\ntU\x01btR."
        with pytest.raises(InputError, match="an array of class"):
            load_pickled_arrays(data, "the file")

    def test_a_huge_announced_size_takes_no_memory(self):
        data = (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(L99999999999999L\ntU\x01btR."
        )
        assert load_pickled_arrays(data, "the file").size == 0

    def test_attributes_of_the_guards_cannot_be_set(self):
        data = b"cnumpy\ndtype\n}U\x01aU\x01bsb."
        with pytest.raises(InputError, match="not a readable"):
            load_pickled_arrays(data, "the file")

    @settings(max_examples=200, deadline=None)
    @given(st.data())
    def test_damage_ends_in_a_sentence(self, data):
        whole = python2_pickle(rows(0)[:, :3073])
        kind = data.draw(st.sampled_from(["cut", "flip", "noise"]))
        if kind == "cut":
            damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
        elif kind == "noise":
            damaged = data.draw(st.binary(max_size=60))
        else:
            where = data.draw(st.integers(0, 400))
            damaged = whole[:where] + bytes([data.draw(st.integers(0, 255))]) + whole[where + 1 :]
        # Nothing but an InputError may come out; some damage leaves a readable pickle.
        with contextlib.suppress(InputError):
            load_pickled_arrays(damaged, "the file")
