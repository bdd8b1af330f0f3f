"""Sweep files: what is written is read again, and what is wrong is said in a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from resprobe_analyses.sweeps import Arm, Collection, Sweep, read_sweep, run_sweep, to_toml
from resprobe_analyses.sweeps.file import check_sweep
from resprobe_analyses.sweeps.folder import make, prepare, refuse_another
from resprobe_analyses.sweeps.points import points_of, safe
from sweeping import tiny

from resprobe.errors import InputError

KEYS = ("model.depth", "model.h", "data.name", "train.epochs", "train.betas", "schedule.name")
values = st.one_of(
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
    st.lists(st.integers(0, 9), max_size=2),
)
names = st.text("abcé -_\"'\\.\n", min_size=1, max_size=8)


@st.composite
def sweeps(draw):
    keys = draw(st.permutations(KEYS))
    shared, gridded, own = keys[:2], keys[2:4], keys[4:]
    arms = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    return Sweep(
        name=draw(names),
        arms=tuple(
            Arm(name, "resnet-20-digits", {key: draw(values) for key in own}) for name in arms
        ),
        seeds=tuple(draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4, unique=True))),
        settings={key: draw(values) for key in shared},
        grid={key: tuple(draw(st.lists(values, min_size=1, max_size=3))) for key in gridded},
        collections=tuple(
            Collection(("branch_norm",), samples, checkpoint, {"trials": 3})
            for samples, checkpoint in draw(
                st.lists(st.tuples(st.none() | st.integers(1, 9), st.sampled_from(["all", "12"])))
            )
        ),
    )


@given(sweeps())
def test_a_sweep_that_is_written_is_read_again(tmp_path_factory, sweep):
    file = tmp_path_factory.mktemp("sweep") / "sweep.toml"
    file.write_text(to_toml(sweep), encoding="utf-8")
    assert read_sweep(file) == sweep


FULL = """
recipe = "resnet-20-digits"
seeds = [0, 1]
[set]
"train.epochs" = 2
train.batch_size = 32
[grid]
model.depth = [8, 14]
[[arm]]
name = "half"
set = { "model.h" = 0.5 }
[[arm]]
name = "own"
recipe = "folder/own.toml"
[[collect]]
quantities = ["branch_norm"]
samples = 500
checkpoint = "all"
trials = 5
"""


def test_keys_may_be_quoted_or_nested_and_recipes_lie_beside_the_file(tmp_path):
    file = tmp_path / "full.toml"
    file.write_text(FULL)
    assert read_sweep(file) == Sweep(
        "full",
        (
            Arm("half", "resnet-20-digits", {"model.h": 0.5}),
            Arm("own", str(tmp_path / "folder" / "own.toml")),
        ),
        (0, 1),
        {"train.epochs": 2, "train.batch_size": 32},
        {"model.depth": (8, 14)},
        (Collection(("branch_norm",), 500, "all", {"trials": 5}),),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = [0]", "did you mean seeds"),
        ("seeds = []\nrecipe = 'r'", "seeds is empty"),
        ("seeds = [0]", "no recipe"),
        ("seeds = [0, 0]\nrecipe = 'r'", "the seed 0 is there twice"),
        ("seeds = [0.5]\nrecipe = 'r'", "whole numbers"),
        ("seeds = [true]\nrecipe = 'r'", "whole numbers"),
        ("seeds = 0\nrecipe = 'r'", "whole numbers"),
        ("seeds = [0]\nrecipe = 'r'\ngrid.model.depth = []", "model.depth is empty"),
        ("seeds = [0]\nrecipe = 'r'\n[grid]", "[grid] is empty"),
        ("seeds = [0]\nrecipe = 'r'\ngrid.model.depth = 8", "a list of values"),
        ("seeds = [0]\nrecipe = 'r'\ngrid.depth = [8]", "table.key"),
        (
            "seeds = [0]\nrecipe = 'r'\n[grid]\n'model.depth' = [8]\nmodel.depth = [9]",
            "names model.depth twice",
        ),
        (
            "seeds = [0]\nrecipe = 'r'\nset.model.depth = 8\ngrid.model.depth = [8]",
            "in [grid] and in [set]",
        ),
        ("seeds = [0]\nrecipe = 'r'\nset.train.seed = 3", "train.seed is set"),
        ("seeds = [0]\nrecipe = 'r'\narm = [{}, {}]", "an arm has no name"),
        ("seeds = [0]\nrecipe = 'r'\narm = [{name='a'}, {name='a'}]", "'a' is there twice"),
        ("seeds = [0]\nrecipe = 'r'\narm = [{nam='a'}]", "did you mean name"),
        ("seeds = [0]\nrecipe = 'r'\ncollect = [{samples='all'}]", "a whole number"),
        ("seeds = [0]\nrecipe = 3", "expected a text"),
        ("seeds = [0", "can't be read"),
    ],
)
def test_what_is_no_sweep_is_refused(text, said, tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        read_sweep(file)
    assert said in str(refused.value)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        (tiny(settings={"train.epoch": 1}), "did you mean epoch"),
        (tiny(settings={"trian.epochs": 1}), "did you mean train"),
        (tiny(grid={"model.depht": (8, 14)}), "did you mean depth"),
        (tiny(grid={"model.h": (0.5, "much")}), "model.h"),
        (tiny(arms=[Arm("a", "resnet-20-digts")]), "did you mean resnet-20-digits"),
        (tiny(arms=[Arm("a", "resnet-20-digits"), Arm("b", "resnet-20-digits")]), "a-seed0"),
        (tiny(grid={"model.h": (1, 1.0)}), "one resolved recipe"),
        (tiny(collections=(Collection(("branch_nrom",)),)), "did you mean branch_norm"),
        (tiny(collections=(Collection(("norm",), options={"trails": 5}),)), "did you mean trials"),
        (tiny(collections=(Collection((), options={"trials": "many"}),)), "many"),
        (tiny(collections=(Collection((), checkpoint="newest"),)), "newest"),
    ],
)
def test_every_key_is_checked_before_anything_begins(sweep, said, tmp_path):
    with pytest.raises(InputError) as refused:
        run_sweep(sweep, tmp_path / "out")
    assert said in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_points_have_readable_names_and_the_recipe_they_ask_for():
    arms = (Arm("a", "resnet-20-digits"), Arm("b", "resnet-20-digits", {"model.h": 0.5}))
    sweep = tiny(arms=arms, seeds=(0, 3), grid={"model.depth": (8, 14)}, settings={})
    with pytest.raises(InputError, match=r"model\.depth is in"):
        check_sweep(sweep)  # it is a setting of tiny sweeps
    sweep = Sweep("s", arms, (0, 3), {}, {"model.depth": (8, 14), "train.nesterov": (True,)})
    points = points_of(sweep)
    assert [point.name for point in points[:3]] == [
        "a-depth8-nesterovtrue-seed0",
        "a-depth8-nesterovtrue-seed3",
        "a-depth14-nesterovtrue-seed0",
    ]
    last = points[-1]
    assert last.recipe["model"]["depth"] == 14
    assert last.recipe["model"]["h"] == 0.5
    assert last.recipe["train"]["seed"] == 3
    assert last.threads == 1
    assert last.settings == {"model.h": 0.5, "model.depth": 14, "train.nesterov": True}


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_safe_name_is_a_files_and_tells_texts_apart(one, other):
    for text in (one, other):
        assert "/" not in safe(text)
        assert len(safe(text)) <= 50
    assert (safe(one) == safe(other)) == (one == other)


GROWN = tiny(seeds=(0, 1), settings={"model.h": 1.0})


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (tiny(seeds=(0,), settings={"model.h": 1.0}), "seeds has 1, which is gone"),
        (tiny(seeds=(0, 1), settings={"model.h": 0.5}), "model.h was 1.0, now 0.5"),
        (tiny(seeds=(0, 1)), "model.h was 1.0, now absent"),
        (tiny(seeds=(0, 1), grid={"model.h": (1.0,)}), "now absent"),
        (tiny(seeds=(0, 1), settings={"model.h": 1.0}, grid={"data.pad": (1,)}), "data.pad"),
        (
            tiny(seeds=(0, 1), settings={"model.h": 1.0}, arms=[Arm("a", "resnet-20-digits")]),
            "no arms",
        ),
    ],
)
def test_a_directory_of_another_sweep_is_refused(now, said, tmp_path):
    make(tmp_path)
    prepare(GROWN, points_of(GROWN), tmp_path)
    with pytest.raises(InputError) as refused:
        refuse_another(now, tmp_path)
    assert said in str(refused.value)


def test_a_recipe_that_changed_meanwhile_is_refused(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('[model]\nname = "cifar-resnet"\ndepth = 8\n')
    sweep = Sweep("own", (Arm("", str(file)),), (0,))
    make(tmp_path / "out")
    prepare(sweep, points_of(sweep), tmp_path / "out")
    file.write_text('[model]\nname = "cifar-resnet"\ndepth = 14\n')
    refuse_another(sweep, tmp_path / "out")  # the same file
    with pytest.raises(InputError, match=r"model\.depth was 8, now 14"):
        prepare(sweep, points_of(sweep), tmp_path / "out")


def test_a_point_recorded_before_a_key_was_there_has_its_default(tmp_path):
    make(tmp_path)
    points = points_of(tiny())
    prepare(tiny(), points, tmp_path)
    stored = tmp_path / "points" / "seed0.toml"
    lines = stored.read_text().splitlines(keepends=True)
    older = [line for line in lines if not line.startswith("resolution = 0")]
    assert len(older) == len(lines) - 1
    stored.write_text("".join(older))
    prepare(tiny(), points, tmp_path)
    assert stored.read_text() == "".join(lines)


def test_a_damaged_recipe_of_a_point_is_named(tmp_path):
    make(tmp_path)
    (tmp_path / "points" / "seed0.toml").write_text("[model")
    with pytest.raises(InputError, match=r"seed0\.toml"):
        prepare(tiny(), points_of(tiny()), tmp_path)


def test_another_folder_of_data_is_refused(tmp_path):
    make(tmp_path)
    prepare(tiny(), points_of(tiny(), tmp_path / "one"), tmp_path)
    for other in (tmp_path / "other", None):
        with pytest.raises(InputError, match=r"of seed0, data\.dir was '.*one', now"):
            prepare(tiny(), points_of(tiny(), other), tmp_path)


def test_a_sweep_declared_with_tuples_is_the_same_when_it_is_read_again(tmp_path):
    measured = Collection(("branch_norm",), options={"levels": (1, 2)})
    adam = {"train.optimizer": "adam", "train.betas": (0.8, 0.9)}
    sweep = tiny(settings=adam, collections=(measured,))
    make(tmp_path)
    prepare(sweep, points_of(sweep), tmp_path)
    refuse_another(sweep, tmp_path)
    with pytest.raises(InputError, match=r"train\.betas was"):
        refuse_another(tiny(settings={**adam, "train.betas": (0.8, 0.99)}), tmp_path)


def test_a_directory_that_a_kill_left_half_made_is_taken_up(tmp_path):
    make(tmp_path)
    (tmp_path / ".sweep.toml.new").write_text("name = ")
    refuse_another(tiny(), tmp_path)
    prepare(tiny(), points_of(tiny()), tmp_path)
    assert read_sweep(tmp_path / "sweep.toml") == tiny()
    assert not (tmp_path / ".sweep.toml.new").exists()


def test_a_sweep_that_another_process_began_meanwhile_is_not_overwritten(tmp_path, monkeypatch):
    def make_late(folder):
        make(folder)
        prepare(tiny(seeds=(5,)), points_of(tiny(seeds=(5,))), folder)

    monkeypatch.setattr("resprobe_analyses.sweeps.run.make", make_late)
    with pytest.raises(InputError, match="seeds has 5, which is gone"):
        run_sweep(tiny(), tmp_path / "out")
    assert read_sweep(tmp_path / "out" / "sweep.toml").seeds == (5,)


def test_a_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"thesis\.tex but no sweep\.toml"):
        refuse_another(tiny(), tmp_path)
