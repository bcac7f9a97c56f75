"""Tokens a second of a stock machine by transformers and by icl_sim: `speed.py DIR`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from in_transformers import generate, load

from icl_sim import from_pretrained
from icl_sim.decoding.token_sampling import sample_tokens
from icl_sim.transformer import hidden, unembed


def speed(folder: Path) -> int:
    """Prints tokens a second of BB(5) by transformers and by icl_sim, with a cache and without.

    The first run of each compiles; the second is timed. Without a cache all tokens are read again
    for every one that is written.
    """
    steps, cases = 300, json.loads((folder / "cases.json").read_text())["stock"]
    beaver = next(case for case in cases if case["name"] == "BB(5)")
    case = beaver | {"run": " ".join(beaver["run"].split()[:steps])}
    stock, words = load(folder / "stock", "sdpa")
    model, params, ours = from_pretrained(folder / "stock")
    prompt = ours.encode(case["prompt"])

    @jax.jit
    def after(params: Any, tokens: Any, i: Any) -> Any:
        states = hidden(model.spec, params, tokens)
        return unembed(model.spec, params, jax.lax.dynamic_slice_in_dim(states, i, 1)).argmax()

    def dense() -> str:
        tokens = np.zeros(len(prompt) + steps, np.int32)
        tokens[: len(prompt)] = prompt
        for i in range(len(prompt), len(tokens)):
            tokens[i] = after(params, tokens, i - 1)
        return ours.decode(tokens[len(prompt) :])

    runs = {
        "transformers, cached": lambda: generate(stock, words, case, drawn=False),
        "icl_sim, cached": lambda: ours.decode(
            sample_tokens(model, params, [prompt], steps=steps)[0]
        ),
        "icl_sim, dense": dense,
    }
    same = [run() == case["run"] for run in runs.values()]
    for label, run in runs.items():
        start = time.perf_counter()
        run()
        print(f"{label}: {steps / (time.perf_counter() - start):.0f} tokens a second")
    print(f"the same tokens: {same}")
    return int(not all(same))


if __name__ == "__main__":
    sys.exit(speed(Path(sys.argv[1])))
