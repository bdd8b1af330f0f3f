"""Invented studies in the place of the bundled ones, and a run for them."""

from __future__ import annotations

import h5py
import invented_studies as invented
import pytest
from click.testing import CliRunner

from resprobe import registry
from resprobe.cli.main import resprobe_command

KEPT = {"branch_norm", "block", "sample", "committed", "status"}


@pytest.fixture(scope="session")
def invented_run(tmp_path_factory):
    """A run with its norms, made without training."""
    folder = tmp_path_factory.mktemp("invented") / "run"
    invoke = CliRunner().invoke
    settings = ("train.epochs=0", "model.depth=8", "data.subset=50", "record.every=0")
    overrides = [word for setting in settings for word in ("--set", setting)]
    words = ["train", "resnet-20-digits", *overrides, "-o", str(folder), "--quiet"]
    assert invoke(resprobe_command, words).exit_code == 0
    words = ["collect", str(folder), "--quantity", "branch_norm", "--samples", "20", "--quiet"]
    assert invoke(resprobe_command, words).exit_code == 0
    (measured,) = folder.glob("collected/*/norms.h5")
    with h5py.File(measured, "r+") as file:  # what no invented study reads takes long to open
        for name in set(file["norms"]) - KEPT:
            del file["norms"][name]
    return folder


@pytest.fixture
def offered(monkeypatch):
    """Register studies instead of the bundled ones; the invented analyses beside the bundled."""
    studies = {}
    real = registry.entries
    own = {
        "studies": lambda: {name: f"invented_studies:{name}" for name in studies},
        "analyses": lambda: {
            **real("analyses"),
            "invented": "invented_studies:ANALYSIS",
            "refusing": "invented_studies:REFUSING",
        },
    }
    monkeypatch.setattr(registry, "entries", lambda kind: own.get(kind, lambda: real(kind))())

    def offer(*given):
        for study in given:
            studies[study.id] = study
            monkeypatch.setattr(invented, study.id, study, raising=False)

    return offer
