"""Fewer pixels and fewer test images: the arrays, and what a run and its collections make of it."""

import json
import shutil
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from resprobe_models import run_directory, setup
from resprobe_models.datasets.cifar10 import FILES
from resprobe_models.recipe import DataTable
from resprobe_models.train import train
from resprobe_models.training_data import evaluated, load_images

from resprobe import registry, resolution
from resprobe.cli.inspect import inspect
from resprobe.data import Images, stratified
from resprobe.errors import InputError
from resprobe.resolution import at_resolution, square_means
from resprobe.source import from_run
from resprobe.store.reader import grouping


def pixels(seed, shape, byte=True):
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return values if byte else (values / 255).astype(np.float32)


def slow_means(images, size):
    """Square by square, in float64."""
    samples, channels, height, width = images.shape
    out = np.empty((samples, channels, height // size, width // size))
    for y in range(height // size):
        for x in range(width // size):
            square = images[:, :, y * size : (y + 1) * size, x * size : (x + 1) * size]
            out[:, :, y, x] = square.astype(np.float64).mean(axis=(2, 3))
    return out / (255 if images.dtype == np.uint8 else 1)


def as_images(array):
    return Images(array, np.arange(len(array)) % 4, tuple("abcd"))


class TestSquareMeans:
    @given(
        st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.booleans(), st.integers(0, 9)
    )
    def test_they_equal_the_loop_over_squares(self, size, rows, columns, byte, seed):
        images = pixels(seed, (3, 2, rows * size, columns * size), byte)
        means = square_means(images, size)
        assert means.dtype == np.float32
        # one rounding to float32 of numbers up to 1
        np.testing.assert_allclose(means, slow_means(images, size), rtol=0, atol=6e-8)

    def test_squares_of_one_value_keep_it(self):
        coarse = pixels(0, (4, 3, 8, 8), byte=False)
        fine = coarse.repeat(4, axis=2).repeat(4, axis=3)
        assert np.array_equal(square_means(fine, 4), coarse)

    def test_halving_twice_is_quartering(self):
        images = pixels(1, (5, 3, 16, 16))
        # float32 between the two passes
        np.testing.assert_allclose(
            square_means(square_means(images, 2), 2), square_means(images, 4), rtol=0, atol=1.2e-7
        )

    def test_more_samples_than_fit_one_chunk_are_all_done(self, monkeypatch):
        images = pixels(2, (7, 1, 4, 4))
        whole = square_means(images, 2)
        monkeypatch.setattr(resolution, "CHUNK", 3)
        assert np.array_equal(square_means(images, 2), whole)


class TestResolution:
    def test_zero_and_the_own_side_leave_the_images_as_stored(self):
        images = as_images(pixels(0, (8, 3, 8, 8)))
        assert at_resolution(images, 0, "them") is images
        assert at_resolution(images, 8, "them") is images

    def test_labels_and_classes_stay_and_the_given_images_too(self):
        images = as_images(pixels(0, (8, 3, 8, 8)))
        before = images.fingerprint()
        small = at_resolution(images, 2, "them")
        assert small.images.shape == (8, 3, 2, 2)
        assert np.array_equal(small.labels, images.labels)
        assert small.classes == images.classes
        assert images.fingerprint() == before != small.fingerprint()

    @pytest.mark.parametrize("asked", [3, 5, 16, -2])
    def test_what_does_not_divide_the_side_is_refused_with_what_does(self, asked):
        images = as_images(pixels(0, (8, 3, 8, 8)))
        with pytest.raises(InputError, match=rf"data\.resolution = {asked}: .* 1, 2, 4, 8 only"):
            at_resolution(images, asked, "them")

    @pytest.mark.parametrize(
        "array",
        [
            np.zeros((8, 2), np.float32),
            np.zeros((8, 3, 4, 8), np.uint8),
            np.zeros((8, 3, 8, 8), np.int64),
        ],
        ids=["features", "oblong", "ids"],
    )
    def test_samples_that_are_no_square_images_are_refused(self, array):
        with pytest.raises(InputError, match=r"data\.resolution = 2 is for square images"):
            at_resolution(as_images(array), 2, "them")


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Put files of the form of CIFAR-10, 100 training and 40 test images, in its place."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for seed, name in enumerate((*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")):
        rows = pixels(seed, (40 if name == "test_batch" else 20, 3073))
        rows[:, 0] = np.arange(len(rows)) % 10
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    few = replace(FILES, rows={"train": 20, "test": 40})
    real = registry.load

    def load(kind, name):
        asked = (kind, name) == ("datasets", "cifar10")
        return (lambda *, split, data_dir: few.load(split, data_dir)) if asked else real(kind, name)

    monkeypatch.setattr(registry, "load", load)
    return tmp_path


def test_photographs_are_reduced_channel_by_channel_then_standardised(photographs, tiny):
    words = (f"data.dir='{photographs}'", "data.subset=50", "data.resolution=8")
    full, small = (
        setup.make_setup(tiny("data.name=cifar10", *words[:size], name="resnet-20-cifar10"))
        for size in (2, 3)
    )
    assert small.train.pixels.shape == (50, 3, 8, 8)
    assert small.test.pixels.shape == (40, 3, 8, 8)
    expected = slow_means(full.train.pixels.numpy(), 4)
    np.testing.assert_allclose(small.train.pixels, expected, rtol=0, atol=6e-8)
    # Averaging keeps the mean of a channel and takes from its deviation.
    np.testing.assert_allclose(small.mean, full.mean, rtol=1e-6)
    np.testing.assert_allclose(small.std, expected.std(axis=(0, 2, 3)), rtol=1e-6)
    assert "50 training and 40 test images of 8×8 pixels" in small.where()


class TestTestSubset:
    def test_it_is_the_stratified_draw_of_the_test_labels(self, tiny):
        table = tiny("data.test_subset=100", "data.subset_seed=3").data
        test = load_images(table)[1]
        chosen = evaluated(test, table)
        expected = test.take(stratified(test.labels, 100, 3))
        assert chosen.fingerprint() == expected.fingerprint()
        assert np.abs(np.bincount(chosen.labels) - 10).max() <= 1

    def test_a_smaller_one_lies_within_a_larger_one(self, tiny):
        test = load_images(tiny().data)[1]
        few, more = (
            {image.tobytes() for image in evaluated(test, DataTable(test_subset=count)).images}
            for count in (30, 70)
        )
        assert len(few) == 30 < len(more)
        assert few < more

    def test_more_than_there_are_is_refused(self, tiny):
        with pytest.raises(InputError, match=r"data\.test_subset = 501: digits has 500 test"):
            setup.make_setup(tiny("data.test_subset=501"))

    def test_the_fixed_samples_are_those_of_all_test_images(self, tiny):
        (some, few), (all_, whole) = (
            setup.make_setup(tiny(f"data.test_subset={count}")).fixed_samples() for count in (3, 0)
        )
        assert np.array_equal(some, all_)
        assert few.equal(whole)


KEYS = ("data.resolution=8", "data.test_subset=60")


@pytest.fixture(scope="module")
def small_run(tiny, tmp_path_factory):
    run = tmp_path_factory.mktemp("small") / "run"
    outcome = train(tiny(*KEYS, "train.epochs=1"), run)
    return run, outcome


class TestRun:
    def test_it_is_evaluated_on_the_subset_alone(self, small_run, tiny):
        run, outcome = small_run
        source, _ = from_run(run, "last", device="cpu")
        ready = setup.make_setup(tiny(*KEYS))
        images, labels = next(ready.test.in_order(60))
        assert images.shape == (60, 1, 8, 8)
        wrong = (source.model(images).argmax(dim=1) != labels).float().mean()
        assert outcome.metrics["test_error"] == pytest.approx(wrong.item(), abs=1e-6)

    def test_a_collection_has_all_test_images_reduced_and_standardised_alike(self, small_run, tiny):
        source, _ = from_run(small_run[0], "last", device="cpu")
        whole = setup.make_setup(tiny(*KEYS[:1]))
        assert len(source.images) == 500
        x = source.inputs(0, 500, np.arange(500)).args[0]
        assert x.equal(next(whole.test.in_order(500))[0])
        own = source.training(10**6, 0).images.images
        trained_on = whole.train.pixels.numpy()
        assert sorted(map(bytes, own)) == sorted(map(bytes, trained_on))

    def test_it_remembers_both_and_resumes_with_them_only(self, small_run, tiny):
        run, _ = small_run
        table = tomllib.loads((run / "recipe.toml").read_text())["data"]
        assert (table["resolution"], table["test_subset"]) == (8, 60)
        again = tiny(*KEYS, "train.epochs=1")
        assert train(again, run, resume=True).status == "finished"
        for other in ("data.resolution=4", "data.test_subset=61"):
            key = other.partition("=")[0]
            recipe = tiny(*KEYS, "train.epochs=1", other)
            with pytest.raises(InputError, match=rf"another recipe: .*{key}"):
                run_directory.refuse_changed(run, recipe)

    def test_a_recipe_that_was_made_to_ask_for_odd_squares_is_refused(self, small_run, tmp_path):
        run = tmp_path / "copy"
        shutil.copytree(small_run[0], run)
        text = (run / "recipe.toml").read_text()
        (run / "recipe.toml").write_text(text.replace("resolution = 8", "resolution = 7"))
        with pytest.raises(InputError, match=r"data\.resolution = 7: .* 1, 2, 4, 8, 16 only"):
            from_run(run, "last")
        (run / "recipe.toml").write_text(text.replace("resolution = 8", "resolution = 4"))
        with pytest.raises(InputError, match="not those of the run"):
            from_run(run, "last")
        (run / "recipe.toml").write_text(text.replace("resolution = 8", 'resolution = "8"'))
        with pytest.raises(InputError, match=r"data\.resolution = '8', expected a whole number"):
            from_run(run, "last")

    def test_runs_that_differ_in_either_are_no_seeds_of_one_another(self, tiny):
        recipes = [tiny(), tiny(KEYS[0]), tiny(KEYS[1])]
        groups = [grouping(recipe.tables())["group"] for recipe in recipes]
        assert len(set(groups)) == 3

    def test_the_prints_of_the_data_tell_resolutions_apart(self, tiny):
        prints = [
            setup.make_setup(tiny(*words)).data_fingerprint.split()
            for words in ((), KEYS[:1], KEYS)
        ]
        assert prints[0][0] != prints[1][0]
        assert prints[0][1] != prints[1][1]
        assert prints[1] == prints[2]  # the test images that a collection has

    def test_inspect_shows_both(self, small_run, capsys):
        run = str(small_run[0])
        inspect.main([run], standalone_mode=False)
        shown = "data: name = digits, subset = 150, test_subset = 60, resolution = 8"
        assert shown in capsys.readouterr().out
        inspect.main([run, "--json"], standalone_mode=False)
        table = json.loads(capsys.readouterr().out)["data"]
        assert (table["resolution"], table["test_subset"]) == (8, 60)
