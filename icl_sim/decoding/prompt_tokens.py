"""The tokens of a prompt, checked before they are read."""

from __future__ import annotations

from typing import Any

import numpy as np

from icl_sim.errors import InputError
from icl_sim.execution.signatures import short


def prompt_tokens(prompt: Any, vocab: int) -> np.ndarray:
    """The prompt as int32 [T].

    Args:
      prompt: integers [T], T >= 1.
      vocab: V; tokens are less.

    Raises:
      InputError: no tokens, or some out of the vocabulary.

    >>> prompt_tokens([2, 0], 3).tolist()
    [2, 0]
    >>> prompt_tokens([3], 3)
    Traceback (most recent call last):
    icl_sim.errors.InputError: prompt: expected tokens from 0 to 2, got 3 to 3
    """
    try:
        tokens = np.asarray(prompt)
    except ValueError:  # rows of different lengths
        got = short(prompt)
        raise InputError(f"prompt: expected integers [T], T >= 1, got {got}") from None
    if tokens.ndim != 1 or not tokens.size or tokens.dtype.kind not in "iu":
        raise InputError(
            f"prompt: expected integers [T], T >= 1, got {tokens.dtype} {tokens.shape}"
        )
    if not 0 <= tokens.min() <= tokens.max() < vocab:
        raise InputError(
            f"prompt: expected tokens from 0 to {vocab - 1}, got {tokens.min()} to {tokens.max()}"
        )
    return tokens.astype(np.int32)
