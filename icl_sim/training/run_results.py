"""What the two training runs return: figures, and learning curves for a plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from icl_sim.storage.json_form import OPTIONAL
from icl_sim.training.base_model import Gate


@dataclass(frozen=True)
class Pretraining:
    """A base that was pretrained, and whether it may be used.

    Attributes:
      path: of its weights; None if the gate refused them.
      passed: whether every seed passed the gate.
      gate: of the first seed.
      replicas: seed -> gate, of the further seeds.
      losses: mean of every 50 steps, in nats a predicted symbol.
      cpu_seconds, tokens_per_second: of the first seed.
    """

    path: str | None
    passed: bool
    gate: Gate
    replicas: Mapping[int, Gate]
    losses: list[float]
    cpu_seconds: float
    tokens_per_second: int


@dataclass(frozen=True)
class OracleStop:
    """Where stopping is best: the mean step of it, and the mean distance to the truth there."""

    step: float
    truth: float


@dataclass(frozen=True)
class FineTuning:
    """The path of fine-tuning: means over contexts and the copies of a size.

    Attributes:
      task: its name.
      sizes: N, demonstrations in all.
      copies: tables times data sets times sizes.
      adapt: which leaves moved: full, lora or head.
      steps: where the curves have points.
      curves: [size][name]; "loss" in nats, at all points but the last, and the mean total variation
        of the tuned base to "counts", "bayes", "in-context" (the base with the data in its prompt)
        and "truth".
      oracle: [size], over the points of the curves.
      tokens_per_second: of the whole run; None where it is not recorded, since no two runs agree.
    """

    task: str
    sizes: tuple[int, ...]
    copies: int
    adapt: str
    steps: list[int]
    curves: Mapping[int, Mapping[str, list[float]]]
    oracle: Mapping[int, OracleStop]
    tokens_per_second: int | None = field(default=None, metadata=OPTIONAL)
