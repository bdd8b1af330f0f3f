"""Run jobs that are killed between two system writes, or in the middle of one.

A server process holds the imports and the preloaded shim; each job runs in a fork of it. What a
job promises (a commit is done) it writes to a pipe, so that the test knows what must be there.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import shutil
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Ending:
    """How a job ended: by which signal (0: it came to its end), after how many calls, and what it
    had promised until then."""

    signal: int
    code: int
    calls: int
    promised: list[Any]
    errors: str


class KillServer:
    """Runs `function(folder, promise)` of a module in forks of one process."""

    def __init__(self, shim: Path, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "killing.py"), module],
            env={**os.environ, "LD_PRELOAD": str(shim)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, job: str, folder: Path, at: int = 0, *, half: bool = False) -> Ending:
        """Run a job whose files lie in `folder`, killed at its `at`-th call (0: not killed)."""
        request = {"job": job, "folder": str(folder), "at": at, "half": half}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Ending(**json.loads(self._process.stdout.readline()))

    def stop(self) -> None:
        """End the server."""
        self._process.communicate(timeout=60)


def build_shim(folder: Path) -> Path:
    """Compile the shim; skip the test where that can't be done."""
    compiler = shutil.which("cc")
    if not sys.platform.startswith("linux"):
        pytest.skip("calls are intercepted by LD_PRELOAD, which is Linux's")
    if compiler is None:
        pytest.skip("no C compiler (cc) to build what kills between two writes")
    shim = folder / "kill_shim.so"
    source = HERE / "kill_shim.c"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(shim), str(source), "-ldl"], check=True
    )
    return shim


def _serve(module: str) -> None:
    shim = ctypes.CDLL(None)
    shim.kill_shim_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int]
    shim.kill_shim_count.restype = ctypes.c_long
    sys.path.insert(0, str(HERE))
    jobs = importlib.import_module(module)
    for line in sys.stdin:
        request = json.loads(line)
        sys.stdout.flush()
        # Pipes, not files: a limit on the size of files must not reach what a job says.
        reading, writing = os.pipe()
        errors, stderr = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(stderr, 1)
            os.dup2(stderr, 2)
            _child(shim, getattr(jobs, request["job"]), request, writing)
        os.close(writing)
        os.close(stderr)
        with os.fdopen(reading, encoding="utf-8") as stream:
            said = [json.loads(text) for text in stream.read().splitlines()]
        with os.fdopen(errors, encoding="utf-8") as stream:
            wrong = stream.read()
        _, status = os.waitpid(child, 0)
        signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        answer = {
            "signal": signal,
            "code": 0 if signal else os.WEXITSTATUS(status),
            "calls": next((item["calls"] for item in said if "calls" in item), 0),
            "promised": [item["promise"] for item in said if "promise" in item],
            "errors": wrong,
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _child(shim: Any, job: Any, request: dict[str, Any], writing: int) -> None:
    def promise(what: Any) -> None:
        os.write(writing, (json.dumps({"promise": what}) + "\n").encode())

    code = 1
    try:
        shim.kill_shim_arm(request["folder"].encode(), request["at"], request["half"])
        try:
            job(Path(request["folder"]), promise)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        calls = shim.kill_shim_count()
        shim.kill_shim_arm(b"", -1, 0)
        os.write(writing, (json.dumps({"calls": calls}) + "\n").encode())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
