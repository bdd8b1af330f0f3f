"""A fingerprint of everything that a verdict was promised by before its runs began."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resprobe_analyses.reproduce.recipes import recipe_tables
from resprobe_analyses.studies.study import Contrast, Setting, Study
from resprobe_analyses.sweeps.specification import Sweep


def row_fingerprint(study: Study, setting: Setting) -> str:
    """Give the fingerprint of a study's contrasts and rules, and of what one setting trains.

    The claim's wording, the pilots and the expected cost are no part of it: they may be improved
    without a new version.
    """
    return _digest([_rules(study), _runs(setting)])


def study_fingerprint(study: Study) -> str:
    """Give the fingerprint of a study with all its scales, which changes only with its version."""
    runs = {
        f"{scale}-{setting.data}": _runs(setting)
        for scale, settings in study.scales.items()
        for setting in settings
    }
    return _digest([_rules(study), runs])


def _rules(study: Study) -> Any:
    return {
        "id": study.id,
        "printed": study.printed,
        "analysis": study.analysis,
        "primary": None if study.primary is None else _contrast(study.primary),
        "secondary": [_contrast(contrast) for contrast in study.secondary],
    }


def _contrast(contrast: Contrast) -> Any:
    rule = contrast.criterion
    parameters: Any = dataclasses.asdict(rule) if dataclasses.is_dataclass(rule) else {}
    return {
        "name": contrast.name,
        "meaning": contrast.meaning,
        "units": contrast.units,
        "reference": contrast.reference,
        "criterion": type(rule).__name__,
        "rule": rule.rule,
        "parameters": parameters,
    }


def _runs(setting: Setting) -> Any:
    sweep: Sweep | None = setting.sweep
    if sweep is None:
        return None
    recipes = {arm.recipe: recipe_tables(arm.recipe) for arm in sweep.arms}
    return {"sweep": sweep, "recipes": recipes}


def _digest(value: Any) -> str:
    text = json.dumps(canonical(value), sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def canonical(value: Any) -> Any:
    """Give a value as JSON has it; 1 and 1.0 differ, the order of a mapping does not count.

    Raises:
        TypeError: a study holds what is no plain value.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: canonical(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float):
        return repr(float(value))  # infinities and NaN too, which JSON does not have
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"a {type(value).__name__} can't be part of a study's fingerprint")
