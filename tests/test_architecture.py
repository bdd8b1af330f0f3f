"""What holds the three packages apart, what starts without torch, and what the wheel carries."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
import zipfile
from importlib import resources
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from resprobe import registry
from resprobe.cli.main import resprobe_command

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "resprobe": ROOT / "resprobe",
    "resprobe_models": ROOT / "models" / "resprobe_models",
    "resprobe_analyses": ROOT / "analyses" / "resprobe_analyses",
}
MAY_IMPORT = {
    "resprobe": {"resprobe"},
    "resprobe_models": {"resprobe", "resprobe_models"},
    "resprobe_analyses": {"resprobe", "resprobe_analyses"},
}
COMMANDS = sorted(registry.entries("commands"))
MODULES = [
    pytest.param(package, path, id=str(path.relative_to(ROOT)))
    for package, folder in PACKAGES.items()
    for path in sorted(folder.rglob("*.py"))
]
# Names that DESIGN promises not to change, of what is measured so far.
LASTING = (
    "test_error",
    "margin",
    "input_norm",
    "shortcut_norm",
    "branch_norm",
    "branch_shortcut_ratio",
    "branch_shortcut_cosine",
    "branch_gradient_norm",
    "lesion_error",
    "layer_cushion",
    "interlayer_cushion",
    "jacobian_eigenvalues",
    "jacobian_spectral_abscissa",
    "jacobian_spectral_radius",
    "jacobian_log_norm",
    "jacobian_spectral_norm",
    "jacobian_frobenius_norm",
    "lyapunov_exponents",
)


def imported_packages(tree: ast.Module) -> set[str]:
    """Our packages that a module imports, or names in a text that an import could take."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names} & PACKAGES.keys()


def named_packages(tree: ast.Module) -> set[str]:
    """Our packages that a string constant (no docstring) could import."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
    ]
    heads = {text.partition(":")[0].partition(".")[0] for text in texts if " " not in text}
    return heads & PACKAGES.keys()


@pytest.mark.parametrize(("package", "path"), MODULES)
def test_imports_point_back_along_the_way_of_the_data(package, path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert imported_packages(tree) <= MAY_IMPORT[package]
    assert named_packages(tree) <= MAY_IMPORT[package], "importlib must not turn an arrow round"


def test_the_arrow_test_sees_every_way_to_import():
    source = "def f():\n    import resprobe_models.recipe\n    from resprobe_analyses import style"
    assert imported_packages(ast.parse(source)) == {"resprobe_models", "resprobe_analyses"}
    source = 'import importlib\nimportlib.import_module("resprobe_models.recipe")'
    assert named_packages(ast.parse(source)) == {"resprobe_models"}


@pytest.mark.parametrize("folder", ["models", "analyses"])
def test_nobodys_own_package_is_shadowed(folder):
    assert not (ROOT / folder / "__init__.py").exists()


def modules_after(code: str, *arguments: str) -> set[str]:
    """Run code in a fresh interpreter; give the names of the modules that it then holds."""
    tail = "\nimport sys; print('\\nMODULES', *sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code + tail, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rsplit("MODULES", 1)[1].split())


RUN_COMMAND = """
import sys
from resprobe.cli.main import resprobe_command
resprobe_command.main(sys.argv[1:], prog_name="resprobe", standalone_mode=False)
"""


def test_importing_resprobe_imports_no_torch():
    modules = modules_after("import resprobe; resprobe.__version__")
    assert not modules & {"torch", "xarray", "matplotlib"}


@pytest.mark.parametrize("words", [["--help"], ["list"]], ids=" ".join)
def test_a_command_without_input_imports_no_torch(words):
    # click prints the help of the group and returns in this mode
    assert "torch" not in modules_after(RUN_COMMAND, *words)


@pytest.fixture(scope="module")
def readable_run(tmp_path_factory):
    """A collected run, made without training: what the commands read is there and whole."""
    run = tmp_path_factory.mktemp("architecture") / "run"
    invoke = CliRunner().invoke
    settings = ("train.epochs=0", "model.depth=8", "data.subset=50")
    overrides = [word for setting in settings for word in ("--set", setting)]
    words = ["train", "resnet-20-digits", *overrides, "-o", str(run), "--quiet"]
    assert invoke(resprobe_command, words).exit_code == 0
    words = ["collect", str(run), "--samples", "100", "--quiet"]
    assert invoke(resprobe_command, words).exit_code == 0
    return run


@pytest.mark.parametrize("command", ["check", "analyze", "inspect"])
def test_a_command_that_only_reads_imports_no_torch(readable_run, command):
    assert "torch" not in modules_after(RUN_COMMAND, command, str(readable_run))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name):
    result = CliRunner().invoke(resprobe_command, [name, "--help"], prog_name="resprobe")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert any(line.startswith(f"resprobe {name}") for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_explained(name):
    command = registry.load("commands", name)
    options = [item for item in command.params if isinstance(item, click.Option)]
    assert [item.name for item in options if not item.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_readme_entry(name):
    assert f"resprobe {name}" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", LASTING)
def test_names_that_will_not_change_are_registered(name):
    assert name in registry.entries("quantities")


def entry_points():
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for group, points in tables["project"]["entry-points"].items():
        for target in points.values():
            yield pytest.param(group.removeprefix("resprobe."), target, id=f"{group}-{target}")


@pytest.mark.parametrize(("kind", "target"), list(entry_points()))
def test_entries_are_literal_and_each_target_exists(kind, target):
    module = importlib.import_module(target.partition(":")[0])
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (literal,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ENTRIES"
    ]
    assert literal == module.ENTRIES
    for name, offered in literal.items():
        where, _, what = offered.partition(":")
        if kind == "recipes":
            assert resources.files(where).joinpath(what).is_file(), name
        else:
            assert hasattr(importlib.import_module(where), what), name


def test_every_entry_point_group_is_a_known_kind():
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = {g.removeprefix("resprobe.") for g in tables["project"]["entry-points"]}
    assert groups <= set(registry.KINDS)


def test_the_wheel_holds_three_packages_and_their_data(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)
    recipes = {path.name for path in (PACKAGES["resprobe_models"] / "recipes").glob("*.toml")}
    assert {f"resprobe_models/recipes/{name}" for name in recipes} <= set(names)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
