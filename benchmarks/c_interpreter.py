"""The limit of one core: a Turing machine's rules run by a loop in C, without any transformer."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measure import Row, timed
from constructions import TuringMachine

SOURCE = """
#include <stdint.h>
/* rules: next state (-1: none), symbol written, move, of rule q * symbols + a. */
int64_t run(const int32_t *rules, int symbols, uint8_t *cells, int64_t head, int64_t most) {
    int32_t state = 0;
    int64_t steps = 0;
    while (steps < most) {
        const int32_t *rule = rules + 3 * (state * symbols + cells[head]);
        if (rule[0] < 0) break;
        cells[head] = (uint8_t)rule[1];
        head += rule[2];
        state = rule[0];
        steps++;
    }
    return steps;
}
"""


def row(name: str, machine: TuringMachine, *, steps: int, cells: int) -> Row:
    """A run on the empty tape to its halt, timed once; a note where there is no C compiler.

    Args:
      name: of the row.
      steps: that it takes; another number is an error.
      cells: on either side of the first.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return {"name": name, "note": "not measured: no C compiler"}
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "interpreter.c", Path(folder) / "interpreter.so"
        source.write_text(SOURCE)
        flags = ["-O2", "-march=native", "-shared", "-fPIC"]
        command = [compiler, *flags, "-o", str(library), str(source)]
        subprocess.run(command, check=True)  # noqa: S603
        function = ctypes.CDLL(str(library)).run
    function.restype = ctypes.c_int64
    function.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, *[ctypes.c_int64] * 2]
    rules, tape = np.ascontiguousarray(machine.rules), np.zeros(2 * cells, np.uint8)
    pointers = rules.ctypes.data, len(machine.alphabet), tape.ctypes.data
    seconds, found = timed(lambda: function(*pointers, cells, 2 * steps))
    if found != steps:
        raise AssertionError(f"{name}: expected {steps:,} steps, got {found:,}")
    return {"name": name, "steps": steps, "median_s": seconds, "steps_per_s": steps / seconds}
