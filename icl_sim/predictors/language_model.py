"""What a predictor of kind ``language`` reads and answers.

Letters: m queries, C choices, D width, V tokens of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from icl_sim.data.text_pairs import LanguageData
from icl_sim.decoding.kv_cache import (
    check_decodable,
)
from icl_sim.errors import InputError
from icl_sim.pretrained import Tokenizer, from_pretrained
from icl_sim.training import TrainConfig
from icl_sim.training.base_model import NAME as BASE
from icl_sim.training.base_model import WINDOW
from icl_sim.transformer import (
    FAST,
    Arithmetic,
    Params,
    Transformer,
    stack_layers,
)

# Of all tuned routes, but for what each adapts.
TUNING = TrainConfig(learning_rate=1e-3, steps=45, schedule="constant", batch=16)


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A language model as routes use it.

    Args:
      name: for messages and records.
      model: a causal decoder of tokens with logits.
      params: its leaves; those of equal layers may be stacked.
      tokenizer: of its vocabulary.
      how: the arithmetic.
      longest: the longest prompt that it was made for, in tokens, if its spec and its origin do not
        say so.

    Raises:
      InputError: a model that is not read token by token, or has no tokenizer.
    """

    name: str
    model: Transformer
    params: Params
    tokenizer: Tokenizer
    how: Arithmetic = FAST
    longest: int | None = None

    def __post_init__(self) -> None:
        check_decodable(self.model.spec)
        if self.model.spec.readout == "simplex":
            raise InputError(f"{self.name}: expected a model with logits, got one with laws")

    @property
    def window(self) -> int | None:
        """The most tokens that it was made for, if it says so."""
        if self.model.spec.position_rows:
            return self.model.spec.position_rows - self.model.spec.position_offset
        return self.longest if self.model.origin is None else self.model.origin.window


def load_language_model(path: str | Path) -> LanguageModel:
    """The model of a name or path; see `icl_sim.pretrained.from_pretrained`.

    Raises:
      InputError: no such model, or one without a tokenizer.
    """
    model, params, tokenizer = from_pretrained(path)
    if tokenizer is None:
        raise InputError(f"{path}: expected a model with a tokenizer, got none")
    longest = WINDOW if str(path) == BASE else None
    leaves = stack_layers(model.spec, params)
    return LanguageModel(str(path), model, leaves, tokenizer, longest=longest)


class Question(NamedTuple):
    """What a predictor of kind ``language`` reads.

    data: demonstrations, queries, choices and template.
    base: the model, its params and its tokenizer.
    tuning: how routes are tuned that are.
    """

    data: LanguageData
    base: LanguageModel
    tuning: TrainConfig = TUNING


@dataclass(frozen=True, eq=False)
class Answer:
    """What a route answers: an array of laws, and what stands behind it.

    Args:
      laws: float32 [m, C], of the choices.
      hidden: float32 [m, D], the normalized residual stream at the end of each prompt; None if no
        model was asked.
      readout: [D, V] that makes logits of it; None: the base's own.
      trained: tokens read in training.
      adapted: numbers that are trained.
      shared, own: tokens of a prompt that all queries share, and of a query alone, on average.
      figures: what else the route says of itself, by name.
    """

    laws: np.ndarray
    hidden: np.ndarray | None = None
    readout: jax.Array | None = None
    trained: int = 0
    adapted: int = 0
    shared: int = 0
    own: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The laws."""
        return np.array(self.laws, dtype, copy=copy)
