"""Stock machines under unmodified transformers, from text to text, without icl_sim.

`in_transformers.py DIR [PART ...]` reads what `cases.py` wrote; PART is a name in `PARTS`.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

FLIPS = 20  # sign flips to be seen
FAMILIES = {
    "mistral": ("MistralForCausalLM", {"sliding_window": None}),
    "qwen2": ("Qwen2ForCausalLM", {}),
    "smollm3": ("SmolLM3ForCausalLM", {"use_sliding_window": False}),
}


def universal(checkpoint: str, attention: str, folder: Path, cases: dict[str, Any]) -> int:
    """Wrong runs of one checkpoint under one kind of attention."""
    model, words = load(folder / checkpoint, attention)
    return check(f"{checkpoint}, {attention}", model, words, cases[checkpoint])


def others(checkpoint: str, folder: Path, cases: dict[str, Any]) -> int:
    """Wrong runs of what was saved again, and under other families' classes."""
    words = load(folder / checkpoint, "sdpa")[1]
    failed = reload(checkpoint, folder, words, cases[checkpoint])
    return failed + families(checkpoint, folder, words, cases[checkpoint])


def flipped(folder: Path, cases: dict[str, Any]) -> int:
    """Counts sign flips until `FLIPS` have changed a token."""
    model, words = load(folder / "stock", "sdpa")
    beaver = next(case for case in cases["stock"] if case["name"] == "BB(5)")
    first = " ".join(beaver["run"].split()[:400])
    tried = flips(model, words, beaver | {"run": first})
    print(f"{FLIPS} of {tried} sign flips tried change a token of BB(5)'s first 400")
    return 0


def trainers(folder: Path, cases: dict[str, Any]) -> int:
    """Wrong runs of the programs that train: all teacher-forced, some generated."""
    model, words = load(folder / "trainers", "sdpa")
    start, found = time.perf_counter(), [forced(model, words, c) for c in cases["trainers"]]
    bad = sum(wrong for wrong, _ in found)
    print(
        f"trainers, teacher-forced: {len(found)} runs, wrong {bad}, least lead "
        f"{min(lead for _, lead in found):.4f}, {time.perf_counter() - start:.0f} s",
        flush=True,
    )
    few = [case for case in cases["trainers"] if case["first"]]
    return bad + together("trainers", model, words, few)


def single(folder: Path, cases: dict[str, Any]) -> int:
    """Wrong runs of machines of their own, in each arithmetic, and of a run in windows."""
    failed = 0
    for checkpoint in (name for name in cases if (folder / name).is_dir()):
        if checkpoint in ("stock", "pairs", "trainers"):
            continue
        for attention in ("eager", "sdpa"):
            model, words = load(folder / checkpoint, attention)
            label = f"{checkpoint}, {attention}, {model.dtype}"
            failed += written(label, model, words, cases[checkpoint])
            found = [forced(model, words, case) for case in cases[checkpoint]]
            failed += sum(wrong for wrong, _ in found)
            print(f"{label}: least lead {min(lead for _, lead in found):.4f}", flush=True)
    return failed


def learners(folder: Path, cases: dict[str, Any]) -> int:
    """How many laws are farther from the oracle's than is certified."""
    failed = 0
    for name, learner in json.loads((folder / "laws.json").read_text()).items():
        for attention in ("eager", "sdpa"):
            model, words = load(folder / name, attention)
            worst = 0.0
            for case in learner["laws"]:
                with torch.no_grad():
                    logits = model(**words(case["prompt"], return_tensors="pt")).logits[0, -1]
                whole = logits.double()
                scale = learner["scale"]
                law = (whole / scale if scale else whole.softmax(0))[learner["columns"]]
                distance = float((law - torch.tensor(case["law"]).double()).abs().sum() / 2)
                worst = max(worst, distance)
                failed += distance > case["certified"]
            print(f"{name}, {attention}: {len(learner['laws'])} laws, total variation {worst:.1e}")
    return failed


def programs(folder: Path, cases: dict[str, Any]) -> int:
    """Inputs on which a program's value behind some prefix is not the greedy token there."""
    failed = 0
    for name, runs in json.loads((folder / "programs.json").read_text()).items():
        for attention in ("eager", "sdpa"):
            model, words = load(folder / f"program-{name}", attention)
            wrong, lead, values = 0, float("inf"), 0
            for run in runs:
                with torch.no_grad():
                    logits = model(**words(run["prompt"], return_tensors="pt")).logits[0, 1:]
                two = logits.topk(2).values
                lead = min(lead, float((two[:, 0] - two[:, 1]).min()))
                wrong += words.convert_ids_to_tokens(logits.argmax(1)) != run["run"].split()
                values += len(logits)
            failed += wrong
            print(
                f"{name}, {attention}: {len(runs)} inputs, {values} values, wrong inputs {wrong}, "
                f"least lead {lead:.4f}",
                flush=True,
            )
    return failed + continued(folder)


def continued(folder: Path) -> int:
    """Whether `generate` goes on with a text that repeats itself, by induction."""
    model, words = load(folder / "program-induction", "sdpa")
    prompt = words("<start> a b c d e a", return_tensors="pt")
    out = model.generate(**prompt, max_new_tokens=40, do_sample=False)
    text = words.decode(out[0, prompt["input_ids"].shape[1] :])
    print(f"induction, generate: {text}")
    return int(text.split() != [*"bcdea"] * 8)


def load(folder: Path, attention: str) -> tuple[Any, Any]:
    """Model and tokenizer."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation=attention
    ).eval()
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def check(label: str, model: Any, words: Any, cases: list[dict[str, Any]]) -> int:
    """How many runs are wrong: generated, drawn, teacher-forced, in a batch."""
    short = [case for case in cases if not case["forced"]]
    write = together if label.startswith("pairs") else written  # its vocabulary is large
    failed = write(label, model, words, short)
    failed += write(f"{label}, drawn at temperature 1", model, words, short, drawn=True)
    for case in (case for case in cases if case["forced"]):
        start = time.perf_counter()
        bad, lead = forced(model, words, case)
        failed += bad
        print(
            f"{label}, teacher-forced: {case['name']}, {len(case['run'].split())} tokens, wrong "
            f"{bad}, least lead {lead:.4f}, {time.perf_counter() - start:.0f} s",
            flush=True,
        )
    return failed + together(f"{label}, a batch of 8", model, words, short[:8])


def written(
    label: str, model: Any, words: Any, cases: list[dict[str, Any]], *, drawn: bool = False
) -> int:
    """Wrong runs among those that `generate` writes."""
    start = time.perf_counter()
    wrong = [
        case["name"] for case in cases if generate(model, words, case, drawn=drawn) != case["run"]
    ]
    report(label, cases, start, wrong)
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
        failed += together(label, model, words, [c for c in cases if not c["forced"]][:24])
        shutil.rmtree(other)
    return failed


def together(
    label: str, model: Any, words: Any, cases: list[dict[str, Any]], *, drawn: bool = False
) -> int:
    """Wrong runs among those that `generate` writes in batches of up to 26, padded on the left."""
    start, wrong, words.padding_side = time.perf_counter(), [], "left"
    cases = sorted(cases, key=lambda case: len(case["run"]))
    for first in range(0, len(cases), 26):
        some = cases[first : first + 26]
        prompts = words([case["prompt"] for case in some], return_tensors="pt", padding=True)
        most = max(len(case["run"].split()) for case in some)
        out = model.generate(**prompts, max_new_tokens=most, **sampling(drawn=drawn))
        for row, case in zip(out[:, prompts["input_ids"].shape[1] :], some, strict=True):
            run = case["run"].split()
            if words.decode(row).split()[: len(run)] != run:
                wrong.append(case["name"])
    report(label, cases, start, wrong)
    return len(wrong)


def report(label: str, cases: list[dict[str, Any]], start: float, wrong: list[str]) -> None:
    """Prints how many tokens were written, how quickly, and which runs are wrong."""
    tokens = sum(len(case["run"].split()) for case in cases)
    rate = tokens / (time.perf_counter() - start)
    print(
        f"{label}: {len(cases)} runs, {tokens} tokens, {rate:.0f} a second, wrong: {wrong or 0}",
        flush=True,
    )


def sampling(*, drawn: bool) -> dict[str, Any]:
    """How `generate` picks a token."""
    torch.manual_seed(0)
    return {"do_sample": True, "temperature": 1.0, "top_k": 0} if drawn else {"do_sample": False}


def flips(model: Any, words: Any, case: dict[str, Any]) -> int:
    """How many sign flips have to be tried until `FLIPS` of them give a wrong token."""
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
    prompt, most = words(case["prompt"], return_tensors="pt"), len(case["run"].split())
    out = model.generate(**prompt, max_new_tokens=most, **sampling(drawn=drawn))
    text: str = words.decode(out[0, prompt["input_ids"].shape[1] :])
    return text


def forced(model: Any, words: Any, case: dict[str, Any], block: int = 500) -> tuple[int, float]:
    """Wrong tokens given the right ones before each, and the least lead of the right one."""
    prompt, run = (words(case[key])["input_ids"] for key in ("prompt", "run"))
    tokens, cache, bad, lead = torch.tensor([prompt + run]), None, 0, float("inf")
    with torch.no_grad():
        for first in range(0, tokens.shape[1] - 1, block):
            here = tokens[:, first : first + block]
            out = model(here, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            target = tokens[0, first + 1 : first + block + 1]
            keep = torch.arange(first, first + len(target)) >= len(prompt) - 1
            logits, target = out.logits[0, : len(target)][keep].float(), target[keep]
            if not len(target):
                continue
            right = logits.gather(1, target[:, None])[:, 0]
            others = logits.scatter(1, target[:, None], -float("inf")).max(dim=1).values
            bad += int((right <= others).sum())
            lead = min([lead, *(right - others).tolist()])
    return bad, lead


PARTS = {
    "stock-eager": lambda *given: universal("stock", "eager", *given),
    "stock-sdpa": lambda *given: universal("stock", "sdpa", *given),
    "stock-others": lambda *given: others("stock", *given),
    "pairs-eager": lambda *given: universal("pairs", "eager", *given),
    "pairs-sdpa": lambda *given: universal("pairs", "sdpa", *given),
    "pairs-others": lambda *given: others("pairs", *given),
    "flips": flipped,
    "trainers": trainers,
    "single": single,
    "learners": learners,
    "programs": programs,
}


if __name__ == "__main__":
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    folder = Path(sys.argv[1])
    cases = json.loads((folder / "cases.json").read_text())
    failed = [PARTS[part](folder, cases) for part in sys.argv[2:] or PARTS]
    sys.exit(int(sum(failed) > 0))
