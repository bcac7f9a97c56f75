"""C0.stock: fine-tuning inside the prompt of a checkpoint that other people's software runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import jax
import numpy as np

from constructions import CONSTRUCTIONS
from constructions.construction import Construction, machine_io
from constructions.programs.program import TrainingProgram
from constructions.programs.training_machines import TRAINING
from constructions.programs.turing import Trace
from constructions.vocabulary import END, trace_of
from icl_sim.claims.claim import FALSE, HOLDS, SHARE, Outcome, Run
from icl_sim.divergence.rows import first_of
from icl_sim.pretrained import from_pretrained, to_pretrained
from icl_sim.statistics.intervals import upper_limit
from icl_sim.transformer import Arithmetic, Params, Transformer, hidden, unembed

# Program, its options, examples, random data sets; all in one checkpoint.
TASKS: dict[str, list[tuple[str, dict[str, int], int, int]]] = {
    "smoke": [
        ("counting", {"contexts": 2, "outputs": 2}, 4, 4),
        ("perceptron", {"features": 2, "epochs": 2}, 3, 4),
        ("logistic", {"features": 1, "fraction": 1, "rate": 0, "epochs": 1}, 2, 2),
        ("network", {"features": 1, "units": 2, "epochs": 1}, 2, 1),
    ],
    "standard": [
        ("counting", {"contexts": 2, "outputs": 3}, 8, 20),
        ("perceptron", {"features": 2, "epochs": 4}, 4, 20),
        ("logistic", {"features": 1, "fraction": 2, "rate": 1, "epochs": 2}, 3, 20),
        ("network", {"features": 1, "units": 2, "epochs": 1}, 3, 10),
    ],
    "full": [
        ("counting", {"contexts": 4, "outputs": 4}, 12, 20),
        ("perceptron", {"features": 3, "epochs": 8}, 6, 20),
        ("logistic", {"features": 2, "fraction": 2, "rate": 1, "epochs": 1}, 3, 20),
        ("network", {"features": 1, "units": 2, "epochs": 2}, 2, 20),
    ],
}
LIMIT = 2**15  # steps after which a run that has not halted is given up
BLOCK = 1024  # tokens whose likeliest successors are asked at once; lengths are rounded up to it
ROWS = 128  # of them whose logits are there at once

Checkpoint = tuple[Construction, Transformer, Params]


def exported(*, states: int = 128, bits: int = 10) -> Checkpoint:
    """The machine of these states and 8 symbols, written to files and read back.

    Raises:
      ValueError: what was read is not certified.
    """
    built = CONSTRUCTIONS["stock-pairs"](states=states, symbols=8, bits=bits)
    with TemporaryDirectory() as folder:
        model, params, _ = from_pretrained(to_pretrained(built, folder), tokenizer=False)
    built.certify(model.spec, {name: np.asarray(leaf) for name, leaf in params.items()})
    return built, model, params


def stock_experiment(
    run: Run,
    *,
    checkpoint: Callable[[], Checkpoint] = exported,
    programs: Mapping[str, Callable[..., TrainingProgram]] = TRAINING,
) -> Outcome:
    """C0.stock: does a stock Llama answer as the trained model, from program, data and queries?

    One pass over prompt and run says what the checkpoint writes behind every token: where all of it
    is the run, greedy decoding writes the run, by induction.
    """
    built, model, params = checkpoint()
    rows = [
        _trained(run, built, partial(_written, model, params), programs[name], task)
        for name, *task in TASKS[run.profile]
    ]
    wrong, tokens, sets, queries = (
        sum(row[name] for row in rows)
        for name in ("wrong_answers", "wrong_tokens", "data_sets", "queries")
    )
    differ = sum(row["differing_sets"] for row in rows)
    share = float(upper_limit(differ, sets, alpha=run.spend(SHARE)))
    return Outcome(
        verdict=FALSE if wrong or tokens else HOLDS,
        replicates=sets,
        why=(
            f"{wrong} of {queries} answers on {sets} data sets differ from those of the model "
            f"trained directly, so at most {share:.0%} of such sets do; {tokens} of "
            f"{sum(row['tokens'] for row in rows):,} tokens differ from the interpreter's"
        ),
        figures={"trained": rows},
    )


@partial(jax.jit, static_argnums=0)
def _states(spec: Any, params: Params, tokens: jax.Array) -> jax.Array:
    return hidden(spec, params, tokens, how=Arithmetic(block=4096))


@partial(jax.jit, static_argnums=0)
def _next(spec: Any, params: Params, states: jax.Array) -> jax.Array:
    def likeliest(states: jax.Array) -> jax.Array:
        logits = unembed(spec, params, states)
        return first_of(logits, logits.max(axis=-1, keepdims=True))

    # So few that their logits stay in the cache.
    return jax.lax.map(likeliest, states.reshape(-1, ROWS, states.shape[-1])).reshape(-1)


def _written(model: Transformer, params: Params, prompt: np.ndarray, run: np.ndarray) -> np.ndarray:
    """What the model writes behind the prompt and behind each token of the run but the last."""
    inputs = np.concatenate([prompt, run[:-1]])
    room = -len(inputs) % BLOCK
    padded = np.concatenate([inputs, np.full(room, END, inputs.dtype)])
    states = _states(model.spec, params, padded)
    first = (len(prompt) - 1) // BLOCK * BLOCK
    found = [
        _next(model.spec, params, states[i : i + BLOCK]) for i in range(first, len(padded), BLOCK)
    ]
    return np.concatenate(found)[len(prompt) - 1 - first : len(inputs) - first]


def _trained(
    run: Run,
    built: Construction,
    written: Callable[[np.ndarray, np.ndarray], np.ndarray],
    program: Callable[..., TrainingProgram],
    task: list[Any],
) -> dict[str, Any]:
    """A row: one program on random data sets, all queries at once."""
    options, n, data_sets = task
    trained = program(**options)
    machine = trained.machine

    def compute(i: int) -> dict[str, int]:
        inputs, labels = trained.sample(run.stream("stock", trained.name, i), n)
        tape = trained.encode(inputs, labels, trained.domain)
        trace = machine.run(tape, LIMIT)
        problem = {"machine": machine, "tape": tape, "steps": trace.steps}
        prompt, expected = built.encode(problem), machine_io(built).transcribe(trace)
        found = written(prompt, expected)
        ended = None
        if found[-1] == END:
            try:
                ended = trace_of(machine, built.decode(np.concatenate([prompt, found])))
            except (IndexError, ValueError):  # not the tokens of any run
                ended = None
        answers = trained.oracle(inputs, labels, trained.domain)
        return {
            "wrong": wrong_answers(trained, ended, answers),
            "differing": int((found != expected).sum()),
            "tokens": len(expected),
            "prompt": len(prompt),
        }

    rows = []
    for i in range(data_sets):
        rows.append(run.store.result(f"C0.stock/{trained.name}/{n}/{i}", partial(compute, i)))
        run.progress(f"C0.stock {trained.name}", i + 1, data_sets)
    return {
        "program": trained.name,
        "options": ", ".join(f"{name} = {value}" for name, value in options.items()),
        "examples": n,
        "data_sets": data_sets,
        "queries": len(trained.domain) * data_sets,
        "wrong_answers": sum(row["wrong"] for row in rows),
        "wrong_tokens": sum(row["differing"] for row in rows),
        "differing_sets": sum(row["differing"] > 0 for row in rows),
        "tokens": sum(row["tokens"] for row in rows),
        "longest_prompt": max(row["prompt"] for row in rows),
    }


def wrong_answers(program: TrainingProgram, ended: Trace | None, expected: np.ndarray) -> int:
    """How many of the answers are not as expected; all, if the tape holds no such answers."""
    if ended is None:
        return len(expected)
    try:
        answers = program.decode(ended)
    except (IndexError, ValueError):
        return len(expected)
    if answers.shape != expected.shape:
        return len(expected)
    return int((answers != expected).sum())
