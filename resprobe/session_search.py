"""Let a family search over the samples before its rows are measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resprobe.quantities.family import RunWithout, Searches
    from resprobe.session import Progress
    from resprobe.store.writer import Writer


def search(
    measurement: Searches,
    group: str,
    writer: Writer,
    *,
    run: RunWithout,
    size: int,
    progress: Progress | None,
) -> None:
    """Search, or go on, writing after each step what is found so far.

    Args:
        measurement: of a family.
        group: of its variables.
        writer: of its file.
        run: makes passes without some branches.
        size: most samples at once.
        progress: told how far it is.
    """
    import torch

    found = {name: writer.get(group, name) for name in measurement.goes_on_from}
    complete = writer.committed(group) > 0
    with torch.no_grad():
        for told in measurement.search(run, size, found, complete=complete):
            for name, values in told.found.items():
                writer.put(group, {name: values})
            if progress is not None:
                progress(f"{group.strip('/')}: {told.step}", told.done, told.total)
