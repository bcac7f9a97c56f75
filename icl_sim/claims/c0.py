"""C0, any capability of fine-tuning by prompting alone. Proofs: docs/c0.md."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextlib import suppress
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from constructions.construction import Construction
from constructions.programs import drawing_machine
from constructions.programs.program import TrainingProgram
from constructions.programs.training_machines import TRAINING
from icl_sim.claims import coin_sampling, prompt_length
from icl_sim.claims.claim import FALSE, HOLDS, OPEN, SHARE, Claim, Outcome, Run, Statement
from icl_sim.claims.controls import Control, constant_law, convex_hull
from icl_sim.claims.prompted_programs import Reader, interpreted_row, trained_row
from icl_sim.claims.stock_software import stock_experiment
from icl_sim.statistics.intervals import upper_limit

ABSTRACT = (
    "... capabilities acquired through supervised fine-tuning can be approximated by a base "
    "transformer model using inference-time techniques, specifically in-context learning, without "
    "altering model parameters, under idealized assumptions including unbounded computational "
    "resources and access to the fine-tuning dataset."
)

# Program, its options, examples, random data sets; all in one transformer.
TASKS: dict[str, list[tuple[str, dict[str, int], int, int]]] = {
    "smoke": [
        ("counting", {"contexts": 2, "outputs": 3}, 8, 4),
        ("perceptron", {"features": 3, "epochs": 8}, 6, 4),
        ("logistic", {"features": 2, "fraction": 3, "rate": 1, "epochs": 2}, 4, 4),
        ("network", {"features": 2, "units": 2, "epochs": 2}, 4, 4),
    ],
    "standard": [
        ("counting", {"contexts": 3, "outputs": 4}, 16, 100),
        ("perceptron", {"features": 4, "epochs": 8}, 12, 100),
        ("logistic", {"features": 3, "fraction": 5, "rate": 2, "epochs": 2}, 8, 20),
        ("network", {"features": 2, "units": 4, "epochs": 4}, 8, 10),
    ],
    "full": [
        ("counting", {"contexts": 8, "outputs": 8}, 256, 100),
        ("perceptron", {"features": 8, "epochs": 32}, 64, 100),
        ("logistic", {"features": 8, "fraction": 10, "rate": 6, "epochs": 2}, 64, 20),
        ("network", {"features": 3, "units": 4, "epochs": 8}, 16, 20),
    ],
}
# Data sets of the program that is interpreted, and examples in each.
INTERPRETED = {"smoke": (2, 6), "standard": (20, 16), "full": (100, 32)}
# Tokens after which a run that has not halted is given up.
LIMIT = {"smoke": 1 << 18, "standard": 1 << 22, "full": 1 << 25}
EXAMPLES = 12  # from which a law is learned and drawn
# Coins of the law that is drawn through the weights.
DRAWN = {"smoke": (2, 3), "standard": (2, 3, 4, 5), "full": (2, 3, 4, 5, 6)}
# Outputs, lengths and coins of the laws that are enumerated.
ENUMERATED = {
    "smoke": ((2, 3, 5), (1, 2, 3), (1, 2, 4, 8)),
    "standard": ((2, 3, 5, 8), (1, 2, 3, 4), (1, 2, 4, 8, 16)),
    "full": ((2, 3, 5, 8), (1, 2, 3, 4), tuple(range(1, 25))),
}


def universal_experiment(
    run: Run,
    *,
    transformer: Callable[[], Construction] = coin_sampling.universal_with_coins,
    programs: Mapping[str, Callable[..., TrainingProgram]] = TRAINING,
    rounding: coin_sampling.Rounding = coin_sampling.rounded,
) -> Outcome:
    """C0.universal: do the prompted answers equal the trained model's, and its laws nearly so?

    Greedy answers bit for bit on all queries, from prompts that only serialise; those of a program
    with more states than the transformer takes through a universal machine in the prompt; laws
    within l V 2^-(b+1), by enumeration, and from data to the draw through the weights, with the
    coins that the model's own softmax gives.
    """
    reader = Reader(transformer(), LIMIT[run.profile])
    trained = [trained_row(run, reader, programs[name], task) for name, *task in TASKS[run.profile]]
    through = interpreted_row(run, reader, *INTERPRETED[run.profile])
    drawn = [_drawn(run, reader, b) for b in DRAWN[run.profile]]
    laws = _enumerated(run, rounding)
    answered = [*trained, through]
    wrong = sum(row["wrong_answers"] for row in answered)
    mixed = sum(row["mixed_cells"] for row in trained)
    differing = sum(row["differing_traces"] for row in answered + drawn)
    beyond = [row for row in drawn + laws if row["tv"] > row["bound"]]
    unfair = max(row["coin_error"] for row in drawn)
    queries, sets = (sum(row[name] for row in answered) for name in ("queries", "data_sets"))
    differ = sum(row["differing_sets"] for row in answered)
    share = float(upper_limit(differ, sets, alpha=run.spend(SHARE)))
    tightest = max(laws, key=lambda row: row["tv"] / row["bound"])
    return Outcome(
        verdict=HOLDS if not (wrong or mixed or differing or beyond or unfair) else FALSE,
        replicates=sets,
        why=(
            f"{wrong} of {queries} answers on {sets} data sets differ from those of the model "
            f"trained directly, so at most {share:.0%} of such sets do; {differing} decoded traces "
            f"from the interpreter's; a program of {through['states']} states runs through a "
            f"machine of {through['interpreter_states']}; coins from the model's softmax are off "
            f"by {unfair:g}; {len(beyond)} of {len(drawn) + len(laws)} laws are beyond "
            f"l V 2^-(b+1), at most {tightest['tv'] / tightest['bound']:.2f} of it"
        ),
        figures={"trained": trained, "interpreted": [through], "drawn": drawn, "laws": laws},
    )


def _drawn(run: Run, reader: Reader, b: int) -> dict[str, Any]:
    """A row: the law drawn from data by b coins of the model, over all strings of coins.

    The prompt is program, examples, query and coins; the machine counts, rounds and draws.
    """
    V = len(drawing_machine.OUTPUTS)
    rng = run.stream("drawn", b)
    inputs, labels = rng.integers(0, 2, EXAMPLES), rng.integers(0, V, EXAMPLES)
    query = int(inputs[0])
    own = labels[inputs == query]
    law = [Fraction(int((own == y).sum()), len(own)) for y in range(V)]
    tape = partial(drawing_machine.encode, inputs, labels, query)
    machine = drawing_machine.drawing_machine()
    prompt = reader.construction.encode({"machine": machine, "tape": tape("01")})
    strings = np.array(list(itertools.product(prompt[-3:-1], repeat=b)))

    def compute() -> dict[str, Any]:
        error = coin_sampling.coin_error(reader.construction, prompt[:-3], strings)
        masses, differing = [0] * V, 0
        for bits in itertools.product("01", repeat=b):
            ended, same, _ = reader.run(machine, tape("".join(bits)))
            if ended is not None:
                with suppress(IndexError, ValueError):  # not a tape that the program writes
                    masses[drawing_machine.decode(ended)] += 1
            differing += not same
        # Strings without an answer are mass that no output has.
        off = sum(abs(p - Fraction(mass, 2**b)) for mass, p in zip(masses, law, strict=True))
        missing = 1 - Fraction(sum(masses), 2**b)
        return {"coin_error": error, "differing": differing, "tv": float((off + missing) / 2)}

    found = run.store.result(f"C0.universal/drawn/{b}", compute)
    run.progress("C0.universal drawn", b, DRAWN[run.profile][-1])
    return {
        "coins": b,
        "vocab": V,
        "examples": len(own),
        "strings": 2**b,
        "law": " ".join(map(str, law)),
        "coin_error": found["coin_error"],
        "differing_traces": found["differing"],
        "tv": found["tv"],
        "bound": V * 2.0 ** -(b + 1),
    }


def _enumerated(run: Run, rounding: coin_sampling.Rounding) -> list[dict[str, Any]]:
    """Rows: random Markov laws and the total variation of their rounding over all sequences."""
    vocabularies, lengths, numbers = ENUMERATED[run.profile]
    rows = []
    for V, length in itertools.product(vocabularies, lengths):
        rng = run.stream("enumerated", V, length)
        laws = [_random_law(rng, V) for _ in range(V + 1)]
        for b in numbers:
            error = coin_sampling.sequence_error(laws, b, length, rounding)
            rows.append(
                {
                    "vocab": V,
                    "length": length,
                    "coins": b,
                    "tv": float(error),
                    "bound": length * V * 2.0 ** -(b + 1),
                }
            )
        run.progress(
            "C0.universal laws", len(rows), len(vocabularies) * len(lengths) * len(numbers)
        )
    return rows


def _random_law(rng: np.random.Generator, vocab: int) -> list[Fraction]:
    """Relative frequencies of 101 examples: what maximum likelihood learns from them."""
    counts = rng.multinomial(101, rng.dirichlet(np.ones(vocab)))
    return [Fraction(int(count), 101) for count in counts]


CONTROLS: Mapping[str, Callable[[np.random.Generator], Control]] = {
    "zero output layer": constant_law,
    "one attention head": convex_hull,
}


def arbitrary_experiment(
    run: Run, *, controls: Mapping[str, Callable[[np.random.Generator], Control]] = CONTROLS
) -> Outcome:
    """C0.arbitrary: do the two families of base models fail for every prompt, as proved?"""
    found = {}
    for done, (name, control) in enumerate(controls.items()):
        found[name] = control(run.stream(name))
        run.progress("C0.arbitrary", done + 1, len(controls))
    standing = [name for name, control in found.items() if control.stands]
    rows = {name: list(control.rows) for name, control in found.items()}
    return Outcome(
        verdict=FALSE if len(standing) == len(found) else OPEN,
        why="; ".join(
            f"{name}: {control.why}" + ("" if control.stands else " (does not stand)")
            for name, control in found.items()
        ),
        figures=rows,
    )


CLAIM = Claim(
    id="C0",
    title="any capability of fine-tuning, by prompting a frozen model",
    abstract=ABSTRACT,
    statements=(
        Statement(
            id="C0.universal",
            statement="One fixed transformer, with program, data and query in its prompt, answers "
            "as the fine-tuned model does; its laws are within l V 2^-(b+1), with b coins an "
            "output token.",
            reading="The base model, the frozen parameters, unbounded computation and the data are "
            "the abstract's words. Ours: the base model is one universal transformer, fine-tuning "
            "is a program of finite precision, prompting is (encode, decode): encode serialises "
            "program, data and query, each by a fixed rule, and only autoregressive decoding "
            "follows. Coins are tokens drawn from the model's own softmax; the distance of laws is "
            "total variation over whole sequences.",
            premises="Programs of finite precision within the transformer's certified steps and "
            "cells, larger ones through a universal machine in the prompt; the whole data set too.",
            formula="TV <= l V 2^-(b+1) over l tokens.",
            lower="m ln V/ln A tokens of prompt, A their kinds: C0.prompt-length.",
            basis="EXACT, TEST",
            derived=HOLDS,
            sources="Qiu et al. 2025 (arXiv:2411.01992); Perez et al. 2021; docs/c0.md",
            experiment=universal_experiment,
        ),
        Statement(
            id="C0.stock",
            statement="One stock Llama of float32, that other people's software runs unmodified, "
            "answers from program, data and queries in its prompt as the model that was trained "
            "directly.",
            reading="As C0.universal, and the base model is a LlamaForCausalLM in files; the "
            "answers are what greedy decoding of it writes.",
            premises="Programs of finite precision, up to 128 states and 8 symbols, within the "
            "checkpoint's certified steps, cells and visits; the whole data set in the prompt.",
            formula="No wrong token, no wrong answer.",
            lower="None is needed: it is exact.",
            basis="EXACT, TEST",
            derived=HOLDS,
            sources="Qiu et al. 2025 (arXiv:2411.01992); Touvron et al. 2023 (arXiv:2302.13971); "
            "docs/c0.md, docs/stock.md",
            experiment=stock_experiment,
        ),
        Statement(
            id="C0.arbitrary",
            statement="Any base transformer will do.",
            reading="The abstract says a base transformer; we take it for an arbitrary one, whose "
            "prompts may be chosen with full knowledge of the target.",
            premises="Prompts of any content; the target is one deterministic model.",
            formula="TV >= 1 - 1/V (zero output layer); TV >= 1/(1 + e^g), g the greatest logit "
            "gap in the hull (one head).",
            lower="The distances of the formula, for prompts of any length.",
            basis="PROOF, EXACT",
            derived=FALSE,
            corrected="There is a base transformer, a universal one, that will do: C0.universal.",
            sources="Petrov et al. 2023 (arXiv:2310.19698); docs/c0.md",
            experiment=arbitrary_experiment,
        ),
        prompt_length.STATEMENT,
    ),
)
