"""Run the notebooks and keep them with what they print and draw: `python notebooks/refresh.py`.

Needs the extra `test`. A notebook runs from top to bottom in a directory of its own, in a kernel
of this Python, on one thread. What differs from run to run without meaning (times, versions of the
kernel) is not kept; a hash of the code says later which code the outputs are of.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
SECONDS = 300  # the longest for one cell, on a busy machine


def code_hash(notebook: nbformat.NotebookNode) -> str:
    """Give the SHA-256 of the code cells, in their order."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Give the notebook at `path` with its outputs anew.

    Args:
        path: of the notebook, which is only read.
        folder: an empty directory: it runs in `folder/here`, beside copies of the folders that lie
            beside the notebook, with `folder/temporary` as the place for temporary files.
    """
    here, temporary = folder / "here", folder / "temporary"
    here.mkdir()
    temporary.mkdir()
    copies = [here / part.name for part in path.parent.iterdir() if _belongs(part)]
    for copy in copies:
        shutil.copytree(path.parent / copy.name, copy, ignore=shutil.ignore_patterns("__*__"))
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(here)}},
    )
    # `!resprobe` is that of this environment
    threads = {"OMP_NUM_THREADS": "1"}
    client.execute(env={**os.environ, **threads, "PATH": search, "TMPDIR": str(temporary)})
    for copy in copies:
        shutil.rmtree(copy)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "outputs_of_code": code_hash(notebook),
    }
    return notebook


def _belongs(part: Path) -> bool:
    """Whether something beside a notebook is a folder of files for it."""
    return part.is_dir() and not part.name.startswith((".", "_"))


def main() -> None:
    """Run all of them, or those whose paths are given, and write them in their places."""
    for path in map(Path, sys.argv[1:] or sorted(FOLDER.glob("*.ipynb"))):
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
        nbformat.write(notebook, path)
        print(path.name)


if __name__ == "__main__":
    main()
