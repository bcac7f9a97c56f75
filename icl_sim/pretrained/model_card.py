"""README.md of an exported stock machine: what it computes, how to ask it, what is certain."""

from __future__ import annotations

import math
from textwrap import fill

import numpy as np

from constructions.construction import Construction
from constructions.pairs_vocabulary import PairsVocabulary
from constructions.stock_vocabulary import StockVocabulary

# Vocabularies whose tokens have names.
NAMED = (StockVocabulary, PairsVocabulary)

_CARD = """---
license: apache-2.0
library_name: transformers
tags: [turing-machine, hand-written-weights, certified]
---

# A universal Turing machine in {layers} layers

The weights are written by hand, not trained. The prompt is a Turing machine of up to {states}
states and {symbols} symbols with its tape; {step}, the right one
for as long as the certificate reaches. The classes are those of the library, unmodified:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer
model, words = AutoModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")
prompt = words("{prompt}", return_tensors="pt")
print(words.decode(model.generate(**prompt, max_new_tokens=99)[0]))
```

## Prompt

{legend}

There are {cells} cells, from {low} to {high}, and they form a ring: a run that needs more goes
wrong.

## Certificate

{certificate}

{proof}

{source}
"""


_LEGEND = """`<start>`, the rules, the cells that are not blank, `<go>`, with blanks between them.

- A rule: `A0:1RB` says that state A, reading 0, writes 1, moves right (L, S, R) and becomes B.
  The start is A and cell 0. A pair without a rule halts; so does state Z, which has none.
- A cell: `[3]=1` says that cell 3 holds 1. Cells that are not named are blank, which is 0.
- A step, generated: `0>1RB@4` says that 0 was read, 1 written, that the head moved right and is now
  at cell 4, in state B. `<end>` says that no rule applies."""
_PAIRS = """`<start>`, the rules, the cells that are not blank, `<go>`, with blanks between them.

- A rule, two tokens: `q0,0: 1Rq1` says that state q0, reading 0, writes 1, moves right (L, S, R)
  and becomes q1. The start is q0 and cell 0. A pair without a rule halts; so does state Z, which
  has none.
- A cell, two tokens: `@3 =1` says that cell 3 holds 1. Cells that are not named are blank, 0.
- A step, two tokens, generated: `@4 0>1Rq1` says that the head was at cell 4, read 0, wrote 1,
  moved right, and that the state is now q1. `<end>` behind a cell: no rule applies there."""


def model_card(built: Construction, vocabulary: StockVocabulary | PairsVocabulary) -> str:
    """The card of a construction with that vocabulary."""
    certificate, half = built.certificate, vocabulary.cells // 2
    rules = [[[1, 1, 1]]]
    if vocabulary.states > 1:  # the champion of two states
        rules = [[[1, 1, 1], [1, 1, -1]], [[0, 1, -1], [vocabulary.states, 1, 1]]]
    example = vocabulary.text(vocabulary.fill(actions=np.array(rules), tape=np.zeros(0, int)))
    legend, step, steps = _LEGEND, "each token that is generated is one step", "Steps are tokens"
    if isinstance(vocabulary, PairsVocabulary):
        legend, step, steps = _PAIRS, "two tokens that are generated are one step", "Two are a step"
    lead = certificate.records[-1].margin
    about = (
        f"{certificate.summary()}. It holds for float32 and sums in any order (eager, SDPA). "
        f"{steps}, and no cell may be written more than {certificate.limits['visits']:,} times. "
        f"The right logit leads by {lead:.3g} or more, so that a token drawn at temperature 1 is "
        f"another with probability {vocabulary.size * math.exp(-lead):.1g} or less. bfloat16 and "
        "float16 are not certified: load the weights in float32, as the config says. All this is "
        f"computed from the weights; their SHA-256 is {certificate.weights}."
    )
    source = (
        f"Source: {built.source}; written for a test of the claims of arXiv:2506.08060, "
        '"Eliciting Fine-Tuned Transformer Capabilities via Inference-Time Techniques". Licence: '
        "Apache 2.0."
    )
    return _CARD.format(
        layers=len(built.spec.layers),
        states=vocabulary.states,
        symbols=vocabulary.symbols,
        cells=vocabulary.cells,
        low=-half,
        high=half - 1,
        prompt=example,
        legend=legend,
        step=step,
        certificate=fill(about, 100, break_on_hyphens=False),
        proof=fill(built.proof, 100),
        source=fill(source, 100),
    )
