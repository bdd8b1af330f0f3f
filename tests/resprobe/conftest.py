"""One small trained and collected run for all tests; a test that changes it takes a copy."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from resprobe.cli.main import resprobe_command

TINY = (
    "train.epochs=2",
    "train.batch_size=50",
    "data.subset=200",
    "model.depth=8",
    "checkpoint.every_epochs=1",
)


def invoke(*arguments: object) -> Result:
    """Run `resprobe ARGUMENTS` in this process; unexpected exceptions come through."""
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(resprobe_command, words, prog_name="resprobe")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="session")
def resprobe():
    """The command line: `resprobe("check", path)` gives exit code, stdout and stderr."""
    return invoke


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A run of two epochs with a checkpoint after each, nothing collected; not to be changed."""
    run = tmp_path_factory.mktemp("trained") / "run"
    overrides = [word for setting in TINY for word in ("--set", setting)]
    result = invoke("train", "resnet-20-digits", *overrides, "-o", run, "--quiet")
    assert result.exit_code == 0, result.output
    return run


@pytest.fixture(scope="session")
def asked() -> list[str]:
    """The options of `collect` for norms, influence and lesions."""
    names = ("branch_norm", "block_influence", "lesion_error")
    return [word for name in names for word in ("--quantity", name)]


@pytest.fixture(scope="session")
def collected(trained, asked, tmp_path_factory) -> Path:
    """That run with norms, influence and lesions of its last checkpoint over all samples."""
    run = tmp_path_factory.mktemp("collected") / "run"
    shutil.copytree(trained, run)
    result = invoke("collect", run, *asked, "--quiet")
    assert result.exit_code == 0, result.output
    return run


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy of the trained run, to be changed at will."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def measured(collected, tmp_path) -> Path:
    """A copy of the collected run, to be changed at will."""
    return Path(shutil.copytree(collected, tmp_path / "measured"))


@pytest.fixture(scope="session")
def weights_of():
    """Give the arguments of `collect --model` that stand for a run's last checkpoint."""

    def words(run: Path) -> list[object]:
        weights = max((run / "checkpoints").glob("step-????????.safetensors"))
        model = ("depth=8", "width_factor=0.5", "in_channels=1", "classes=10")
        return [
            "--model",
            "cifar-resnet",
            *(word for argument in model for word in ("--model-arg", argument)),
            "--weights",
            weights,
            "--data",
            "digits",
        ]

    return words


@pytest.fixture(scope="session")
def tree_hash():
    """Give the SHA-256 of names and contents of everything below a directory."""

    def digest(folder: Path) -> str:
        whole = hashlib.sha256()
        for path in sorted(folder.rglob("*")):
            whole.update(str(path.relative_to(folder)).encode())
            if path.is_file():
                whole.update(hashlib.sha256(path.read_bytes()).digest())
        return whole.hexdigest()

    return digest
