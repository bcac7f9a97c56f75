"""The state of one long run, kept in a directory of its own and taken up again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import jax

from constructions.construction import Construction
from constructions.programs.turing import TuringMachine
from constructions.vocabulary import Transcript
from icl_sim.decoding import State
from icl_sim.storage.locks import require_free

if TYPE_CHECKING:  # Orbax takes a second to import, and most runs keep nothing
    from icl_sim.storage.checkpoints import Checkpoints


class RunCheckpoint:
    """The state of one long run; its directory is made when there is something to keep.

    As a context, it keeps the state that was reached where Ctrl-C stops the run, and its
    KeyboardInterrupt says so.
    """

    def __init__(
        self, directory: Path, machine: TuringMachine, tape: str, built: Construction
    ) -> None:
        shapes = {name: leaf.shape for name, leaf in built.params.items()}
        what = repr((machine.delta, machine.start, machine.alphabet, tape, built.spec, shapes))
        identity = hashlib.sha256(what.encode()).hexdigest()
        self._directory = directory / f"emulate-{identity[:16]}"
        self._config = {"run": identity}
        self._longer = False  # it holds more steps than are asked for now, and keeps them
        self._going_on = False  # the directory holds earlier steps of this very run
        self._reached: tuple[int, State, dict[str, Any]] | None = None
        self._kept = 0  # the step of the newest checkpoint
        self._open: Checkpoints | None = None

    def __enter__(self) -> Self:
        if self._open is None:  # before hours of work
            require_free(self._directory)
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, KeyboardInterrupt):
                self._save()
                where = self._directory.parent
                told = f"step {self._kept:,} is kept in {where}: --resume goes on from there"
                raise KeyboardInterrupt(told if self._kept else "nothing was kept") from None
        finally:
            held, self._open = self._open, None
            if held is not None:  # and after a run that ended well it must be there
                held.__exit__(kind, error, trace)

    def reached(self, state: State, transcript: Transcript, *, save: bool) -> None:
        """Remembers the state, and keeps it if asked to.

        Nothing is kept where the directory holds more steps than are asked for now.
        """
        self._reached = (transcript.steps, state, transcript.saved())
        if save:
            self._save()

    def _save(self) -> None:
        if self._longer or self._reached is None or self._reached[0] == self._kept:
            return
        step, state, note = self._reached
        if not self._going_on and os.path.exists(self._directory):
            from icl_sim.storage.checkpoints import discard

            self._close()
            discard(self._directory)
        self._checkpoints().save(step, state, note=note)
        self._going_on, self._kept = True, step

    def load(self, state: State, transcript: Transcript, *, most: int) -> State:
        """The saved state; the given one, from the start, if none is intact and within ``most``."""
        if not os.path.exists(self._directory):
            return state
        from icl_sim.storage.checkpoints import CheckpointError

        checkpoints = self._checkpoints()
        try:
            found = checkpoints.restore(state)
        except CheckpointError:
            return state
        except BaseException:
            self._close()
            raise
        self._kept = found[0] if found else 0
        self._longer = self._kept > most
        if found is None or self._longer:
            return state
        transcript.restore(checkpoints.note)
        self._going_on = True
        return jax.tree.map(jax.numpy.asarray, found[1])

    def _checkpoints(self) -> Checkpoints:
        """The directory's, open until the run ends, so that no other run has it meanwhile."""
        from icl_sim.storage.checkpoints import Checkpoints

        if self._open is None:
            self._open = Checkpoints(self._directory, config=self._config)
        return self._open

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = None
