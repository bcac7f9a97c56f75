"""One transformer for all Turing machines of a given size: the machine is in the prompt."""

from __future__ import annotations

from constructions.construction import Construction
from constructions.machines.simulator import SimulatorOptions, simulator
from constructions.vocabulary import Vocabulary

SOURCE = (
    "universality of one frozen transformer whose program is its prompt: Qiu et al. 2025 "
    "(arXiv:2411.01992); attention as memory: Perez et al. 2021 (JMLR 22)"
)
PROOF = (
    "By induction on the steps, each token names its step: next state, symbol written, move, "
    "symbol read. The moves add up to the head's cell: mean times count. Its digits address an "
    "attention head whose score is minus the squared distance of the addresses, so that exactly "
    "the tokens that wrote this cell answer, each with its change, and the changes add up to the "
    "present symbol. State and symbol then address the rule table in the prompt, and the readout "
    "names the next step."
)


def universal(
    *, states: int = 8, symbols: int = 2,
    steps: int = 2**20, cells: int = 2**19, base: int = 4,
    attend: str = "softmax", dtype: str = "float32", coins: bool = False,
) -> Construction:  # fmt: skip
    """Runs every Turing machine of up to this size, from the machine and the tape in its prompt.

    A problem is ``{"machine": TuringMachine, "tape": symbols, "steps": limit}`` (steps default to
    the certified ones). An answer has steps, halted, state, head, tape_start and tape, by code, as
    `Transcript.answer` says.

    Args:
      states: K, working states (states that have a rule; the start is one).
      symbols: S, tape symbols, the blank included.
      steps, cells: what the certificate must reach. A run on n cells visits cells less than n
        away from the first, on either side.
      base: digits of a cell's address have this base: 4 makes more and smaller layers than 32.
      attend: ``softmax``, or ``hardmax``, which gives the same tokens.
      dtype: the arithmetic to certify.
      coins: whether, after a prompt that ends on the tape, the softmax is a fair coin of the tape
        symbols of codes 1 and 2; decoding is the same.

    Raises:
      ValueError: a size out of range, or limits that the dtype cannot certify, with the reason.

    >>> from constructions.programs.turing import TuringMachine
    >>> construction = universal(states=2, steps=1000, cells=100)
    >>> machine = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")
    >>> problem = {"machine": machine, "tape": "", "steps": 1000}
    >>> construction.encode(problem).tolist()[-3:], construction.oracle(problem)["steps"]
    ([23, 23, 1], 6)
    """
    options = SimulatorOptions(steps=steps, cells=cells, base=base, attend=attend, dtype=dtype)
    return simulator(
        "universal",
        Vocabulary(states, symbols),
        actions=None,
        machine_of=lambda problem: problem["machine"],
        options=options,
        coins=coins,
        source=SOURCE,
        proof=PROOF,
    )
