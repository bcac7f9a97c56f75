"""Text in, text out: the shipped base's words are the numbers of its symbols."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from icl_sim.cli import run
from icl_sim.decoding.token_sampling import Sampling
from icl_sim.errors import InputError
from icl_sim.transformer import forward

pytest.importorskip("tokenizers")

from icl_sim.pretrained import from_pretrained, generate_text

PROMPTS = ["0 9 1 12 0", "3 15 3"]


@pytest.fixture(scope="module")
def base():
    return from_pretrained("base")


def by_hand(model, params, prompt, steps):
    tokens = [int(word) for word in prompt.split()]
    for _ in range(steps):
        tokens.append(int(forward(model.spec, params, np.array(tokens))[-1].argmax()))
    return tokens[-steps:]


def test_greedy_text_is_what_the_forward_pass_says(base):
    found = generate_text(*base, PROMPTS, max_tokens=4)
    for prompt, text in zip(PROMPTS, found.texts, strict=True):
        assert [int(word) for word in text.split()] == by_hand(*base[:2], prompt, 4)
    assert (found.tokens, found.stopped) == ((4, 4), (False, False))


def test_a_prefix_stands_in_front_of_every_prompt(base):
    joined = generate_text(*base, [f"{PROMPTS[0]} {end}" for end in ("9 1", "12 2")], max_tokens=3)
    shared = generate_text(*base, ["9 1", "12 2"], prefix=PROMPTS[0], max_tokens=3)
    assert joined.texts == shared.texts


def test_a_stop_text_ends_an_answer_and_is_left_out(base):
    whole = generate_text(*base, PROMPTS[:1], max_tokens=6).texts[0]
    stop = whole.split()[2]
    found = generate_text(*base, PROMPTS[:1], max_tokens=6, stop=[f" {stop}"])
    assert found.texts[0] == whole[: whole.index(f" {stop}")]
    assert found.stopped == (True,)


def test_what_is_drawn_depends_on_the_key_alone(base):
    draw = lambda seed: (
        generate_text(
            *base, PROMPTS, max_tokens=8, sampling=Sampling(1.0), key=jax.random.key(seed)
        ).texts
    )
    assert draw(1) == draw(1) != draw(2)


def test_the_command_writes_the_answers(capsys):
    arguments = ["icl-sim", "generate", "--base", "base", "--max-tokens", "3", "--json"]
    assert run([*arguments, *(word for text in PROMPTS for word in ("--prompt", text))]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["prompts"] == PROMPTS
    assert found["tokens"] == [3, 3]
    assert found["tokens_per_second"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--base", "/nowhere"], "/nowhere: expected smollm2, a directory or a .gguf file"),
        (["--base", "base", "--temperature", "-1"], "temperature: expected a number >= 0"),
        (["--base", "base", "--max-tokens", "0"], "1 or more prompts and steps"),
    ],
)
def test_bad_requests_are_one_line(words, message, capsys):
    assert run(["icl-sim", "generate", "--prompt", "1 2", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_model_without_a_tokenizer_is_refused(base):
    with pytest.raises(InputError, match="a model with a tokenizer"):
        generate_text(*base[:2], None, PROMPTS)
