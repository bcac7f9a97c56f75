"""Laws drawn from fair coins: what finite precision costs claim C0.

V symbols, l output tokens, b coins an output token.
"""

from __future__ import annotations

import math

from icl_sim.bounds.arguments import Exact, probability, symbols_and_tokens, whole


def rounding_error(*, vocab: int, length: int, coins: int) -> float:
    """Upper bound l V 2^-(b+1) on the TV over l tokens of laws rounded to multiples of 2^-b.

    Rounding the cumulative law moves each of its V - 1 inner steps by at most half a unit; a
    coupling token by token adds the l parts.

    Args:
      vocab: V >= 2.
      length: l >= 1.
      coins: b >= 1.

    >>> rounding_error(vocab=4, length=2, coins=9)
    0.0078125

    Source: statement C0.universal.
    """
    V, length = symbols_and_tokens(vocab, length)
    return length * V * 2.0 ** -(whole(coins, name="coins", least=1) + 1)


def coins_needed(*, vocab: int, length: int, eps: Exact) -> int:
    """The least b with l V 2^-(b+1) <= eps: ceil(log2(l V/(2 eps))), at least 1.

    Args:
      vocab: V >= 2.
      length: l >= 1.
      eps: in (0, 1).

    >>> coins_needed(vocab=4, length=2, eps=1 / 128)
    9

    Source: statement C0.universal.
    """
    V, length = symbols_and_tokens(vocab, length)
    units = math.ceil(length * V / (2 * probability(eps, name="eps")))
    return max(1, (units - 1).bit_length())
