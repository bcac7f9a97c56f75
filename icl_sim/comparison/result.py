"""What a comparison finds, as types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from icl_sim.storage.json_form import OPTIONAL

TRUTH = "truth"  # the name of the true law among the predictors


@dataclass(frozen=True)
class MeanInterval:
    """A mean over tasks, and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Distance:
    """Total variation between the laws of two predictors.

    Attributes:
      mean: over contexts, data sets and tasks.
      low, high: its 95 % bootstrap interval over tasks.
      max: over contexts, averaged over data sets and tasks.
    """

    mean: float
    low: float
    high: float
    max: float


@dataclass(frozen=True)
class Rate:
    """The exponent of the mean distance to the truth in N, and its 95 % bootstrap interval."""

    slope: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Every predictor on the same data.

    Attributes:
      task: its name.
      sizes: N, demonstrations in all.
      predictors: names, "truth" the last.
      tasks, seeds: the number of tables, and of data sets of each.
      matrix: [size][row][column], total variation of two predictors.
      paired: [size][row][column], by how much row is farther from the truth than column.
      lengths: [size][l][row], distance to the truth of the law of l answers, output number y
        leading to context number y: of a route that reads its own answers, what it decodes; of any
        other, a chain (see `icl_sim.comparison.answer_strings`). Only where m = V.
      order: [size][row], how far the law moves when the demonstrations are permuted, in mean total
        variation, for those that read their order.
      rates: [row], over the sizes at which every context is seen, 8 m and more; empty with fewer
        than two of them.
      contexts, vocab: m and V of tables; None for classification.
      bounds: [size][row], of routes that certify their answers: the largest total variation of any
        of these laws from what the route's algorithm gives exactly; None without such a route.
      seed, digest: of a recorded run, and SHA-256 of its results.
    """

    task: str
    sizes: tuple[int, ...]
    predictors: tuple[str, ...]
    tasks: int
    seeds: int
    matrix: Mapping[int, Mapping[str, Mapping[str, Distance]]]
    paired: Mapping[int, Mapping[str, Mapping[str, MeanInterval]]]
    lengths: Mapping[int, Mapping[int, Mapping[str, MeanInterval]]]
    order: Mapping[int, Mapping[str, float]]
    rates: Mapping[str, Rate]
    contexts: int | None = field(default=None, metadata=OPTIONAL)
    vocab: int | None = field(default=None, metadata=OPTIONAL)
    bounds: Mapping[int, Mapping[str, float]] | None = field(default=None, metadata=OPTIONAL)
    seed: int | None = field(default=None, metadata=OPTIONAL)
    digest: str | None = field(default=None, metadata=OPTIONAL)

    @property
    def command(self) -> str:
        """What computes it again on the command line."""
        flags: dict[str, object] = {
            "sizes": " ".join(map(str, self.sizes)),
            "predictors": " ".join(self.predictors[:-1]),
            "tasks": self.tasks,
            "seeds": self.seeds,
            "contexts": self.contexts,
            "vocab": self.vocab,
            "seed": self.seed,
        }
        words = (f"--{name} {value}" for name, value in flags.items() if value is not None)
        return " ".join((f"icl-sim compare --task {self.task}", *words))

    @property
    def about(self) -> str:
        """On what data it is, in a line."""
        shape = f" of {self.contexts} contexts and {self.vocab} outputs" if self.vocab else ""
        sets = f"{self.seeds} data set{'s' * (self.seeds > 1)} of each"
        of_seed = "" if self.seed is None else f", seed {self.seed}"
        what = f"{self.task}: {self.tasks} task{'s' * (self.tasks > 1)}{shape}"
        return f"{what}, {sets}{of_seed}"
