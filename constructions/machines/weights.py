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
from dataclasses import replace

import numpy as np

from constructions.machines import gadgets
from constructions.residual import Residual
from constructions.spec import Layer, Params, TransformerSpec, blank
from constructions.vocabulary import END, GO, START, Vocabulary

# exp(-128) is 0 in float32: a token whose score is 1 too low has no weight at all.
TEMPERATURE = 128.0


def token_features(vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """What the embedding says of each token, and the readout asks, [tokens, columns] by name.

    ``action`` is one-hot in next state, symbol written and move; its last column says that there
    is no rule. ``next_action``, ``next_symbol`` and ``next_one`` (the symbol read; the blank is
    one minus all others) are what makes a token the next one.
    """
    K, S = vocabulary.states, vocabulary.symbols
    sizes = {"one": 1, "sink": 1, "is_tape": 1, "is_rule": 1, "move": 1, "change": S - 1, "row": 1}
    sizes |= {"state": K + 1, "action": K + S + 5}
    sizes |= {"next_action": K + S + 5, "next_symbol": S - 1, "next_one": 1}
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
    table["move"][step, 0] = move - 1
    table["change"][step] = symbol[written] - symbol[read]
    # Table position q S + a + 1 holds the rule of state q and symbol a. END stays halted.
    table["row"][step, 0] = after * S + 1
    table["row"][[GO, END], 0] = 1, K * S + 1
    table["state"][step, after] = 1
    table["state"][[GO, END], [0, K]] = 1
    return table


def action_vectors(vocabulary: Vocabulary, actions: np.ndarray) -> np.ndarray:
    """A rule table (`Vocabulary.actions`) as action vectors, [K + 1, S, columns of action]."""
    tokens = vocabulary.rule[actions[..., 0], actions[..., 1], actions[..., 2] + 1]
    tokens = np.where(actions[..., 0] < 0, vocabulary.no_rule, tokens)
    return token_features(vocabulary)["action"][tokens]


def build_bytes(states: int, symbols: int) -> int:
    """Memory of `build` at its peak: it is the tokens' tables that are large.

    A row each of features in float64, once by name and once gathered, 3 K + 4 S + 16 columns; and
    of the embedding and the readout in float32, about 2 K + 4 S + 60 columns.
    """
    tokens = Vocabulary(states, max(symbols, 2)).size
    return tokens * (16 * (3 * states + 4 * symbols + 16) + 8 * (2 * states + 4 * symbols + 60))


def build(
    vocabulary: Vocabulary,
    *,
    actions: np.ndarray | None,
    steps: int,
    cells: int,
    base: int,
    attend: str,
) -> tuple[TransformerSpec, Params, Residual]:
    """Spec, params and residual for runs of ``steps`` steps that visit at most ``cells`` cells.

    Args:
      vocabulary: the sizes K and S.
      actions: the one machine's rules (`Vocabulary.actions`), or None to read them in the prompt.
      steps, cells: rounded up; the certificate says what came out.
      base: B.
      attend: ``softmax`` or ``hardmax``.
    """
    for name, value, least in (("steps", steps, 1), ("cells", cells, 2), ("base", base, 2)):
        if value < least:
            raise ValueError(f"{name}: expected at least {least}, got {value}")
    universal = actions is None
    features = token_features(vocabulary)
    digits = 1
    while base**digits < 2 * cells:
        digits += 1
    residual = _residual(vocabulary, features, digits, universal)
    spec = _spec(vocabulary, residual, base, attend, universal)
    params = blank(spec)
    _embed(spec, params, residual, features, base**digits // 2)
    _position(params, residual, 1 + (vocabulary.rows if universal else 0), universal)
    for place in reversed(range(digits)):
        unit = 0
        for name in ("read", "write"):
            unit = gadgets.digit(
                params,
                residual,
                digits - place,
                unit,
                source=f"{name}_address",
                digits=f"{name}_digits",
                square=f"{name}_square",
                base=base,
                place=place,
            )
    _symbol(params, residual, digits + 1, steps + cells + vocabulary.rows + 2)
    if actions is None:
        gadgets.address_head(
            params,
            residual,
            digits + 2,
            0,
            query="row",
            key="rule_index",
            key_square="rule_square",
            value="action",
            target="action",
        )
    else:
        rows = action_vectors(vocabulary, actions)
        for unit, (state, symbol) in enumerate(np.ndindex(rows.shape[:2])):
            gadgets.both(
                params,
                residual,
                digits + 2,
                unit,
                first=("state", state),
                second=("symbol", symbol - 1),
                target="action",
                row=rows[state, symbol],
            )
    params["w_out"][residual["action"]] = features["next_action"].T
    params["w_out"][residual["symbol"]] = features["next_symbol"].T
    params["w_out"][residual["one"]] = features["next_one"].T
    return spec, params, residual


def _residual(
    vocabulary: Vocabulary, features: dict[str, np.ndarray], digits: int, universal: bool
) -> Residual:
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


def _spec(
    vocabulary: Vocabulary, residual: Residual, base: int, attend: str, universal: bool
) -> TransformerSpec:
    digits, changes = residual.sizes["read_digits"], residual.sizes["change"]
    layers = [Layer(heads=1, key_size=1, value_size=1, hidden=5 if universal else 3, attend=attend)]
    layers += [Layer(hidden=2 * (base - 1))] * digits
    read = Layer(heads=1, key_size=2, value_size=1, scale=TEMPERATURE, attend=attend)
    layers.append(replace(read, key_size=digits + 2, value_size=changes, hidden=changes))
    if universal:
        layers.append(replace(read, value_size=residual.sizes["action"]))
    else:
        layers.append(Layer(hidden=vocabulary.rows))
    return TransformerSpec(
        input_size=vocabulary.size,
        width=residual.width,
        output_size=vocabulary.size,
        layers=tuple(layers),
        positions=("index", "square") if universal else ("index",),
    )


def _embed(
    spec: TransformerSpec,
    params: Params,
    residual: Residual,
    features: dict[str, np.ndarray],
    offset: int,
) -> None:
    embed = params["embed"]
    for name in features.keys() & residual.sizes.keys():
        embed[:, residual[name]] = features[name]
    # A step token stands for the machine after its step: what it wrote is one move back.
    embed[:, residual["read_address"]] = offset
    embed[:, residual["write_address"]] = offset - features["move"]
    # Address 0 is the sink's: no cell that is certified has it.
    embed[START, residual["write_address"]] = 0
    for i, feature in enumerate(spec.positions):
        params["positions"][i, residual.column(feature)] = 1


def _position(params: Params, residual: Residual, first: int, universal: bool) -> None:
    """Layer 0: the head's cell, the cells of the tape tokens (from index ``first``), the rows."""
    gadgets.mean_head(params, residual, 0, 0, source="move", target="average")
    addresses = ("read_address", "write_address")
    unit = gadgets.product(
        params, residual, 0, 0, factor="average", other="index", plus=1, targets=addresses
    )
    choices = [("is_tape", "index", -first, "write_address")]
    if universal:
        choices += [("is_rule", "index", 0, "rule_index"), ("is_rule", "square", 0, "rule_square")]
    for gate, source, plus, target in choices:
        unit = gadgets.select(
            params, residual, 0, unit, gate=gate, source=source, plus=plus, target=target
        )


def _symbol(params: Params, residual: Residual, layer: int, tokens: int) -> None:
    """The symbol under the head, for up to that number of tokens.

    Proof. A step changes its cell by onehot(written) - onehot(read), with 0 for the blank, and a
    tape token by onehot(symbol). The changes of one cell telescope: their sum is the one-hot of
    its present symbol, and their mean over t tokens is 0 or at least 1 / t. QED
    """
    gadgets.address_head(
        params,
        residual,
        layer,
        0,
        query="read_digits",
        key="write_digits",
        key_square="write_square",
        value="change",
        target="found",
        sink=("sink", "read_square"),
    )
    changes = residual.sizes["change"]
    targets: dict[str, np.ndarray] = {"symbol": np.eye(changes)}
    if "row" in residual.sizes:
        targets["row"] = np.arange(1, changes + 1)[:, None]
    slope = 2.0 ** math.ceil(math.log2(1.5 * tokens))
    gadgets.positive(params, residual, layer, 0, source="found", targets=targets, slope=slope)
