"""Learning curves: where fine-tuning goes step by step, and how pretraining's loss falls."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from icl_sim.training.run_results import Pretraining

COLORS = {"counts": "#000000", "bayes": "#E69F00", "in-context": "#009E73", "truth": "#0072B2"}


def trajectory(*axes_and_run: Any) -> None:
    """One panel a size: mean total variation of the tuned base to each target, against steps.

    The arguments are one Axes for each size, then what `train_sft` returns.
    """
    *panels, run = axes_and_run
    for axes, size in zip(panels, run.sizes, strict=True):
        curves = run.curves[size]
        for name, color in COLORS.items():
            axes.plot(run.steps, curves[name], color=color, linewidth=1.4, label=f"to {name}")
        best = run.oracle[size]
        axes.plot(best.step, best.truth, "*", color=COLORS["truth"], label="oracle stop")
        axes.set(xlabel="steps", ylabel="mean total variation", ylim=(0, None))
        axes.set_title(f"{run.task}, N = {size}, {run.adapt}")
    panels[0].legend()


def pretraining_loss(axes: Axes, run: Pretraining) -> None:
    """Mean loss of every 50 steps; what `train_base` returns."""
    steps = [50 * (i + 1) for i in range(len(run.losses))]
    axes.plot(steps, run.losses, color="#000000", linewidth=1.4)
    axes.set(xlabel="steps", ylabel="loss, nats per predicted symbol")
    axes.set_title("pretraining")
