"""Random problems for every construction of the catalog: the conformance test draws from these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from cases import random_pairs, random_stream
from cases_machines import random_machine


@dataclass(frozen=True)
class Case:
    """Problems for one construction.

    Args:
      draw: (rng, n) -> a problem of n examples (of a machine: cells of tape).
      most: built -> the largest n that is certified.
      options: for the catalog's function; sizes small enough for the reference.
      least: the smallest n that makes sense.
    """

    draw: Callable
    most: Callable = lambda built: built.certificate.limits["length"] - 1
    options: dict = field(default_factory=dict)
    least: int = 1


def halfspace(rng, n, *, dim=3, radius=6.0, integers=True):
    """Examples that some halfspace labels."""
    inputs = rng.standard_normal((n + 1, dim))
    inputs *= radius * rng.random((n + 1, 1)) / np.linalg.norm(inputs, axis=1, keepdims=True)
    if integers:
        inputs = np.trunc(inputs)
    labels = np.where(inputs[:n] @ rng.standard_normal(dim) > 0, 1, -1)
    return {"inputs": inputs[:n], "labels": labels, "query": inputs[n]}


def sparse_regression(rng, n, *, dim=3):
    inputs = rng.uniform(-1, 1, (n + 1, dim))
    labels = np.clip(inputs[:n] @ [1.5, 0, 0] + 0.1 * rng.standard_normal(n), -2, 2)
    return {"inputs": inputs[:n], "labels": labels, "query": inputs[n]}


def classes(rng, n, *, dim=2, outputs=3, grid=None):
    inputs = rng.uniform(-1.4, 1.4, (n + 1, dim))
    if grid:
        inputs = np.rint(inputs * grid)
    return {
        "inputs": inputs[:n],
        "labels": rng.integers(0, outputs, n),
        "query": inputs[n],
    }


def repetitive_stream(rng, n, *, vocab=3):
    """A text made of few phrases, so that long contexts come back."""
    phrases = rng.integers(0, vocab, (3, 7))
    text = phrases[rng.integers(0, 3, n // 7 + 2)].reshape(-1)
    return {"stream": text[:n].tolist()}


def labeled_features(rng, n, *, features=4, labels=3):
    z = rng.standard_normal((n + 1, features))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return {"features": z[:n], "labels": rng.integers(0, labels, n), "queries": z[n:]}


def labeled_jacobians(rng, n):
    J = rng.uniform(-0.4, 0.4, (n + 1, 2, 3))
    return {"features": J[:n], "labels": rng.integers(0, 2, n), "queries": J[n:]}


def bounded_regression(rng, n, *, features=4):
    z = labeled_features(rng, n, features=features)
    y = z["features"] @ rng.standard_normal(features)
    return {"features": z["features"], "targets": y / np.abs(y).max(), "queries": z["queries"]}


def signed_features(rng, n):
    z = labeled_features(rng, n, labels=2)
    return z | {"labels": 2 * z["labels"] - 1}


def labeled_network(rng, n):
    base = {"inner": rng.standard_normal((4, 4)) / 3, "outer": rng.standard_normal((3, 4)) / 3}
    return labeled_features(rng, n) | base


def table_pairs(rng, n, *, contexts=2, vocab=3):
    """Demonstrations of one skewed table, so that likelihoods lie apart."""
    c = rng.integers(0, contexts, n)
    y = (c + (rng.random(n) < 0.2)) % vocab
    return {"pairs": np.stack([c, y], axis=1).tolist(), "query": int(rng.integers(contexts))}


def machine_run(rng, cells, *, states, symbols):
    machine = random_machine(rng, states, symbols)
    return {"machine": machine, "tape": rng.choice(machine.alphabet, cells).tolist(), "steps": 20}


def ring_run(rng, cells, *, ring=16):
    """A run of a machine with three states that stays on a number of cells."""
    machine = random_machine(rng, 3, 2)
    while len(machine.working) < 3:
        machine = random_machine(rng, 3, 2)
    tape, steps = rng.choice(machine.alphabet, cells).tolist(), 0
    while steps < 20:
        trace = machine.run(tape, steps + 1)
        last = trace.tape_start + len(trace.cells)
        if max(last, cells) - min(trace.tape_start, 0) > ring:
            break
        steps += 1
    return {"machine": machine, "tape": tape, "steps": steps}


def fixed_machine_run(rng, cells):
    return {"tape": rng.choice(["0", "1"], cells).tolist(), "steps": 20}


def fixed_ring_run(rng, cells):
    """The default machine goes two cells to the left of these tapes, and not beyond their end."""
    return {"tape": (["0"] * 4 + rng.choice(["0", "1"], cells).tolist())[:cells], "steps": 20}


CASES = {
    "hash-lookup": [
        Case(
            lambda rng, n: repetitive_stream(rng, n),
            lambda built: built.certificate.limits["length"] - 3,
            {"vocab": 3, "order": 3, "length": 120},
        )
    ],
    "lasso": [Case(sparse_regression, options={"dim": 3, "step": 0.02, "loops": 50, "length": 40})],
    "looped": [
        Case(
            lambda rng, n: {"memory": rng.integers(0, 16, n).tolist()},
            lambda built: built.certificate.limits["words"],
            {"words": 16, "bits": 6, "loops": 5},
        )
    ],
    "least-squares": [Case(bounded_regression, options={"norm": 1.001, "length": 40})],
    "logistic": [
        Case(
            signed_features,
            lambda built: built.certificate.limits["length"] - 3,
            {"steps": 5, "schedule": "linear", "norm": 1.001, "length": 40},
        )
    ],
    "lookup": [
        Case(
            lambda rng, n: random_stream(rng, 3, n),
            lambda built: built.certificate.limits["length"] - 2,
            {"vocab": 3, "order": 2, "length": 200},
        ),
        Case(
            lambda rng, n: random_pairs(rng, 4, 3, n),
            lambda built: (built.certificate.limits["length"] - 2) // 2,
            {"vocab": 3, "contexts": 4, "smoothing": 0.5, "length": 100},
        ),
    ],
    "mixture": [
        Case(
            table_pairs,
            lambda built: built.certificate.limits["length"] - 4,
            {"prior": [1, 2, 3], "length": 100},
        )
    ],
    "nadaraya-watson": [Case(classes, options={"length": 100})],
    "network": [
        Case(
            labeled_network,
            lambda built: built.certificate.limits["length"] - 4,
            {
                "features": 4,
                "steps": 3,
                "momentum": 0.5,
                "weight_decay": 0.01,
                "norm": 1.001,
                "length": 30,
            },
        )
    ],
    "newton-schulz": [
        Case(
            bounded_regression,
            lambda built: built.certificate.limits["length"] - 5,
            {"norm": 1.001, "length": 40},
        )
    ],
    "normalized-logistic": [
        Case(
            signed_features,
            lambda built: built.certificate.limits["length"] - 4,
            {"norm": 1.001, "length": 40},
        )
    ],
    "perceptron": [Case(halfspace, options={"dim": 3, "length": 64, "loops": 40})],
    "prompt-choice": [
        Case(
            table_pairs,
            lambda built: built.certificate.limits["length"] - 4,
            {"length": 100},
            least=8,
        )
    ],
    "rasp": [
        Case(
            lambda rng, n: rng.choice(list("abc"), n).tolist(),
            options={"program": "reverse", "length": 12, "alphabet": 3},
        ),
        Case(
            lambda rng, n: rng.choice(list("()a"), n).tolist(),
            options={"program": "pair-balance", "length": 12, "alphabet": 3, "causal": True},
        ),
    ],
    "retrieval": [
        Case(
            lambda rng, n: classes(rng, n, grid=4),  # coarse, so that many distances are equal
            options={"items": 24, "nearest": 4},
            least=4,
        )
    ],
    "ridge": [Case(bounded_regression, options={"norm": 1.001, "length": 40})],
    "selection": [
        Case(
            repetitive_stream,
            lambda built: built.certificate.limits["length"] - 5,
            {"vocab": 3, "order": 2, "length": 100},
        )
    ],
    "single": [
        Case(
            fixed_machine_run,
            lambda built: built.certificate.limits["cells"],
            {"steps": 200, "cells": 40},
        )
    ],
    "softmax-head": [
        Case(
            labeled_features,
            lambda built: built.certificate.limits["length"] - 4,
            {"classes": 3, "features": 4, "steps": 5, "momentum": 0.9, "norm": 1.001, "length": 40},
        ),
        Case(
            labeled_jacobians,
            lambda built: built.certificate.limits["length"] - 3,
            {"classes": 2, "features": 3, "steps": 3, "jacobian": True, "length": 20},
        ),
    ],
    "softmax-head-softmax-only": [
        Case(
            labeled_features,
            lambda built: (built.certificate.limits["length"] - 4) // 2,
            {"classes": 3, "features": 4, "steps": 5, "norm": 1.001, "length": 40},
        )
    ],
    "stock": [Case(ring_run, lambda built: built.certificate.limits["cells"], {"states": 3})],
    "stock-descent": [
        Case(
            lambda rng, n: random_pairs(rng, 3, 2, n),
            lambda built: (built.certificate.limits["length"] - 4) // 2,
            {"contexts": 3, "steps": 1, "length": 40},
        )
    ],
    "stock-lookup": [
        Case(
            lambda rng, n: random_stream(rng, 3, n),
            lambda built: built.certificate.limits["length"] - 2,
            {"vocab": 3, "order": 2, "length": 60},
        )
    ],
    "stock-pairs": [Case(ring_run, lambda built: built.certificate.limits["cells"], {"states": 3})],
    "stock-rasp": [
        Case(
            lambda rng, n: rng.choice(list("abc"), n).tolist(),
            options={"program": "induction", "length": 12, "alphabet": 3},
        )
    ],
    "stock-single": [
        Case(
            fixed_ring_run,
            lambda built: built.certificate.limits["cells"] - 2,
            {"bits": 4, "dtype": "bfloat16"},
            least=2,
        )
    ],
    "svm": [
        Case(
            lambda rng, n: halfspace(rng, n, radius=1.0, integers=False),
            options={"dim": 3, "loops": 200, "length": 50},
        )
    ],
    "universal": [
        Case(
            lambda rng, n: machine_run(rng, n, states=3, symbols=2),
            lambda built: built.certificate.limits["cells"],
            {"states": 3, "symbols": 2, "steps": 200, "cells": 40},
        )
    ],
}
