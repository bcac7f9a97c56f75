"""Stock machines in other people's software: `export DIR`, then `transformers DIR` and others.

`llama_cpp DIR` is that software; `notebook DIR` runs docs/stock.ipynb. They read what the first
wrote, without icl_sim. `speed DIR` needs both in one interpreter.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
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
RANDOM, STEPS = 100, 150
IN_LLAMA_CPP = 24  # runs, of which the first are the beavers
FLIPS = 20  # sign flips to be seen
# Checkpoint -> construction, its options, steps of BB(5) teacher-forced, and tokens generated.
CHECKPOINTS = {
    "stock": ("stock", {"states": 8, "bits": 8}, 8000, 3000),
    "pairs": ("stock-pairs", {"states": 8, "bits": 16}, 20_000, 6001),
}
TRAINERS = ("stock-pairs", {"states": 128, "symbols": 8, "bits": 10})
# Program, options, examples, data sets; all queries of each. The first few runs are generated, all
# are teacher-forced.
GENERATED = 5
TASKS = (
    ("counting", {"contexts": 2, "outputs": 2}, 4, 20),
    ("perceptron", {"features": 2, "epochs": 2}, 3, 20),
    ("logistic", {"features": 1, "fraction": 1, "rate": 0, "epochs": 1}, 2, 20),
)
FAMILIES = {
    "mistral": ("MistralForCausalLM", {"sliding_window": None}),
    "qwen2": ("Qwen2ForCausalLM", {}),
    "smollm3": ("SmolLM3ForCausalLM", {"use_sliding_window": False}),
}


def export(folder: Path) -> None:
    """Writes the checkpoints, as directories and as GGUF files, and cases.json: runs as text."""
    import numpy as np

    from constructions import CONSTRUCTIONS, TuringMachine
    from icl_sim.pretrained import to_gguf, to_pretrained

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
    (folder / "cases.json").write_text(json.dumps(cases))
    refused(folder, *CHECKPOINTS["stock"][:2])


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
    import numpy as np

    from constructions.programs.training_machines import TRAINING
    from constructions.vocabulary import trace_of

    rng, found = np.random.default_rng(0), []
    for name, options, n, data_sets in TASKS:
        program, right, queries = TRAINING[name](**options), 0, 0
        for i in range(data_sets):
            data = program.sample(rng, n)
            tape = program.encode(*data, program.domain)
            steps = program.machine.run(tape, 10**6).steps
            more = {"name": name, "first": i < GENERATED}
            found.append(case(built, program.machine, tape, steps) | more)
            tokens = built.fields.read(f"{found[-1]['prompt']} {found[-1]['run']}")
            answers = program.decode(trace_of(program.machine, built.decode(tokens)))
            right += int((answers == program.oracle(*data, program.domain)).sum())
            queries += len(program.domain)
        print(f"{name}: {right} of {queries} answers in the runs are the trained model's")
    return found


def refused(folder: Path, kind: str, options: dict[str, int]) -> None:
    """Counts the sign flips of weights of the layers that the certificate refuses: all of them."""
    import numpy as np

    from constructions import CONSTRUCTIONS

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


def in_transformers(folder: Path) -> int:
    """Prints what differs under transformers, and how far the right token leads; 1 if one does."""
    import torch
    import transformers

    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    cases, failed = json.loads((folder / "cases.json").read_text()), 0
    for checkpoint in CHECKPOINTS:
        for attention in ("eager", "sdpa"):
            model, words = load(folder / checkpoint, attention)
            label = f"{checkpoint}, {attention}"
            failed += check(label, model, words, cases[checkpoint])
        failed += reload(checkpoint, folder, words, cases[checkpoint])
        failed += families(checkpoint, folder, words, cases[checkpoint])
        if checkpoint == "stock":
            beaver = next(case for case in cases["stock"] if case["name"] == "BB(5)")
            first = " ".join(beaver["run"].split()[:400])
            tried = flips(model, words, beaver | {"run": first})
            print(f"{FLIPS} of {tried} sign flips tried change a token of BB(5)'s first 400")
    model, words = load(folder / "trainers", "sdpa")
    start, found = time.perf_counter(), [forced(model, words, c) for c in cases["trainers"]]
    failed += sum(bad for bad, _ in found)
    print(
        f"trainers, teacher-forced: {len(found)} runs, wrong {sum(bad for bad, _ in found)}, least "
        f"lead {min(lead for _, lead in found):.4f}, {time.perf_counter() - start:.0f} s",
        flush=True,
    )
    few = [case for case in cases["trainers"] if case["first"]]
    return int(failed + written("trainers", model, words, few) > 0)


def load(folder: Path, attention: str) -> tuple[Any, Any]:
    """Model and tokenizer."""
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation=attention
    ).eval()
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def check(label: str, model: Any, words: Any, cases: list[dict[str, Any]]) -> int:
    """How many runs are wrong: generated, drawn, teacher-forced, in a batch."""
    short = [case for case in cases if not case["forced"]]
    failed = written(label, model, words, short)
    failed += written(f"{label}, drawn at temperature 1", model, words, short, drawn=True)
    for case in (case for case in cases if case["forced"]):
        start = time.perf_counter()
        bad, lead = forced(model, words, case)
        failed += bad
        print(
            f"{label}, teacher-forced: {case['name']}, {len(case['run'].split())} tokens, wrong "
            f"{bad}, least lead {lead:.4f}, {time.perf_counter() - start:.0f} s",
            flush=True,
        )
    same = batch(model, words, short[:8])
    print(f"{label}, a batch of 8 with padding: wrong runs: {8 - same}")
    return failed + 8 - same


def written(
    label: str, model: Any, words: Any, cases: list[dict[str, Any]], *, drawn: bool = False
) -> int:
    """Wrong runs among those that `generate` writes."""
    start = time.perf_counter()
    wrong = [
        case["name"] for case in cases if generate(model, words, case, drawn=drawn) != case["run"]
    ]
    tokens = sum(len(case["run"].split()) for case in cases)
    rate = tokens / (time.perf_counter() - start)
    print(
        f"{label}: {len(cases)} runs, {tokens} tokens, {rate:.0f} a second, wrong: {wrong or 0}",
        flush=True,
    )
    return len(wrong)


def reload(checkpoint: str, folder: Path, words: Any, cases: list[dict[str, Any]]) -> int:
    """Wrong runs after save_pretrained and from_pretrained."""
    model, _ = load(folder / checkpoint, "sdpa")
    model.save_pretrained(folder / "again")
    words.save_pretrained(folder / "again")
    model, words = load(folder / "again", "sdpa")
    wrong = written(f"{checkpoint}, saved and loaded again", model, words, cases[:3])
    shutil.rmtree(folder / "again")
    return wrong


def families(checkpoint: str, folder: Path, words: Any, cases: list[dict[str, Any]]) -> int:
    """Wrong runs of the same weights under the classes of other families."""
    import torch
    from safetensors.torch import load_file, save_file

    failed = 0
    for family, (architecture, more) in FAMILIES.items():
        other = folder / family
        shutil.copytree(folder / checkpoint, other)
        config = json.loads((other / "config.json").read_text())
        config |= {"model_type": family, "architectures": [architecture]} | more
        layers = config["num_hidden_layers"]
        if family == "smollm3":  # positions in the first layer of pairs alone, which needs them
            config["no_rope_layers"] = [int(checkpoint == "pairs"), *[0] * (layers - 1)]
        if family == "qwen2":  # its class has biases
            tensors = load_file(other / "model.safetensors")
            for i in range(layers):
                for part in "qkv":
                    name = f"model.layers.{i}.self_attn.{part}_proj"
                    tensors[f"{name}.bias"] = torch.zeros(len(tensors[f"{name}.weight"]))
            save_file(tensors, other / "model.safetensors", {"format": "pt"})
        (other / "config.json").write_text(json.dumps(config))
        model, _ = load(other, "sdpa")
        label = f"{checkpoint}, as a {type(model).__name__}"
        failed += written(label, model, words, [c for c in cases if not c["forced"]][:24])
        shutil.rmtree(other)
    return failed


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
            keep = torch.arange(first, first + len(target)) >= len(prompt) - 1
            logits, target = out.logits[0, : len(target)][keep], target[keep]
            if not len(target):
                continue
            right = logits.gather(1, target[:, None])[:, 0]
            others = logits.scatter(1, target[:, None], -float("inf")).max(dim=1).values
            bad += int((right <= others).sum())
            lead = min([lead, *(right - others).tolist()])
    return bad, lead


def in_llama_cpp(folder: Path) -> int:
    """Prints what differs under llama.cpp, from text to text; 1 if a token does."""
    import xllamacpp

    cases, failed = json.loads((folder / "cases.json").read_text()), 0
    for checkpoint, chosen in cases.items():
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


def speed(folder: Path) -> int:
    """Prints tokens a second of BB(5) by transformers and by icl_sim, with a cache and without.

    The first run of each compiles; the second is timed. Without a cache all tokens are read again
    for every one that is written.
    """
    import jax
    import numpy as np

    from icl_sim import from_pretrained
    from icl_sim.decoding.token_sampling import sample_tokens
    from icl_sim.transformer import hidden, unembed

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


def notebook(folder: Path) -> int:
    """Runs the code of docs/stock.ipynb beside the directory ``stock``."""
    path = Path(__file__).parent.parent / "docs" / "stock.ipynb"
    cells = json.loads(path.read_text())["cells"]
    code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    (folder / "notebook.py").write_text(code)
    os.chdir(folder)
    runpy.run_path("notebook.py")
    return 0


if __name__ == "__main__":
    command, folder = sys.argv[1], Path(sys.argv[2])
    commands = {
        "export": export,
        "transformers": in_transformers,
        "llama_cpp": in_llama_cpp,
        "notebook": notebook,
        "speed": speed,
    }
    sys.exit(commands[command](folder))
