"""Stock machines in other people's software, first part: checkpoints, and runs as text.

`cases.py DIR` writes both with icl_sim; `in_transformers.py DIR` and `in_llama_cpp.py DIR` read
them without it.
"""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from constructions import CONSTRUCTIONS, TuringMachine
from constructions.programs.named import PROGRAMS
from constructions.programs.training_machines import TRAINING
from constructions.rasp.named_programs import LIBRARY
from constructions.vocabulary import trace_of
from icl_sim.emulation.windows import certain_steps, next_prompt, run_on_ring
from icl_sim.pretrained import to_gguf, to_pretrained

BEAVERS = {
    "BB(2)": "1RB1LB_1LA1RZ",
    "BB(3)": "1RB1RZ_1LB0RC_1LC1LA",
    "BB(4)": "1RB1LB_1LA0LC_1RZ1LD_1RD0RA",
    "BB(5)": "1RB1LC_1RC1RB_1RD0LE_1LA1LD_1RZ0LA",
}
RANDOM, STEPS = 100, 150
# Checkpoint -> construction, its options, steps of BB(5) teacher-forced, and tokens generated.
CHECKPOINTS = {
    "stock": ("stock", {"states": 8, "bits": 8}, 8000, 3000),
    "pairs": ("stock-pairs", {"states": 8, "bits": 16}, 20_000, 6001),
}
# Machines of their own, each for three arithmetics: bits, and tapes.
SINGLE = {
    "parity": (3, ("", "1", "0110", "10110", "111001")),
    "unary-addition": (4, ("+", "1+", "+1", "111+11", "1111+11111")),
    "bb4": (4, ("",)),
}
DTYPES = ("float32", "bfloat16", "float16")
# BB(5) on 128 cells, in windows as long as the arithmetic allows.
WINDOWS, WINDOW_STEPS = 7, 1000
LEARNERS = {
    "lookup-1": ("stock-lookup", {"vocab": 10, "order": 1}),
    "lookup-3": ("stock-lookup", {"vocab": 4, "order": 3}),
    "descent": ("stock-descent", {"vocab": 4, "contexts": 3, "steps": 6, "learning_rate": 2.0}),
}
LENGTHS = (0, 1, 3, 10, 30, 100, 200)  # examples, of the learners
# Programs, with lengths and alphabets; half of the inputs are of that length.
PROGRAMS_AS_STOCK = {
    "previous": (50, 26),
    "induction": (50, 26),
    "detect-pattern": (50, 5),
    "histogram": (100, 26),
    "count": (100, 26),
    "shuffle-dyck-2": (50, 6),
    "dyck-2": (20, 5),
    "fraction-before": (20, 5),
}
INPUTS = 100
TRAINERS = ("stock-pairs", {"states": 128, "symbols": 8, "bits": 10})
# Program, options, examples, data sets, and how many of their runs are generated; all queries of
# each. All runs are teacher-forced; a network's takes 10,000 tokens.
TASKS = (
    ("counting", {"contexts": 2, "outputs": 2}, 4, 20, 5),
    ("perceptron", {"features": 2, "epochs": 2}, 3, 20, 5),
    ("logistic", {"features": 1, "fraction": 1, "rate": 0, "epochs": 1}, 2, 20, 5),
    ("network", {"features": 1, "units": 2, "epochs": 1}, 2, 4, 0),
)


def export(folder: Path) -> None:
    """Writes the checkpoints, as directories and as GGUF files, and cases.json: runs as text."""
    rng, machines = np.random.default_rng(0), []
    for name, line in BEAVERS.items():
        machines.append((TuringMachine.from_bbchallenge(line, name=name), ""))
    for i in range(RANDOM):
        states = [chr(ord("A") + q) for q in range(rng.integers(2, 9))]
        table = {
            (q, a): (rng.choice([*states, "Z"]), rng.choice(["0", "1"]), int(rng.integers(-1, 2)))
            for q in states
            for a in "01"
            if rng.random() > 0.05
        }
        machine = TuringMachine(f"random {i}", (*states, "Z"), ("0", "1"), "0", "A", table)
        machines.append((machine, "".join(rng.choice(["0", "1"], rng.integers(30)))))
    flips = {("A", a): ("A", b, 0) for a, b in (("0", "1"), ("1", "0"))}
    machines.append((TuringMachine("one cell", ("A",), ("0", "1"), "0", "A", flips), ""))
    cases: dict[str, list[dict[str, Any]]] = {}
    for checkpoint, (kind, options, forced, written) in CHECKPOINTS.items():
        built = CONSTRUCTIONS[kind](**options)
        to_pretrained(built, folder / checkpoint)
        to_gguf(built, folder / f"{checkpoint}.gguf")
        print(f"{checkpoint}: {built.certificate.summary()}")
        # The token of the tape is as if it wrote to the cell, in pairs <go> is too.
        extra = 1 if kind == "stock" else 2
        most = {"BB(5)": forced, "one cell": built.certificate.limits["visits"] - extra}
        cases[checkpoint] = [
            case(built, machine, tape, most.get(machine.name, STEPS))
            | {"forced": machine.name in most, "written": written}
            for machine, tape in machines
        ]
    built = CONSTRUCTIONS[TRAINERS[0]](**TRAINERS[1])
    to_pretrained(built, folder / "trainers")
    to_gguf(built, folder / "trainers.gguf")
    cases["trainers"] = trainings(built)
    for name, (bits, tapes) in SINGLE.items():
        for dtype in DTYPES:
            cases[f"{name}-{dtype}"] = single(folder, name, bits, tapes, dtype)
    for dtype in DTYPES:
        cases[f"windows-{dtype}"] = windows(folder, dtype)
    (folder / "laws.json").write_text(json.dumps(learners(folder)))
    (folder / "programs.json").write_text(json.dumps(programs(folder)))
    (folder / "cases.json").write_text(json.dumps(cases))
    refused(*CHECKPOINTS["stock"][:2])


def single(
    folder: Path, name: str, bits: int, tapes: tuple[str, ...], dtype: str
) -> list[dict[str, Any]]:
    """Writes one machine's checkpoint; its runs on these tapes."""
    machine = PROGRAMS[name].machine
    built = CONSTRUCTIONS["stock-single"](machine=machine, bits=bits, dtype=dtype)
    size = (to_pretrained(built, folder / f"{name}-{dtype}") / "model.safetensors").stat().st_size
    to_gguf(built, folder / f"{name}-{dtype}.gguf")
    print(f"{name}, {size:,} bytes: {built.certificate.summary()}")
    return [case(built, machine, tape, STEPS) for tape in tapes]


def windows(folder: Path, dtype: str) -> list[dict[str, Any]]:
    """Writes BB(5)'s checkpoint; its run in windows, each prompt from the window before."""
    machine = TuringMachine.from_bbchallenge(BEAVERS["BB(5)"], name="BB(5)")
    built = CONSTRUCTIONS["stock-single"](machine=machine, bits=WINDOWS, dtype=dtype)
    to_pretrained(built, folder / f"windows-{dtype}")
    to_gguf(built, folder / f"windows-{dtype}.gguf")
    words, whole = built.fields, built.fields.transcribe(machine.run("", WINDOW_STEPS))
    prompt, at, found = built.fill(**built.parse({"tape": ""})), 0, []
    while at < len(whole):
        if at:
            trace = run_on_ring(machine, words, prompt, len(whole) - at)
            steps = certain_steps(built.certificate, words, prompt, trace)
        else:
            steps = built.certificate.limits["visits"] - 1
        run = whole[at : at + steps]
        found.append({"name": at, "prompt": words.text(prompt), "run": words.text(run)})
        prompt = next_prompt(machine, words, np.concatenate([prompt, run]))
        at += steps
    print(f"BB(5), {WINDOW_STEPS} steps in {len(found)} windows: {built.certificate.summary()}")
    return found


def learners(folder: Path) -> dict[str, dict[str, Any]]:
    """Writes the learners' checkpoints; of each prompts as text, laws, and the certified distance.

    ``scale`` is what logits are divided with to be the law; without it their softmax is.
    """
    rng, found = np.random.default_rng(0), {}
    for name, (kind, options) in LEARNERS.items():
        built, laws = CONSTRUCTIONS[kind](**options), []
        to_pretrained(built, folder / name)
        print(f"{name}: {built.certificate.summary()}")
        descent = kind == "stock-descent"
        columns = list(built.fields["output" if descent else "symbol"])
        for n in LENGTHS:
            if descent:
                contexts = rng.integers(options["contexts"], size=n + 1)
                pairs = zip(contexts, rng.integers(options["vocab"], size=n), strict=False)
                problem: dict[str, Any] = {"pairs": list(pairs), "query": contexts[-1]}
            else:
                problem = {"stream": rng.integers(options["vocab"], size=n + 1)}
            prompt = built.encode(problem)
            text = " ".join(built.fields.words[token] for token in prompt)
            error = built.certificate.error(length=len(prompt))
            laws.append({"prompt": text, "law": built.oracle(problem).tolist(), "certified": error})
        found[name] = {"columns": columns, "scale": None if descent else 64.0, "laws": laws}
    return found


def programs(folder: Path) -> dict[str, list[dict[str, str]]]:
    """Writes the programs' checkpoints; of each prompts, and the value behind each prefix."""
    found = {}
    for name, (length, size) in PROGRAMS_AS_STOCK.items():
        options = {"program": name, "length": length, "alphabet": size}
        built, rng = CONSTRUCTIONS["stock-rasp"](**options), np.random.default_rng(0)
        to_pretrained(built, folder / f"program-{name}")
        print(f"{name}: {built.certificate.summary()}, {len(built.spec.layers)} layers")
        words, letters = built.fields.words, LIBRARY[name].alphabet(size)
        found[name] = []
        for i in range(INPUTS):
            few = size if i % 2 else 3  # with repetitions
            inputs = rng.integers(few, size=length if i < INPUTS // 2 else rng.integers(1, length))
            text = " ".join(words[token] for token in inputs)
            values = built.oracle([letters[token] for token in inputs])
            run = " ".join(said(value, length) for value in values)
            found[name].append({"prompt": f"<start> {text}", "run": run})
    return found


def said(value: Any, length: int) -> str:
    """The word of a value, a fraction with a denominator of at most the length."""
    return str(Fraction(value).limit_denominator(length) if isinstance(value, float) else value)


def case(built: Any, machine: Any, tape: str, steps: int) -> dict[str, Any]:
    """Prompt and run as text."""
    prompt = built.encode({"machine": machine, "tape": tape, "steps": steps})
    run = built.fields.transcribe(machine.run(tape, steps))
    return {
        "name": machine.name,
        "prompt": built.fields.text(prompt),
        "run": built.fields.text(run[: steps if built.name == "stock" else len(run)]),
    }


def trainings(built: Any) -> list[dict[str, Any]]:
    """The runs that train, each read back to the answers of the model trained directly."""
    rng, found = np.random.default_rng(0), []
    for name, options, n, data_sets, generated in TASKS:
        program, right, queries = TRAINING[name](**options), 0, 0
        for i in range(data_sets):
            data = program.sample(rng, n)
            tape = program.encode(*data, program.domain)
            steps = program.machine.run(tape, 10**6).steps
            more = {"name": name, "first": i < generated}
            found.append(case(built, program.machine, tape, steps) | more)
            tokens = built.fields.read(f"{found[-1]['prompt']} {found[-1]['run']}")
            answers = program.decode(trace_of(program.machine, built.decode(tokens)))
            right += int((answers == program.oracle(*data, program.domain)).sum())
            queries += len(program.domain)
        print(f"{name}: {right} of {queries} answers in the runs are the trained model's")
    return found


def refused(kind: str, options: dict[str, int]) -> None:
    """Counts the sign flips of weights of the layers that the certificate refuses: all of them."""
    built = CONSTRUCTIONS[kind](**options)
    flips = refusals = 0
    for name in built.params:
        if not name.startswith("layer"):
            continue
        for place in map(tuple, np.argwhere(built.params[name])):
            wrong = built.params | {name: built.params[name].copy()}
            wrong[name][place] *= -1
            flips += 1
            try:
                built.certify(built.spec, wrong)
            except ValueError:
                refusals += 1
    print(f"{kind}: {refusals} of {flips} sign flips of weights of the layers are refused")


if __name__ == "__main__":
    export(Path(sys.argv[1]))
