"""Any TOML at all is a recipe that stays what it is, or ends in one sentence.

All is drawn from the declarations of the tables, so a new key is fuzzed without a change here.
"""

from __future__ import annotations

import datetime
import types
from dataclasses import fields
from importlib import resources
from typing import Literal, Union, get_args, get_origin, get_type_hints

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from resprobe_models.model_arguments import argument_hints
from resprobe_models.recipe import (
    ModelTable,
    Recipe,
    apply_overrides,
    from_tables,
    from_toml,
    load_recipe,
    to_toml,
)

from resprobe import registry
from resprobe.errors import InputError

MODELS = sorted(registry.entries("models"))
TABLES = {table.NAME: table for table in get_type_hints(Recipe).values() if table is not ModelTable}
HINTS = {
    f"{name}.{key}": hint
    for name, table in TABLES.items()
    for key, hint in get_type_hints(table).items()
    if key != "NAME"
}
LIMITS = {
    f"{name}.{item.name}": item.metadata["limits"]
    for name, table in TABLES.items()
    for item in fields(table)
}
BUNDLED = [
    resources.files(module).joinpath(file).read_bytes()
    for module, file in (registry.target("recipes", name) for name in registry.entries("recipes"))
]
EXTREMES = [0, 1, -1, 2**31, 2**63, -(2**63), 10**400]
FLOATS = [0.0, -0.0, 1.0, -1.0, 5e-324, 1e308, -1e308, float("nan"), float("inf"), float("-inf")]
# TOML has no surrogates; every other letter may stand in a text.
LETTERS = st.characters(exclude_categories=("Cs",))
TEXTS = st.text(LETTERS, max_size=8) | st.sampled_from(["80 epochs", "1e400 epochs", "-1 epochs"])
SCALARS = st.one_of(
    st.booleans(),
    st.integers() | st.sampled_from(EXTREMES),
    st.floats() | st.sampled_from(FLOATS),
    TEXTS,
    st.just("x" * 2000),
    st.dates(min_value=datetime.date(1, 1, 1)),
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)
# Letters of a message; the names of all keys of a table may be among them.
LONGEST = 1000
LENIENT = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def values(hint, limits):  # noqa: PLR0911  # one for each kind of hint
    """Draw values of a hint's type, most within the limits of its key, some at and beyond them."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return st.one_of(*(values(m, limits) for m in arguments if m is not type(None)))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(values(arguments[0], limits), max_size=3)
    if hint is bool:
        return st.booleans()
    if hint is str:
        return TEXTS
    low = limits.get("minimum", limits.get("above", 0))
    high = min(limits.get("maximum", low + 100), limits.get("below", low + 100))
    if hint is int:
        return st.integers(low, high) | st.sampled_from([low - 1, low, high, high + 1, 2**63])
    if hint is float:
        return st.floats(low, high) | st.sampled_from([low, high, low - 1e-9, high + 1e-9, 1e308])
    return ANYTHING


def table_of(name):
    """Draw some keys of a table with values of their types."""
    keys = [key.partition(".")[2] for key in HINTS if key.startswith(f"{name}.")]
    drawn = {key: values(HINTS[f"{name}.{key}"], LIMITS[f"{name}.{key}"]) for key in keys}
    return st.fixed_dictionaries({}, optional=drawn)


def model_of(name):
    drawn = {key: values(hint, {}) for key, hint in argument_hints(name).items() if key != "return"}
    return st.fixed_dictionaries({"name": st.just(name)}, optional=drawn)


DOCUMENTS = st.fixed_dictionaries(
    {"model": st.sampled_from(MODELS).flatmap(model_of)},
    optional={name: table_of(name) for name in TABLES},
)


def recipe_or_sentence(make, culprit=""):
    """Give the recipe, or None for one that was refused in one sentence."""
    try:
        return make()
    except InputError as error:
        message = str(error)
    assert culprit in message
    assert message.isprintable(), message
    assert len(message) < LONGEST, message
    return None


def toml(value):
    """Write one value as TOML."""
    return tomli_w.dumps({"x": value}).removeprefix("x = ").rstrip("\n")


def stays(recipe):
    """Whether a recipe survives being written, and being told what it says already."""
    assert from_toml(to_toml(recipe)) == recipe
    assert from_toml(to_toml(recipe)).fingerprint() == recipe.fingerprint()
    told = [f"{key}={toml(value)}" for key, value in recipe.keys().items()]
    assert apply_overrides(recipe, told) == recipe
    assert apply_overrides(recipe, reversed(told)) == recipe


@LENIENT
@given(DOCUMENTS)
def test_a_document_of_valid_keys_is_a_lasting_recipe_or_a_sentence(document):
    recipe = recipe_or_sentence(lambda: from_toml(tomli_w.dumps(document)))
    if recipe is not None:
        stays(recipe)


@LENIENT
@given(st.data())
def test_one_wrong_value_is_named_by_its_key(data):
    document = {"model": {"name": data.draw(st.sampled_from(MODELS))}}
    key = data.draw(st.sampled_from(sorted(HINTS)))
    table, _, item = key.partition(".")
    value = data.draw(ANYTHING)
    document[table] = {item: value}
    recipe = recipe_or_sentence(lambda: from_tables(document), item)
    if recipe is not None:
        stays(recipe)


@LENIENT
@given(st.dictionaries(TEXTS | st.sampled_from([*TABLES, "model"]), ANYTHING, max_size=3))
def test_any_tables_at_all_are_a_recipe_or_a_sentence(tables):
    recipe = recipe_or_sentence(lambda: from_tables(tables))
    if recipe is not None:
        stays(recipe)


@LENIENT
@given(st.sampled_from(MODELS), TEXTS, ANYTHING)
def test_an_unknown_key_is_named(model, key, value):
    if key in {name.partition(".")[2] for name in HINTS}:
        return
    for table in TABLES:
        with pytest.raises(InputError) as raised:
            from_tables({"model": {"name": model}, table: {key: value}})
        assert str(raised.value).isprintable()
        assert table in str(raised.value)


@LENIENT
@given(
    st.sampled_from(sorted({*HINTS, "model.name", "model.depth", "model.x", "x.y", "train"})),
    TEXTS | SCALARS.map(str) | st.from_regex(r"[\[\]{}\"'=#\n0-9.x,\\-]*", fullmatch=True),
)
def test_an_override_of_any_text_is_a_recipe_or_a_sentence(key, text):
    base = from_tables({"model": {"name": MODELS[0]}})
    recipe = recipe_or_sentence(lambda: apply_overrides(base, [f"{key}={text}"]))
    if recipe is not None:
        stays(recipe)


@LENIENT
@given(st.text(max_size=40) | st.text("[]{}\"'=#\n\r\t .,0123456789abe_-", max_size=40))
def test_any_text_is_a_recipe_or_a_sentence(text):
    assert recipe_or_sentence(lambda: from_toml(text)) is None


@LENIENT
@given(data=st.data())
def test_any_damage_to_a_bundled_recipe_is_a_recipe_or_a_sentence(data, tmp_path_factory):
    content = bytearray(data.draw(st.sampled_from(BUNDLED)))
    place = st.integers(0, len(content) - 1)
    for _ in range(data.draw(st.integers(1, 4))):
        start, length = data.draw(place), data.draw(st.integers(0, 12))
        content[start : start + length] = data.draw(st.binary(max_size=4))
    path = tmp_path_factory.getbasetemp() / "damaged.toml"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    recipe = recipe_or_sentence(lambda: load_recipe(path))
    if recipe is not None:
        stays(recipe)


@pytest.mark.parametrize("key", ["train.epochs", "schedule.learning_rate", "data.name"])
def test_a_number_too_long_to_write_is_refused_by_its_key(key):
    table, _, item = key.partition(".")
    text = f'[model]\nname = "{MODELS[0]}"\n[{table}]\n{item} = 0x{"f" * 5000}\n'
    with pytest.raises(InputError, match=key):
        from_toml(text)
