"""A language model of one layer over a few words, random weights, and data for it."""

from __future__ import annotations

from functools import lru_cache

import jax
import numpy as np

from constructions.spec import Layer, TransformerSpec
from icl_sim.data.text_pairs import LanguageData, Template, TextPair, TextTask
from icl_sim.predictors.language_model import LanguageModel, Question
from icl_sim.training import TrainConfig
from icl_sim.transformer import CERTIFIED, Transformer, init

WORDS = (
    *("?", "a", "b", "c", "d", "red", "green", "blue", "not", "very", "Pairs", "->"),
    *("Input:", "Output:", "N/A", "[MASK]", "..."),
)
PAIRS = Template("{prompt} {completion}\n", header="Pairs ")
CHOICES = ("red", "green", "blue")
FEW_STEPS = TrainConfig(learning_rate=1e-2, steps=2, schedule="constant", batch=16)


class Words:
    """Blanks part words; an unknown one is token 0."""

    size = len(WORDS)

    def encode(self, text, *, special=True):
        return [WORDS.index(word) if word in WORDS else 0 for word in text.split()]

    def decode(self, tokens, *, special=False):
        return " ".join(WORDS[token] for token in tokens)


@lru_cache
def model(window=64):
    layer = Layer(heads=2, key_size=8, value_size=8, hidden=16, gate="silu", scale=0.35)
    spec = TransformerSpec(
        input_size=len(WORDS), width=16, output_size=len(WORDS), layers=(layer,), norm="rms",
        position_rows=window, readout="tied",
    )  # fmt: skip
    drawn = init(Transformer(spec), jax.random.key(4))
    params = {name: 1.5 * leaf if name == "embed" else leaf for name, leaf in drawn.items()}
    return LanguageModel("tiny", Transformer(spec), params, Words(), how=CERTIFIED)


def task(index=0, *, choices=CHOICES, pool=64):
    rng = np.random.default_rng(index)
    queries = ("a", "b", "c", "d")
    law = rng.dirichlet(np.ones(len(choices)), len(queries))

    def draw(rows):
        return tuple(
            TextPair(queries[c], choices[rng.choice(len(choices), p=law[c])]) for c in rows
        )

    held = draw(np.arange(4).repeat(3))
    return TextTask(f"tiny {index}", draw(rng.integers(0, 4, pool)), held, choices, law, PAIRS)


def question(size=8, tuning=FEW_STEPS, **changes):
    data, _ = task().split(size)
    return Question(data._replace(**changes), model(), tuning)


def data_of(pairs, queries, choices=CHOICES, template=PAIRS):
    return LanguageData(tuple(TextPair(*p) for p in pairs), queries, choices, template)
