"""Where a measurement comes from: versions, code state, device and command, as attributes."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import resprobe


def provenance() -> dict[str, str | int]:
    """Give command line, versions, git state, platform and start time for the root attributes."""
    commit, dirty = _git()
    return {
        "title": "resprobe measurements",
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "resprobe_version": resprobe.__version__,
        "torch_version": version("torch"),
        "numpy_version": version("numpy"),
        "h5py_version": version("h5py"),
        "python_version": platform.python_version(),
        "platform": platform.platform(),
        "git_commit": commit,
        "git_dirty": dirty,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def device_attributes(device: str, dtype: str) -> dict[str, str | int]:
    """Give device, dtype, thread count and TF32 flags."""
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine()
    return {
        "device": device,
        "device_name": name,
        "dtype": dtype,
        "threads": torch.get_num_threads(),
        "tf32_matmul": int(torch.get_float32_matmul_precision() != "highest"),
        "tf32_cudnn": int(torch.backends.cudnn.allow_tf32 and device.startswith("cuda")),
    }


def _git() -> tuple[str, int]:
    """Give commit and dirty flag of the working directory's repository ("" and 0 outside one)."""
    try:
        commit = _run("rev-parse", "HEAD")
        return commit, int(bool(_run("status", "--porcelain", "--untracked-files=no")))
    except (OSError, subprocess.SubprocessError):
        return "", 0


def _run(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
