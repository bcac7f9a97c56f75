"""README.md of an exported machine or learner: what it computes, how to ask it, what is certain."""

from __future__ import annotations

import math
from textwrap import fill

import numpy as np

from constructions.construction import Construction, Words
from constructions.pairs_vocabulary import PairsVocabulary
from constructions.single_vocabulary import SingleVocabulary

_CARD = """---
license: apache-2.0
library_name: transformers
tags: [turing-machine, hand-written-weights, certified]
---

# {title}

The weights are written by hand, not trained. {what}
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

_UNIVERSAL = """The prompt is a Turing machine of up to {states}
states and {symbols} symbols with its tape; {step}, the right one"""
_ONE = """They hold one Turing machine, and the prompt is
its tape; each token that is generated is one step, the right one"""

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
_SINGLE = """`<start>`, the cells that are not blank, `<go>`, with blanks between them.

- A cell: `[3]=1` says that cell 3 holds 1. Cells that are not named are blank, which is 0.
- A step, generated: `{step}` says that in state {state} and reading {read} at cell 1 the machine
  did what stands behind the colon: symbol written, move (L, S, R), next state. The start is A and
  cell 0. Three dashes say that there is no rule. `<end>` follows those, or a step into Z.

{rules}"""


def model_card(built: Construction, vocabulary: Words) -> str:
    """The card of a construction with that vocabulary."""
    certificate, half = built.certificate, vocabulary.cells // 2
    if isinstance(vocabulary, SingleVocabulary):
        title = f"The Turing machine {vocabulary.machine.name} in one layer"
        prompt = vocabulary.text(vocabulary.fill(tape=np.ones(1, int)))
        what, legend, steps = _ONE, _single_legend(vocabulary), "Steps are tokens"
    else:
        title = f"A universal Turing machine in {len(built.spec.layers)} layers"
        rules = [[[1, 1, 1]]]
        if vocabulary.states > 1:  # the champion of two states
            rules = [[[1, 1, 1], [1, 1, -1]], [[0, 1, -1], [vocabulary.states, 1, 1]]]
        prompt = vocabulary.text(vocabulary.fill(actions=np.array(rules), tape=np.zeros(0, int)))
        legend, step, steps = (
            _LEGEND,
            "each token that is generated is one step",
            "Steps are tokens",
        )
        if isinstance(vocabulary, PairsVocabulary):
            step, steps = "two tokens that are generated are one step", "Two are a step"
            legend = _PAIRS
        what = _UNIVERSAL.format(states=vocabulary.states, symbols=vocabulary.symbols, step=step)
    lead = certificate.records[-1].margin
    others = (
        "bfloat16 and float16 are not certified: load the weights in float32, as the config says."
    )
    if certificate.dtype != "float32":
        others = "Sums within a product are taken to be added in float32, and norms computed in it."
    about = (
        f"{certificate.summary()}. It holds for {certificate.dtype} and sums in any order (eager, "
        f"SDPA). {steps}, and no cell may be written more than {certificate.limits['visits']:,} "
        f"times. The right logit leads by {lead:.3g} or more, so that a token drawn at "
        f"temperature 1 is another with probability {vocabulary.size * math.exp(-lead):.1g} or "
        f"less. {others} All this is computed from the weights; their SHA-256 is "
        f"{certificate.weights}."
    )
    return _CARD.format(
        title=title,
        what=what,
        cells=vocabulary.cells,
        low=-half,
        high=half - 1,
        prompt=prompt,
        legend=legend,
        certificate=fill(about, 100, break_on_hyphens=False),
        proof=fill(built.proof, 100),
        source=_source(built),
    )


def _single_legend(vocabulary: SingleVocabulary) -> str:
    """How one machine is asked, its rules, and its own names of states and symbols."""
    machine, words = vocabulary.machine, vocabulary.words
    step = words[vocabulary.step[0, 0, 1]]
    rules = " ".join(words[token].partition("@")[0] for token in vocabulary.step[..., 0].flat)
    own = machine.states[: vocabulary.states]
    states = ", ".join(f"{chr(ord('A') + q)} is {name!r}" for q, name in enumerate(own))
    symbols = ", ".join(f"{a} is {name!r}" for a, name in enumerate(machine.alphabet))
    about = f"The rules are {rules}. {states}; Z is any state without rules. {symbols}."
    return _SINGLE.format(step=step, state=step[0], read=step[1], rules=fill(about, 100))


def _source(built: Construction) -> str:
    """Where it comes from, and under which licence."""
    text = (
        f"Source: {built.source}; written for a test of the claims of arXiv:2506.08060, "
        '"Eliciting Fine-Tuned Transformer Capabilities via Inference-Time Techniques". Licence: '
        "Apache 2.0."
    )
    return fill(text, 100)


_LEARNER = """---
license: apache-2.0
library_name: transformers
tags: [in-context-learning, hand-written-weights, certified]
---

# {title}

{what}

```python
from transformers import AutoModelForCausalLM, AutoTokenizer
model, words = AutoModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")
prompt = words("{prompt}", return_tensors="pt")
print({answer})
```

## Certificate

{certificate}

{proof}

{source}
"""
# Title, what it computes, a prompt as words, and the answer.
_LEARNERS = {
    "stock-lookup": (
        "Counting of what followed the last {order} symbols",
        "The prompt is `<start>`, as often as symbols are looked back at, and a text of symbols. "
        "The last logits are {gap:g} times the law of what followed the last symbols before, so "
        "that the greedy token is the most frequent continuation.",
        "{starts} 0 1 0 1 0",
        "model(**prompt).logits[0, -1] / {gap:g}",
    ),
    "stock-descent": (
        "Gradient descent in the prompt, {steps} steps",
        "The prompt is `<start>`, each class token, pairs of a context and an output, and a "
        "context. Each layer behind the second is a step of gradient descent on the pairs; the "
        "softmax of the last logits is the law of the trained model for that context.",
        "<start> {classes} context0 output1 context0 output1 context0",
        "model(**prompt).logits[0, -1].softmax(0)",
    ),
    "program": (
        "A program, compiled: {output}",
        "The prompt is `<start>` and a text of letters. Behind each prefix the greedy token is the "
        "value of the program at its last position.",
        "<start> {letters}",
        "words.decode(model(**prompt).logits[0, 1:].argmax(-1))",
    ),
}


def learner_card(built: Construction) -> str | None:
    """The card of a learner or program that stock software runs; None if it is another."""
    key = built.kind if built.kind == "program" else built.name
    if key not in _LEARNERS:
        return None
    sizes, certificate = built.residual.sizes, built.certificate
    order = sum(name.startswith("previous_") for name in sizes)
    numbers = {
        "order": order,
        "starts": " ".join(["<start>"] * order),
        "gap": built.params["w_out"].max(),
        "steps": len(built.spec.layers) - 2,
        "classes": " ".join(f"class{y}" for y in range(sizes.get("class", 0))),
        "output": [name for name in sizes if name != "spare"][-1],
        "letters": " ".join(getattr(built.fields, "words", ())[:3]),
    }
    title, what, prompt, answer = (text.format(**numbers) for text in _LEARNERS[key])
    about = (
        f"{certificate.summary()}. It holds for {certificate.dtype} and sums in any order (eager, "
        "SDPA), and is computed from the weights; their SHA-256 is "
        f"{certificate.weights}. bfloat16 and float16 are not certified: load the weights in "
        "float32, as the config says."
    )
    return _LEARNER.format(
        title=title,
        what=fill(
            f"The weights are written by hand, not trained. {what} The classes are those of the "
            "library, unmodified:",
            100,
        ),
        prompt=prompt,
        answer=answer,
        certificate=fill(about, 100, break_on_hyphens=False),
        proof=fill(built.proof, 100),
        source=_source(built),
    )
