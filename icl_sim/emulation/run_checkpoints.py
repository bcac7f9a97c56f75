"""The state of one long run, kept in a directory of its own and taken up again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import jax

from constructions.construction import Construction
from constructions.programs.turing import TuringMachine
from constructions.vocabulary import Transcript
from icl_sim.decoding import State

if TYPE_CHECKING:  # Orbax takes a second to import, and most runs keep nothing
    from icl_sim.storage.checkpoints import Checkpoints


class RunCheckpoint:
    """The state of one long run; its directory is made when there is something to keep."""

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

    def save(self, state: State, transcript: Transcript) -> None:
        """Keeps the state, unless the directory holds more steps than are asked for now."""
        if self._longer:
            return
        if not self._going_on and self._directory.exists():
            from icl_sim.storage.checkpoints import discard

            discard(self._directory)
        with self._checkpoints() as checkpoints:
            checkpoints.save(transcript.steps, state, note=transcript.saved())
        self._going_on = True

    def load(self, state: State, transcript: Transcript, *, most: int) -> State:
        """The saved state; the given one, from the start, if none is intact and within ``most``."""
        if not self._directory.exists():
            return state
        from icl_sim.storage.checkpoints import CheckpointError

        try:
            with self._checkpoints() as checkpoints:
                found = checkpoints.restore(state)
        except CheckpointError:
            return state
        self._longer = found is not None and found[0] > most
        if found is None or self._longer:
            return state
        transcript.restore(checkpoints.note)
        self._going_on = True
        return jax.tree.map(jax.numpy.asarray, found[1])

    def _checkpoints(self) -> Checkpoints:
        from icl_sim.storage.checkpoints import Checkpoints

        return Checkpoints(self._directory, config=self._config)
