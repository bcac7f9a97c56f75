"""Checkpoints of one training run: Orbax writes them, a manifest of SHA-256 sums vouches for them.

Orbax commits a step atomically but restores flipped bits and other dtypes without a word. So each
step carries a manifest, inside the same commit: the run's configuration, what was noted beside the
arrays and, for every leaf, dtype, shape and SHA-256. A step is either restored exactly or refused
by name, and then the newest step that is intact is taken.

In a run of several processes the first one alone reads and writes the directory, and sends the
others what it restored.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp

from icl_sim.errors import InputError
from icl_sim.execution.hosts import from_first, is_first
from icl_sim.storage.locks import lock_directory, locked, require_place
from icl_sim.storage.provenance import provenance
from icl_sim.storage.records import canonical_json

SCHEMA = 1


class CheckpointError(InputError):
    """A checkpoint that is not what was saved; names the step, and the leaf if one is known."""


class Checkpoints:
    """The checkpoints of one run, in a directory of their own that no other run may have open.

    All processes of a run must open it, and save and restore alike.

    Args:
      directory: created if missing.
      config: what the run's bits depend on, apart from `provenance`; a JSON object. Checkpoints
        of another configuration are refused, naming what differs.
      keep: how many of the newest steps stay.

    Attributes:
      skipped: one line for each step that `restore` could not use.
      note: what was saved beside the arrays that `restore` gave.

    >>> import tempfile
    >>> with Checkpoints(tempfile.mkdtemp(), config={"seed": 1}) as checkpoints:
    ...     checkpoints.save(10, {"w": np.ones(2, np.float32)})
    ...     checkpoints.restore({"w": np.zeros(2, np.float32)})
    (10, {'w': array([1., 1.], dtype=float32)})
    """

    def __init__(self, directory: str | Path, *, config: Mapping[str, Any], keep: int = 2) -> None:
        self._directory = Path(directory).absolute()
        self._config = json.loads(canonical_json({**config, **provenance()}))
        self.skipped: tuple[str, ...] = ()
        self.note: Any = None
        self._lock = -1  # of the first process
        from_first(lambda: self._open(keep))

    def _open(self, keep: int) -> bytes:
        alone = ocp.options.MultiprocessingOptions(active_processes={0})
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=False,  # Orbax creates it for all processes together only
            enable_async_checkpointing=False,
            multiprocessing_options=alone,
        )
        try:
            with self._one_line("open"):
                self._directory.mkdir(parents=True, exist_ok=True)
                self._lock = lock_directory(self._directory)
                self._manager = ocp.CheckpointManager(self._directory, options=options)
        except BaseException:
            self._release()
            raise
        return b""

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def save(self, step: int, tree: Any, *, note: Any = None) -> None:
        """Commits ``tree``, a pytree of arrays, as the state before step ``step``.

        Args:
          step: above all that were saved before.
          tree: the arrays.
          note: JSON value to keep beside them, for what has no fixed shape.

        Raises:
          InputError: the directory cannot be written, or is not there any longer.
        """
        if not is_first():
            return
        require_place(self._lock, self._directory)
        leaves = _named(tree)
        manifest = {
            "schema": SCHEMA,
            "step": step,
            "config": self._config,
            "note": note,
            "leaves": {name: _fingerprint(leaf) for name, leaf in leaves.items()},
        }
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(leaves),
            manifest=ocp.args.JsonSave(manifest | {"sha256": _digest(manifest)}),
        )
        with self._one_line("write"):
            self._manager.save(step, args=items)

    def restore(self, template: Any) -> tuple[int, Any] | None:
        """The newest intact step and its tree, or None if nothing was saved yet.

        Steps that are not intact are removed once an older one is found to be; `skipped` says why.

        Args:
          template: a pytree of the same structure, shapes and dtypes.

        Raises:
          CheckpointError: steps were saved and none is intact.
          InputError: the checkpoints belong to another configuration.
        """
        found = None

        def read() -> bytes:
            nonlocal found
            found = self._newest(template)
            if found is None:
                return b""
            leaves = _named(found[1]).values()
            head = canonical_json([found[0], self.note]).encode()
            return head + b"\n" + b"".join(leaf.tobytes() for leaf in leaves)

        content = from_first(read)
        if found is None and content:
            head, _, leaves = content.partition(b"\n")  # JSON of one line
            step, self.note = json.loads(head)
            found = step, _from_bytes(template, leaves)
        return found

    def _newest(self, template: Any) -> tuple[int, Any] | None:
        faults = {}
        for step in self._steps():
            try:
                with _quiet():
                    found = step, self._read(step, template)
            except CheckpointError as error:
                faults[step] = str(error)
                continue
            for bad in faults:
                shutil.rmtree(self._directory / str(bad))
            if faults:
                self._manager.reload()
            self.skipped = tuple(faults.values())
            return found
        if faults:
            raise CheckpointError(
                f"{self._directory}: no checkpoint is intact ({'; '.join(faults.values())}); "
                "remove the directory to start over"
            )
        return None

    def _steps(self) -> list[int]:
        """Every step with a directory, newest first, whether Orbax takes it for complete or not."""
        names = (path.name for path in self._directory.iterdir() if path.is_dir())
        numbers = (int(name) for name in names if name.isdecimal() and len(name) < 19)
        # A name such as 0020 is none of Orbax's.
        steps = (n for n in numbers if (self._directory / str(n)).is_dir())
        return sorted(set(steps), reverse=True)

    def _read(self, step: int, template: Any) -> Any:
        def fault(why: str) -> CheckpointError:
            return CheckpointError(f"checkpoint {step}: {' '.join(why.split())[:200]}")

        wanted = _named(template)
        try:
            # Whatever damaged files make Orbax raise (it has many ways), the step is unusable.
            manifest = self._manager.restore(
                step, args=ocp.args.Composite(manifest=ocp.args.JsonRestore())
            ).manifest
            sealed = manifest.pop("sha256")
        except Exception as error:
            raise fault(f"unreadable manifest ({type(error).__name__}: {error})") from error
        if sealed != _digest(manifest) or manifest.get("step") != step:
            raise fault("the manifest does not match its own SHA-256")
        if manifest["schema"] != SCHEMA:
            raise InputError(
                f"{self._directory}: expected checkpoints of schema {SCHEMA}, found "
                f"{manifest['schema']!r}: read them with the version of icl-sim that wrote them"
            )
        self._require_same(manifest, wanted)
        try:
            leaves = self._manager.restore(
                step, args=ocp.args.Composite(state=ocp.args.StandardRestore(wanted))
            ).state
        except Exception as error:
            raise fault(f"unreadable state ({type(error).__name__}: {error})") from error
        for name, expected in manifest["leaves"].items():
            if _fingerprint(leaves[name]) != expected:
                raise fault(f"{name} does not match its SHA-256")
        self.note = manifest.get("note")
        return _like(template, (np.array(leaves[name]) for name in wanted))

    def _require_same(self, manifest: dict[str, Any], wanted: dict[str, np.ndarray]) -> None:
        found = manifest["config"]
        if names := _differing(found, self._config):
            raise InputError(
                f"{self._directory} belongs to a run with another {', '.join(names)}; use the same "
                "settings or choose another directory"
            )
        shapes = {
            n: (leaf["dtype"], tuple(leaf["shape"])) for n, leaf in manifest["leaves"].items()
        }
        expected = {name: (leaf.dtype.name, leaf.shape) for name, leaf in wanted.items()}
        if names := _differing(shapes, expected):
            first = names[0]
            raise InputError(
                f"{self._directory}: {first}: expected {expected.get(first)}, found "
                f"{shapes.get(first)}; the checkpoint is of another model or optimizer"
            )

    def close(self) -> None:
        """Releases the directory."""
        if is_first():
            self._manager.close()
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        try:
            if kind is None and self._lock >= 0:
                require_place(self._lock, self._directory)
        finally:
            self.close()

    @contextlib.contextmanager
    def _one_line(self, verb: str) -> Iterator[None]:
        try:
            with _quiet():
                yield
        except InputError:
            raise
        except Exception as error:  # Orbax has many ways to say that the disk is full
            with contextlib.suppress(OSError):
                for part in self._directory.glob("*.orbax-checkpoint-tmp"):
                    shutil.rmtree(part, ignore_errors=True)
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            if "No space left" in str(error):
                reason = "No space left on device"
            cure = "free some space or choose another directory (earlier steps are intact)"
            if verb == "open" and not isinstance(error, OSError):
                cure = "remove the step that is damaged"
            raise InputError(
                f"cannot {verb} checkpoints in {self._directory}: {reason}; {cure}"
            ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what threads of Orbax say of a failure from the terminal: it is raised as well."""
    log, told = logging.getLogger("absl"), sys.unraisablehook

    def hook(unraisable: Any) -> None:
        # TensorStore still reports on a damaged file to a loop that Orbax has closed.
        if "Event loop is closed" not in str(unraisable.exc_value):
            told(unraisable)

    log.addFilter(_is_no_failure)
    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = told
        log.removeFilter(_is_no_failure)


def _is_no_failure(record: logging.LogRecord) -> bool:
    return record.levelno < logging.WARNING


def discard(directory: Path) -> None:
    """Removes checkpoints; a kill meanwhile leaves nothing that a later run would read.

    Raises:
      InputError: another run holds them.
    """
    with locked(directory):
        old = directory.with_name(f"{directory.name}-old")
        shutil.rmtree(old, ignore_errors=True)
        directory.rename(old)
        shutil.rmtree(old)


def _named(tree: Any) -> dict[str, np.ndarray]:
    """Leaves by their path, in the order of the tree; those of size zero, which Orbax refuses, not.

    Nothing is lost: the template says what they are.
    """
    leaves, _ = jax.tree.flatten_with_path(tree)
    named = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in leaves
    }
    return {name: leaf for name, leaf in named.items() if leaf.size}


def _like(template: Any, filled: Iterator[np.ndarray]) -> Any:
    """The template's tree with other leaves, those of size zero its own."""
    return jax.tree.map(lambda leaf: next(filled) if np.size(leaf) else np.asarray(leaf), template)


def _from_bytes(template: Any, content: bytes) -> Any:
    """The tree whose leaves' bytes, one after the other, these are."""
    leaves, at = [], 0
    for leaf in _named(template).values():
        size = leaf.nbytes
        leaves.append(np.frombuffer(content[at : at + size], leaf.dtype).reshape(leaf.shape).copy())
        at += size
    return _like(template, iter(leaves))


def _differing(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """The names under which two mappings hold something else, sorted."""
    names = found.keys() | expected.keys()
    return sorted(name for name in names if found.get(name) != expected.get(name))


def _fingerprint(leaf: Any) -> dict[str, Any]:
    array = np.asarray(leaf)
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "sha256": digest}


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(manifest).encode()).hexdigest()
