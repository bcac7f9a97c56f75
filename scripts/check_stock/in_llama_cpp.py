"""Stock machines under llama.cpp, from text to text: `in_llama_cpp.py DIR [CHECKPOINT ...]`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import xllamacpp

IN_LLAMA_CPP = 24  # runs, of which the first are the beavers


def in_llama_cpp(folder: Path, names: list[str]) -> int:
    """Prints what differs under llama.cpp, from text to text; 1 if a token does."""
    cases, failed = json.loads((folder / "cases.json").read_text()), 0
    for checkpoint, chosen in cases.items():
        if names and checkpoint not in names:
            continue
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(folder / f"{checkpoint}.gguf")
        parameters.n_ctx, parameters.warmup, parameters.n_parallel = 16_384, False, 1
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
        server, tokens, start = xllamacpp.Server(parameters), 0, time.perf_counter()
        wrong = []
        chosen = [case for case in chosen if case.get("first", True)][:IN_LLAMA_CPP]
        for case in chosen:
            run = case["run"].split()
            run = run[: case["written"]] if "written" in case else run
            more = {"temperature": 0, "top_k": 1, "cache_prompt": False}
            asked = {"prompt": f"{case['prompt']} ", "n_predict": len(run)} | more
            found = server.handle_completions(asked)
            found = json.loads(found) if isinstance(found, str | bytes) else found
            tokens += len(run)
            text = found["choices"][0]["text"].split()
            if text != [word for word in run if word != "<end>"]:
                wrong.append(case["name"])
        failed += len(wrong)
        rate = tokens / (time.perf_counter() - start)
        print(
            f"llama.cpp, {checkpoint}: {len(chosen)} runs, {tokens} tokens, {rate:.0f} a second, "
            f"wrong: {wrong or 0}",
            flush=True,
        )
        del server
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(in_llama_cpp(Path(sys.argv[1]), sys.argv[2:]))
