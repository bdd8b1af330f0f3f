"""`resprobe collect` of Jacobians: how many samples, interruptions, too little memory."""

from __future__ import annotations

import json
import shutil
from itertools import count

import numpy as np
import pytest
import torch

import resprobe as package
from resprobe.collect import Samples
from resprobe.collect import collect as collect_families
from resprobe.errors import InputError
from resprobe.memory import is_out_of_memory
from resprobe.quantities.jacobian import JacobianNorms
from resprobe.quantities.quantity import DEFAULT_SAMPLES
from resprobe.session import Session
from resprobe.source import from_run

FILE = "collected/step-00000008/jacobian.h5"


def values(run):
    tree = package.open(run / FILE)
    data = tree["jacobian"].to_dataset().load()
    tree.close()
    return data


def collect(resprobe, run, *more):
    return resprobe("collect", run, "--quantity", "jacobian_log_norm", "--samples", 6, *more)


def patched(monkeypatch, replaced):
    """Put `replaced(measure, self, whole, labels)` in the place of a batch's measurement."""
    measure = JacobianNorms.rows

    def rows(self, whole, labels):
        return replaced(measure, self, whole, labels)

    monkeypatch.setattr(JacobianNorms, "rows", rows)


@pytest.fixture(scope="module")
def undisturbed(trained, tmp_path_factory, resprobe):
    run = tmp_path_factory.mktemp("jacobian") / "run"
    shutil.copytree(trained, run)
    assert collect(resprobe, run, "--quiet").exit_code == 0
    return values(run)


def test_a_collection_that_was_stopped_goes_on_and_ends_in_the_same_numbers(
    run, resprobe, monkeypatch, undisturbed
):
    with monkeypatch.context() as patch:
        batches = count()

        def stop(measure, self, whole, labels):
            if next(batches) == 1:
                raise KeyboardInterrupt
            return measure(self, whole, labels)

        patched(patch, stop)
        source, _ = from_run(run, "last")
        folder = run / "collected" / "step-00000008"
        with pytest.raises(KeyboardInterrupt):
            collect_families(source, folder, {"jacobian": "jacobian"}, samples=Samples(6))
    assert (run / f"{FILE}.partial").exists()
    measured = []
    patched(
        monkeypatch,
        lambda m, s, whole, labels: (measured.append(len(labels)), m(s, whole, labels))[1],
    )
    assert collect(resprobe, run, "--quiet").exit_code == 0
    assert sum(measured) == 2  # of six, four were committed
    package_values = values(run)
    for name in undisturbed.data_vars:
        np.testing.assert_array_equal(package_values[name], undisturbed[name], err_msg=name)


def test_where_memory_does_not_suffice_fewer_samples_go_into_a_pass(
    run, resprobe, monkeypatch, undisturbed
):
    def greedy(measure, self, whole, labels):
        if len(labels) > 2:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate")
        return measure(self, whole, labels)

    patched(monkeypatch, greedy)
    result = collect(resprobe, run)
    assert result.exit_code == 0
    assert "out of memory, now 2 samples at once" in result.stderr
    found = values(run)
    np.testing.assert_array_equal(found["sample"], undisturbed["sample"])
    for name in ("jacobian_frobenius_norm", "jacobian_spectral_norm", "jacobian_log_norm"):
        np.testing.assert_allclose(found[name], undisturbed[name], rtol=1e-4)  # float32 Lanczos


def test_memory_that_does_not_suffice_for_one_sample_is_said_in_words(run, resprobe, monkeypatch):
    def never(measure, self, whole, labels):
        raise MemoryError("Unable to allocate 3 GiB")

    patched(monkeypatch, never)
    result = collect(resprobe, run, "--quiet")
    assert result.exit_code == 2
    assert "measuring jacobian takes more memory for one sample than there is on cpu" in (
        result.stderr
    )
    assert "Unable to allocate 3 GiB" in result.stderr


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(InputError("not enough memory"))


def test_jacobians_of_a_preset_take_16_samples_whatever_is_asked_of_the_others(
    run, resprobe, monkeypatch
):
    monkeypatch.setitem(DEFAULT_SAMPLES, "jacobian", 16)  # as it is outside of the tests
    result = resprobe("collect", run, "--samples", 100, "--estimate", "--json", "--quiet")
    assert result.exit_code == 0
    found = {item["family"]: item["samples"] for item in json.loads(result.stdout)}
    assert found["norms"] == 100
    assert found["jacobian"] == 16
    named = resprobe(
        "collect", run, "--samples", 20, "--estimate", "--json", "--quiet",
        "--quantity", "jacobian_log_norm",
    )  # fmt: skip
    assert json.loads(named.stdout)[0]["samples"] == 20


def test_what_would_take_hours_is_left_out_of_a_preset_and_measured_where_it_is_named(
    run, resprobe, monkeypatch
):
    monkeypatch.setattr(JacobianNorms, "try_on", lambda self, whole: 3600.0)
    result = resprobe("collect", run, "--samples", 5, "--json", "--quiet")
    assert result.exit_code == 0
    (left_out,) = [f for f in json.loads(result.stdout)["collected"] if f["left_out"]]
    assert left_out["family"] == "jacobian"
    assert left_out["left_out"].startswith("one sample would take about 60 minutes; to measure it")
    assert not (run / FILE).exists()
    assert collect(resprobe, run, "--quiet").exit_code == 0
    assert (run / FILE).exists()


def test_what_a_sample_takes_is_predicted_before_anything_is_measured(run):
    source, _ = from_run(run, "last")
    session = Session(source)
    blocks = session.ready().blocks
    measurement = JacobianNorms(source.model, blocks, source.images.classes)
    args, kwargs, _ = source.inputs(0, 4, np.arange(4))
    with torch.no_grad():
        whole = session.ready().run(args, kwargs, functions=True)
    assert 0 < measurement.try_on(whole) < float("inf")
