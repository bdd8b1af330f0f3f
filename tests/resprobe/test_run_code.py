"""The code that a run names is run only where the user says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

RANDOM = np.random.default_rng(0)
LOADER = """
import numpy as np

open("loaded", "a").close()

def load():
    return np.random.default_rng(1).normal(size=(12, 4)).astype(np.float32), np.arange(12) % 3
"""


@pytest.fixture
def place(tmp_path, monkeypatch, resprobe):
    """A working directory with a run of a user's network and one that was handed over."""
    shutil.copy(Path(__file__).with_name("user_nets.py"), tmp_path / "net.py")
    (tmp_path / "load.py").write_text(LOADER, encoding="utf-8")
    np.savez(tmp_path / "d.npz", x=RANDOM.normal(size=(12, 4)).astype(np.float32), y=[0, 1, 2] * 4)
    monkeypatch.chdir(tmp_path)
    words = ["collect", "--model", "net.py:Net", "--data", "load.py:load", "-o", "out"]
    result = resprobe(*words, "--quantity", "margin")
    assert result.exit_code == 0, result.stderr
    (tmp_path / "loaded").unlink()
    return tmp_path


EVIL = {
    "a model of a package": (
        '[model]\nname = "os:system"\n[model.arguments]\ncommand = "touch loaded"\n'
        '[data]\nname = "digits"\n',
        "os:system",
    ),
    "a model of a file": (
        '[model]\nname = "load.py:load"\n[data]\nname = "digits"\n',
        "load.py:load",
    ),
    "a loader of a file": (
        '[model]\nname = "cifar-resnet"\n[data]\nname = "load.py:load"\n',
        "load.py:load",
    ),
    "a loader of a package": (
        '[model]\nname = "cifar-resnet"\n[data]\nname = "load:load"\n',
        "load:load",
    ),
    "a name that would be seen as another": (
        '[model]\nname = "load.py\\u001b[2K\\n:load"\n[data]\nname = "digits"\n',
        r"'load.py\x1b[2K\n:load'",
    ),
    "both": (
        '[model]\nname = "os:system"\n[data]\nname = "load.py:load"\n',
        "os:system and load.py:load",
    ),
}


@pytest.mark.parametrize("name", ["source.toml", "recipe.toml"])
@pytest.mark.parametrize("what", EVIL)
def test_no_code_of_a_run_is_run_unasked(place, resprobe, tree_hash, what, name):
    text, code = EVIL[what]
    (place / "out" / "source.toml").unlink()
    (place / "out" / name).write_text(text, encoding="utf-8")
    before = tree_hash(place / "out")
    for words in (["collect", "out"], ["collect", "out", "--estimate"]):
        result = resprobe(*words)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"Error: out/{name} names code, {code}, and what a run")
        assert "give `resprobe collect out --run-code`." in result.stderr
    result = resprobe("analyze", "lesion", "out")
    assert result.exit_code == 2
    assert f"needs, and it names code, {code}, which is not run unasked" in result.stderr
    assert "run `resprobe collect out --run-code`." in result.stderr
    assert tree_hash(place / "out") == before
    assert not (place / "loaded").exists()


def test_a_function_of_the_system_is_not_called_even_if_code_may_run(place, resprobe):
    (place / "out" / "source.toml").write_text(EVIL["a model of a package"][0], encoding="utf-8")
    result = resprobe("collect", "out", "--run-code")
    assert result.exit_code == 2
    assert "os:system is built into posix, which is not called through os" in result.stderr
    assert not (place / "loaded").exists()


def test_the_code_of_a_run_runs_where_the_user_says_so(place, resprobe):
    result = resprobe("collect", "out", "--run-code", "--quantity", "margin")
    assert "kept as it was" in result.stdout, result.stderr
    assert (place / "loaded").exists()
    assert "norms: 12 samples" in resprobe("collect", "out", "--run-code", "--estimate").stdout
    assert resprobe("collect", "out", "--run-code").exit_code == 0
    assert resprobe("analyze", "lesion", "out").exit_code == 0, "nothing is left to collect"


def test_a_run_of_a_network_that_names_no_code_needs_no_word(place, resprobe, trained, weights_of):
    words = [*weights_of(trained), "--samples", 20, "-o", "r", "--quantity", "margin"]
    assert resprobe("collect", *words).exit_code == 0
    for more in ([], ["--run-code"]):
        again = resprobe("collect", "r", "--samples", 20, "--quantity", "margin", *more)
        assert "kept as it was" in again.stdout, again.stderr


def test_every_hint_to_collect_such_a_run_says_the_option(place, resprobe):
    results = {
        "analyze": resprobe("analyze", "out"),
        "analyze spans": resprobe("analyze", "spans", "out"),
        "a file of it": resprobe("analyze", "out/collected/step-00000000/norms.h5"),
    }
    for what, result in results.items():
        text = result.stdout + result.stderr
        assert "resprobe collect out --run-code" in text, what
        assert "resprobe collect out`" not in text, what
    assert "resprobe collect out --run-code --quantity +" in results["analyze spans"].stderr
    model = ["collect", "--model", "net.py:Net", "--data", "d.npz", "-o", "out/x.h5"]
    assert "`resprobe collect out --run-code`" in resprobe(*model).stderr
    shutil.rmtree(place / "out" / "collected")
    empty = resprobe("export", "out", "-o", "x.h5")
    assert "run `resprobe collect out --run-code`." in empty.stderr
    assert not (place / "loaded").exists()
