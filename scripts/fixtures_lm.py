"""Our forward pass against transformers: tiny models of every family, a machine, SmolLM2-135M."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import safetensors.numpy
import torch
import transformers

from icl_sim.pretrained import find_model, from_pretrained, to_pretrained
from icl_sim.transformer import CERTIFIED, FAST, forward, hidden, load, stack_layers, unembed

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import stock_models

TEXTS = (
    "The capital of France is Paris. The capital of Germany is Berlin. The capital of Italy is",
    "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n\nprint(fib(10))  # 55\n",
    "<|im_start|>user\nWhat is 17 + 25?<|im_end|>\n<|im_start|>assistant\n17 + 25 = 42.<|im_end|>",
)


def stock(folder):
    """The model that transformers loads from a directory; ValueError if a tensor is amiss."""
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32, output_loading_info=True
    )
    amiss = {key: value for key, value in info.items() if value}
    if amiss:
        raise ValueError(f"{folder}: {amiss}")
    return model.eval()


def logits(model, tokens):
    """float32 [T, V]."""
    with torch.no_grad():
        return model(torch.as_tensor(np.asarray(tokens, np.int64))[None]).logits[0].numpy()


def ours(model, params, tokens, how):
    """float32 [T, V]."""
    return np.asarray(forward(model.spec, params, np.asarray(tokens, np.int32), how=how))


def law(logits):
    """float64 [T, V]: their softmax."""
    weight = np.exp(logits.astype(float) - logits.max(-1, keepdims=True))
    return weight / weight.sum(-1, keepdims=True)


def main():
    """All families: writes the fixtures, prints the differences."""
    versions = {p.__name__: p.__version__ for p in (transformers, torch, np)}
    (stock_models.FIXTURES / "versions.json").write_text(json.dumps(versions) + "\n")
    print(versions)
    for name, config in stock_models.CASES.items():
        with tempfile.TemporaryDirectory() as scratch:
            written = stock_models.write(Path(scratch) / "in", config)
            theirs = stock(written)
            tokens = stock_models.tokens(config)
            expected = logits(theirs, tokens)
            np.save(stock_models.fixture_path(name), expected)
            model, params, _ = from_pretrained(written, tokenizer=False)
            gaps = [
                np.abs(ours(model, params, tokens, how) - expected).max()
                for how in (CERTIFIED, FAST)
            ]
            out = to_pretrained(model, Path(scratch) / "out", params=params)
            back = stock(out)
            same = np.array_equal(logits(back, tokens), expected)
            before, after = (
                safetensors.numpy.load_file(p / "model.safetensors") for p in (written, out)
            )
            bits = before.keys() == after.keys() and all(
                before[key].tobytes() == after[key].tobytes() for key in before
            )
            fresh = to_pretrained(
                type(model)(model.spec),
                Path(scratch) / "fresh",
                params=params,
                family=config["model_type"],
            )
            again = np.array_equal(logits(stock(fresh), tokens), expected)
        print(
            f"{name}: logits up to {np.abs(expected).max():.1f}; max |difference| certified "
            f"{gaps[0]:.1e}, fast {gaps[1]:.1e}; written, then loaded by transformers: logits "
            f"equal {same}, tensors' bits equal {bits}; with a config of its own: {again}"
        )


def machine():
    """The stock machine: writes the fixture, prints the lead of the right token."""
    built, tokens = stock_models.machine()
    with tempfile.TemporaryDirectory() as scratch:
        expected = logits(stock(to_pretrained(built, scratch)), tokens)
    np.save(stock_models.fixture_path("machine"), expected)
    gap = np.abs(ours(load(built)[0], built.params, tokens, CERTIFIED) - expected).max()
    print(f"stock machine: logits up to {np.abs(expected).max():.1f}; max |difference| {gap:.1e}")


def smollm2():
    """SmolLM2-135M: tokens, laws and speed."""
    start = time.perf_counter()
    model, params, tokenizer = from_pretrained("smollm2")
    seconds = time.perf_counter() - start
    print(f"load {seconds:.1f} s, {sum(x.size for x in params.values()):,} weights")
    with tempfile.TemporaryDirectory() as scratch:
        folder = to_pretrained(model, scratch, params=params)
        theirs = stock(folder)
        their_tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    path = find_model("smollm2")
    gguf = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    same = all(torch.equal(x, theirs.state_dict()[n]) for n, x in gguf.state_dict().items())
    print(f"tensors that transformers reads from the GGUF file and from our directory equal {same}")
    for text in TEXTS:
        tokens = tokenizer.encode(text)
        words = their_tokenizer(text).input_ids == tokens
        expected = logits(theirs, tokens)
        for label, how in (("certified", CERTIFIED), ("fast", FAST)):
            got = ours(model, params, tokens, how)
            p, q = law(got), law(expected)
            print(
                f"{label}: {len(tokens)} tokens (equal {words}, "
                f"text back {tokenizer.decode(tokens, special=True) == text}), top-1 equal "
                f"{(got.argmax(-1) == expected.argmax(-1)).mean():.3f}, max |difference| "
                f"{np.abs(got - expected).max():.1e} of {np.abs(expected).max():.0f}, TV "
                f"{np.abs(p - q).sum(-1).max() / 2:.1e}"
            )
    speed(model.spec, params, theirs)


def speed(spec, params, theirs):
    """Prefill of 512 tokens, last logits only; tokens a second of wall time and of CPU time."""
    tokens = np.random.default_rng(0).integers(0, spec.input_size, 512, dtype=np.int32)

    @partial(jax.jit, static_argnums=0)
    def last(spec, params, tokens):
        return unembed(spec, params, hidden(spec, params, tokens, how=FAST)[-1:], how=FAST)

    def transformers_last():
        with torch.no_grad():
            return theirs(torch.as_tensor(tokens.astype(np.int64))[None], logits_to_keep=1).logits

    stack = stack_layers(spec, params)
    runs = {
        "ours": lambda: last(spec, stack, tokens).block_until_ready(),
        "transformers, eager": transformers_last,
    }
    for label, run in runs.items():
        run()
        times = []
        for _ in range(5):
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            times.append((time.perf_counter() - wall, time.process_time() - cpu))
        wall, cpu = np.median(times, axis=0)
        print(f"{label}: {512 / wall:.0f} tokens/s, {512 / cpu:.0f} per CPU second at T = 512")


if __name__ == "__main__":
    if "--smollm2" in sys.argv[1:]:
        smollm2()
    else:
        main()
        machine()
