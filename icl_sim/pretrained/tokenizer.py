"""Tokenizers of stock models, by the package `tokenizers` of the extra ``lm``.

A tokenizer is the text of its tokenizer.json and the special tokens that its tokenizer_config.json
names; what is written is what was read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from icl_sim.errors import InputError
from icl_sim.pretrained.packages import need
from icl_sim.pretrained.strict_json import one_line, read_object, read_text

TEXT, CONFIG = "tokenizer.json", "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
# How byte-level BPE cuts a text into words before it merges, by llama.cpp's name. None: as GPT-2.
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {
    "gpt-2": None,
    "smollm": None,
    "llama-bpe": _CONTRACTIONS + r"\p{N}{1,3}" + _REST,
    "qwen2": _CONTRACTIONS + r"\p{N}" + _REST,
}


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """Text to tokens and back.

    Args:
      text: of its tokenizer.json.
      config: its tokenizer_config.json.
      template: its chat template, if that is a file of its own.
      name: for messages.

    Raises:
      InputError: it is none, or the package is missing.
    """

    text: str
    config: Mapping[str, Any] = field(default_factory=dict)
    template: str = ""
    name: str = TEXT

    def __post_init__(self) -> None:
        _ = self._tokenizer  # a damaged one is refused now, not when it is used

    @cached_property
    def _tokenizer(self) -> Any:
        library = need("tokenizers")
        try:
            return library.Tokenizer.from_str(self.text)
        except BaseException as error:
            # A panic of the library derives from BaseException alone.
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            raise InputError(f"{self.name}: expected a tokenizer, got {one_line(error)}") from None

    @property
    def size(self) -> int:
        """One more than the largest token."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The tokens of a text; ``special`` adds what the model expects around it, if anything."""
        if not isinstance(text, str):
            raise InputError(f"text: expected a string, got {type(text).__name__}")
        return self._tokenizer.encode(text, add_special_tokens=special).ids

    def decode(self, tokens: Iterable[int], *, special: bool = False) -> str:
        """The text of tokens; ``special`` shows special ones too."""
        return self._tokenizer.decode([int(t) for t in tokens], skip_special_tokens=not special)

    def token(self, text: str) -> int:
        """The number of the token that is written so.

        Raises:
          InputError: there is none.
        """
        found = self._tokenizer.token_to_id(text)
        if found is None:
            raise InputError(f"{self.name}: expected a token of the vocabulary, got {text!r}")
        return found

    @property
    def bos(self) -> int | None:
        """The token that begins a text."""
        return self._special("bos_token")

    @property
    def eos(self) -> int | None:
        """The token that ends a text."""
        return self._special("eos_token")

    @property
    def pad(self) -> int | None:
        """The token that fills up a batch."""
        return self._special("pad_token")

    @property
    def files(self) -> dict[str, str]:
        """Name -> text of the files that it is stored as."""
        config = {"tokenizer_class": "PreTrainedTokenizerFast"} | dict(self.config)
        files = {TEXT: self.text, CONFIG: json.dumps(config, indent=1, ensure_ascii=False) + "\n"}
        return files | ({TEMPLATE: self.template} if self.template else {})

    def _special(self, key: str) -> int | None:
        token = self.config.get(key)
        text = token.get("content") if isinstance(token, dict) else token
        return self._tokenizer.token_to_id(text) if isinstance(text, str) else None


def words_tokenizer(words: Sequence[str], *, eos: int | None = None) -> str:
    """The text of a tokenizer.json for words between blanks; needs no package.

    Args:
      words: token i is words[i]; all differ and none has a blank in it.
      eos: the token that ends an answer: a special one.

    >>> '"<end>":2' in words_tokenizer(["0", "1", "<end>"], eos=2)
    True
    """
    wrong = [word for word in words if not word or word.split() != [word]]
    if wrong or len(set(words)) < len(words):
        raise InputError(
            f"words: expected different ones without blanks, got {(wrong or words)[0]!r}"
        )
    special = [] if eos is None else [_added(eos, words[eos])]
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": special,
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "model": {
                "type": "WordLevel",
                "vocab": {word: i for i, word in enumerate(words)},
                "unk_token": words[0],
            },
        },
        separators=(",", ":"),
        ensure_ascii=False,
    )


def _added(token: int, text: str) -> dict[str, Any]:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token, "content": text, "special": True} | plain


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a directory: tokenizer.json, or vocab.json and merges.txt of GPT-2's kind.

    Raises:
      InputError: neither, or damaged ones.
    """
    config = read_object(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    template = read_text(folder / TEMPLATE) if (folder / TEMPLATE).is_file() else ""
    if (folder / TEXT).is_file():
        text = read_text(folder / TEXT)
        return Tokenizer(text, config, template, name=str(folder / TEXT))
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    if not (vocabulary.is_file() and merges.is_file()):
        raise InputError(
            f"{folder}: expected {TEXT}, got none: save the tokenizer with it, or load the model "
            "alone with tokenizer=False"
        )
    numbers = read_object(vocabulary)
    lines = read_text(merges).splitlines()
    pairs = [line for line in lines if line and not line.startswith("#version")]
    text = byte_level(numbers, pairs, name=str(vocabulary), bos=_bos_text(config))
    return Tokenizer(text, config, template, name=str(vocabulary))


def _bos_text(config: Mapping[str, Any]) -> str | None:
    bos = config.get("bos_token") if config.get("add_bos_token") else None
    return bos.get("content") if isinstance(bos, dict) else bos


def byte_level(
    numbers: Mapping[str, int],
    merges: Sequence[str],
    *,
    name: str,
    split: str = "gpt-2",
    special: Sequence[str] = (),
    whole: Sequence[str] = (),
    bos: str | None = None,
) -> str:
    """The text of a tokenizer.json for byte-level BPE.

    Args:
      numbers: text of a token, in the alphabet of bytes -> its number.
      merges: pairs ``a b``, first ones first.
      name: for messages.
      split: how a text is cut into words, by llama.cpp's name.
      special: tokens that stand for no text.
      whole: tokens that are never cut.
      bos: token put before every text.

    Raises:
      InputError: an unknown split, or tokens and merges that do not fit.
    """
    if split not in _SPLITS:
        raise InputError(f"{name}: expected a tokenizer of {', '.join(_SPLITS)}, got {split!r}")
    library = need("tokenizers")
    pre, models = library.pre_tokenizers, library.models
    pattern = _SPLITS[split]
    cut = [] if pattern is None else [pre.Split(library.Regex(pattern), "isolated")]
    if split == "smollm":
        cut = [pre.Digits(individual_digits=True)]
    try:
        pairs = [tuple(pair.split(" ")) for pair in merges]
        model = models.BPE(dict(numbers), pairs, ignore_merges=split == "llama-bpe")
        built = library.Tokenizer(model)
        last = pre.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
        built.pre_tokenizer = pre.Sequence([*cut, last])
        built.decoder = library.decoders.ByteLevel()
        if split == "qwen2":
            built.normalizer = library.normalizers.NFC()
        for texts, kind in ((special, True), (whole, False)):
            built.add_tokens([library.AddedToken(t, special=kind, normalized=False) for t in texts])
        if bos is not None:
            template = library.processors.TemplateProcessing
            built.post_processor = template(
                single=f"{bos} $A", special_tokens=[(bos, numbers[bos])]
            )
    except Exception as error:  # the library has no errors of its own
        raise InputError(f"{name}: expected byte-level BPE, got {one_line(error)}") from None
    if built.get_vocab_size() != len(numbers):
        raise InputError(f"{name}: expected special tokens of the vocabulary, got others")
    return built.to_str()
