"""Noise on training data: the arrays, and what a recipe and a run make of it."""

import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from resprobe_models import setup
from resprobe_models.datasets.noise import add_gaussian, mosaic, noisy_count, replace_labels
from resprobe_models.recipe import DataTable
from resprobe_models.training_data import load_images, with_noise

from resprobe.data import Images
from resprobe.errors import InputError, UnknownNameError

SEEDS = st.integers(0, 2**32)
FRACTIONS = st.floats(0, 1)


@st.composite
def labelled(draw):
    classes = draw(st.integers(2, 12))
    count = draw(st.integers(1, 80))
    return draw(nps.arrays(np.int64, count, elements=st.integers(0, classes - 1))), classes


class TestLabels:
    @given(labelled(), FRACTIONS, SEEDS)
    def test_exactly_the_count_changes_each_to_another_class(self, data, fraction, seed):
        labels, classes = data
        before = labels.copy()
        noisy = replace_labels(labels, classes, fraction, seed)
        assert np.array_equal(labels, before)
        assert (noisy != labels).sum() == noisy_count(fraction, len(labels))
        assert noisy.dtype == np.int64
        assert ((noisy >= 0) & (noisy < classes)).all()

    @given(labelled(), FRACTIONS, FRACTIONS, SEEDS)
    def test_more_noise_keeps_the_changes_of_less(self, data, one, other, seed):
        labels, classes = data
        less, more = (replace_labels(labels, classes, f, seed) for f in sorted((one, other)))
        changed = less != labels
        assert np.array_equal(less[changed], more[changed])

    @given(labelled(), FRACTIONS, SEEDS)
    def test_the_same_seed_draws_the_same(self, data, fraction, seed):
        labels, classes = data
        first, second = (replace_labels(labels, classes, fraction, seed) for _ in range(2))
        assert np.array_equal(first, second)

    def test_another_seed_draws_others(self):
        labels = np.zeros(100, np.int64)
        assert (replace_labels(labels, 10, 0.5, 0) != replace_labels(labels, 10, 0.5, 1)).any()

    def test_every_other_class_is_drawn_about_equally(self):
        noisy = replace_labels(np.full(9000, 3), 10, 1.0, 5)
        counts = np.bincount(noisy, minlength=10)
        assert counts[3] == 0
        # Binomial with n = 9000, p = 1/9: standard deviation 30; five of them.
        assert np.abs(np.delete(counts, 3) - 1000).max() < 150

    @pytest.mark.parametrize(
        ("fraction", "samples", "count"), [(0.2, 1297, 259), (0.5, 3, 2), (0.1, 4, 0), (1, 7, 7)]
    )
    def test_the_count_is_rounded(self, fraction, samples, count):
        assert noisy_count(fraction, samples) == count


def pixels(seed=0, shape=(5, 3, 8, 6), dtype=np.uint8):
    values = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    return values if dtype is np.uint8 else (values / 255).astype(dtype)


class TestGaussian:
    def test_its_deviation_is_the_level_on_the_standardised_scale(self):
        images, std = np.full((400, 2, 16, 16), 128, np.uint8), [0.25, 0.5]
        noisy = add_gaussian(images, std, 0.4, seed=3)
        noise = (noisy - 128 / 255) / np.array(std).reshape(2, 1, 1)
        # n = 102,400 draws a channel: the deviation is known to 0.4/√(2n) = 9e-4, the mean to
        # 0.4/√n = 1.3e-3; five of each.
        assert np.abs(noise.std(axis=(0, 2, 3)) - 0.4).max() < 5 * 9e-4
        assert np.abs(noise.mean(axis=(0, 2, 3))).max() < 5 * 1.3e-3

    @given(SEEDS, st.integers(1, 5))
    def test_a_shorter_set_gets_the_beginning_of_the_same_noise(self, seed, count):
        images = pixels()
        whole = add_gaussian(images, [0.2, 0.3, 0.1], 0.5, seed)
        assert np.array_equal(
            add_gaussian(images[:count], [0.2, 0.3, 0.1], 0.5, seed), whole[:count]
        )

    @given(SEEDS, st.floats(0.01, 3))
    def test_it_grows_linearly_with_the_level(self, seed, level):
        images = np.zeros((4, 3, 8, 6), np.float32)
        one = add_gaussian(images, [1.0, 1.0, 1.0], 1.0, seed)
        # one rounding of float32 each for the level and the product
        np.testing.assert_allclose(
            add_gaussian(images, [1.0, 1.0, 1.0], level, seed), level * one, rtol=3e-7
        )

    def test_bytes_and_floats_of_one_image_get_the_same_noise(self):
        noisy = [
            add_gaussian(pixels(dtype=kind), [0.2] * 3, 0.1, 7) for kind in (np.uint8, np.float32)
        ]
        np.testing.assert_allclose(noisy[0], noisy[1], atol=1e-7)  # pixel / 255 rounded either way

    def test_features_get_it_by_column(self):
        noisy = add_gaussian(np.zeros((20_000, 2), np.float32), [1.0, 10.0], 0.5, 0)
        # relative error of a deviation from 20,000 draws: 0.5 %; five of them
        np.testing.assert_allclose(noisy.std(axis=0), [0.5, 5.0], rtol=0.025)


def slow_mosaic(images, side):
    """Square by square, with plain slices, in float64."""
    out = images.astype(np.float64) / (255 if images.dtype == np.uint8 else 1)
    for y in range(0, images.shape[2], side):
        for x in range(0, images.shape[3], side):
            square = out[:, :, y : y + side, x : x + side]
            square[...] = square.mean(axis=(2, 3), keepdims=True)
    return out


class TestMosaic:
    @settings(max_examples=40)
    @given(
        st.integers(1, 9), st.integers(1, 12), st.integers(1, 12), st.booleans(), st.integers(0, 9)
    )
    def test_it_equals_the_loop_over_squares_also_at_cut_rims(
        self, side, height, width, byte, seed
    ):
        images = pixels(seed, (3, 2, height, width), np.uint8 if byte else np.float32)
        coarse = mosaic(images, side)
        assert coarse.dtype == np.float32
        np.testing.assert_allclose(coarse, slow_mosaic(images, side), atol=6e-8)

    @settings(max_examples=40)
    @given(st.integers(1, 9), st.integers(1, 12), st.integers(1, 12), st.integers(0, 9))
    def test_a_second_pass_changes_no_bit_and_the_mean_stays(self, side, height, width, seed):
        images = pixels(seed, (3, 2, height, width), np.float32)
        coarse = mosaic(images, side)
        assert np.array_equal(mosaic(coarse, side), coarse)
        np.testing.assert_allclose(
            coarse.mean(axis=(2, 3), dtype=np.float64),
            images.mean(axis=(2, 3), dtype=np.float64),
            atol=6e-8,
        )

    def test_more_samples_than_fit_one_chunk_are_all_done(self, monkeypatch):
        from resprobe_models.datasets import noise

        whole, noisy = mosaic(pixels(), 3), add_gaussian(pixels(), [1.0] * 3, 1.0, 0)
        monkeypatch.setattr(noise, "CHUNK", 2)
        assert np.array_equal(mosaic(pixels(), 3), whole)
        assert np.array_equal(add_gaussian(pixels(), [1.0] * 3, 1.0, 0), noisy)


CLEAN = Images(pixels(shape=(40, 3, 8, 6)), np.arange(40) % 4, tuple("abcd"))
STD = CLEAN.standardisation()[1]


class TestRecipe:
    def test_without_noise_the_very_same_images_are_trained_on(self):
        table = DataTable(input_noise_kind="mosaic", noise_seed=5)
        assert with_noise(CLEAN, table, STD, 0) is CLEAN

    def test_both_noises_join_and_leave_the_clean_images_alone(self):
        before = CLEAN.fingerprint()
        table = DataTable(label_noise=0.25, input_noise=0.5, noise_seed=2)
        noisy = with_noise(CLEAN, table, STD, 0)
        assert np.array_equal(noisy.labels, replace_labels(CLEAN.labels, 4, 0.25, 2))
        assert np.array_equal(noisy.images, add_gaussian(CLEAN.images, STD, 0.5, 2))
        assert CLEAN.fingerprint() == before
        assert noisy.fingerprint() != before

    def test_label_noise_alone_keeps_the_stored_bytes(self):
        assert with_noise(CLEAN, DataTable(label_noise=0.5), STD, 0).images is CLEAN.images

    def test_a_mosaic_has_the_side_that_is_asked(self):
        table = DataTable(input_noise=4, input_noise_kind="mosaic")
        assert np.array_equal(with_noise(CLEAN, table, STD, 0).images, mosaic(CLEAN.images, 4))

    @pytest.mark.parametrize(
        ("keys", "words"),
        [
            ({"label_noise": 1.5}, r"data\.label_noise = 1\.5: expected 1 or less"),
            ({"label_noise": -0.1}, r"data\.label_noise = -0\.1: expected 0 or more"),
            ({"label_noise": float("nan")}, r"data\.label_noise = nan"),
            ({"label_noise": "much"}, r"data\.label_noise = 'much'"),
            ({"input_noise": -1}, r"data\.input_noise = -1\.0: expected 0 or more"),
            ({"input_noise": float("inf")}, r"data\.input_noise = inf"),
            ({"noise_seed": -1}, r"data\.noise_seed = -1"),
            ({"noise_seed": 0.5}, r"data\.noise_seed = 0\.5: expected a whole number"),
            ({"input_noise": 2.5, "input_noise_kind": "mosaic"}, r"whole pixels; expected 2, 3"),
            ({"input_noise": 1, "input_noise_kind": "mosaic"}, r"whole pixels; expected 2, 3"),
        ],
    )
    def test_bad_values_are_refused(self, keys, words):
        with pytest.raises(InputError, match=words):
            DataTable(**keys)

    def test_an_unknown_kind_is_refused_with_the_near_one(self):
        with pytest.raises(UnknownNameError, match="did you mean mosaic"):
            DataTable(input_noise_kind="mosaik")

    @pytest.mark.parametrize(
        ("images", "side"), [(CLEAN, 9), (Images(np.zeros((4, 2)), np.arange(4), ("a", "b")), 2)]
    )
    def test_a_mosaic_that_the_samples_cannot_have_is_refused(self, images, side):
        table = DataTable(input_noise=side, input_noise_kind="mosaic")
        with pytest.raises(InputError, match="a mosaic needs images of at least that many pixels"):
            with_noise(images, table, STD, 0)

    def test_label_noise_needs_two_classes(self):
        single = Images(np.zeros((4, 1, 2, 2)), np.zeros(4, np.int64), ("a",))
        with pytest.raises(InputError, match="one class only"):
            with_noise(single, DataTable(label_noise=0.5), [1.0], 0)


class TestRun:
    NOISY = ("data.label_noise=0.2", "data.input_noise=0.3", "data.noise_seed=4")

    def test_the_test_set_and_the_standardisation_stay_clean(self, tiny):
        noisy, clean = (setup.make_setup(tiny(*words)) for words in (self.NOISY, ()))
        assert (noisy.mean, noisy.std) == (clean.mean, clean.std)
        assert noisy.test.pixels.equal(clean.test.pixels)
        assert noisy.test.labels.equal(clean.test.labels)
        assert (noisy.train.labels != clean.train.labels).sum() == 30  # of 150
        train, test = noisy.data_fingerprint.split()
        assert test == clean.data_fingerprint.split()[1]
        assert train != clean.data_fingerprint.split()[0]
        # on the standardised scale, as the network sees it; 38,400 draws: 0.4 %, five of them
        noise = (noisy.train.pixels - clean.train.pixels) / clean.std[0]
        assert noise.std().item() == pytest.approx(0.3, rel=0.02)

    def test_the_seed_of_the_run_draws_the_noise_unless_it_has_its_own(self, tiny):
        def trained_on(*words):
            return setup.make_setup(tiny("data.label_noise=0.2", *words)).data_fingerprint

        assert trained_on("train.seed=0") != trained_on("train.seed=1")
        assert trained_on("train.seed=1") == trained_on("train.seed=0", "data.noise_seed=1")
        own = "data.noise_seed=4"
        assert trained_on("train.seed=0", own) == trained_on("train.seed=1", own)

    def test_noise_that_is_0_is_bit_identical_to_none(self, tiny):
        zero = tiny("data.label_noise=0", "data.input_noise=0", "data.noise_seed=9")
        assert setup.make_setup(zero).data_fingerprint == setup.make_setup(tiny()).data_fingerprint

    def test_it_is_drawn_for_the_images_that_are_trained_on(self, tiny):
        table = tiny(*self.NOISY).data
        train, _ = load_images(table)
        assert len(train) == 150
        noisy = with_noise(train, table, train.standardisation()[1], 0)
        assert (noisy.labels != train.labels).sum() == noisy_count(0.2, 150)

    def test_a_noisy_run_remembers_it_resumes_and_is_measured_on_clean_images(self, tiny, tmp_path):
        from resprobe_models.train import train

        from resprobe.source import from_run

        run = tmp_path / "run"
        train(tiny(*self.NOISY, "train.epochs=1"), run)
        recipe = tomllib.loads((run / "recipe.toml").read_text())
        assert recipe["data"]["label_noise"] == 0.2
        assert recipe["data"]["input_noise"] == 0.3
        assert train(tiny(*self.NOISY, "train.epochs=1"), run, resume=True).status == "finished"
        source, _ = from_run(run, "last", device="cpu")
        clean = setup.make_setup(tiny())
        assert np.array_equal(source.images.images, clean.test.pixels.numpy())
        assert np.array_equal(source.images.labels, clean.test.labels.numpy())
        assert source.mean == clean.mean
