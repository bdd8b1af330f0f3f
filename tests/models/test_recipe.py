"""Recipes: round trips, overrides, and what a wrong one is told."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resprobe_models.model_arguments import with_data_arguments
from resprobe_models.recipe import (
    DataTable,
    ModelTable,
    Recipe,
    RecordTable,
    ScheduleTable,
    TrainTable,
    apply_overrides,
    from_tables,
    from_toml,
    load_recipe,
    to_toml,
)
from resprobe_models.schedule import learning_rates, milestone_steps

from resprobe import registry
from resprobe.errors import InputError, UnknownNameError

positive = st.floats(1e-6, 1e3, allow_nan=False)
fractions = st.floats(0, 1, exclude_min=True, exclude_max=True)


@st.composite
def recipes(draw):
    name = draw(st.sampled_from(["constant", "step", "cosine"]))
    milestones = () if name == "constant" else draw(st.lists(fractions, max_size=3))
    rate = draw(positive)
    return Recipe(
        ModelTable(
            "cifar-resnet",
            {"depth": draw(st.sampled_from([8, 20])), "h": draw(st.floats(-2, 2))},
        ),
        DataTable(dir=draw(st.text(st.characters(codec="utf-8"), max_size=8))),
        TrainTable(
            epochs=draw(st.integers(0, 500)),
            seed=draw(st.integers(0, 2**32 - 1)),
            nesterov=draw(st.booleans()),
            stop_train_loss=draw(st.none() | positive),
            dtype=draw(st.sampled_from(["float32", "float64", "bfloat16"])),
        ),
        ScheduleTable(
            name=name, learning_rate=rate, minimum=rate / 2, milestones=tuple(sorted(milestones))
        ),
        RecordTable(every=draw(st.integers(0, 9))),
    )


@settings(max_examples=60, deadline=None)
@given(recipes())
def test_a_recipe_survives_toml(recipe):
    assert from_toml(to_toml(recipe)) == recipe
    assert from_toml(to_toml(recipe)).fingerprint() == recipe.fingerprint()


@settings(max_examples=30, deadline=None)
@given(recipes())
def test_overriding_every_key_with_its_own_value_changes_nothing(recipe):
    import tomli_w

    overrides = [
        f"{name}={tomli_w.dumps({'v': value}).removeprefix('v = ').rstrip()}"
        for name, value in recipe.keys().items()
        if "\n" not in tomli_w.dumps({"v": value}).rstrip()
    ]
    assert apply_overrides(recipe, overrides) == recipe


@pytest.mark.parametrize("name", registry.entries("recipes"))
def test_every_bundled_recipe_loads_and_fits_its_architecture(name):
    recipe = load_recipe(name)
    simplified = "simplified-" if recipe.model.name == "simplified-resnet" else ""
    kind = "resnet" if recipe.model.arguments["residual"] else "plain"
    depth = recipe.model.arguments["depth"]
    assert name == f"{simplified}{kind}-{depth}-{recipe.data.name}"
    assert recipe.model.arguments.get("reading", "B") == "B"


def test_resnet_32_cifar10_has_the_settings_of_chang_et_al():
    """Chang et al. (2018), Sec. 5.2: restarts at epochs 60 and 110 of 160, rates 0.5 to 0.001."""
    recipe = load_recipe("resnet-32-cifar10")
    train = recipe.train
    assert (train.epochs, train.batch_size, train.weight_decay, train.momentum) == (
        160, 100, 2e-4, 0.9,
    )  # fmt: skip
    assert milestone_steps(recipe.schedule.milestones, 160 * 500, 500) == [60 * 500, 110 * 500]
    rate = learning_rates(recipe.schedule, 160 * 500, 500)
    for edge in (0, 60, 110):
        assert rate(edge * 500) == 0.5
    for edge in (60, 110, 160):
        assert rate(edge * 500 - 1) == pytest.approx(0.001, rel=1e-2)


@pytest.mark.parametrize("kind", ["plain", "resnet"])
def test_the_simplified_networks_have_the_settings_of_yu_and_tomasi(kind):
    """Yu and Tomasi (2019), Tables 1 and 2: rate 1e-2, divided by 10 at 120 and 160 of 200."""
    recipe = load_recipe(f"simplified-{kind}-20-cifar10")
    assert (recipe.train.epochs, recipe.train.weight_decay) == (200, 1e-4)
    rate = learning_rates(recipe.schedule, 200 * 391, 391)
    for epoch, expected in ((0, 1e-2), (119, 1e-2), (120, 1e-3), (160, 1e-4), (199, 1e-4)):
        assert rate(epoch * 391) == pytest.approx(expected, rel=1e-12)
    assert "initialisation" not in recipe.model.arguments  # each what the paper gives it


class TestOverrides:
    base = staticmethod(lambda: load_recipe("resnet-20-digits"))

    def test_values_are_toml_and_texts_may_be_bare(self):
        recipe = apply_overrides(
            self.base(),
            [
                "train.epochs=5",
                "model.h = 1",
                "model.activation=post",
                'data.dir="a b"',
                "schedule.name=step",
                'schedule.milestones=[0.5, "8 epochs"]',
                "train.nesterov=true",
                "train.stop_train_accuracy=0.95",
            ],
        )
        assert recipe.train.epochs == 5
        assert recipe.model.arguments["h"] == 1.0
        assert isinstance(recipe.model.arguments["h"], float)
        assert recipe.model.arguments["activation"] == "post"
        assert recipe.data.dir == "a b"
        assert recipe.schedule.milestones == (0.5, "8 epochs")
        assert recipe.train.nesterov is True
        assert recipe.train.stop_train_accuracy == 0.95

    @pytest.mark.parametrize("folder", ["2024", "true", "2024-01-01", "1 = 2", "a=b", "x\ny"])
    def test_a_folder_is_a_text_whatever_it_looks_like(self, folder):
        assert apply_overrides(self.base(), [f"data.dir={folder}"]).data.dir == folder

    def test_the_original_is_unchanged(self):
        recipe = self.base()
        before = to_toml(recipe)
        apply_overrides(recipe, ["train.epochs=1", "model.h=0.1"])
        assert to_toml(recipe) == before

    @pytest.mark.parametrize(
        ("override", "words"),
        [
            ("train.epochs", "is not an override: expected table.key=value"),
            ("epochs=5", "is not an override"),
            ("=5", "is not an override"),
            ("trian.epochs=5", "unknown recipe table 'trian': did you mean train"),
            ("train.epoch=5", "unknown key of [train] 'epoch': did you mean epochs"),
            ("model.deph=20", "unknown key of [model] for cifar-resnet 'deph': did you mean depth"),
            ("model.name=resnet", "unknown model 'resnet': did you mean fc-resnet or cifar-resnet"),
            ("model.depth=twenty", "model.depth = 'twenty': expected a whole number"),
            ("model.reading=C", "unknown model.reading 'C'"),
            ("train.epochs=-3", "train.epochs = -3: expected 0 or more"),
            ("train.epochs=2.5", "train.epochs = 2.5: expected a whole number"),
            ("train.epochs=true", "train.epochs = true: expected a whole number"),
            ("train.epochs=", "train.epochs = '': expected a whole number"),
            ("train.batch_size=0", "train.batch_size = 0: expected 1 or more"),
            ("train.momentum=1.0", "train.momentum = 1.0: expected less than 1"),
            ("train.momentum=nan", "train.momentum = nan: expected a finite number"),
            ("train.weight_decay=-1", "train.weight_decay = -1.0: expected 0 or more"),
            ("train.seed=-1", "train.seed = -1: expected 0 or more"),
            ("train.nesterov=1", "train.nesterov = 1: expected true or false"),
            ("train.optimizer=adm", "unknown train.optimizer 'adm': did you mean adam"),
            ("train.dtype=float16", "unknown train.dtype 'float16': did you mean"),
            ("train.stop_train_accuracy=95", "expected 1 or less"),
            ("train.stop_train_loss=inf", "expected a finite number"),
            ("schedule.learning_rate=0", "schedule.learning_rate = 0.0: expected more than 0"),
            ("schedule.learning_rate=inf", "expected a finite number"),
            ("schedule.minimum=1", "expected schedule.learning_rate (0.1) or less"),
            ("schedule.name=linear", "unknown schedule.name 'linear'"),
            ("schedule.milestones=0.5", "schedule.milestones = 0.5: expected a list"),
            ("schedule.milestones=[2]", "schedule.milestones = 2.0: expected less than 1"),
            ("schedule.milestones=[true]", "expected"),
            ('schedule.milestones=["80"]', "neither a fraction of the run (0.5) nor a number"),
            ("data.augment=flip", "unknown data.augment 'flip': did you mean crop-flip"),
            ("data.subset=-1", "data.subset = -1: expected 0 or more"),
            ("data.test_subset=-1", "data.test_subset = -1: expected 0 or more"),
            ("data.resolution=2.5", "data.resolution = 2.5: expected a whole number"),
            ("record.every=-1", "record.every = -1: expected 0 or more"),
            ("record.jacobian_every=-1", "record.jacobian_every = -1: expected 0 or more"),
            ("checkpoint.every_epochs=x", "checkpoint.every_epochs = 'x': expected a whole"),
        ],
    )
    def test_a_wrong_override_names_key_value_and_what_is_expected(self, override, words):
        with pytest.raises(InputError) as raised:
            apply_overrides(self.base(), [override])
        assert words in str(raised.value)


class TestFiles:
    def test_an_unknown_name_lists_near_ones(self):
        with pytest.raises(UnknownNameError, match="did you mean resnet-20-digits"):
            load_recipe("resnet-20-digit")

    def test_a_path_is_read_and_named_in_messages(self, tmp_path):
        path = tmp_path / "mine.toml"
        path.write_text('[model]\nname = "cifar-resnet"\n')
        assert load_recipe(str(path)).model.arguments["depth"] == 20
        path.write_text("[model\n")
        with pytest.raises(InputError, match=r"mine\.toml is not TOML"):
            load_recipe(path)
        path.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InputError, match=r"mine\.toml cannot be read \(it is not text\)"):
            load_recipe(path)
        with pytest.raises(InputError, match=r"absent\.toml cannot be read \(No such file"):
            load_recipe(tmp_path / "absent.toml")

    @pytest.mark.parametrize(
        ("tables", "words"),
        [
            ({}, "lacks model.name: expected one of cifar-resnet"),
            ({"model": "x"}, "model = 'x': expected a table"),
            ({"model": {"name": 3}}, "model.name = 3: expected a text"),
            ({"model": {"name": "cifar-resnet"}, "extra": {}}, "unknown recipe table 'extra'"),
        ],
    )
    def test_a_recipe_of_another_form_is_refused(self, tables, words):
        with pytest.raises(InputError) as raised:
            from_tables(tables)
        assert words in str(raised.value)

    def test_a_combination_that_makes_no_sense_is_refused(self):
        with pytest.raises(InputError, match=r"expected a train\.momentum above 0"):
            TrainTable(nesterov=True, momentum=0)
        with pytest.raises(InputError, match="a constant schedule has none"):
            ScheduleTable(milestones=(0.5,))
        with pytest.raises(InputError, match=r"which records nothing; give record\.every = 1"):
            RecordTable(every=0, jacobian_every=10)


def test_channels_and_classes_follow_the_data():
    arguments = load_recipe("resnet-20-digits").model.arguments
    assert "classes" not in arguments
    filled = with_data_arguments("cifar-resnet", arguments, shape=(1, 16, 16), classes=10)
    assert (filled["in_channels"], filled["classes"]) == (1, 10)
    with pytest.raises(InputError, match=r"model\.classes = 5: the data set has 10"):
        with_data_arguments("cifar-resnet", {"classes": 5}, shape=(1, 16, 16), classes=10)


class TestSchedules:
    def test_constant(self):
        rate = learning_rates(ScheduleTable(learning_rate=0.3), 10, 5)
        assert {rate(step) for step in range(10)} == {0.3}

    def test_step_falls_at_fractions_and_epochs(self):
        table = ScheduleTable("step", 1.0, (0.5, "15 epochs"), factor=0.1)
        rate = learning_rates(table, 200, 10)
        assert [rate(s) for s in (0, 99, 100, 149)] == [1.0, 1.0, 0.1, 0.1]
        assert rate(150) == pytest.approx(0.01)

    def test_cosine_is_equation_9_of_chang_et_al(self):
        rate = learning_rates(ScheduleTable("cosine", 0.5, minimum=0.001), 1000, 10)
        for step in (0, 1, 250, 999):
            expected = 0.001 + 0.5 * 0.499 * (1 + math.cos(step / 1000 * math.pi))
            assert rate(step) == pytest.approx(expected, rel=1e-12)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(fractions, max_size=4), st.integers(0, 60))
    def test_cosine_falls_within_a_cycle_and_starts_anew(self, milestones, total):
        table = ScheduleTable("cosine", 0.5, tuple(sorted(milestones)), minimum=0.1)
        rate = learning_rates(table, total, 7)
        starts = {0, *milestone_steps(table.milestones, total, 7)}
        for step in range(total):
            assert 0.1 <= rate(step) <= 0.5
            assert rate(step) == 0.5 if step in starts else rate(step) < rate(step - 1)

    def test_milestones_beyond_the_run_are_never_reached(self):
        rate = learning_rates(ScheduleTable("step", 1.0, ("80 epochs",)), 50, 10)
        assert rate(49) == 1.0
        cosine = learning_rates(ScheduleTable("cosine", 1.0, ("80 epochs",)), 50, 10)
        assert cosine(49) < 0.01

    def test_milestones_out_of_order_are_refused(self):
        with pytest.raises(InputError, match="ascending order"):
            milestone_steps([0.5, "1 epoch"], 100, 10)
