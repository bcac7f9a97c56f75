"""Text from a language model: prompts in, what it writes behind them out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from icl_sim.decoding.token_sampling import GREEDY, Sampling, sample_tokens
from icl_sim.errors import InputError
from icl_sim.execution.progress import Progress, quiet
from icl_sim.pretrained.tokenizer import Tokenizer
from icl_sim.transformer import Arithmetic, Params, Transformer, stack_layers
from icl_sim.transformer.arithmetic import FAST


@dataclass(frozen=True)
class Generation:
    """What a model wrote behind its prompts.

    Attributes:
      prompts: the texts given.
      texts: what follows each, up to its stop.
      tokens: how many tokens that is, one number a prompt.
      stopped: whether a stop token or string ended it, not the number of tokens.
      tokens_per_second: of all prompts together, compilation and reading included.
    """

    prompts: tuple[str, ...]
    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    stopped: tuple[bool, ...]
    tokens_per_second: float


def generate_text(
    model: Transformer,
    params: Params,
    tokenizer: Tokenizer | None,
    prompts: Sequence[str],
    *,
    max_tokens: int = 64,
    sampling: Sampling = GREEDY,
    stop: Sequence[str] = (),
    prefix: str = "",
    key: jax.Array | None = None,
    how: Arithmetic = FAST,
    progress: Progress = quiet,
) -> Generation:
    """What the model writes behind each prompt, all prompts at once.

    Args:
      model, params, tokenizer: as `from_pretrained` returns them.
      prompts: one or more texts.
      max_tokens: the most tokens to write.
      sampling: greedy by default.
      stop: texts that end an answer, themselves left out.
      prefix: a text in front of every prompt, such as demonstrations; it is read once.
      key: randomness; may be left out if greedy.
      how: the arithmetic.
      progress: called as progress(label, tokens done, max_tokens).

    Raises:
      InputError: no tokenizer, no prompts, an empty prompt, or more than memory lasts for.
    """
    if tokenizer is None:
        raise InputError("generate: expected a model with a tokenizer, got none")
    if any(not isinstance(text, str) or not text for text in stop):
        raise InputError(f"stop: expected texts that are not empty, got {list(stop)}")
    shared = tokenizer.encode(prefix) if prefix else None
    # Special tokens stand at the very beginning only.
    rows = [tokenizer.encode(text, special=shared is None) for text in prompts]
    ends = [] if tokenizer.eos is None else [tokenizer.eos]

    def done(tokens: np.ndarray) -> bool:
        return any(text in tokenizer.decode(tokens) for text in stop)

    start = time.perf_counter()
    found = sample_tokens(
        model,
        stack_layers(model.spec, params) if how.scan else params,
        rows,
        steps=max_tokens,
        prefix=shared,
        stop=ends,
        done=done,
        sampling=sampling,
        key=key,
        how=how,
        progress=progress,
    )
    seconds = time.perf_counter() - start
    texts, stopped = [], []
    for tokens in found:
        ended = bool(len(tokens)) and int(tokens[-1]) in ends
        text = tokenizer.decode(tokens[:-1] if ended else tokens)
        places = [place for place in (text.find(one) for one in stop) if place >= 0]
        texts.append(text[: min(places)] if places else text)
        stopped.append(ended or bool(places))
    sizes = tuple(map(len, found))
    return Generation(
        tuple(prompts), tuple(texts), sizes, tuple(stopped), sum(sizes) / max(seconds, 1e-9)
    )
