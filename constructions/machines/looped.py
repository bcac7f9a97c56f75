"""One looped transformer for all SUBLEQ programs: memory in the columns, a loop an instruction.

Letters: n = 2^w words of memory, N bits a word. The sequence has a column for each word, one for
the state (program counter, scratch) and one null column, whose value is zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from constructions.certificate import Certificate
from constructions.construction import Construction
from constructions.fields import vectors
from constructions.machines.looped_reader import certify
from constructions.machines.looped_units import (
    SCRATCH,
    bits_of,
    residual_of,
    units_of,
    write_units,
)
from constructions.programs.subleq import Computer
from constructions.residual import Residual
from constructions.spec import Layer, Params, TransformerSpec, blank

SOURCE = (
    "looped transformers as programmable computers: Giannou et al. 2023 (arXiv:2301.13196), with "
    "the program in the same memory as the data"
)
PROOF = (
    "A pointer of w bits, each +-1, scores w against its own address and at most w - 2 against any "
    "other, so a softmax at temperature t reads one column up to a leak of n exp(-2 t); a column "
    "without a pointer reads the null column. Three heads fetch the instruction, two its operands; "
    "one unit a bit finds the borrow, three the difference modulo 2. The columns then look at the "
    "state, and the one whose address is b takes the difference over. Counter and words are "
    "written by threshold units alone, as +-1 exactly, so that no error passes from one loop to "
    "the next, and the number of loops is not limited."
)


def looped(
    *,
    words: int = 64,
    bits: int = 16,
    loops: int = 32,
    temperature: float = 64.0,
    attend: str = "softmax",
    dtype: str = "float32",
) -> Construction:
    """Runs every SUBLEQ program on this memory, one instruction a loop.

    A problem is ``{"memory": words}``, as many as there are or fewer, and its ``"counter"``, if not
    0, is where the program starts. An answer has memory, counter and halted, after ``loops``
    instructions or when the program has halted. `constructions.programs.subleq` says what an
    instruction does.

    Args:
      words: n, a power of two, at least 16 and at most 2^(N - 1), so that words can be addresses.
      bits: N, of a word in two's complement.
      loops: how often the layers repeat; the weights are the same for any number.
      temperature: t, the score of one agreeing bit in logits.
      attend: ``softmax``, or ``hardmax``, which gives the same words.
      dtype: the arithmetic to certify.

    Raises:
      ValueError: a size out of range, or one that the dtype cannot certify, with the reason.

    >>> from constructions.reference import forward
    >>> construction = looped(words=16, bits=8, loops=3)
    >>> problem = {"memory": [9, 11, 3, 11, 10, 6, 11, 11, -1, 30, 12, 0]}  # 12 := 12 + 30
    >>> inputs = construction.encode(problem)
    >>> answer = construction.decode(forward(construction.spec, construction.params, inputs))
    >>> answer["memory"][10], answer["halted"], answer == construction.oracle(problem)
    (42, True, True)
    """
    spec, params, residual = build(
        words=words, bits=bits, loops=loops, temperature=temperature, attend=attend
    )

    def certify_weights(spec: TransformerSpec, params: Params) -> Certificate:
        return certify(spec, params, residual, dtype=dtype)

    certificate = certify_weights(spec, params)

    def parse(problem: Mapping[str, Any]) -> dict[str, Any]:
        memory, counter = np.asarray(problem["memory"]), problem.get("counter", 0)
        if memory.ndim != 1 or memory.dtype.kind not in "iu" or not 1 <= len(memory) <= words:
            raise ValueError(
                f"memory: expected 1 to {words} integers, got {memory.dtype} {memory.shape}: build "
                "the construction with more words"
            )
        half = 1 << (bits - 1)
        if not -half <= memory.min() <= memory.max() < half:
            raise ValueError(
                f"memory: expected words of {bits} bits, {-half:,} to {half - 1:,}, got "
                f"{memory.min():,} to {memory.max():,}"
            )
        if not 0 <= counter < words:
            raise ValueError(f"counter: expected 0 to {words - 1}, got {counter}")
        padded = np.pad(memory.astype(np.int64), (0, words - len(memory)))
        return {"memory": padded, "counter": int(counter)}

    fill = partial(columns, residual)

    def oracle(problem: Mapping[str, Any]) -> dict[str, Any]:
        memory, counter = parse(problem).values()
        computer = Computer(memory, bits, counter)
        for _ in range(loops):
            computer.step()
        return {
            "memory": memory.tolist(),
            "counter": computer.counter,
            "halted": computer.halted,
        }

    return Construction(
        name="looped",
        kind="machine",
        spec=spec,
        params=params,
        residual=residual,
        fields=fields_of(residual),
        parse=parse,
        fill=fill,
        encode=lambda problem: fill(**parse(problem)),
        decode=decode,
        oracle=oracle,
        certificate=certificate,
        source=SOURCE,
        proof=PROOF,
        certify=certify_weights,
    )


def fields_of(residual: Residual) -> Residual:
    """The named columns of an input: all slices but the scratch, which come first."""
    return Residual(**{n: size for n, size in residual.sizes.items() if n not in SCRATCH})


def columns(residual: Residual, memory: Any, counter: Any) -> Any:
    """The inputs: the residual stream before the first loop, float32 [n + 2, I].

    The words' columns come first, then the state, then null. A column knows its own address, and
    those of the two words before it, so that an instruction's three words answer to one pointer.

    Args:
      residual: the named slices.
      memory: integers [n], of NumPy or JAX.
      counter: an integer.
    """
    n, w, bits = len(memory), residual.sizes["address"], residual.sizes["value"]
    own = {
        name: bits_of((np.arange(n) - back) % n, w)
        for back, name in enumerate(("address", "previous", "second_previous"))
    }
    return vectors(
        fields_of(residual),
        (n, {"value": bits_of(memory, bits), **own, "one": 1}),
        (1, {"one": 1, "state": 1, "counter": bits_of(counter, w)}),
        (1, {"one": 1, "null": 1}),
    )


def decode(outputs: np.ndarray) -> dict[str, Any]:
    """Memory, counter and halted, from the outputs [n + 2, 3]: word, counter, halted."""
    numbers = np.rint(np.asarray(outputs, np.float64)).astype(np.int64)
    n = len(numbers) - 2
    memory, counter, halted = numbers[:n, 0], numbers[n, 1], numbers[n, 2]
    return {"memory": memory.tolist(), "counter": int(counter), "halted": bool(halted)}


def build(
    *, words: int, bits: int, loops: int, temperature: float, attend: str
) -> tuple[TransformerSpec, Params, Residual]:
    """Spec, params and residual; what they are certain to do is the certificate's to say."""
    w = words.bit_length() - 1
    if words != 1 << w or not 16 <= words <= 1 << (bits - 1):
        raise ValueError(
            f"words: expected a power of two from 16 to 2^(bits - 1) = {1 << max(bits - 1, 0):,}, "
            f"got {words:,}"
        )
    if not temperature > 0:
        raise ValueError(f"temperature: expected a positive number, got {temperature}")
    residual = residual_of(w, bits)
    units = units_of(residual)

    def layer(index: int, heads: int = 0, values: int = 0) -> Layer:
        return Layer(
            heads=heads,
            key_size=w + 1 if heads else 0,
            value_size=values,
            hidden=len(units[index]),
            attend=attend,
            mask="prefix",
            scale=temperature,
        )

    spec = TransformerSpec(
        inputs="vectors",
        input_size=residual.column("halted") + 1,
        width=residual.width,
        output_size=3,
        layers=(layer(0, 3, w + 1), layer(1, 2, bits), layer(2), layer(3), layer(4, 1, bits + 1)),
        loops=loops,
    )
    params = blank(spec)
    params["embed"][:, : spec.input_size] = np.eye(spec.input_size)
    _fetch(params, residual)
    _operands(params, residual)
    _store(params, residual)
    for index, table in enumerate(units):
        write_units(params, residual, index, table)
    _readout(params, residual)
    return spec, params, residual


def _point(
    params: Params,
    residual: Residual,
    layer: int,
    head: int,
    *,
    query: str,
    key: str,
    gain: float,
    null: float,
) -> None:
    """Scores ``gain`` <query, key>, and ``null`` for the null column.

    Proof. Of +-1 vectors, <p, a> is w if p = a and at most w - 2 if not; a column that has none
    holds zeros. A pointer in the query finds its address if gain (w - 2) and null are below
    gain w, and queries without a pointer find null if it is above 0. With the pointer in the key,
    the address that is pointed to looks there, and all other queries find null, if it lies between
    gain (w - 2) and gain w. The margin is 2 in both uses below, for w >= 4. QED
    """
    w_q, w_k = params[f"layer_{layer}.w_q"][head], params[f"layer_{layer}.w_k"][head]
    w = residual.sizes[query]
    w_q[residual[query], :w] = np.eye(w)
    w_k[residual[key], :w] = gain * np.eye(w)
    w_q[residual.column("one"), w] = 1
    w_k[residual.column("null"), w] = null


def _fetch(params: Params, residual: Residual) -> None:
    """Layer 0: a, b and c, the words at counter, counter + 1 and counter + 2."""
    w, sign = residual.sizes["address"], residual.column("value", residual.sizes["value"] - 1)
    keys = ("address", "previous", "second_previous")
    for head, (key, target) in enumerate(zip(keys, "abc", strict=True)):
        _point(params, residual, 0, head, query="counter", key=key, gain=1, null=2)
        w_v, w_o = params["layer_0.w_v"][head], params["layer_0.w_o"][head]
        low = residual.column("value")
        w_v[low : low + w, :w] = np.eye(w)
        w_o[:w, residual.column(target) : residual.column(target) + w] = np.eye(w)
        if target == "c":
            w_v[sign, w] = w_o[w, residual.column("c", w)] = 1


def _operands(params: Params, residual: Residual) -> None:
    """Layer 1: the words at the addresses a and b."""
    for head, (pointer, target) in enumerate((("a", "first"), ("b", "second"))):
        _point(params, residual, 1, head, query=pointer, key="address", gain=1, null=2)
        identity = np.eye(residual.sizes["value"])
        params["layer_1.w_v"][head][residual["value"]] = identity
        params["layer_1.w_o"][head][:, residual[target]] = identity


def _store(params: Params, residual: Residual) -> None:
    """Layer 4: the word at address b hears the difference, and whether to write at all."""
    w, bits = residual.sizes["address"], residual.sizes["value"]
    _point(params, residual, 4, 0, query="address", key="b", gain=2, null=2 * w - 2)
    w_v, w_o = params["layer_4.w_v"][0], params["layer_4.w_o"][0]
    w_v[residual["difference"], :bits] = w_o[:bits, residual["incoming"]] = np.eye(bits)
    w_v[residual.column("state"), bits] = w_o[bits, residual.column("write")] = 1
    w_v[residual.column("halted"), bits] = -1


def _readout(params: Params, residual: Residual) -> None:
    """The word of each column as a number; of the state, the counter and whether it has halted.

    Proof. A bit is (v + 1) / 2, and the last one's weight is -2^(N - 1). QED
    """
    w_out, bits, w = params["w_out"], residual.sizes["value"], residual.sizes["counter"]
    weights = 2.0 ** np.arange(bits) / 2
    weights[-1] *= -1
    w_out[residual["value"], 0] = weights
    w_out[residual.column("one"), 0] = weights.sum()
    w_out[residual["counter"], 1] = 2.0 ** np.arange(w) / 2
    w_out[residual.column("state"), 1] = (2.0**w - 1) / 2
    w_out[residual.column("halted"), 2] = 1
