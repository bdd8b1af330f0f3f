"""Whether the data that a row's runs need are at hand, asked before any of them begins."""

from __future__ import annotations

from pathlib import Path

from resprobe.data_request import load_images
from resprobe.errors import InputError
from resprobe_analyses.reproduce.plan import Planned
from resprobe_analyses.sweeps.points import points_of
from resprobe_analyses.sweeps.state import outcome_of


class DataAtHand:
    """Loads each data set once to see whether it is there; what is missing is downloaded by it."""

    def __init__(self, out: Path, data_dir: Path | None) -> None:
        self._out, self._data_dir = out, data_dir
        self._known: dict[tuple[str, str], str] = {}

    def lacking(self, planned: Planned) -> str:
        """Say which data set is missing, why, and what to do; "" where none is.

        Runs that have all ended need no data any more.

        Raises:
            InputError: a recipe or a key of the sweep is unknown.
        """
        sweep = planned.setting.sweep
        if sweep is None:
            return ""
        points, folder = points_of(sweep, self._data_dir), planned.sweep_folder(self._out)
        ended = (outcome_of(folder, point, sweep.collections).status for point in points)
        if all(status not in ("missing", "failed") for status in ended):
            return ""
        for point in points:
            name, place = str(point.recipe["data"]["name"]), str(point.recipe["data"]["dir"])
            why = self._why(name, place)
            if why:
                return (
                    f"the data set {name} is not at hand: {why} Then `resprobe reproduce "
                    f"{planned.study.id} --scale {planned.scale} --data-dir FOLDER` makes this row"
                )
        return ""

    def _why(self, name: str, place: str) -> str:
        if (name, place) not in self._known:
            folder = Path(place) if place else None
            try:
                for split in ("train", "test"):
                    load_images(name, split, folder)
            except InputError as error:
                self._known[name, place] = str(error)
            else:
                self._known[name, place] = ""
        return self._known[name, place]
