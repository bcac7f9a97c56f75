"""Steps a second of every engine on BB(5), and of what else runs through weights.

Each engine is compiled before it is timed, except in the runs to BB(5)'s halt and in those of
training in the prompt, which are whole commands: compilation, the interpreter and the comparison
included. `bound` is what the library promises on one core of an ordinary machine, and `met`
whether it holds here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import c_interpreter
from benchmarks.measure import Call, Row, measure, timed
from benchmarks.roofline import Work, against_roof, forward_work
from constructions import TuringMachine
from constructions.construction import Construction, machine_io
from constructions.machines.looped import looped
from constructions.machines.universal import universal
from constructions.programs.training_machines import TRAINING
from icl_sim.decoding import Decoder, State, verify_trace
from icl_sim.emulation.looped import loop_until
from icl_sim.emulation.machine_files import find_machine
from icl_sim.emulation.turing import Emulation, emulate
from icl_sim.transformer import embed, load

STEPS = 1_000_000
DENSE_STEPS = 4_000
CELLS = 256  # of a machine in a batch, either side
BB5_STEPS = 47_176_870
BB5_CELLS = 2**15  # more than it visits on either side
# Whole runs to the halt, by engine; and the same rules without any transformer.
WHOLE = {
    "specialised": "bb5, decoded",
    "native": "bb5, decoded natively",
    "verify": "bb5, verified",
}
C = "bb5, interpreter in C"
# Steps or loops a second; of the runs to the halt, seconds.
LEAST = {
    "cached": 180_000,
    "specialised": 2_500_000,
    "specialised / dense": 100,
    "64 machines": 6_000_000,
    "256 machines": 6_000_000,
    "verify, matrices": 600_000,
    "verify, specialised": 10_000_000,
}
MOST = {"10^6 / 10^5, a step": 1.2, "bb5, decoded": 30}
MOST |= {"bb5, decoded natively": 4, "bb5, verified": 3}
MOST |= {f"{name}, one query": 30 for name in ("counting", "perceptron", "logistic")}


def run(*, rounds: int = 5, steps: int = STEPS, whole: bool = True) -> list[Row]:
    """The rows of `measure` with steps, steps_per_s, bound and met; some are ratios of two others.

    Args:
      rounds: of the stopwatch.
      steps: of one stream.
      whole: also run BB(5) to its halt, once each way.
    """
    built = universal()
    machine = find_machine("bb5")
    rows = [*_streams(built, machine, rounds, steps), *_batches(rounds)]
    rows += _verifications(built, machine, rounds, steps)
    if whole:
        rows += [_whole(machine, engine) for engine in WHOLE if engine not in _missing()]
        rows.append(c_interpreter.row(C, machine, steps=BB5_STEPS, cells=BB5_CELLS))
    rows += _prompted()
    rows += [_loops(words, rounds) for words in (64, 256)]
    for row in rows:
        name = row["name"]
        row |= {"bound": None, "met": None}
        if name in LEAST:
            figure = row["ratio"] if "ratio" in row else row["steps_per_s"]
            row |= {"bound": f">= {LEAST[name]:,}", "met": figure >= LEAST[name]}
        elif name in MOST:
            figure = row["ratio"] if "ratio" in row else row["median_s"]
            row |= {"bound": f"<= {MOST[name]:,}", "met": figure <= MOST[name]}
    return rows


def _streams(built: Construction, machine: TuringMachine, rounds: int, steps: int) -> list[Row]:
    """One sequence, engine by engine; every token is compared with the interpreter's."""
    prompt = built.encode({"machine": machine, "tape": ""})
    expected = machine_io(built).transcribe(machine.run("", steps))
    calls: dict[str, tuple[Call, int]] = {}
    sizes: dict[str, int] = {}
    for name, engine, count in (
        ("dense", "dense", min(DENSE_STEPS, steps)),
        ("cached, 10^5", "cached", steps // 10),
        ("cached", "cached", steps),
        ("specialised, 10^5", "specialised", steps // 10),
        ("specialised", "specialised", steps),
        ("native", "native", steps),
    ):
        if engine in _missing():
            continue
        decoder = Decoder(*load(built), engine=engine)
        room = 1 << (len(prompt) + count).bit_length() if engine == "dense" else 0
        state = decoder.start(prompt, room=room)
        calls[name] = (_advance(decoder, state, expected[:count], sizes, name), count)
    work = {name: _weights_work(built, count) for name, (_, count) in calls.items()}
    work["dense"] = forward_work(built.spec, built.params, len(prompt) + calls["dense"][1])
    matrices = {name: work[name] for name in work if name.startswith(("dense", "cached"))}
    rows = against_roof(_interleaved(calls, rounds), matrices)
    rate = {row["name"]: row["steps_per_s"] for row in rows}
    for row in rows:
        row["state_bytes"] = sizes[row["name"]]
    for name in ("cached", "specialised"):
        rows.append({"name": f"{name} / dense", "ratio": rate[name] / rate["dense"]})
    slow = max(rate[f"{name}, 10^5"] / rate[name] for name in ("cached", "specialised"))
    return [*rows, {"name": "10^6 / 10^5, a step", "ratio": slow}]


def _missing() -> list[str]:
    """Engines whose extra is not installed."""
    return [] if find_spec("llvmlite") else ["native"]


def _weights_work(built: Construction, tokens: int) -> Work:
    """Of tokens that each pass all matrices and attend to one token a head."""
    return forward_work(built.spec, built.params, 1, sequences=tokens)


def _advance(
    decoder: Decoder, state: State, expected: np.ndarray, sizes: dict[str, int], name: str
) -> Callable[[], None]:
    def once() -> None:
        after, tokens = decoder.advance(state, len(expected))
        if not np.array_equal(tokens, expected):
            raise AssertionError(f"{name}: not the interpreter's tokens")
        sizes[name] = sum(leaf.nbytes for leaf in jax.tree.leaves(after))

    return once


def _advance_lanes(decoder: Decoder, state: State, traces: list[np.ndarray], steps: int) -> None:
    _, tokens = decoder.advance(state, steps)
    for lane, trace in zip(tokens.T, traces, strict=True):
        if not np.array_equal(lane[: len(trace)], trace):
            raise AssertionError("a lane has not the interpreter's tokens")


def _batches(rounds: int, steps: int = 20_000) -> list[Row]:
    """Different machines under one params, each until it halts; a machine's own steps count."""
    built = universal(steps=2**20, cells=CELLS)
    io = machine_io(built)
    rows: dict[str, tuple[Call, int]] = {}
    for lanes in (64, 256):
        machines = _machines(lanes, steps)
        decoder = Decoder(*load(built), engine="specialised", stop=io.stop, lanes=lanes)
        state = decoder.start([built.encode({"machine": m, "tape": ""}) for m in machines])
        traces = [io.transcribe(m.run("", steps))[:steps] for m in machines]

        once = functools.partial(_advance_lanes, decoder, state, traces, steps)
        rows[f"{lanes} machines"] = (once, sum(map(len, traces)))
    return _interleaved(rows, rounds)


def _machines(count: int, steps: int) -> list[TuringMachine]:
    """Different random machines of 8 states and 2 symbols; one in four halts by itself."""
    rng = np.random.default_rng(0)
    found: dict[bool, list[TuringMachine]] = {True: [], False: []}
    wanted = {True: count // 4, False: count - count // 4}
    while any(len(found[halted]) < n for halted, n in wanted.items()):
        rules = [
            f"{rng.integers(2)}{'LR'[rng.integers(2)]}{'ABCDEFGH'[rng.integers(8)]}"
            for _ in range(16)
        ]
        rules[rng.integers(1, 16)] = "---"
        line = "_".join(a + b for a, b in zip(rules[::2], rules[1::2], strict=True))
        machine = TuringMachine.from_bbchallenge(line)
        if _fits(machine, 200, CELLS // 2) and _fits(machine, steps, CELLS):
            trace = machine.run("", steps, record=False)
            if trace.steps >= 8 and len(found[trace.halted]) < wanted[trace.halted]:
                found[trace.halted].append(machine)
    return found[True] + found[False]


def _fits(machine: TuringMachine, steps: int, cells: int) -> bool:
    trace = machine.run("", steps, record=False)
    return max(-trace.tape_start, trace.tape_start + len(trace.cells)) < cells


def _verifications(
    built: Construction, machine: TuringMachine, rounds: int, steps: int
) -> list[Row]:
    trace = machine.run("", steps)

    def check(engine: str) -> Callable[[], None]:
        def once() -> None:
            if not verify_trace(built, trace, tape="", engine=engine).agrees:
                raise AssertionError(f"verify, {engine}: mismatches")

        return once

    rows = _interleaved(
        {
            "verify, matrices": (check("cached"), steps),
            "verify, specialised": (check("specialised"), steps),
        },
        rounds,
    )
    return against_roof(rows, {"verify, matrices": _weights_work(built, steps)})


def _whole(machine: TuringMachine, engine: str) -> Row:
    """BB(5) to its halt, as the command line runs it."""
    command = functools.partial(emulate, machine, engine=engine, max_steps=BB5_STEPS + 1)
    row, found = _once(WHOLE[engine], command)
    if found.tape.count("1") != 4098:
        raise AssertionError(f"bb5, {engine}: not the known halt")
    return row


def _once(name: str, command: Callable[[], Emulation]) -> tuple[Row, Emulation]:
    """A whole command, timed as it is typed: once. Its row, and what it found."""
    taken, found = timed(command)
    if not (found.agrees and found.halted):
        raise AssertionError(f"{name}: not the interpreter's tokens up to its halt")
    steps = found.steps
    row = {"name": name, "steps": steps, "median_s": taken, "steps_per_s": steps / taken}
    return row, found


def _loops(words: int, rounds: int, loops: int = 1_000) -> Row:
    """SUBLEQ instructions a second: each loop is a whole forward pass over all words."""
    built = looped(words=words, loops=loops)
    spec, (_, params) = built.spec, load(built)
    # Counts down from 32,767: a loop of two instructions.
    memory = np.array([9, 10, 6, 11, 11, 0, 11, 11, -1, 1, 32_767, 0])
    expected = built.oracle({"memory": memory})
    x = embed(spec, params, built.encode({"memory": memory}))
    advance = jax.jit(loop_until, static_argnames=("spec", "width", "place"))

    def once() -> None:
        _, outputs, count = advance(spec, params, x, jnp.int32(loops), loops, (words, 2))
        if built.decode(np.asarray(outputs[int(count) - 1])) != expected:
            raise AssertionError("looped: not the interpreter's memory")

    name = f"looped, {words} words"
    work = {name: forward_work(spec, built.params, words)}
    (row,) = against_roof(_interleaved({name: (once, loops)}, rounds), work)
    return row


def _prompted() -> list[Row]:
    """Fine-tuning as a machine in the prompt: one query, as the command line runs it."""
    rng = np.random.default_rng(0)
    rows = []
    for name, examples in (("counting", 256), ("perceptron", 64), ("logistic", 64)):
        program = TRAINING[name]()
        inputs, labels = program.sample(rng, examples)
        query = program.domain[5:6]
        tape = program.encode(inputs, labels, query)
        trace = program.machine.run(tape, 2**25)
        if program.decode(trace).tolist() != program.oracle(inputs, labels, query).tolist():
            raise AssertionError(f"{name}: not the answer of the model trained directly")
        command = functools.partial(emulate, program.machine, tape, max_steps=2**25)
        rows.append(_once(f"{name}, one query", command)[0])
    return rows


def _interleaved(calls: dict[str, tuple[Call, int]], rounds: int) -> list[Row]:
    """The rows of `measure` with steps and steps_per_s."""
    rows = measure({name: call for name, (call, _) in calls.items()}, rounds=rounds)
    for row in rows:
        row["steps"] = calls[row["name"]][1]
        row["steps_per_s"] = row["steps"] / row["median_s"]
    return rows
