"""Images in a folder by class, their statistics and their size."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image

from resprobe import image_folder
from resprobe.data_request import DataRequest, load_data_set, normalize_of, resize_of
from resprobe.errors import InputError
from resprobe.resize import plan, resize_arrays, resize_image

RANDOM = np.random.default_rng(0)


def picture(size=(6, 4), mode="RGB"):
    """A picture of (width, height) with random pixels."""
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    return Image.fromarray(RANDOM.integers(0, 256, shape).astype(np.uint8), mode=None)


def fill(folder, count=2, mode="RGB", classes=("cat", "dog")):
    kept = []
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            image = picture(mode=mode)
            image.save(folder / name / f"{number}.png")
            kept.append(np.asarray(image))
    return kept


def test_sub_folders_are_the_classes_in_the_order_of_their_names(tmp_path):
    kept = fill(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("no image", encoding="utf-8")
    (tmp_path / "cat" / ".hidden.png").write_bytes(b"no image")
    (tmp_path / ".git").mkdir()
    images = image_folder.read(tmp_path)
    assert images.classes == ("cat", "dog")
    assert images.labels.tolist() == [0, 0, 1, 1]
    assert images.images.dtype == np.uint8
    np.testing.assert_array_equal(images.images, np.stack(kept).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("measured", ["test", "val"])
def test_a_split_layout_measures_test_and_standardises_by_train(tmp_path, measured):
    trained = fill(tmp_path / "train", count=3)
    kept = fill(tmp_path / measured, count=1)
    data = load_data_set(DataRequest(str(tmp_path)))
    np.testing.assert_array_equal(data.images.images, np.stack(kept).transpose(0, 3, 1, 2))
    pixels = np.stack(trained).reshape(-1, 3) / 255
    # sums of a few hundred numbers in float64
    np.testing.assert_allclose(data.mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(data.std, pixels.std(0), rtol=1e-12)
    assert "train/" in data.standardised
    assert not data.told


def test_the_classes_of_a_split_are_those_of_train(tmp_path):
    fill(tmp_path / "train", classes=("ant", "cat", "dog"))
    fill(tmp_path / "test")
    data = load_data_set(DataRequest(str(tmp_path)))
    assert data.images.classes == ("ant", "cat", "dog")
    assert data.images.labels.tolist() == [1, 1, 2, 2]
    fill(tmp_path / "test", classes=("cow",))
    with pytest.raises(InputError, match=r"class among the folders of .*'cow'"):
        load_data_set(DataRequest(str(tmp_path)))


def test_the_training_images_are_not_read_where_normalize_is_given(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / "test")
    next((tmp_path / "train").rglob("*.png")).write_bytes(b"broken")
    data = load_data_set(DataRequest(str(tmp_path), normalize=([0.5], [0.25])))
    assert (data.mean, data.std) == ([0.5], [0.25])
    assert data.images.images.shape[1] == 3, "one mean is for all channels alike"


def test_a_plain_folder_is_standardised_by_itself_and_that_is_told(tmp_path):
    kept = fill(tmp_path)
    data = load_data_set(DataRequest(str(tmp_path)))
    np.testing.assert_allclose(data.mean, np.stack(kept).reshape(-1, 3).mean(0) / 255, rtol=1e-12)
    assert data.told


def test_mixed_modes_become_rgb(tmp_path):
    fill(tmp_path, count=1)
    picture().convert("P").save(tmp_path / "cat" / "p.png")
    picture().convert("P").save(tmp_path / "cat" / "t.png", transparency=bytes([0] * 200))
    picture().convert("RGBA").save(tmp_path / "cat" / "a.png")
    picture(mode="L").save(tmp_path / "dog" / "l.png")
    picture().convert("CMYK").save(tmp_path / "dog" / "c.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = image_folder.read(tmp_path)
    assert images.images.shape == (7, 3, 4, 6)


def test_grey_images_stay_grey_unless_three_channels_are_asked(tmp_path):
    kept = fill(tmp_path, mode="L")
    np.testing.assert_array_equal(image_folder.read(tmp_path).images[:, 0], np.stack(kept))
    assert image_folder.read(tmp_path, channels=3).images.shape == (4, 3, 4, 6)


def broken(folder):
    (folder / "dog" / "1.png").write_bytes(b"no image at all")


def truncated(folder):
    picture((64, 64)).save(folder / "dog" / "1.png")
    data = (folder / "dog" / "1.png").read_bytes()
    (folder / "dog" / "1.png").write_bytes(data[: len(data) // 2])


def larger(folder):
    picture((9, 4)).save(folder / "dog" / "1.png")


def deep(folder):
    Image.fromarray(np.zeros((4, 6), np.uint16)).save(folder / "dog" / "1.png")


BAD = {
    "an image that is none": (broken, r"1.png can't be read as an image \(cannot identify"),
    "a truncated image": (truncated, r"1.png can't be read as an image"),
    "images of two sizes": (larger, r"1.png has 4×9 pixels .*0.png has 4×6: give --resize"),
    "an image of 16 bits": (deep, "1.png has more than 8 bits a pixel"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_image_is_named(tmp_path, what):
    spoil, expected = BAD[what]
    fill(tmp_path)
    spoil(tmp_path)
    with pytest.raises(InputError, match=expected):
        image_folder.read(tmp_path)


def test_a_folder_without_images_by_class_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no images by class"):
        image_folder.read(tmp_path)
    picture().save(tmp_path / "loose.png")
    with pytest.raises(InputError, match="a sub-folder of images for each class"):
        image_folder.read(tmp_path)


@pytest.mark.parametrize(
    ("height", "width", "size", "expected"),
    [
        (10, 20, (5,), (5, 10, 0, 2, 5, 5)),
        (20, 10, (5,), (10, 5, 2, 0, 5, 5)),
        (7, 7, (14,), (14, 14, 0, 0, 14, 14)),
        (10, 20, (4, 6), (4, 6, 0, 0, 4, 6)),
    ],
)
def test_one_number_scales_the_shorter_side_and_keeps_the_middle(height, width, size, expected):
    assert plan(height, width, size) == expected


@pytest.mark.parametrize("size", [(4,), (3, 5), (16,)])
def test_pillow_and_torch_resize_alike(size):
    image = picture((12, 8))
    array = np.asarray(image).transpose(2, 0, 1)[None]
    ours = resize_arrays(array, size)
    theirs = np.asarray(resize_image(image, size)).transpose(2, 0, 1)[None]
    assert ours.dtype == np.uint8
    # Pillow rounds after each of the two directions, torch once
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    floats = resize_arrays(array.astype(np.float64) / 255, size)
    assert np.abs(floats * 255 - ours).max() <= 0.51


def test_images_of_several_sizes_become_one(tmp_path):
    fill(tmp_path)
    larger(tmp_path)
    data = load_data_set(DataRequest(str(tmp_path), resize=(4,)))
    assert data.images.images.shape == (4, 3, 4, 4)


def save(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def test_floats_of_a_file_are_taken_as_they_are_and_that_is_told(tmp_path):
    x = RANDOM.normal(size=(4, 5)).astype(np.float32)
    data = load_data_set(DataRequest(save(tmp_path / "d.npz", x=x, y=[0, 1, 0, 1])))
    assert (data.mean, data.std, data.told) == ([0.0], [1.0], True)


def test_ids_are_never_standardised(tmp_path):
    name = save(tmp_path / "d.npz", x=np.ones((4, 5), np.int32), y=[0, 1, 0, 1])
    data = load_data_set(DataRequest(name))
    assert (data.mean, data.std, data.told) == ([], [], False)


def test_a_registered_name_wins_over_a_folder_and_other_names_list_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "digits")
    assert len(load_data_set(DataRequest("digits")).images) == 500
    assert len(load_data_set(DataRequest("./digits")).images) == 4
    with pytest.raises(InputError, match="did you mean digits"):
        load_data_set(DataRequest("digit"))


@pytest.mark.parametrize(
    ("name", "extra", "expected"),
    [
        ("gone.npz", {}, "gone.npz is no file"),
        ("gone/folder", {}, "gone/folder is not there; give a folder of images by class"),
        ("notes.txt", {}, "notes.txt is no such file"),
        ("gone.py:load", {}, "gone.py does not exist"),
        ("f.npz", {"normalize": ([0.0] * 2, [1.0] * 2)}, "gives 2 means, but f.npz has 5 channels"),
        ("i.npz", {"normalize": ([0.0], [1.0])}, "whole numbers (int64), which are passed as"),
        ("f.npz", {"resize": (4,)}, "f.npz holds float32 of shape (4, 5); leave --resize out"),
        ("i.npz", {"resize": (4,)}, "leave --resize out"),
        ("pictures", {"normalize": ([0.0] * 2, [1.0] * 2)}, "pictures has 1 or 3 channels"),
    ],
)
def test_data_that_are_not_what_was_asked_are_refused(tmp_path, monkeypatch, name, extra, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("", encoding="utf-8")
    save(tmp_path / "f.npz", x=np.ones((4, 5), np.float32), y=[0, 1, 0, 1])
    save(tmp_path / "i.npz", x=np.ones((4, 5), np.int64), y=[0, 1, 0, 1])
    fill(tmp_path / "pictures")
    with pytest.raises(InputError) as raised:
        load_data_set(DataRequest(name, **extra))
    assert expected in str(raised.value)


def test_normalize_and_resize_are_read():
    assert normalize_of(("0.485,0.456,0.406", "0.229,0.224,0.225")) == (
        [0.485, 0.456, 0.406],
        [0.229, 0.224, 0.225],
    )
    assert (normalize_of(None), resize_of(None)) == (None, None)
    assert resize_of("224") == (224,)
    assert resize_of("224,192") == (224, 192)


@pytest.mark.parametrize(
    "texts",
    [("a", "1"), ("0,0", "1"), ("0", "0"), ("0", "-1"), ("nan", "1"), ("0", "inf"), ("", "")],
)
def test_a_normalisation_that_is_none_is_refused(texts):
    with pytest.raises(InputError, match=r"such as 0\.485,0\.456,0\.406 0\.229,0\.224,0\.225"):
        normalize_of(texts)


@pytest.mark.parametrize("text", ["", "0", "-4", "4,", "4,0", "1,2,3", "4x4", "²"])
def test_a_size_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="such as 224,224"):
        resize_of(text)
