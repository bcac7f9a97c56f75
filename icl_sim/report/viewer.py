"""A machine's run as one HTML page: the tape over time, each token, where each head looked."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from constructions.construction import Construction
from constructions.programs.turing import Trace, TuringMachine
from constructions.reference import forward
from icl_sim.errors import InputError
from icl_sim.report.templating import template
from icl_sim.storage.whole_files import write_whole

# The reference pass that shows the heads costs O(T^2); the picture has a row a step.
LONGEST = 400


def write_viewer(
    machine: TuringMachine, tape: str, built: Construction, path: str | Path, *, steps: int
) -> Path:
    """Writes the page of the first ``steps`` steps (at most 400) and returns its path.

    Args:
      machine, tape: the run.
      built: the construction whose heads are shown.
      path: the file to write.

    Raises:
      InputError: a construction without machine tokens, or a file that cannot be written.
    """
    if built.machine is None:
        raise InputError(f"--trace: expected a construction of a machine, got {built.name}")
    trace = machine.run(tape, min(steps, LONGEST))
    prompt = built.encode({"machine": machine, "tape": tape})
    data = run_data(machine, trace, machine.encode_tape(tape)) | {
        "heads": attention_data(built, prompt, built.machine.transcribe(trace)),
        "prompt": len(prompt),
        "certificate": built.certificate.summary(),
    }
    try:
        write_whole(path, render(data))
    except OSError as error:
        raise InputError(f"--trace {path}: cannot be written, {error.strerror}") from None
    return Path(path)


def run_data(machine: TuringMachine, trace: Trace, tape: np.ndarray) -> dict[str, Any]:
    """What the page replays: the machine, its input, and one record a step.

    Of each step: cell, state and symbol read, next state, symbol written, move.
    """
    columns = (
        trace.position,
        trace.state_read,
        trace.symbol_read,
        trace.state_next,
        trace.symbol_written,
        trace.move,
    )
    return {
        "machine": machine.name,
        "states": list(machine.states),
        "symbols": list(machine.alphabet),
        "tape": tape.tolist(),
        "steps": np.stack([np.asarray(c, np.int64) for c in columns], axis=1).tolist(),
        "halted": trace.halted,
    }


def attention_data(built: Construction, prompt: np.ndarray, tokens: np.ndarray) -> list[Any]:
    """Of each head: its name, its kind, and of each step where it looked.

    A step's entry is [positions that share the best score, the latest of them, softmax mass on
    them, gap in logits to the next best score or null if there is none].
    """
    sequence = np.concatenate([prompt, tokens])
    first = len(prompt) - 1  # the position whose output is the first step
    found: list[Any] = []
    kinds = {record.part: record.kind for record in built.certificate.records}

    def watch(layer: int, head: int, scores: np.ndarray) -> None:
        part = f"layer_{layer} head {head}"
        rows = [_look(row) for row in scores[first:]]
        found.append({"part": part, "kind": kinds.get(part, ""), "rows": rows})

    forward(built.spec, built.params, sequence, watch=watch)
    return found


def _look(scores: np.ndarray) -> list[Any]:
    best = scores.max()
    tied = scores >= best - 1e-6
    rest = scores[~tied & np.isfinite(scores)]
    mass = float(tied.sum() / np.exp(scores - best).sum())
    gap = float(round(best - rest.max(), 4)) if len(rest) else None
    return [int(tied.sum()), int(np.flatnonzero(tied)[-1]), round(mass, 9), gap]


def render(data: dict[str, Any]) -> str:
    """The page as text; the data stand in it as JSON that cannot end its element.

    Its one script is allowed by its SHA-256, and so no other runs, whatever the data hold.
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    text = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    script = resources.files("icl_sim.report").joinpath("templates/viewer.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return template("viewer.html").render(
        title=data["machine"],
        data=Markup(text),  # noqa: S704
        script=Markup(script),  # noqa: S704
        digest=digest,
    )
