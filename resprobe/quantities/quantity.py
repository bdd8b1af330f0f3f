"""The declaration of a quantity: store attributes, validation, tables and lists come from it."""

from __future__ import annotations

from dataclasses import dataclass

from resprobe.errors import InputError
from resprobe.registry import entries, load

COSTS = ("weights", "hook", "lesion", "noise", "jvp", "jacobian")
# None: all samples. What is of the weights alone takes none, whatever is asked for.
DEFAULT_SAMPLES = {
    "weights": 0,
    "hook": None,
    "lesion": None,
    "noise": 1024,
    "jvp": 256,
    "jacobian": 16,
}


@dataclass(frozen=True)
class Quantity:
    """What can be measured.

    Attributes:
        name: as stored, listed and asked for.
        family: the collected family that holds it, or "step" / "epoch" / "pair" of `training.h5`.
        dims: of the stored variable.
        units: "1" where it has none.
        dtype: of the stored variable.
        formula: in the words of the documentation.
        source: paper and equation, or "definition".
        meaning: one sentence.
        cost: one of `COSTS`.
        estimate: whether it travels with an error instead of being exact.
        while_training: whether `training.h5` holds its mean and standard deviation over the
            batch at each recorded step.
        measured_by: `"module:object"` of the family's `Measurement`, "" for what is recorded
            while training only.
        standard: whether the presets `economy` and `standard` measure it, where its cost class
            is among theirs; `full` measures all.
    """

    name: str
    family: str
    dims: tuple[str, ...]
    units: str
    dtype: str
    formula: str
    source: str
    meaning: str
    cost: str
    estimate: bool = False
    while_training: bool = False
    measured_by: str = ""
    standard: bool = True

    def attributes(self) -> dict[str, str]:
        """Give the attributes of the stored variable (CF style)."""
        return {
            "units": self.units,
            "long_name": self.meaning.rstrip("."),
            "formula": self.formula,
            "source": self.source,
            "exactness": "estimate" if self.estimate else "exact",
        }


def all_quantities() -> dict[str, Quantity]:
    """Give every registered quantity by its name.

    Raises:
        InputError: an entry is registered under another name than its own.
    """
    found = {}
    for name in entries("quantities"):
        quantity = load("quantities", name)
        if quantity.name != name:
            raise InputError(
                f"the quantity registered as {name!r} calls itself {quantity.name!r}; "
                "give both the same name in the package that offers it."
            )
        found[name] = quantity
    return found


def of_family(family: str) -> list[Quantity]:
    """Give the quantities of one family, in the order of their names."""
    return [q for q in all_quantities().values() if q.family == family]
