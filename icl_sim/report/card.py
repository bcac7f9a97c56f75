"""A construction as one HTML card: its residual slices, what each head compares and carries."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, SymLogNorm

from constructions.certificate import Record, bilinear, value_map
from constructions.construction import Construction
from constructions.residual import Residual
from icl_sim.errors import InputError
from icl_sim.report.plots import SMALL, plain_powers, svg
from icl_sim.report.templating import template
from icl_sim.storage.whole_files import write_whole

TICKS = 24  # slices that can be named along one side of a small heat map


def write_card(built: Construction, path: str | Path) -> Path:
    """Writes the card of a construction and returns its path.

    Raises:
      InputError: the file cannot be written.
    """
    try:
        write_whole(path, render_card(built))
    except OSError as error:
        raise InputError(f"{path}: cannot be written, {error.strerror}") from None
    return Path(path)


def render_card(built: Construction) -> str:
    """The card as text: self-contained, figures as inline SVG, no script."""
    certificate = built.certificate
    size = sum(leaf.size for leaf in built.params.values())
    nonzero = sum(int(np.count_nonzero(leaf)) for leaf in built.params.values())
    return template("card.html").render(
        built=built,
        error=f"{certificate.error(**certificate.limits):.2g}",
        limits={name: f"{limit:,}" for name, limit in certificate.limits.items()},
        size=f"{size:,}",
        nonzero=f"{nonzero:,}",
        layers=[_layer(built, i) for i in range(len(built.spec.layers))],
    )


def _layer(built: Construction, i: int) -> dict[str, Any]:
    layer = built.spec.layers[i]
    records = {record.part: record for record in built.certificate.records}
    heads = []
    for h in range(layer.heads):
        part = f"layer_{i} head {h}"
        bias = built.params[f"layer_{i}.bias"][h] if layer.window else np.zeros(0)
        heads.append(
            {
                "name": f"head {h}",
                "record": _words(records.get(part)),
                "bias": ", ".join(
                    f"{value:+g} at distance {j}{'+' if j == len(bias) - 1 else ''}"
                    for j, value in enumerate(bias)
                    if value
                ),
                # Drawn here from numbers and names of the library, hence safe.
                "svg": Markup(svg(_draw_head, built, i, h, panels=2)),  # noqa: S704
            }
        )
    mlp = None
    if layer.hidden:
        mlp = {
            "record": _words(records.get(f"layer_{i} mlp")),
            "units": f"{layer.hidden:,}",
            "gates": _touched(built, f"layer_{i}.w_gate", axis=1),
            "ups": _touched(built, f"layer_{i}.w_up", axis=1),
            "writes": _touched(built, f"layer_{i}.w_down", axis=0),
        }
    return {"layer": layer, "heads": heads, "mlp": mlp}


def _words(record: Record | None) -> str:
    if record is None:
        return ""
    if record.exact:
        certain = "exact"
    else:
        certain = "" if math.isinf(record.margin) else f"margin {record.margin:.3g}"
    return ". ".join(filter(None, (record.kind, certain, record.note)))


def _touched(built: Construction, leaf: str, axis: int) -> str:
    """Names of the slices whose entries of a leaf are not all zero."""
    used = np.any(built.params[leaf] != 0, axis=axis)
    slices = built.residual
    return ", ".join(name for name in slices.sizes if used[slices[name]].any()) or "constants"


def _draw_head(left: Axes, right: Axes, built: Construction, layer: int, head: int) -> None:
    """Scores query x key, and values source x target, over the slices that take part."""
    turns = built.spec.layers[layer].rotary is not None
    # At distance 0 the rotations of query and key cancel.
    still = tuple(replace(each, rotary=None) for each in built.spec.layers)
    score = bilinear(replace(built.spec, layers=still), built.params, layer, head)
    value = value_map(built.params, layer, head)
    biased = built.spec.layers[layer].window and built.params[f"layer_{layer}.bias"][head].any()
    alike = "zero: the bias alone decides" if biased else "zero: all tokens alike"
    query = "QK at distance 0: query" if turns else "QK: query"
    _heat_map(left, score, built.residual, query, "key", alike)
    _heat_map(right, value, built.residual, "OV: source", "target", "zero")


def _scale(shown: np.ndarray) -> Normalize:
    """Zero is white; logarithmic where a bonus would hide the weights beside it."""
    sizes = np.abs(shown[shown != 0])
    least, top = float(sizes.min()), float(sizes.max())
    if top > 20 * least:
        return SymLogNorm(linthresh=least, vmin=-top, vmax=top)
    return Normalize(-top, top)


def _heat_map(
    axes: Axes, matrix: np.ndarray, residual: Residual, rows: str, columns: str, none: str
) -> None:
    axes.grid(False)
    names = [
        [
            name
            for name in residual.sizes
            if np.any(matrix[residual[name]] if side == 0 else matrix[:, residual[name]])
        ]
        for side in (0, 1)
    ]
    axes.set(xlabel=columns, ylabel=rows)
    if not names[0]:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, none, ha="center", va="center", fontsize=SMALL)
        return
    picked = [
        np.concatenate([np.arange(residual.width)[residual[name]] for name in side])
        for side in names
    ]
    shown = matrix[np.ix_(*picked)]
    image = axes.imshow(shown, cmap="RdBu", norm=_scale(shown), aspect="auto", interpolation="none")
    for side, which in ((names[0], axes.yaxis), (names[1], axes.xaxis)):
        edges = np.cumsum([0] + [residual.sizes[name] for name in side])
        step = math.ceil(len(side) / TICKS)
        labels = [
            name if size == 1 else f"{name} ({size})"
            for name, size in ((name, residual.sizes[name]) for name in side)
        ]
        which.set_ticks((edges[:-1] + edges[1:] - 1)[::step] / 2, labels[::step], fontsize=SMALL)
        for edge in edges[1:-1]:
            line = axes.axhline if which is axes.yaxis else axes.axvline
            line(edge - 0.5, color="#888888", linewidth=0.5)
    if len(names[1]) > 3:
        axes.tick_params(axis="x", rotation=40)
    if axes.figure is not None:
        plain_powers(axes.figure.colorbar(image, ax=axes, shrink=0.8).ax)
