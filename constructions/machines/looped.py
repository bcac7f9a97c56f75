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
from constructions.construction import Construction, posing
from constructions.fields import vectors
from constructions.machines.looped_reader import certify
from constructions.machines.looped_units import bits_of, input_fields
from constructions.machines.looped_weights import build
from constructions.programs.subleq import Computer
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec

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
    *, words: int = 64, bits: int = 16, loops: int = 32,
    temperature: float = 64.0, attend: str = "softmax", dtype: str = "float32",
) -> Construction:  # fmt: skip
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
        fields=input_fields(residual),
        parse=posing("looped", parse),
        fill=fill,
        encode=posing("looped", lambda problem: fill(**parse(problem))),
        decode=decode,
        oracle=posing("looped", oracle),
        certificate=certificate,
        source=SOURCE,
        proof=PROOF,
        certify=certify_weights,
    )


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
        input_fields(residual),
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
