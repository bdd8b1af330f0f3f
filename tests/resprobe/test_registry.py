"""Names are found through entry points; doubtful ones are refused with what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from resprobe import registry
from resprobe.errors import InputError, UnknownNameError


@dataclass
class Point:
    """An entry point as importlib.metadata gives it."""

    package: str
    offered: Any
    value: str = "somewhere:ENTRIES"
    dist: Any = field(init=False)

    def __post_init__(self):
        self.dist = SimpleNamespace(name=self.package)

    def load(self):
        if isinstance(self.offered, Exception):
            raise self.offered
        return self.offered


def test_entries_of_several_packages_are_joined():
    points = [Point("ours", {"b": "m:B"}), Point("theirs", {"a": "n:A"})]
    assert registry.merge("models", points) == {"a": "n:A", "b": "m:B"}


def test_a_name_offered_twice_is_an_error_that_names_both_packages():
    points = [Point("ours", {"net": "m:A"}), Point("theirs", {"net": "n:A"})]
    with pytest.raises(InputError, match=r"'net' is offered twice, by ours .* by theirs"):
        registry.merge("models", points)


def test_one_package_may_not_offer_a_name_in_two_entry_points():
    points = [Point("ours", {"net": "m:A"}, "a:E"), Point("ours", {"net": "m:A"}, "b:E")]
    with pytest.raises(InputError, match="offered twice"):
        registry.merge("models", points)


def test_a_package_found_twice_on_the_path_is_no_conflict():
    points = [Point("ours", {"net": "m:A"}), Point("ours", {"net": "m:A"})]
    assert registry.merge("models", points) == {"net": "m:A"}


@pytest.mark.parametrize("error", [ImportError("no module x"), AttributeError("no ENTRIES")])
def test_a_broken_entry_point_is_named_with_its_package(error):
    with pytest.raises(InputError, match=r"theirs \(somewhere:ENTRIES\).*models.*does not load"):
        registry.merge("models", [Point("theirs", error)])


@pytest.mark.parametrize("offered", [["net"], {"net": 3}, {"net": "no-colon"}, None])
def test_entries_that_are_no_dictionary_of_targets_are_named_with_their_package(offered):
    with pytest.raises(InputError, match=r"theirs .*models is no dictionary of names to"):
        registry.merge("models", [Point("theirs", offered)])


def test_a_target_that_does_not_import_is_named(monkeypatch):
    offered = {"gone": "no_such_module:net", "half": "resprobe.data:no_such_object"}
    monkeypatch.setattr(registry, "entries", lambda kind: offered)
    for name, target in offered.items():
        with pytest.raises(InputError, match=f"model {name!r} .*{target}"):
            registry.load("models", name)


def test_an_unknown_name_lists_near_names_and_all_known_ones():
    with pytest.raises(UnknownNameError, match="did you mean digits") as caught:
        registry.load("datasets", "digitz")
    assert "cifar10" in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_unknown_kind_is_refused_with_near_names():
    with pytest.raises(UnknownNameError, match="did you mean datasets"):
        registry.entries("dataset")


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_kind_can_be_listed_and_has_a_singular(kind):
    assert registry.entries(kind) == dict(sorted(registry.entries(kind).items()))
    assert kind in registry.SINGULAR
