"""Files of a user's own code, run before a command: what they register, the command knows."""

from __future__ import annotations

import hashlib
import runpy
import traceback
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

from icl_sim.errors import InputError

GROUP = "icl_sim.plugins"  # of entry points: modules that register something when imported

# What was run: the file's name -> SHA-256 of its text. A run's results depend on it.
LOADED: dict[str, str] = {}


def load_plugins(paths: Iterable[str] = ()) -> None:
    """Imports the installed plugins, then runs each file once.

    Args:
      paths: Python files; they call ``register_predictor``, ``register_construction`` or
        ``register_claim``.

    Raises:
      InputError: a file that cannot be read or run, with its line.
    """
    for point in entry_points(group=GROUP):
        if point.name not in LOADED:
            point.load()
            LOADED[point.name] = point.dist.version if point.dist else ""
    for path in paths:
        _run(Path(path))


def _run(path: Path) -> None:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"--plugin {path}: cannot be read, {error.strerror}") from None
    seal = hashlib.sha256(text).hexdigest()
    if LOADED.get(path.name) == seal:
        return
    try:
        runpy.run_path(str(path), run_name=path.stem)
    except Exception as error:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(path)
        ]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else "?")
        raise InputError(
            f"--plugin {path}, line {line}: expected code that runs, got "
            f"{type(error).__name__}: {error}"
        ) from error
    LOADED[path.name] = seal
