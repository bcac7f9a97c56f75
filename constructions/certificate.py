"""What built weights guarantee: margins, leaks and limits, computed from the weights alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np

from constructions.argument_types import check_fields
from constructions.rotary import check_number
from constructions.spec import Params, TransformerSpec
from constructions.support import ANY, Known, require_supported

# Unit roundoff of each float type: the largest relative error of one operation.
UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "tf32": 2.0**-11, "bfloat16": 2.0**-8}

# Switches that leave a score bilinear in the two tokens, apart from the relative bias.
_BILINEAR: Known = dict.fromkeys(
    (
        *("inputs", "positions", "norm", "readout", "loops", "attend", "mask", "window", "gate"),
        *("mlp", "mlp_bias"),
    ),
    ANY,
)


def check_dtype(dtype: str) -> None:
    """Raises ValueError for an arithmetic that is no key of `UNIT`."""
    if dtype not in UNIT:
        raise ValueError(f"dtype: expected one of {', '.join(UNIT)}, got {dtype!r}")


@dataclass(frozen=True)
class Address:
    """Where an addressed head looks: a query answers with the keys whose code equals its own.

    Codes are integers, 0 <= code < size. Code 0 is nobody's: no certified query asks for it, and
    the tokens that must not be found (or answer by default) have it.

    Args:
      query: the code of a query vector q is the inner product with this, [K].
      key: the code of a key vector k likewise, [K].
      size: the number of codes.
      default: what the default tokens, of value zero, weigh against one match.
      fixed: only prompts hold keys: all tokens that the readout can produce have the code 0.
      remainder: columns of the residual stream that are 0, up to 1/2, exactly while the address
        of the query is in range; out of range a query counts as one of code 0.
    """

    query: tuple[float, ...]
    key: tuple[float, ...]
    size: int
    default: float
    fixed: bool
    remainder: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is certified of one head or MLP.

    Args:
      part: e.g. ``layer_1 head 0``.
      kind: what it does, e.g. ``match`` or ``mean``.
      margin: for attention, the least score gap between a right and a wrong key, in logits; for
        an MLP, the input error it tolerates; infinite where neither can happen.
      magnitude: the largest partial sum, in any order of summation.
      exact: every term is a multiple of a unit u with magnitude / u below 1/UNIT, so the result
        has no rounding error at all.
      note: the reason in words.
      address: for an addressed head, its codes; its values are integers.
    """

    part: str
    kind: str
    margin: float = math.inf
    magnitude: float
    exact: bool = False
    note: str = ""
    address: Address | None = None


@dataclass(frozen=True)
class Certificate:
    """When a construction computes what it says.

    Args:
      dtype: the arithmetic it was computed for.
      limits: named sizes up to which it holds, e.g. ``{"length": 4096}``.
      records: one for each head and MLP.
      error: maps sizes (the names of ``limits``) to the largest distance from the oracle.
      unit: what ``error`` measures, e.g. ``total variation``.
      weights: `digest` of what it was computed from; only `issue` sets it, so that a certificate
        copied with other fields is one of no weights.
    """

    dtype: str
    limits: Mapping[str, int] = field(hash=False)
    records: tuple[Record, ...]
    error: Callable[..., float] = field(repr=False, compare=False)
    unit: str = "wrong tokens"
    weights: str = field(default="", init=False)

    def __post_init__(self) -> None:
        check_fields(self)

    def check(self, **sizes: int) -> None:
        """Raises ValueError where a size is over its limit.

        >>> Certificate("float32", {"length": 8}, (), lambda length: 0.0).check(length=9)
        Traceback (most recent call last):
        ValueError: length: expected at most 8 (certified for float32), got 9
        """
        for name, size in sizes.items():
            if name not in self.limits:
                raise ValueError(f"{name}: expected one of the limits {', '.join(self.limits)}")
            check_number(name, size, -math.inf)
            if size > self.limits[name]:
                raise ValueError(
                    f"{name}: expected at most {self.limits[name]} (certified for {self.dtype}), "
                    f"got {size}"
                )

    def summary(self) -> str:
        """One line: dtype, limits and the error at the limits."""
        limits = ", ".join(f"{name} <= {limit:,}" for name, limit in self.limits.items())
        error = self.error(**self.limits)
        return f"{self.dtype}: {limits}; {self.unit} {f'<= {error:.1e}' if error else '= 0'}"


def digest(spec: TransformerSpec, params: Params) -> str:
    """SHA-256 of the spec and of name, dtype, shape and values of every leaf, in hexadecimal."""
    state = hashlib.sha256(repr(spec).encode())
    for name in sorted(params):
        leaf = np.asarray(params[name])
        state.update(f"{name} {leaf.dtype} {leaf.shape};".encode())
        state.update(leaf.tobytes())
    return state.hexdigest()


def issue(certificate: Certificate, spec: TransformerSpec, params: Params) -> Certificate:
    """The certificate of exactly these weights, for the function that has just proved it.

    Args:
      certificate: what was proved.
      spec, params: what it was computed from.

    >>> from dataclasses import replace
    >>> replace(Certificate("float32", {}, (), lambda: 0.0), weights="another's")
    Traceback (most recent call last):
    ValueError: field weights is declared with init=False, it cannot be specified with replace()
    """
    issued = replace(certificate)
    object.__setattr__(issued, "weights", digest(spec, params))
    return issued


def by_length(
    spec: TransformerSpec,
    params: Params,
    records: tuple[Record, ...],
    error: Callable[[int], float],
    *,
    length: int,
    unit: str = "total variation",
    dtype: str = "float32",
) -> Certificate:
    """The certificate of these weights for all prompts of up to ``length`` tokens."""
    certificate = Certificate(dtype, {"length": length}, records, error, unit)
    return issue(certificate, spec, params)


class Ledger:
    """Params still to be accounted for: a proof strikes out every weight that it uses.

    Once the proof is through, `close` makes sure that nothing is left, so that no weight escapes
    it.

    >>> ledger = Ledger("example", {"w": np.array([[2.0, 0.0]])})
    >>> ledger.expect("w", np.s_[0, 0], 1)
    Traceback (most recent call last):
    ValueError: example: w[0, 0]: expected 1, got 2.0
    """

    def __init__(self, name: str, params: Params) -> None:
        self.name = name
        self.left = {leaf: value.astype(np.float64) for leaf, value in params.items()}

    def take(self, leaf: str, index: Any) -> np.ndarray:
        """The weights at ``index``, struck out."""
        value = np.array(self.left[leaf][index])
        self.left[leaf][index] = 0
        return value

    def expect(self, leaf: str, index: Any, expected: Any) -> None:
        """Strikes out weights that must be ``expected``."""
        value = self.take(leaf, index)
        wrong = value != expected
        if wrong.any():
            expected = np.broadcast_to(expected, value.shape)
            self.refuse(leaf, index, f"expected {expected[wrong][0]}, got {value[wrong][0]}")

    def refuse(self, leaf: str, index: Any, reason: str) -> NoReturn:
        """Raises ValueError: the proof does not hold for this weight."""
        where = ", ".join(str(i) for i in (index if isinstance(index, tuple) else (index,)))
        raise ValueError(f"{self.name}: {leaf}[{where}]: {reason}")

    def close(self) -> None:
        """Raises ValueError if a weight is left over."""
        for leaf, value in self.left.items():
            if value.any():
                where = tuple(int(i) for i in np.argwhere(value)[0])
                self.refuse(leaf, where, f"expected 0, got {value[where]}")


def bilinear(spec: TransformerSpec, params: Params, layer: int, head: int) -> np.ndarray:
    """float64 [D, D]: B with score = x_query B x_key, the layer's scale included.

    Raises:
      ValueError: a switch under which scores may have another form.
    """
    instead = "prove its scores by other means"
    require_supported(spec, known=_BILINEAR, engine="bilinear scores", instead=instead)
    w_q = params[f"layer_{layer}.w_q"][head].astype(np.float64)
    w_k = params[f"layer_{layer}.w_k"][head].astype(np.float64)
    return spec.layers[layer].scale * (w_q @ w_k.T)


def value_map(params: Params, layer: int, head: int) -> np.ndarray:
    """float64 [D, D]: O with head output = (average of x_key) O."""
    w_v = params[f"layer_{layer}.w_v"][head].astype(np.float64)
    w_o = params[f"layer_{layer}.w_o"][head].astype(np.float64)
    return w_v @ w_o


def losing_mass(losers: int, gap: float) -> float:
    """Largest softmax mass on ``losers`` keys, each ``gap`` logits or more below one best key.

    One winner has weight 1 and the losers at most exp(-gap) each, so their share is at most
    losers exp(-gap) / (1 + losers exp(-gap)).

    >>> f"{losing_mass(1000, 20.0):.2g}"
    '2.1e-06'
    """
    if losers == 0 or gap == math.inf:
        return 0.0
    mass = losers * math.exp(-gap) if gap > -700 else math.inf
    return 1.0 if math.isinf(mass) else mass / (1 + mass)
