"""The certificate that `resprobe convert` leaves in what it wrote, as readers need it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resprobe.errors import InputError
from resprobe.files import read_text

CERTIFICATE = "certificate.json"
_FORM = {"to": str, "input": str, "checkpoints": list, "chain": list}
_ROW_FORM = {"step": int, "converted_sha256": str, "outputs": list}


def read_certificate(folder: Path) -> dict[str, Any] | None:
    """Give the certificate of the conversion that wrote a folder, None where there is none.

    Raises:
        InputError: it can't be read, or is no certificate of a conversion.
    """
    path = folder / CERTIFICATE
    if not path.exists():
        return None
    try:
        found = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} can't be read as the certificate of a conversion ({error}); take it from a "
            "copy, or delete it."
        ) from error
    rows = found["checkpoints"] if _has(found, _FORM) else [None]
    if not all(_has(row, _ROW_FORM) for row in rows) or not all(
        isinstance(one, Mapping) for one in found["chain"]
    ):
        raise InputError(
            f"{path} is no certificate of a conversion; take it from a copy, or delete it."
        )
    certificate: dict[str, Any] = found
    return certificate


def _has(found: Any, form: Mapping[str, type]) -> bool:
    return isinstance(found, dict) and all(type(found.get(key)) is form[key] for key in form)


def converted_weights(folder: Path) -> set[str]:
    """Give the SHA-256 of all weights that a conversion wrote there.

    Raises:
        InputError: see `read_certificate`.
    """
    certificate = read_certificate(folder)
    return {row["converted_sha256"] for row in certificate["checkpoints"]} if certificate else set()
