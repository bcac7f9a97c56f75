"""A machine's run as one HTML page: the tape over time, each token, where each head looked."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from constructions.construction import Construction
from constructions.programs.turing import TuringMachine
from constructions.reference import forward
from icl_sim.errors import InputError
from icl_sim.report.templating import template
from icl_sim.storage.whole_files import write_whole

# The reference pass that shows the heads costs O(T^2).
HEADS_SHOWN = 400
_FACTOR, _PRIME = 31, 2**31 - 1  # of the tape's checksum, exact in the page's floats


def write_viewer(
    machine: TuringMachine, tape: str, built: Construction, path: str | Path, *, steps: int
) -> Path:
    """Writes the page of the first ``steps`` steps and returns its path.

    The page holds the machine and replays its run, however long; what each head looked at is
    written for the first 400 steps.

    Args:
      machine, tape: the run.
      built: the construction whose heads are shown.
      path: the file to write.
      steps: at least 0; a run that halts before has fewer.

    Raises:
      InputError: a construction without machine tokens, or a file that cannot be written.
      ValueError: more steps than the construction is certified for.
    """
    if built.machine is None:
        raise InputError(f"--trace: expected a construction of a machine, got {built.name}")
    prompt = built.encode({"machine": machine, "tape": tape, "steps": steps})
    tokens = built.machine.transcribe(machine.run(tape, min(steps, HEADS_SHOWN)))
    data = run_data(machine, tape, steps) | {
        "heads": attention_data(built, prompt, tokens),
        "known": len(tokens),
        "prompt": len(prompt),
        "certificate": built.certificate.summary(),
    }
    try:
        write_whole(path, render(data))
    except OSError as error:
        raise InputError(f"--trace {path}: cannot be written, {error.strerror}") from None
    return Path(path)


def run_data(machine: TuringMachine, tape: str, steps: int) -> dict[str, Any]:
    """What the page replays: the machine, its input, and how its run ends.

    ``low`` and ``high`` are the outermost cells of the input and of those visited; a rule is
    [next state or -1, symbol written, move]; ``sum`` is a checksum of the tape from ``low`` on.
    """
    trace = machine.run(tape, steps, record=False)
    given = machine.encode_tape(tape)
    low = min(0, trace.tape_start)
    high = max(len(given) - 1, trace.tape_start + len(trace.cells) - 1)
    cells = np.zeros(high - low + 1, np.uint8)
    cells[-low : len(given) - low] = given
    start = trace.tape_start - low
    cells[start : start + len(trace.cells)] = trace.cells
    return {
        "machine": machine.name,
        "states": list(machine.states),
        "symbols": list(machine.alphabet),
        "rules": machine.rules.tolist(),
        "tape": given.tolist(),
        "steps": trace.steps,
        "halted": trace.halted,
        "low": low,
        "high": high,
        "end": {
            "state": machine.states.index(trace.state),
            "head": trace.head,
            "sum": checksum(cells.tolist()),
        },
    }


def checksum(cells: Iterable[int]) -> int:
    """The number by which the page knows that its replay ends on the same tape.

    >>> checksum([1, 0, 2])
    963
    """
    found = 0
    for symbol in cells:
        found = (found * _FACTOR + symbol) % _PRIME
    return found


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
