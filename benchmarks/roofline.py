"""How near the machine's limits a function is: bytes and FLOPs beside two measured ceilings.

A function that must move some bytes and do some FLOPs takes at least

    max(bytes / stream, flops / peak)

where stream is the bandwidth of reading memory and peak the speed of matrix products, both
measured in this process on the device that JAX runs on. The fraction of the roof is that floor
over the time taken. A multiply-add is two FLOPs; any other operation on a number, an exponential
or a division too, is one.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from benchmarks.measure import Call, Row, timed
from constructions.spec import TransformerSpec
from icl_sim.report.plots import svg

COLUMNS = 8192
LONG = 0.1  # seconds that a product must take for its speed to count as sustained


@dataclass(frozen=True)
class Work:
    """What a call cannot avoid: bytes between memory and processor, and FLOPs."""

    bytes: float
    flops: float


@dataclass(frozen=True)
class Roof:
    """The ceilings of the default device, all a second.

    stream: bytes read by the faster of row sums and a matrix-vector product. triad: bytes of
    x + 3 y, two reads and a write. peak: FLOPs of a float32 matrix product at JAX's default
    precision.
    """

    stream: float
    triad: float
    peak: float

    def floor(self, work: Work) -> float:
        """The least seconds that the work can take."""
        return max(work.bytes / self.stream, work.flops / self.peak)

    def speed(self, intensity: float) -> float:
        """The most FLOPs a second of work with this many FLOPs a byte."""
        return min(intensity * self.stream, self.peak)


@functools.cache
def measured_roof() -> Roof:
    """The roof of this process's default device, measured once."""
    rows = _array_bytes() // (4 * COLUMNS)
    ones = functools.partial(jnp.ones, dtype=jnp.float32)
    x, y, vector = ones((rows, COLUMNS)), ones((rows, COLUMNS)), ones(COLUMNS)
    sums = jax.jit(lambda x: jnp.sum(x, axis=1))
    triad = jax.jit(lambda x, y: x + 3 * y)
    product = jax.jit(jnp.matmul)
    read = min(_best(lambda: sums(x)), _best(lambda: product(x, vector)))
    return Roof(
        stream=x.nbytes / read,
        triad=3 * x.nbytes / _best(lambda: triad(x, y)),
        peak=_matrix_peak(),
    )


def _best(call: Call, rounds: int = 7) -> float:
    """The least time of a call after the first: a ceiling is what was reached once."""
    timed(call)  # compiles
    return min(timed(call)[0] for _ in range(rounds))


def _array_bytes() -> int:
    """Far larger than the caches, and no burden on the memory."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return min(2**30, (device.memory_stats() or {}).get("bytes_limit", 2**33) // 8)
    try:
        cache = os.sysconf("SC_LEVEL3_CACHE_SIZE")
    except (ValueError, OSError):  # not known here
        cache = 0
    return min(max(2**28, 8 * cache), 2**31)


def _matrix_peak() -> float:
    """FLOPs a second of the fastest square product, sizes doubling until one takes LONG."""
    multiply = jax.jit(jnp.matmul)
    best, size, taken = 0.0, 512, 0.0
    while taken < LONG and 3 * 4 * (2 * size) ** 2 < 8 * _array_bytes():
        size *= 2
        x = jnp.ones((size, size), jnp.float32)
        taken = _best(functools.partial(multiply, x, x), rounds=3)
        best = max(best, 2 * size**3 / taken)
    return best


def against_roof(
    rows: Sequence[Row], work: Mapping[str, Work], roof: Roof | None = None
) -> list[Row]:
    """The rows of `measure` with bytes, flops, gb_per_s, gflop_per_s and of_roof.

    Args:
      rows: timed, or with a note; those without work stay as they are.
      work: name -> what a call cannot avoid.
      roof: the measured one if None.
    """
    roof = roof or measured_roof()
    return [
        row | _placed(work[row["name"]], row["median_s"], roof)
        if row["name"] in work and "median_s" in row
        else row
        for row in rows
    ]


def _placed(work: Work, taken: float, roof: Roof) -> Row:
    return {
        "bytes": work.bytes,
        "flops": work.flops,
        "gb_per_s": work.bytes / taken / 1e9,
        "gflop_per_s": work.flops / taken / 1e9,
        "of_roof": roof.floor(work) / taken,
    }


def forward_work(
    spec: TransformerSpec, params: Mapping[str, Any], tokens: int, *, sequences: int = 1
) -> Work:
    """Of forward passes over a number of tokens each.

    A weight has one multiply-add a token and loop, as has each of a head's key and value sizes a
    token attended to, half of them under a causal mask. Weights and inputs are read, outputs are
    written, in 4 bytes a number.
    """
    seen = {"causal": (tokens + 1) / 2, "prefix": tokens}
    layers = sum(leaf.size for name, leaf in params.items() if ".w_" in name)
    layers += sum(
        layer.heads * (layer.key_size + layer.value_size) * seen[layer.mask]
        for layer in spec.layers
    )
    ends = params["w_out"].size + (params["embed"].size if spec.inputs == "vectors" else 0)
    size = spec.input_size if spec.inputs == "vectors" else 1
    numbers = sum(leaf.size for leaf in params.values())
    return Work(
        bytes=4 * (numbers + sequences * tokens * (size + spec.output_size)),
        flops=2 * sequences * tokens * (spec.loops * layers + ends),
    )


def picture(roof: Roof, rows: Sequence[Row]) -> str:
    """The rows that have bytes and FLOPs under the roof, as an SVG element."""
    return svg(_draw, roof, [row for row in rows if "flops" in row])


def _draw(axes: Axes, roof: Roof, rows: Sequence[Row]) -> None:
    """Each row a point, speed over intensity, with a line to its name in a column at the right."""
    ridge = roof.peak / roof.stream
    x = np.array([row["flops"] / row["bytes"] for row in rows])
    y = np.array([row["gflop_per_s"] for row in rows])
    left, right = min([ridge, *x]) / 4, max([ridge, *x]) * 4
    low, high = min([roof.speed(left) / 1e9, *y]) / 2, roof.peak / 1e9 * 2
    line = [left, ridge, right]
    axes.plot(line, [roof.speed(i) / 1e9 for i in line], color="#000000")
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(low, high))
    axes.set(xlabel="FLOPs a byte", ylabel="GFLOP/s")
    axes.set_title(f"{roof.stream / 1e9:.1f} GB/s read, {roof.peak / 1e9:,.0f} GFLOP/s")
    axes.scatter(x, y, s=16, color="#0072B2", zorder=3)
    # From the top down, each name at its point's height or just below the name before it.
    heights = np.log(y / low) / math.log(high / low)
    place = 1.0
    room = 1 / max(24, len(rows))
    for left_over, i in zip(range(len(rows), 0, -1), np.lexsort((-x, -heights)), strict=True):
        place = max(min(heights[i], place), (left_over - 1) * room)
        axes.annotate(
            f"{rows[i]['name']}, {rows[i]['of_roof']:.0%}",
            (x[i], y[i]),
            (1.04, place),
            textcoords="axes fraction",
            va="center",
            fontsize=7 * min(1, 24 * room),
            arrowprops={
                "arrowstyle": "-",
                "color": "#b0b0b0",
                "linewidth": 0.6,
                "relpos": (0, 0.5),  # from the middle of the name's left edge
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
        place -= room
