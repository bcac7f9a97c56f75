"""Tokenizers of stock models; they need the extra lm."""

from __future__ import annotations

import json

import pytest
import stock_models
from stock_models import CASES

from icl_sim import from_pretrained, to_pretrained
from icl_sim.errors import InputError
from icl_sim.pretrained import Tokenizer, words_tokenizer

pytest.importorskip("tokenizers")

from icl_sim.pretrained.tokenizer import byte_level

# Bytes h e l o and a blank (which byte-level BPE writes as G with a dot), digits, two merges.
LETTERS = ["<s>", "</s>", "h", "e", "l", "o", "\u0120", "1", "2", "he", "ll", "<think>"]
NUMBERS = {text: i for i, text in enumerate(LETTERS)}
MERGES = ["h e", "l l"]


def test_byte_level_pairs_are_merged_in_order():
    words = Tokenizer(byte_level(NUMBERS, MERGES, name="x", special=["<s>", "</s>"]))
    assert words.encode("hello</s>") == [9, 10, 5, 1]
    assert words.decode([9, 10, 5, 1]) == "hello"
    assert words.decode([9, 10, 5, 1], special=True) == "hello</s>"
    assert words.size == 12
    assert words.token("ll") == 10
    with pytest.raises(InputError, match="expected a token of the vocabulary, got 'x'"):
        words.token("x")
    with pytest.raises(InputError, match="text: expected a string, got int"):
        words.encode(3)


def test_what_surrounds_a_text_is_added_unless_it_is_not_wanted():
    words = Tokenizer(byte_level(NUMBERS, MERGES, name="x", special=["<s>"], bos="<s>"))
    assert words.encode("he") == [0, 9]
    assert words.encode("he", special=False) == [9]


def test_digits_stand_alone_where_the_model_wants_it():
    numbers = NUMBERS | {"12": 12}
    texts = {
        split: Tokenizer(byte_level(numbers, [*MERGES, "1 2"], name="x", split=split))
        for split in ("gpt-2", "smollm", "qwen2", "llama-bpe")
    }
    found = {split: words.encode("12") for split, words in texts.items()}
    assert found == {"gpt-2": [12], "smollm": [7, 8], "qwen2": [7, 8], "llama-bpe": [12]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "falcon"}, "expected a tokenizer of gpt-2, smollm, .*got 'falcon'"),
        ({"merges": ["h x"]}, "x: expected byte-level BPE, got"),
        ({"merges": ["h"]}, "x: expected byte-level BPE, got"),
        ({"special": ["<new>"]}, "expected special tokens of the vocabulary"),
        ({"bos": "<new>"}, "x: expected byte-level BPE, got"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(change, message):
    arguments = {"numbers": NUMBERS, "merges": MERGES, "name": "x"} | change
    with pytest.raises(InputError, match=message):
        byte_level(**arguments)


def directory(folder, name="smollm2"):
    config = CASES[name] | {"eos_token_id": 1}
    return stock_models.write(folder, config)


def test_a_tokenizer_goes_in_and_out(tmp_path):
    first = directory(tmp_path / "a")
    text = byte_level(NUMBERS, MERGES, name="x", special=["<s>", "</s>"])
    (first / "tokenizer.json").write_text(text)
    about = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": None}
    (first / "tokenizer_config.json").write_text(json.dumps(about))
    (first / "chat_template.jinja").write_text("{{ x }}")
    model, params, words = from_pretrained(first)
    assert (words.bos, words.eos, words.pad) == (0, 1, None)
    assert model.origin.eos == (1,)
    second = to_pretrained(model, tmp_path / "b", params=params)  # its own tokenizer
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (second / name).read_bytes() == (first / name).read_bytes()
    assert from_pretrained(second)[2].encode("hello") == [9, 10, 5]
    assert json.loads((second / "generation_config.json").read_text())["eos_token_id"] == 1


def test_vocabulary_and_merges_alone_will_do(tmp_path):
    folder = directory(tmp_path)
    (folder / "vocab.json").write_text(json.dumps(NUMBERS))
    (folder / "merges.txt").write_text("#version: 0.2\nh e\nl l\n", encoding="utf-8")
    about = {"add_bos_token": True, "bos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    assert from_pretrained(folder)[2].encode("hello") == [1, 9, 10, 5]


def test_a_missing_damaged_or_larger_tokenizer_is_refused(tmp_path):
    folder = directory(tmp_path)
    with pytest.raises(InputError, match="expected tokenizer.json, got none: .* tokenizer=False"):
        from_pretrained(folder)
    for text in ("", "{}", '{"model": 1}', "[" * 1000):
        (folder / "tokenizer.json").write_text(text)
        with pytest.raises(InputError, match=r"tokenizer.json: expected a tokenizer, got [^\n]*$"):
            from_pretrained(folder)
    (folder / "tokenizer.json").write_text(words_tokenizer(list(map(str, range(65)))))
    with pytest.raises(InputError, match="expected at most the model's 64 tokens, got 65"):
        from_pretrained(folder)


def test_a_model_without_words_gets_numbers(tmp_path):
    assert from_pretrained("base")[2].encode("3 15 0") == [3, 15, 0]
    read, leaves, _ = from_pretrained(directory(tmp_path / "a"), tokenizer=False)
    folder = to_pretrained(type(read)(read.spec), tmp_path / "b", params=leaves)
    words = from_pretrained(folder)[2]
    assert words.encode("63 0 7") == [63, 0, 7]
    assert words.decode([63, 0, 7]) == "63 0 7"


def test_words_of_a_vocabulary(tmp_path):
    words = Tokenizer(words_tokenizer(["A0", "1RB", "<end>"], eos=2), {"eos_token": "<end>"})
    assert words.encode("1RB A0 <end>") == [1, 0, 2]
    assert words.decode([1, 2]) == "1RB"
    assert words.eos == 2
    for wrong in (["a b"], [""], ["a", "a"]):
        with pytest.raises(InputError, match="words: expected different ones without blanks"):
            words_tokenizer(wrong)
