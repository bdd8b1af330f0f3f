"""Two moons and the fully connected net: features from the generator to the analysis."""

from contextlib import nullcontext
from copy import deepcopy

import numpy as np
import pytest
import torch
from resprobe_models.architectures.fc_resnet import fc_resnet
from resprobe_models.datasets.batches import DeviceData
from resprobe_models.datasets.two_moons import NOISE, load
from resprobe_models.model_arguments import with_data_arguments
from resprobe_models.recipe import DataTable, apply_overrides, load_recipe
from resprobe_models.training_data import load_images

from resprobe import Recorder, find_blocks
from resprobe.data import Images
from resprobe.errors import InputError


class TestData:
    @pytest.mark.parametrize("split", ["train", "test"])
    def test_the_points_lie_about_their_half_circles(self, split):
        moons = load(split=split)
        assert moons.images.shape == (1000, 2)
        assert moons.images.dtype == np.float32
        assert np.bincount(moons.labels).tolist() == [500, 500]
        centre = np.where(moons.labels[:, None] == 0, [0.0, 0.0], [1.0, 0.5])
        direction = np.where(moons.labels == 0, 1.0, -1.0)[:, None]
        away = (moons.images - centre) * direction
        # Along the radius the noise is one Gaussian; at the ends of an arc too, to first order.
        # The deviation of 1,000 draws is known to 2.2 %, their mean to 0.0032; five of each. The
        # second order of the radius is NOISE²/2 = 0.005.
        radius = np.hypot(*away.T) - 1
        assert radius.std() == pytest.approx(NOISE, rel=0.11)
        assert radius.mean() == pytest.approx(NOISE**2 / 2, abs=0.016)
        assert away[:, 1].min() > -4 * NOISE  # halves, not whole circles

    def test_the_splits_are_fixed_and_differ(self):
        train, test = load(split="train"), load(split="test")
        assert train.fingerprint() == load(split="train").fingerprint()
        assert not {p.tobytes() for p in train.images} & {p.tobytes() for p in test.images}

    def test_augmentation_has_no_meaning_for_points(self):
        with pytest.raises(InputError, match=r"data\.augment = 'crop' is for images.*\(2,\)"):
            load_images(DataTable(name="two-moons", augment="crop"))


class TestFeaturesOnTheDevice:
    def data(self, shape, **choices):
        features = np.random.default_rng(0).normal(3, 2, shape).astype(np.float32)
        split = Images(features, np.arange(shape[0]) % 2, ("a", "b"))
        mean, std = split.standardisation()
        device = torch.device("cpu")
        return DeviceData(
            split, mean=mean, std=std, device=device, dtype=torch.float64, **choices
        ), features

    @pytest.mark.parametrize("shape", [(50, 4), (50, 3, 7)])
    def test_they_are_standardised_along_the_second_dimension(self, shape):
        data, features = self.data(shape)
        batches = torch.cat([batch for batch, _ in data.in_order(16)]).numpy()
        axes = (0, *range(2, len(shape)))
        exact = features.astype(np.float64)
        exact = (exact - exact.mean(axes, keepdims=True)) / exact.std(axes, keepdims=True)
        np.testing.assert_allclose(batches, exact, atol=1e-12)

    def test_channels_last_is_refused_for_them(self):
        with pytest.raises(InputError, match=r"channels_last = true is for images.*\(4,\)"):
            self.data((5, 4), channels_last=True)


class TestNetwork:
    def test_the_output_is_the_sum_written_out(self):
        net = fc_resnet(depth=6, width=5, h=0.3, in_features=4, classes=3).double()
        x = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            state = x @ net.stem.weight.T + net.stem.bias
            for block in net.blocks:
                inner = state @ block.branch.linear1.weight.T + block.branch.linear1.bias
                change = inner.clamp(min=0) @ block.branch.linear2.weight.T
                state = state + 0.3 * (change + block.branch.linear2.bias)
            expected = state @ net.linear.weight.T + net.linear.bias
            # seven samples, sums of five float64 products
            torch.testing.assert_close(net(x), expected, rtol=1e-13, atol=1e-13)

    @pytest.mark.parametrize(("depth", "width"), [(4, 2), (20, 8), (50, 2)])
    def test_its_parameters_are_those_of_its_affine_maps(self, depth, width):
        net = fc_resnet(depth=depth, width=width, in_features=2, classes=2)
        count = 2 * width + width + (depth - 2) * (width**2 + width) + 2 * width + 2
        assert sum(p.numel() for p in net.parameters()) == count
        plain = fc_resnet(depth=depth, width=width, residual=False)
        assert sum(p.numel() for p in plain.parameters()) == count
        assert plain.state_dict().keys() == net.state_dict().keys()

    def test_its_blocks_are_found_and_the_plain_net_names_its_units(self):
        x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
        blocks = find_blocks(fc_resnet(depth=10), x)
        assert [block.name for block in blocks] == [f"blocks.{i}" for i in range(4)]
        assert {block.skip for block in blocks} == {"identity"}
        plain = fc_resnet(depth=10, residual=False)
        assert list(plain.plain_units) == [f"blocks.{i}" for i in range(4)]
        assert {block.skip for block in find_blocks(plain, x)} == {"none"}

    def test_an_image_is_flattened(self):
        assert fc_resnet(in_features=12, classes=3)(torch.zeros(2, 3, 2, 2)).shape == (2, 3)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"depth": 2}, "depth 2: expected 2n \\+ 2 .* are 4 and 6"),
            ({"depth": 7}, "depth 7: .* are 6 and 8"),
            ({"width": 0}, "width 0: expected"),
            ({"h": float("inf")}, "h inf: expected a finite"),
            ({"residual": False, "h": 0.1}, "a plain network has no branch to scale"),
        ],
    )
    def test_bad_arguments_are_refused(self, arguments, words):
        with pytest.raises(InputError, match=words):
            fc_resnet(**arguments)


class TestArgumentsFromTheData:
    def test_the_number_of_features_is_that_of_a_sample(self):
        filled = with_data_arguments("fc-resnet", {}, shape=(1, 16, 16), classes=10)
        assert filled == {"in_features": 256, "classes": 10}
        with pytest.raises(InputError, match=r"model\.in_features = 3: the data set has 2"):
            with_data_arguments("fc-resnet", {"in_features": 3}, shape=(2,), classes=2)

    def test_a_network_of_images_refuses_points(self):
        with pytest.raises(InputError, match=r"cifar-resnet takes images, .* shape \(2,\)"):
            with_data_arguments("cifar-resnet", {}, shape=(2,), classes=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from resprobe_models.train import train

    recipe = apply_overrides(load_recipe("resnet-20-two-moons"), ["train.epochs=8"])
    place = tmp_path_factory.mktemp("moons") / "run"
    outcome = train(recipe, place)
    assert outcome.status == "finished"
    assert outcome.metrics["test_error"] < 0.1
    return place


def test_a_run_on_points_is_recorded_measured_analysed_and_whole(run):
    from click.testing import CliRunner

    import resprobe
    from resprobe.cli.main import resprobe_command

    invoke = CliRunner().invoke
    for words in (["collect", str(run), "--quiet"], ["analyze", str(run)], ["check", str(run)]):
        result = invoke(resprobe_command, words)
        assert result.exit_code == 0, result.output
    tree = resprobe.open(run)
    assert tree["training/step/branch_norm"].sizes == {"step": 160, "block": 9}
    assert tree["step-00000160/lesion/lesion_error"].sizes["block"] == 9


def test_recording_points_changes_no_bit(tmp_path):
    moons = load(split="train")
    x, y = torch.from_numpy(moons.images[:64]), torch.from_numpy(moons.labels[:64])

    def trained(net, recorder=None):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        watch = recorder(net, tmp_path / "run", optimizer=optimizer) if recorder else nullcontext()
        with watch as r:
            for _ in range(3):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(net(x), y)
                loss.backward()
                optimizer.step()
                if r is not None:
                    r.step(loss)
        return net.state_dict()

    net = fc_resnet(depth=8)
    bare, recorded = trained(deepcopy(net)), trained(deepcopy(net), Recorder)
    assert all(torch.equal(bare[name], recorded[name]) for name in bare)
