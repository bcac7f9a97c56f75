"""The weights of a transformer that carries out a Turing machine, one token a step.

    layer 0            the head's position: the sum of all moves, as their mean times their count
    layers 1 .. n      the digits of the cell just written and of the cell to be read next
    layer n + 1        the symbol in that cell: the sum of all changes ever made to it
    layer n + 2        the rule for state and symbol: from the prompt, or from the weights
    readout            the token of the next step

Letters: K working states, S symbols, n digits in base B; cell c has the address c + B^n / 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from constructions.blueprint import Blueprint, Head, LayerBlueprint
from constructions.gadgets import (
    Steps,
    address_head,
    both,
    digit,
    digit_steps,
    positive,
    product,
    signed_product,
)
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec
from constructions.vocabulary import END, GO, START, Vocabulary

# exp(-128) is 0 in float32: a token whose score is 1 too low has no weight at all.
TEMPERATURE = 128.0
COIN = 1024.0  # logit of the two sides of a coin


Features = dict[str, np.ndarray]


def token_features(vocabulary: Vocabulary) -> Features:
    """What the embedding says of each token, and the readout asks, [tokens, columns] by name.

    ``action`` is one-hot in next state, symbol written and move; its last column says that there
    is no rule. ``next_action``, ``next_symbol`` and ``next_one`` (the symbol read; the blank is
    one minus all others) are what makes a token the next one.
    """
    K, S = vocabulary.states, vocabulary.symbols
    sizes = {"one": 1, "sink": 1, "is_tape": 1, "is_rule": 1, "move": 1, "change": S - 1, "row": 1}
    sizes |= {"state": K + 1, "action": K + S + 5}
    sizes |= {"next_action": K + S + 5, "next_symbol": S - 1, "next_one": 1, "next_coin": 1}
    table = {name: np.zeros((vocabulary.size, size)) for name, size in sizes.items()}
    tape, rule, step = vocabulary.tape, vocabulary.rule, vocabulary.step

    table["one"][:] = 1
    table["sink"][START] = 1
    table["is_tape"][tape] = 1
    table["is_rule"][rule] = table["is_rule"][vocabulary.no_rule] = 1
    table["change"][tape[1:]] = np.eye(S - 1)
    after, written, move = np.indices(rule.shape)
    for column in (after, K + 1 + written, K + 1 + S + move):
        table["action"][rule, column] = 1
    table["action"][vocabulary.no_rule, -1] = 1

    after, written, move, read = np.indices(step.shape)
    for column in (after, K + 1 + written, K + 1 + S + move):
        table["next_action"][step, column] = 1
    table["next_action"][END, -1] = 4
    symbol = np.eye(S)[:, 1:]
    table["next_symbol"][step] = symbol[read] - (read == 0)[..., None]
    table["next_one"][step, 0] = read == 0
    table["next_coin"][tape[1:3]] = COIN
    table["move"][step, 0] = move - 1
    table["change"][step] = symbol[written] - symbol[read]
    # Table position q S + a + 1 holds the rule of state q and symbol a. END stays halted.
    table["row"][step, 0] = after * S + 1
    table["row"][[GO, END], 0] = 1, K * S + 1
    table["state"][step, after] = 1
    table["state"][[GO, END], [0, K]] = 1
    return table


def action_vectors(vocabulary: Vocabulary, features: Features, actions: np.ndarray) -> np.ndarray:
    """A rule table (`Vocabulary.actions`) as action vectors, [K + 1, S, columns of action]."""
    tokens = vocabulary.rule[actions[..., 0], actions[..., 1], actions[..., 2] + 1]
    tokens = np.where(actions[..., 0] < 0, vocabulary.no_rule, tokens)
    return features["action"][tokens]


def build_bytes(states: int, symbols: int) -> int:
    """Memory of `build` at its peak: it is the tokens' tables that are large.

    A row each of features in float64, once by name and once gathered, 3 K + 4 S + 17 columns, of
    which at least a quarter is zero and was never written; and of the embedding and the readout in
    float32, about 2 K + 4 S + 60 columns.
    """
    tokens = Vocabulary(states, max(symbols, 2)).size
    return tokens * (14 * (3 * states + 4 * symbols + 17) + 8 * (2 * states + 4 * symbols + 60))


@dataclass(frozen=True)
class SimulatorNumbers:
    """What the proof leaves open of the weights: the certificate measures how well it is chosen.

    Args:
      base: B.
      offset: the address of cell 0.
      digits: the steps of the read and the write address's digits, highest place first.
      sink: how much less than a match a sink scores, between 0 and 1.
      symbol: the steps of the S - 1 symbols, on the mean of a cell's changes.
      tape_scale, rule_scale: of the scores of the tape head and of the rule head.
      attend: of all heads.
    """

    base: int
    offset: int
    digits: tuple[tuple[Steps, Steps], ...]
    sink: float
    symbol: Steps
    tape_scale: float
    rule_scale: float
    attend: str


def usual_numbers(
    *, base: int, digits: int, symbols: int, tokens: int, attend: str = "softmax"
) -> SimulatorNumbers:
    """Thresholds halfway between what they tell apart, for up to that number of tokens."""
    slope = 2.0 ** math.ceil(math.log2(1.5 * tokens))
    steps = [digit_steps(base, place) for place in reversed(range(digits))]
    return SimulatorNumbers(
        base=base,
        offset=base**digits // 2,
        digits=tuple((step, step) for step in steps),
        sink=0.5,
        symbol=Steps(np.full(symbols - 1, slope), np.full(symbols - 1, -0.5)),
        tape_scale=TEMPERATURE,
        rule_scale=TEMPERATURE,
        attend=attend,
    )


def build(
    vocabulary: Vocabulary,
    *,
    actions: np.ndarray | None,
    coins: bool,
    steps: int,
    cells: int,
    base: int,
    attend: str,
) -> tuple[TransformerSpec, Params, Residual]:
    """Spec, params and residual for runs of ``steps`` steps that visit at most ``cells`` cells.

    Args:
      vocabulary: the sizes K and S.
      actions: the one machine's rules (`Vocabulary.actions`), or None to read them in the prompt.
      coins: whether a tape token foretells a coin.
      steps, cells: rounded up; the certificate says what came out.
      base: B.
      attend: ``softmax`` or ``hardmax``.
    """
    for name, value, least in (("steps", steps, 1), ("cells", cells, 2), ("base", base, 2)):
        if value < least:
            raise ValueError(f"{name}: expected at least {least}, got {value}")
    digits = 1
    while base**digits < 2 * cells:
        digits += 1
    tokens = steps + cells + vocabulary.rows + 2
    numbers = usual_numbers(
        base=base, digits=digits, symbols=vocabulary.symbols, tokens=tokens, attend=attend
    )
    features = token_features(vocabulary)
    blueprint = describe(vocabulary, features, actions, numbers, coins=coins)
    return blueprint.spec, blueprint.build(), blueprint.residual


def describe(
    vocabulary: Vocabulary,
    features: Features,
    actions: np.ndarray | None,
    numbers: SimulatorNumbers,
    *,
    coins: bool,
) -> Blueprint:
    """The blueprint of the weights; ``features`` are the vocabulary's `token_features`.

    With ``coins`` two weights more: a tape token gives the logit COIN to the tape tokens of codes 1
    and 2. Proof that decoding is the same: where steps are foretold the last token is GO, a step or
    END, whose is_tape is 0, and nothing writes to this column. Proof that the coin is fair: after a
    tape token both logits are COIN exactly, for no other weight leads to tape tokens, and all other
    logits are 4 at most, so that their exponentials are 0 beside these in float32. QED
    """
    r = _residual(vocabulary, features, len(numbers.digits), actions is None)
    embed = {name: features[name] for name in features.keys() & r.sizes.keys()}
    # A step token stands for the machine after its step: what it wrote is one move back.
    embed["read_address"] = np.full((vocabulary.size, 1), float(numbers.offset))
    embed["write_address"] = numbers.offset - features["move"]
    # Address 0 is the sink's: no cell that is certified has it.
    embed["write_address"][START] = 0
    out = {"action": "next_action", "symbol": "next_symbol", "one": "next_one"}
    if coins:
        out["is_tape"] = "next_coin"
    return Blueprint(
        residual=r,
        embed=embed,
        layers=(
            _position(r, numbers, first=1 + (vocabulary.rows if actions is None else 0)),
            *_digits(r, numbers),
            _symbol(r, numbers),
            _rule(vocabulary, features, actions, numbers),
        ),
        out={name: features[feature].T for name, feature in out.items()},
        readout="logits",
        positions=("index", "square") if actions is None else ("index",),
    )


def _residual(vocabulary: Vocabulary, features: Features, digits: int, universal: bool) -> Residual:
    """What is read together stands together: decoding multiplies spans of columns."""
    sizes = {name: feature.shape[1] for name, feature in features.items()}
    sizes |= dict.fromkeys(("index", "square", "average", "rule_index", "rule_square"), 1)
    sizes |= dict.fromkeys(("read_address", "write_address", "read_square", "write_square"), 1)
    sizes |= dict.fromkeys(("read_digits", "write_digits"), digits)
    sizes |= dict.fromkeys(("found", "symbol"), vocabulary.symbols - 1)
    order = "move average index square is_tape is_rule read_address write_address sink read_square"
    order += " write_square read_digits write_digits change found row rule_index rule_square"
    order += " state symbol one action"
    absent = {"state"} if universal else {"square", "is_rule", "row", "rule_index", "rule_square"}
    return Residual(**{name: sizes[name] for name in order.split() if name not in absent})


def _position(r: Residual, numbers: SimulatorNumbers, *, first: int) -> LayerBlueprint:
    """Layer 0: the head's cell, the cells of the tape tokens (from index ``first``), the rows.

    Proof. Without scores all tokens weigh the same, so the head takes the mean of all moves. Its
    product with the count, index + 1, by `signed_product`'s proof, is their sum. QED
    """
    addresses = ("read_address", "write_address")
    units = [
        replace(half, up_bias=1.0, down=dict.fromkeys(addresses, half.down["read_address"]))
        for half in signed_product(r, "average", "index", "read_address")
    ]
    units.append(product(r, "is_tape", "index", "write_address", plus=-first))
    if "is_rule" in r.sizes:
        units.append(product(r, "is_rule", "index", "rule_index"))
        units.append(product(r, "is_rule", "square", "rule_square"))
    mean = Head(value={("move", "average"): 1.0})
    return LayerBlueprint((mean,), tuple(units), attend=numbers.attend, gate="hard_sigmoid")


def _digits(r: Residual, numbers: SimulatorNumbers) -> list[LayerBlueprint]:
    """Layers 1 .. n: a digit each of both addresses, the highest first."""
    layers = []
    for place, steps in zip(reversed(range(len(numbers.digits))), numbers.digits, strict=True):
        units = tuple(
            digit(
                r,
                source=f"{name}_address",
                digits=f"{name}_digits",
                square=f"{name}_square",
                base=numbers.base,
                place=place,
                steps=step,
            )
            for name, step in zip(("read", "write"), steps, strict=True)
        )
        layers.append(LayerBlueprint(units=units, gate="hard_sigmoid"))
    return layers


def _symbol(r: Residual, numbers: SimulatorNumbers) -> LayerBlueprint:
    """Layer n + 1: the symbol under the head.

    Proof. A step changes its cell by onehot(written) - onehot(read), with 0 for the blank, and a
    tape token by onehot(symbol). The changes of one cell telescope: their sum is the one-hot of
    its present symbol, and their mean over t tokens is 0 or at least 1 / t. QED
    """
    head = address_head(
        query="read_digits",
        key="write_digits",
        key_square="write_square",
        value=("change", "found"),
        sink=("sink", "read_square"),
        sink_score=numbers.sink,
    )
    changes = r.sizes["change"]
    targets: dict[str, np.ndarray] = {"symbol": np.eye(changes)}
    if "row" in r.sizes:
        targets["row"] = np.arange(1.0, changes + 1)[:, None]
    units = positive(source="found", targets=targets, steps=numbers.symbol)
    return LayerBlueprint(
        (head,),
        (units,),
        attend=numbers.attend,
        scale=numbers.tape_scale,
        gate="hard_sigmoid",
    )


def _rule(
    vocabulary: Vocabulary,
    features: Features,
    actions: np.ndarray | None,
    numbers: SimulatorNumbers,
) -> LayerBlueprint:
    """Layer n + 2: the rule for state and symbol, from the prompt's table or by a unit a rule."""
    if actions is not None:
        rules = both("state", "symbol", "action", action_vectors(vocabulary, features, actions))
        return LayerBlueprint(units=(rules,), gate="hard_sigmoid")
    head = address_head(
        query="row", key="rule_index", key_square="rule_square", value=("action", "action")
    )
    return LayerBlueprint(
        (head,), attend=numbers.attend, scale=numbers.rule_scale, gate="hard_sigmoid"
    )
