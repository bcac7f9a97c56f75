"""Stock machines under unmodified transformers: `export DIR`, and `run DIR` without icl_sim."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

BEAVERS = {
    "BB(2)": "1RB1LB_1LA1RZ",
    "BB(3)": "1RB1RZ_1LB0RC_1LC1LA",
    "BB(4)": "1RB1LB_1LA0LC_1RZ1LD_1RD0RA",
    "BB(5)": "1RB1LC_1RC1RB_1RD0LE_1LA1LD_1RZ0LA",
}
FORCED, RANDOM, STEPS = 8000, 100, 150
FLIPS = 20  # sign flips to be seen


def export(folder: Path) -> None:
    """Writes the (8, 2) machine on 256 cells, and cases.json: prompts and runs as text."""
    import numpy as np

    from constructions import CONSTRUCTIONS, TuringMachine
    from icl_sim.pretrained import to_pretrained

    built = CONSTRUCTIONS["stock"](states=8, bits=8)
    to_pretrained(built, folder / "model")
    rng, cases = np.random.default_rng(0), []
    machines = [(name, TuringMachine.from_bbchallenge(line), "") for name, line in BEAVERS.items()]
    for i in range(RANDOM):
        states = [chr(ord("A") + q) for q in range(rng.integers(2, 9))]
        table = {
            (q, a): (rng.choice([*states, "Z"]), rng.choice(["0", "1"]), int(rng.integers(-1, 2)))
            for q in states
            for a in "01"
            if rng.random() > 0.05
        }
        names = (*states, "Z")
        machine = TuringMachine(f"random {i}", names, ("0", "1"), "0", "A", table)
        machines.append((machine.name, machine, "".join(rng.choice(["0", "1"], rng.integers(30)))))
    flips = {("A", a): ("A", b, 0) for a, b in (("0", "1"), ("1", "0"))}
    machine = TuringMachine("flips", ("A",), ("0", "1"), "0", "A", flips)
    machines.append(("one cell, as often as certified", machine, ""))
    most = {"BB(5)": FORCED, machines[-1][0]: built.certificate.limits["visits"] - 1}
    for name, machine, tape in machines:
        steps = most.get(name, STEPS)
        prompt = built.encode({"machine": machine, "tape": tape, "steps": steps})
        run = built.fields.transcribe(machine.run(tape, steps))
        text = {"prompt": built.fields.text(prompt), "run": built.fields.text(run[:steps])}
        cases.append({"name": name, "forced": name in most} | text)
    (folder / "cases.json").write_text(json.dumps(cases))


def run(folder: Path) -> int:
    """Prints what differs, and the lead of the right token; 1 if a token does."""
    import torch
    import transformers

    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    cases = json.loads((folder / "cases.json").read_text())
    words = transformers.AutoTokenizer.from_pretrained(folder / "model")
    failed = 0
    for attention in ("eager", "sdpa"):
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder / "model", attn_implementation=attention
        ).eval()
        for drawn in (False, True):
            start, wrong, tokens = time.perf_counter(), [], 0
            for case in (case for case in cases if not case["forced"]):
                found = generate(model, words, case, drawn=drawn)
                tokens += len(case["run"].split())
                wrong += [case["name"]] * (found != case["run"])
            failed += len(wrong)
            how = "drawn at temperature 1" if drawn else "greedy"
            rate = tokens / (time.perf_counter() - start)
            runs = sum(not case["forced"] for case in cases)
            print(
                f"{attention}, {how}: {runs} runs, {tokens} tokens, {rate:.0f} a second, "
                f"wrong runs: {wrong or 0}",
                flush=True,
            )
        for case in (case for case in cases if case["forced"]):
            bad, lead = forced(model, words, case)
            failed += bad
            print(
                f"{attention}, teacher-forced: {case['name']}, {len(case['run'].split())} tokens, "
                f"wrong {bad}, least lead {lead:.4f}",
                flush=True,
            )
    same = batch(model, words, [case for case in cases if not case["forced"]][:8])
    print(f"sdpa, greedy, a batch of 8 with padding: wrong runs: {8 - same}")
    beaver = next(case for case in cases if case["name"] == "BB(5)")
    first = " ".join(beaver["run"].split()[:400])
    tried = flips(model, words, beaver | {"run": first})
    print(
        f"sign flips of weights of the layers: {FLIPS} of {tried} tried change a token of BB(5)'s "
        "first 400"
    )
    return int(failed > 0 or same < 8)


def batch(model: Any, words: Any, cases: list[dict[str, Any]]) -> int:
    """How many runs of different machines, generated together, are right."""
    words.padding_side = "left"
    prompts = words([case["prompt"] for case in cases], return_tensors="pt", padding=True)
    most = max(len(case["run"].split()) for case in cases)
    out = model.generate(**prompts, max_new_tokens=most)[:, prompts["input_ids"].shape[1] :]
    right = 0
    for row, case in zip(out, cases, strict=True):
        found = words.decode(row).split()
        right += found[: len(case["run"].split())] == case["run"].split()
    return right


def flips(model: Any, words: Any, case: dict[str, Any]) -> int:
    """How many sign flips have to be tried until `FLIPS` of them give a wrong token."""
    import torch

    torch.manual_seed(0)
    leaves = [
        leaf.data
        for name, leaf in model.named_parameters()
        if "layers" in name and "norm" not in name
    ]
    tried = seen = 0
    while seen < FLIPS:
        leaf = leaves[tried % len(leaves)]
        places = leaf.nonzero()
        row, column = places[torch.randint(len(places), ())].tolist()
        leaf[row, column] *= -1
        seen += forced(model, words, case)[0] > 0
        leaf[row, column] *= -1
        tried += 1
    return tried


def generate(model: Any, words: Any, case: dict[str, Any], *, drawn: bool) -> str:
    """What the model writes behind the prompt, as many tokens as the run has."""
    import torch

    torch.manual_seed(0)
    prompt = words(case["prompt"], return_tensors="pt")
    how = {"do_sample": True, "temperature": 1.0, "top_k": 0} if drawn else {"do_sample": False}
    most = len(case["run"].split())
    out = model.generate(**prompt, max_new_tokens=most, **how)[0, prompt["input_ids"].shape[1] :]
    text: str = words.decode(out)
    return text


def forced(model: Any, words: Any, case: dict[str, Any], block: int = 500) -> tuple[int, float]:
    """Wrong tokens given the right ones before each, and the least lead of the right one."""
    import torch

    prompt, run = (words(case[key])["input_ids"] for key in ("prompt", "run"))
    tokens, cache, bad, lead = torch.tensor([prompt + run]), None, 0, float("inf")
    with torch.no_grad():
        for first in range(0, tokens.shape[1] - 1, block):
            here = tokens[:, first : first + block]
            out = model(here, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            target = tokens[0, first + 1 : first + block + 1]
            logits = out.logits[0, : len(target)]
            keep = torch.arange(first, first + len(target)) >= len(prompt) - 1
            logits, target = logits[keep], target[keep]
            right = logits.gather(1, target[:, None])[:, 0]
            others = logits.scatter(1, target[:, None], -float("inf")).max(dim=1).values
            bad += int((right <= others).sum())
            lead = min([lead, *(right - others).tolist()])
    return bad, lead


if __name__ == "__main__":
    command, folder = sys.argv[1], Path(sys.argv[2])
    sys.exit(export(folder) if command == "export" else run(folder))
