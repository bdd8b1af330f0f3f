"""`resprobe collect` of several blocks and re-estimated statistics, from the command line."""

from __future__ import annotations

import json
import shutil

import h5py
import numpy as np
import pytest
import xarray as xr

import resprobe as package

QUICK = ("--samples", 60, "--trials", 2, "--levels", 2, "--training-samples", 40, "--quiet")
EVERY = tuple(
    word
    for name in (
        "multi_lesion_error",
        "shuffle_error",
        "reestimated_lesion_error",
        "reestimated_multi_lesion_error",
        "reestimated_shuffle_error",
    )
    for word in ("--quantity", name)
)
FAMILIES = (
    "lesion-multi",
    "lesion-multi-reestimated",
    "lesion-reestimated",
    "lesion-shuffle",
    "lesion-shuffle-reestimated",
)


@pytest.fixture(scope="session")
def wide(tmp_path_factory, resprobe):
    """A run of a net with two blocks in each stage, so that some can change places."""
    run = tmp_path_factory.mktemp("wide") / "run"
    settings = ("train.epochs=1", "train.batch_size=50", "data.subset=200", "model.depth=14")
    overrides = [word for setting in settings for word in ("--set", setting)]
    result = resprobe("train", "resnet-20-digits", *overrides, "-o", run, "--quiet")
    assert result.exit_code == 0, result.output
    return run


@pytest.fixture(scope="session")
def swept(wide, tmp_path_factory, resprobe):
    run = tmp_path_factory.mktemp("swept") / "run"
    shutil.copytree(wide, run)
    assert resprobe("collect", run, "--quiet", "--samples", 60).exit_code == 0
    result = resprobe("collect", run, *EVERY, *QUICK)
    assert result.exit_code == 0, result.output
    return run


def collected(run):
    (folder,) = (run / "collected").iterdir()
    return folder


def test_every_family_is_written_checked_and_read(swept, resprobe):
    assert {path.stem for path in collected(swept).glob("*.h5")} >= set(FAMILIES)
    result = resprobe("check", swept)
    assert result.exit_code == 0, result.output
    tree = package.open(swept)[f"/{collected(swept).name}"]
    multi = tree["lesion-multi"].to_dataset()
    assert multi["multi_lesion_error"].dims == ("level", "trial")
    assert multi["multi_lesion_correct"].dims == ("sample", "level", "trial")
    assert multi["level"].values.tolist() == [1, 2]
    assert np.isfinite(tree["lesion-reestimated"]["reestimated_lesion_error"].values).all()
    shuffle = tree["lesion-shuffle"].to_dataset()
    # one stage alone has two blocks of equal shape
    assert shuffle["swaps"].values.tolist() == [1, 2]
    assert shuffle["shuffled_stage"].values.tolist() == [-1, -1]
    tree.close()


def test_each_file_says_how_batch_norm_ran(swept):
    modes = {}
    for family in FAMILIES:
        with h5py.File(collected(swept) / f"{family}.h5") as file:
            modes[family] = file.attrs["batch_norm_mode"]
            name = "correct" if "correct" in file[family] else "reestimated_correct"
            assert file[family][name].attrs["batch_norm_mode"] == modes[family]
    assert modes["lesion-multi"] == "eval"
    assert "estimated anew from 40 training images" in modes[FAMILIES[1]]


def test_the_training_images_are_those_of_the_runs_subset(wide):
    from resprobe.data_request import load_images
    from resprobe.source import from_run

    source, _ = from_run(wide, "last")
    assert source.training_subset == (200, 0)
    whole = load_images("digits", "train", None).images
    few, all_ = source.training(10, 0), source.training(10**6, 0)
    assert (len(few.images), len(all_.images)) == (10, 200)
    known = {image.tobytes() for image in whole}
    assert (
        {image.tobytes() for image in few.images.images}
        <= {image.tobytes() for image in all_.images.images}
        <= known
    )
    assert len(set(few.images.labels.tolist())) == 10  # stratified
    assert few.images.labels.tolist() != sorted(few.images.labels.tolist())


def test_equal_settings_are_kept_and_others_refused(swept, resprobe, tree_hash):
    before = tree_hash(swept / "collected")
    again = resprobe("collect", swept, *EVERY, *QUICK)
    assert again.stdout.count("kept as it was measured before") == 5
    more = [30 if word == 40 else word for word in QUICK]
    assert resprobe("collect", swept, "--quantity", "shuffle_error", *more).exit_code == 0
    other = resprobe("collect", swept, "--quantity", "reestimated_shuffle_error", *more)
    assert other.exit_code == 2
    assert "measured with other settings" in other.stderr
    draws = resprobe("collect", swept, "--quantity", "shuffle_error", *QUICK, "--trial-seed", 1)
    assert draws.exit_code == 2
    assert tree_hash(swept / "collected") == before


@pytest.mark.parametrize("family", ["lesion-multi", "lesion-shuffle-reestimated"])
def test_an_interrupted_sweep_goes_on_to_the_same_bits(
    wide, family, tmp_path, resprobe, monkeypatch
):
    from resprobe import session
    from resprobe.quantities.sweep import SweepMeasurement

    monkeypatch.setattr(session, "BATCH", 20)
    quantity = "multi_lesion_error" if "multi" in family else "reestimated_shuffle_error"
    words = ("--quantity", quantity, *QUICK)
    whole, run = (shutil.copytree(wide, tmp_path / name) for name in ("whole", "run"))
    assert resprobe("collect", whole, *words).exit_code == 0
    rows, calls = SweepMeasurement.rows, []

    def counted(self, *given):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return rows(self, *given)

    monkeypatch.setattr(SweepMeasurement, "rows", counted)
    resprobe("collect", run, *words)
    assert list(collected(run).glob("*.partial"))
    assert resprobe("collect", run, *words).exit_code == 0
    assert len(calls) == 3 + 1  # only the batch that was not committed is measured again
    first, second = (
        xr.open_dataset(collected(one) / f"{family}.h5", group=family, engine="h5netcdf").load()
        for one in (whole, run)
    )
    xr.testing.assert_identical(first, second)


def test_the_estimate_counts_the_training_images_too(wide, resprobe, tree_hash):
    before = tree_hash(wide)
    result = resprobe("collect", wide, *EVERY, *QUICK, "--estimate", "--json")
    assert result.exit_code == 0, result.output
    found = {one["family"]: one for one in json.loads(result.stdout)}
    assert set(found) == set(FAMILIES)
    assert all(one["seconds"] > 0 and one["samples"] == 60 for one in found.values())
    assert tree_hash(wide) == before


def test_a_foreign_model_goes_into_a_lone_file(wide, resprobe, tmp_path):
    weights = max((wide / "checkpoints").glob("step-????????.safetensors"))
    arguments = ("depth=14", "width_factor=0.5", "in_channels=1", "classes=10")
    out = tmp_path / "lone.h5"
    words = ["--model", "cifar-resnet", "--weights", weights, "--data", "digits", *QUICK, "-o", out]
    words += [word for argument in arguments for word in ("--model-arg", argument)]
    first = resprobe("collect", *words, "--quantity", "reestimated_multi_lesion_error")
    assert first.exit_code == 0, first.output
    added = resprobe("collect", *words, "--quantity", "+multi_lesion_error", "--preset", "economy")
    assert added.exit_code == 0, added.output
    with h5py.File(out) as file:
        assert file.attrs["batch_norm_mode_lesion-multi"] == "eval"
        assert "training images" in file.attrs["batch_norm_mode_lesion-multi-reestimated"]
        dropped = file["lesion-multi/multi_lesion_dropped"][...]
        again = file["lesion-multi-reestimated/multi_lesion_dropped"][...]
    np.testing.assert_array_equal(dropped, again)
    kept = resprobe("collect", *words, "--quantity", "reestimated_multi_lesion_error")
    assert "kept as it was measured before" in kept.stdout
    assert resprobe("check", out).exit_code == 0


NET = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, wide, norm):
        super().__init__()
        self.linear = nn.Linear(wide, wide)
        self.norm = nn.BatchNorm1d(wide) if norm else nn.Identity()

    def forward(self, x):
        return x + self.norm(self.linear(x))

class Net(nn.Module):
    def __init__(self, norm: bool = False, blocks: int = 2):
        super().__init__()
        self.blocks = nn.Sequential(*[Block(4, norm) for _ in range(blocks)])
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.blocks(x))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    generator = np.random.default_rng(0)
    np.savez("d.npz", x=generator.normal(size=(40, 4)).astype("f4"), y=np.arange(40) % 2)
    return tmp_path


REFUSED = {
    "no statistics": ((), "reestimated_lesion_error", "no BatchNorm with running statistics"),
    "no training images": (
        ("norm=true",),
        "reestimated_multi_lesion_error",
        "d.npz brings no training images",
    ),
    "one block": (("blocks=1",), "shuffle_error", "none can change places: lesion-shuffle can't"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_measured_is_refused_before_anything_is_written(
    place, resprobe, tree_hash, case
):
    arguments, quantity, words = REFUSED[case]
    before = tree_hash(place)
    model = [word for one in arguments for word in ("--model-arg", one)]
    given = ("--model", "net.py:Net", "--data", "d.npz", *model)
    for estimate in ((), ("--estimate",)):
        result = resprobe(
            "collect", *given, "--quantity", quantity, "-o", "out.h5", "--quiet", *estimate
        )
        assert result.exit_code == 2
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert tree_hash(place) == before


@pytest.mark.slow
def test_a_preset_leaves_out_what_can_not_be_measured_and_says_so(place, resprobe):
    given = ("--model", "net.py:Net", "--data", "d.npz", "--preset", "full")
    result = resprobe("collect", *given, "-o", "out.h5", "--quiet", "--trials", 2)
    assert result.exit_code == 0, result.output
    assert "lesion-reestimated left out: the network has no BatchNorm" in result.stdout
    with h5py.File("out.h5") as file:
        assert {"lesion-multi", "lesion-shuffle"} <= set(file)
        assert "lesion-reestimated" not in file
    told = resprobe("collect", *given, "-o", "out.h5", "--quiet", "--trials", 2, "--json")
    left_out = {one["family"]: one["left_out"] for one in json.loads(told.stdout)["collected"]}
    assert left_out["lesion-reestimated"]
    assert not left_out["lesion-multi"]


@pytest.mark.parametrize(
    "option", [("--levels", 0), ("--trials", -3), ("--trial-seed", -1), ("--training-samples", 1)]
)
def test_numbers_out_of_range_end_in_one_sentence(wide, resprobe, option):
    result = resprobe("collect", wide, *option)
    assert result.exit_code == 2
    assert f"{option[0]} {option[1]}: give" in result.stderr


@pytest.mark.slow
def test_what_was_collected_is_analyzed(swept, resprobe):
    result = resprobe("analyze", "lesion", swept, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["analyses"][0]["verdict"]["findings"]
    folder = swept / "analyses" / "lesion"
    if found["groups"][0]["networks"]:
        assert [one["batch_norm"] for one in found["multi"]] == ["as trained", "re-estimated"]
        assert (folder / "figure-multi.png").exists()
        assert (folder / "figure-shuffle.svg").exists()


def test_other_training_images_than_the_runs_are_refused(wide):
    from dataclasses import replace

    from resprobe.errors import InputError
    from resprobe.source import from_run

    source, _ = from_run(wide, "last")
    assert len(source.training_print) == 64
    assert len(source.training(10, 0).images) == 10
    with pytest.raises(InputError, match="are not those of the run"):
        replace(source, training_print="0" * 64).training(10, 0)


def test_a_run_with_noise_on_its_images_is_measured_without_and_says_so(tmp_path, resprobe):
    run = tmp_path / "noisy"
    settings = ("model.depth=8", "data.subset=60", "train.epochs=1", "data.input_noise=0.5")
    arguments = [word for setting in settings for word in ("--set", setting)]
    assert resprobe("train", "resnet-20-digits", "-o", run, *arguments).exit_code == 0
    asked = ("--quantity", "reestimated_branch_norm", "--samples", "20", "--training-samples", "40")
    assert resprobe("collect", run, *asked).exit_code == 0
    with package.open(run) as tree:
        (family,) = (node for node in tree.leaves if node.name == "norms-reestimated")
        mode = family["reestimated_branch_norm"].attrs["batch_norm_mode"]
    assert "without the noise that the run put on its own" in mode
