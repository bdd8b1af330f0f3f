"""CIFAR-100 and STL-10 from files that are written here byte by byte."""

import hashlib
import pickle
from dataclasses import replace

import numpy as np
import pytest
from resprobe_models.datasets import cifar100, stl10

from resprobe.errors import InputError

ROWS = {"train": 4, "test": 3}


@pytest.fixture
def write_cifar100(tmp_path):
    """Write rows of coarse label, fine label and three planes; give the files as a data set."""

    def write(change=lambda row: row):
        folder = tmp_path / "cifar-100-binary"
        folder.mkdir()
        for split, rows in ROWS.items():
            data = bytearray()
            for index in range(rows):
                row = bytearray([index % 20, (37 * index + 99) % 100])
                for plane in range(3):
                    for y in range(32):
                        row += bytes((40 * index + 80 * plane + 3 * y + x) % 256 for x in range(32))
                data += change(row)
            (folder / f"{split}.bin").write_bytes(data)
        return replace(cifar100.FILES, rows=ROWS)

    return write


class TestCifar100:
    def test_the_second_byte_is_the_class_and_the_planes_lie_row_by_row(
        self, write_cifar100, tmp_path
    ):
        files = write_cifar100()
        train = files.load("train", tmp_path)
        assert train.images.shape == (4, 3, 32, 32)
        assert train.images.dtype == np.uint8
        assert train.labels.tolist() == [99, 36, 73, 10]
        for index, plane, y, x in [(0, 0, 0, 1), (1, 2, 31, 5), (3, 1, 7, 31)]:
            assert train.images[index, plane, y, x] == (40 * index + 80 * plane + 3 * y + x) % 256
        assert len(files.load("test", tmp_path / "cifar-100-binary")) == 3

    def test_the_python_layout_gives_the_same(self, write_cifar100, tmp_path):
        files = write_cifar100()
        binary = files.load("train", tmp_path)
        folder = tmp_path / "elsewhere" / "cifar-100-python"
        folder.mkdir(parents=True)
        batch = {
            b"data": binary.images.reshape(4, 3072),
            b"fine_labels": binary.labels.tolist(),
            b"coarse_labels": [0, 1, 2, 3],
            b"filenames": [b"a.png"] * 4,
        }
        (folder / "train").write_bytes(pickle.dumps(batch, 2))
        assert files.load("train", folder.parent).fingerprint() == binary.fingerprint()

    def test_there_are_a_hundred_classes_in_alphabetical_order(self):
        names = cifar100.FILES.classes
        assert len(set(names)) == 100
        assert list(names) == sorted(names)
        # the class names of the published fine_label_names.txt, one a line
        assert (names[0], names[9], names[36], names[99]) == ("apple", "bottle", "hamster", "worm")

    def test_a_fine_label_of_100_is_refused(self, write_cifar100, tmp_path):
        files = write_cifar100(lambda row: row[:1] + b"\x64" + row[2:])
        with pytest.raises(InputError, match=r"train\.bin: row 0 has the label 100, expected 0 to"):
            files.load("train", tmp_path)

    def test_rows_of_one_label_are_refused_by_their_length(self, write_cifar100, tmp_path):
        files = write_cifar100(lambda row: row[1:])
        with pytest.raises(InputError, match=r"12,292 bytes, expected 12,296 \(4 rows of 2 label"):
            files.load("train", tmp_path)


@pytest.fixture
def write_stl10(tmp_path):
    """Write images plane by plane and column by column, and labels from 1; give the data set."""

    def write(labels=(1, 10, 3, 7)):
        folder = tmp_path / "stl10_binary"
        folder.mkdir()
        for split, rows in ROWS.items():
            data = bytearray()
            for index in range(rows):
                for plane in range(3):
                    for x in range(96):
                        data += bytes((index + 50 * plane + 2 * x + y) % 256 for y in range(96))
            (folder / f"{split}_X.bin").write_bytes(data)
            (folder / f"{split}_y.bin").write_bytes(bytes(labels[:rows]))
        return replace(stl10.FILES, rows=ROWS)

    return write


class TestStl10:
    def test_columns_become_rows_and_labels_begin_at_0(self, write_stl10, tmp_path):
        files = write_stl10()
        train = files.load("train", tmp_path)
        assert train.images.shape == (4, 3, 96, 96)
        assert train.images.flags.c_contiguous
        assert train.labels.tolist() == [0, 9, 2, 6]
        assert train.classes[9] == "truck"
        for index, plane, y, x in [(0, 0, 0, 1), (0, 0, 1, 0), (1, 2, 95, 5), (3, 1, 7, 95)]:
            assert train.images[index, plane, y, x] == (index + 50 * plane + 2 * x + y) % 256
        assert len(files.load("test", tmp_path / "stl10_binary")) == 3

    @pytest.mark.parametrize("label", [0, 11])
    def test_labels_outside_1_to_10_are_refused(self, write_stl10, tmp_path, label):
        files = write_stl10((1, label, 3, 4))
        with pytest.raises(InputError, match=f"row 1 has the label {label}, expected 1 to 10"):
            files.load("test", tmp_path)

    def test_files_of_another_length_are_refused(self, write_stl10, tmp_path):
        files = write_stl10()
        labels = tmp_path / "stl10_binary" / "train_y.bin"
        labels.write_bytes(bytes([1, 2, 3]))
        with pytest.raises(InputError, match=r"train_y\.bin holds 3 bytes, expected 4 \(4 labels"):
            files.load("train", tmp_path)
        images = tmp_path / "stl10_binary" / "test_X.bin"
        images.write_bytes(images.read_bytes()[:-1])
        with pytest.raises(InputError, match="82,943 bytes, expected 82,944"):
            files.load("test", tmp_path)

    def test_a_missing_label_file_is_named(self, write_stl10, tmp_path):
        files = write_stl10()
        (tmp_path / "stl10_binary" / "test_y.bin").unlink()
        with pytest.raises(InputError, match=r"stl10 lacks test_y\.bin.*leave out --data-dir"):
            files.load("test", tmp_path)


def test_the_published_sizes_are_those_of_the_real_files():
    """Sizes of the files as published: CIFAR 50,000 and 10,000 images, STL-10 5,000 and 8,000."""
    assert cifar100.FILES.rows == {"train": 50_000, "test": 10_000}
    assert stl10.FILES.rows == {"train": 5_000, "test": 8_000}
    assert stl10.PIXELS * 5_000 == 138_240_000


def test_every_checksum_is_one_of_its_algorithm():
    for files in (cifar100.FILES, stl10.FILES):
        algorithm, _, digest = files.download.checksum.partition(":")
        assert len(bytes.fromhex(digest)) == hashlib.new(algorithm).digest_size
        assert files.download.archive == files.layouts[0].archive
