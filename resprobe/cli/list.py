"""The command `list`."""

from __future__ import annotations

import inspect
from typing import Any

import click

from resprobe import registry
from resprobe.cli.common import emit, output_options
from resprobe.errors import UnknownNameError


@click.command("list")
@click.argument("kind", required=False)
@output_options
def list_(kind: str | None, as_json: bool, quiet: bool) -> None:
    """List what is registered: models, datasets, recipes, quantities, analyses, studies, commands.

    \b
    Example:
        resprobe list recipes
        resprobe list quantities --json
    """
    kinds = registry.KINDS if kind is None else (kind,)
    if kind is not None and kind not in registry.KINDS:
        raise UnknownNameError("kind", kind, registry.KINDS)
    document = {name: _rows(name) for name in kinds}
    text = "\n\n".join(_table(name, rows) for name, rows in document.items())
    emit(as_json, document[kind] if kind is not None else document, text)


def _rows(kind: str) -> list[dict[str, Any]]:
    names = registry.entries(kind)
    if kind == "quantities":
        from resprobe.quantities.quantity import all_quantities

        return [
            {
                "name": q.name,
                "family": q.family,
                "dims": list(q.dims),
                "units": q.units,
                "cost": q.cost,
                "standard": bool(q.measured_by) and q.standard,
                "estimate": q.estimate,
                "while_training": q.while_training or q.family in ("step", "pair"),
                "formula": q.formula,
                "source": q.source,
                "meaning": q.meaning,
            }
            for q in all_quantities().values()
        ]
    if kind == "analyses":
        return [{"name": n, "meaning": registry.load(kind, n).meaning} for n in names]
    if kind == "studies":
        return [_study(name) for name in names]
    if kind == "datasets":
        return [
            {"name": n, "object": target, "meaning": _first_line(registry.load(kind, n))}
            for n, target in names.items()
        ]
    return [{"name": name, "object": target} for name, target in names.items()]


def _study(name: str) -> dict[str, Any]:
    study = registry.load("studies", name)
    return {
        "name": name,
        "version": study.version,
        "meaning": study.claim,
        "source": study.source,
        "scales": list(study.scales),
    }


def _first_line(documented: Any) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def _table(kind: str, rows: list[dict[str, Any]]) -> str:
    if not rows:
        return f"{kind}\n  none"
    wide = max(len(row["name"]) for row in rows)
    families = max(len(row.get("family", "")) for row in rows)
    lines = [kind]
    for row in rows:
        if kind == "quantities":
            dims = ", ".join(row["dims"]) or "scalar"
            note = f"{row['family']:<{families}}  ({dims}): {row['formula']}. {row['meaning']}"
        else:
            note = row.get("meaning") or row["object"]
        lines.append(f"  {row['name']:<{wide}}  {note}")
    return "\n".join(lines)
