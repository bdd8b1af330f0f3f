"""Sweeps: a grid over keys of recipes and over seeds, each point a run directory.

`specification` says what is run, `file` reads and writes it as TOML, `run` runs it on dask,
`outcomes` say how each run ended.
"""

from resprobe_analyses.sweeps.file import read_sweep, to_toml
from resprobe_analyses.sweeps.outcomes import PointOutcome
from resprobe_analyses.sweeps.run import run_sweep
from resprobe_analyses.sweeps.specification import Arm, Collection, Sweep

__all__ = [
    "Arm",
    "Collection",
    "PointOutcome",
    "Sweep",
    "read_sweep",
    "run_sweep",
    "to_toml",
]
