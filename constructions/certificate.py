"""What built weights guarantee: margins, leaks and limits, computed from the weights alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from constructions.spec import Params, TransformerSpec

# Unit roundoff of each float type: the largest relative error of one operation.
UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "tf32": 2.0**-11, "bfloat16": 2.0**-8}


@dataclass(frozen=True)
class Record:
    """What is certified of one head or MLP.

    Args:
      part: e.g. ``layer_1 head 0``.
      kind: what it does, e.g. ``match`` or ``mean``.
      margin: for attention, the least score gap between a right and a wrong key, in logits; for
        an MLP, the input error it tolerates.
      magnitude: the largest partial sum, in any order of summation.
      exact: every term is a multiple of a unit u with magnitude / u below 1/UNIT, so the result
        has no rounding error at all.
      note: the reason in words.
    """

    part: str
    kind: str
    margin: float
    magnitude: float
    exact: bool
    note: str = ""


@dataclass(frozen=True)
class Certificate:
    """When a construction computes what it says.

    Args:
      dtype: the arithmetic it was computed for.
      limits: named sizes up to which it holds, e.g. ``{"length": 4096}``.
      records: one for each head and MLP.
      error: maps sizes (the names of ``limits``) to the largest distance from the oracle.
      unit: what ``error`` measures, e.g. ``total variation``.
    """

    dtype: str
    limits: Mapping[str, int]
    records: tuple[Record, ...]
    error: Callable[..., float] = field(repr=False, compare=False)
    unit: str = "wrong tokens"

    def check(self, **sizes: int) -> None:
        """Raises ValueError where a size is over its limit.

        >>> Certificate("float32", {"length": 8}, (), lambda length: 0.0).check(length=9)
        Traceback (most recent call last):
        ValueError: length: expected at most 8 (certified for float32), got 9
        """
        for name, size in sizes.items():
            if size > self.limits[name]:
                raise ValueError(
                    f"{name}: expected at most {self.limits[name]} (certified for {self.dtype}), "
                    f"got {size}"
                )

    def summary(self) -> str:
        """One line: dtype, limits and the error at the limits."""
        limits = ", ".join(f"{name} <= {limit:,}" for name, limit in self.limits.items())
        return f"{self.dtype}: {limits}; {self.unit} <= {self.error(**self.limits):.1e}"


def bilinear(spec: TransformerSpec, params: Params, layer: int, head: int) -> np.ndarray:
    """float64 [D, D]: B with score = x_query B x_key, the layer's scale included."""
    w_q = params[f"layer_{layer}.w_q"][head].astype(np.float64)
    w_k = params[f"layer_{layer}.w_k"][head].astype(np.float64)
    return spec.layers[layer].scale * (w_q @ w_k.T)


def value_map(params: Params, layer: int, head: int) -> np.ndarray:
    """float64 [D, D]: O with head output = (average of x_key) O."""
    w_v = params[f"layer_{layer}.w_v"][head].astype(np.float64)
    w_o = params[f"layer_{layer}.w_o"][head].astype(np.float64)
    return w_v @ w_o


def softmax_leak(losers: int, gap: float) -> float:
    """Largest softmax mass on ``losers`` keys, each ``gap`` logits or more below one best key.

    One winner has weight 1 and the losers at most exp(-gap) each, so their share is at most
    losers exp(-gap) / (1 + losers exp(-gap)).

    >>> f"{softmax_leak(1000, 20.0):.2g}"
    '2.1e-06'
    """
    if losers == 0 or gap == math.inf:
        return 0.0
    mass = losers * math.exp(-gap) if gap > -700 else math.inf
    return 1.0 if math.isinf(mass) else mass / (1 + mass)
