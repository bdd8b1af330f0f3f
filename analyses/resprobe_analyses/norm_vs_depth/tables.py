"""Complete tables: every seed at every depth, so that all slopes are over the same depths."""

from __future__ import annotations

from collections.abc import Collection

Cell = tuple[int, int]


def complete_table(cells: Collection[Cell]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Choose depths and seeds so that no cell is missing.

    As long as one is missing, the depth or seed that misses the largest share of its cells is
    left out; of equals a depth, while more than two are left, else a seed; of those the deepest
    or highest. The values in the cells have no say.

    Args:
        cells: the (depth, seed) that there are.

    Returns:
        Depths and seeds, ascending; both empty without cells.
    """
    held = set(cells)
    depths = sorted({depth for depth, _ in held})
    seeds = sorted({seed for _, seed in held})
    while depths and seeds:
        missing = [(d, s) for d in depths for s in seeds if (d, s) not in held]
        if not missing:
            break
        by_depth = {d: sum(cell[0] == d for cell in missing) / len(seeds) for d in depths}
        by_seed = {s: sum(cell[1] == s for cell in missing) / len(depths) for s in seeds}
        worst_depth = max(depths, key=lambda d: (by_depth[d], d))
        worst_seed = max(seeds, key=lambda s: (by_seed[s], s))
        share, other = by_depth[worst_depth], by_seed[worst_seed]
        if share > other or (share == other and len(depths) > 2):
            depths.remove(worst_depth)
        else:
            seeds.remove(worst_seed)
    return tuple(depths), tuple(seeds)
