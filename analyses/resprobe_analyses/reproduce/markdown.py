"""Tables and texts as Markdown has them."""

from __future__ import annotations

from collections.abc import Sequence


def cell(text: str) -> str:
    """Give a text for a cell of a table: on one line, its bars escaped."""
    return " ".join(text.split()).replace("|", "\\|")


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Give a table; every line has as many cells as the head."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def bullets(texts: Sequence[str]) -> str:
    """Give a list."""
    return "\n".join(f"- {text}" for text in texts) + "\n"
