"""Objects in a user's own code: `file.py:name` and `package.module:name`.

This runs the code that the user names, and nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from resprobe.errors import InputError, UnknownNameError
from resprobe.files import real_path


@dataclass(frozen=True)
class Reference:
    """An object of a user's code.

    Attributes:
        target: the object.
        name: as given, but a file by its absolute path.
        title: as given, but a file without its folder: the same wherever it lies.
        folder: where its neighbours are imported from.
        sha256: of the file that it was found in, "" where there is none.
    """

    target: Any
    name: str
    title: str
    folder: Path
    sha256: str


def is_reference(text: str) -> bool:
    """Whether a text has the form `file.py:name` or `package.module:name`."""
    place, _, name = text.rpartition(":")
    return bool(place) and name.isidentifier()


def find(text: str, sha256: str = "") -> Reference:
    """Import the module or file of a reference and give the object.

    Args:
        text: `file.py:name`, whose neighbours can be imported, or `package.module:name`, which
            may lie in the working directory.
        sha256: what the file must still have; "" takes it as it is.

    Raises:
        InputError: file or module are missing, changed, or fail when they are imported.
        UnknownNameError: they have no such name.
    """
    place, _, name = text.rpartition(":")
    is_file = place.endswith(".py")
    path = real_path(Path(place))
    folder = path.parent if is_file else Path.cwd()
    if is_file and not path.is_file():
        raise InputError(f"{place} does not exist; give an existing file as FILE.py:{name}.")
    with running(f"importing {place}", folder):
        source = path if is_file else _file_of_module(place)
        content = source.read_bytes() if source is not None else b""
        digest = hashlib.sha256(content).hexdigest() if content else ""
        if sha256 and digest != sha256:
            raise InputError(
                f"{place} is no longer what it was when it was measured; put it back as it was, "
                "or measure the new one into another -o."
            )
        module = _of_file(path, content) if is_file else importlib.import_module(place)
    if not hasattr(module, name):
        public = [own for own in vars(module) if not own.startswith("_")]
        raise UnknownNameError(f"name in {place}", name, public)
    return Reference(
        target=getattr(module, name),
        name=f"{path}:{name}" if is_file else text,
        title=f"{path.name}:{name}" if is_file else text,
        folder=folder,
        sha256=digest,
    )


def refuse_borrowed(found: Reference) -> None:
    """Refuse to call what is built in, or of another package than the one that was named.

    A file may pass on what its neighbours define, and a partial is of whoever wrote it.

    Raises:
        InputError: it is something like `os:system`.
    """
    place, _, _ = found.title.rpartition(":")
    target = found.target
    while isinstance(target, functools.partial):
        target = target.func
    builtin = inspect.isbuiltin(target)
    module = str(getattr(target, "__module__", None) or place)
    own = place.endswith(".py") or target is not found.target
    if builtin or not (own or module.partition(".")[0] == place.partition(".")[0]):
        raise InputError(
            f"{found.title} is {'built into' if builtin else 'code of'} {module}, which is not "
            f"called through {place}; give a function or class that {place} itself defines."
        )


@contextlib.contextmanager
def running(what: str, folder: Path) -> Iterator[None]:
    """Run a user's code: its neighbours can be imported and its prints go to stderr.

    Raises:
        InputError: it raised anything; quoted by its first line.
    """
    sys.path.insert(0, str(folder))
    try:
        # stdout is the command's own, which programs read.
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except InputError:
        raise
    except SystemExit as error:
        raise InputError(
            f"{what} ended the program (exit {error.code}); put what a script does under "
            '`if __name__ == "__main__":`.'
        ) from error
    except Exception as error:  # whatever a user's code raises is the user's to read
        raise InputError(f"{what} failed ({quoted(error)}); correct it.") from error
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


def quoted(error: BaseException) -> str:
    """Give the type and the first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__


def _of_file(path: Path, content: bytes) -> ModuleType:
    """Run exactly the content that was hashed, and leave no `__pycache__` beside it."""
    # A name that nothing else has: the user's file may be called like a package.
    name = f"resprobe_user_file_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # of an existing file that ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and get_type_hints look their module up
    exec(compile(content, path, "exec"), vars(module))
    return module


def _file_of_module(name: str) -> Path | None:
    """Find the source of a module without running it; its packages are imported."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if not (error.name and name.startswith(f"{error.name}.")):
            raise  # something that a package of it wants
        spec = None
    if spec is None:
        raise InputError(
            f"no module {name} can be imported here; give an installed package.module, one of the "
            "working directory, or FILE.py:NAME."
        )
    there = spec.origin is not None and Path(spec.origin).is_file()
    return Path(str(spec.origin)) if there else None
