"""What a comparison of routes through a language model finds, as types.

Letters: N demonstrations, m held-out queries, C choices, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from icl_sim.comparison.result import Distance, MeanInterval, Rate
from icl_sim.storage.json_form import OPTIONAL

Matrix = Mapping[int, Mapping[str, Mapping[str, Distance]]]


@dataclass(frozen=True)
class Quality:
    """A route against what is held out.

    Attributes:
      accuracy: share of held-out labels that are the likeliest choice.
      cross_entropy: mean -ln p(label), p no less than 1e-6, in nats.
      calibration_error: expected calibration error of the likeliest choice, in ten bins.
    """

    accuracy: MeanInterval
    cross_entropy: MeanInterval
    calibration_error: float


@dataclass(frozen=True)
class Reach:
    """At how many demonstrations a route comes within eps of the fine-tuned one.

    Attributes:
      route, reference: their names.
      eps: the total variation allowed.
      N: where the mean distance falls to eps and stays there, interpolated in log N; None: not
        within the window of sizes.
      low, high: its 95 % bootstrap interval; None: beyond the sizes on that side.
    """

    route: str
    reference: str
    eps: float
    N: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class TheorySize:
    """Demonstrations that the theory of a table asks for, in all, at delta = 0.05.

    Attributes:
      eps: total variation to the truth, in every context.
      abstract, weissman, lower: m times the size of one context: what the abstract of the paper
        says, a corrected sufficient one, and a necessary one.
    """

    eps: float
    abstract: int
    weissman: int
    lower: int


@dataclass(frozen=True)
class RouteCost:
    """What a route costs at one size.

    Attributes:
      route: its name.
      N: demonstrations.
      tokens_once, flops_once: before the first query, training or the prefix that is read once; a
        backward pass counts as two forward passes.
      tokens_per_query, flops_per_query: with that prefix cached.
      tokens_whole: of a prompt that is read whole at every query.
      bytes_kept: keys and values, or adapters, beside the base's weights.
      bytes_trained: leaves, gradients and moments while training.
      seconds: of all queries, training and compilation included, on the machine at hand, mean over
        tasks; None if it was not timed.
      break_even: queries from which on fine-tuning by the reference takes fewer operations than
        this prompt read whole every time; None where it never does.
      break_even_cached: the same, with the prefix cached.
    """

    route: str
    N: int
    tokens_once: int
    flops_once: int
    tokens_per_query: float
    flops_per_query: int
    tokens_whole: float
    bytes_kept: int
    bytes_trained: int
    seconds: float | None
    break_even: int | None
    break_even_cached: int | None


@dataclass(frozen=True)
class Worst:
    """A query on which the first prompt and the reference differ most."""

    prompt: str
    distance: float
    prompted: str
    tuned: str


@dataclass(frozen=True)
class LanguageComparison:
    """Every route from the same demonstrations through one language model.

    Attributes:
      summary: five sentences: what, how far, with how many demonstrations, how good, at what cost.
      task, base: their names.
      sizes: N.
      predictors: names, "truth" the last.
      reference: the fine-tuned route that distances are measured from.
      prompted: the prompted route that they are measured to first.
      tasks, seeds: how many tasks (or splits of a file), and draws of demonstrations of each.
      queries, choices: m, and the C completions.
      template: how a pair is written, the header in front.
      truth: "law" if the true law is known, "labels" if held-out labels stand for it.
      matrix: [size][row][column], total variation on the choices.
      kl, jensen_shannon, agreement: the same of KL divergence in nats (probabilities no less than
        1e-6), of Jensen-Shannon divergence in nats, and of the share of queries with one likeliest
        choice.
      vocabulary: [measure][size][row][column], total variation, kl, jensen_shannon and top1
        (disagreement) of the first token on all V, between routes that ask a model.
      quantiles: [size][row][column][level], of total variation over queries.
      floors: [size][row][noise], total variation between two laws of one route that differ in the
        order of the demonstrations, the template or the seed alone.
      vocabulary_floors: the same on all V.
      quality: [size][row].
      rates: [row], exponent in N of the distance to the truth, where the true law is known.
      scatter: [size], of each query of the first task: prompt, [prompted, tuned, truth] of its
        first choice by truth, and distance.
      worst: [size], queries where prompted and tuned differ most.
      reach: of each prompted route and eps.
      theory: sizes of the theory beside the curve; empty if every context is seen once.
      window: demonstrations that the model's window holds in one prompt, about; None if unlimited.
      costs: a row a route and size.
      figures: [size][row][name], what routes say of themselves, such as the recall of retrieval.
      notes: of the data.
      seed, digest: of a recorded run, and SHA-256 of its results.
    """

    summary: tuple[str, ...]
    task: str
    base: str
    sizes: tuple[int, ...]
    predictors: tuple[str, ...]
    reference: str | None
    prompted: str | None
    tasks: int
    seeds: int
    queries: int
    choices: tuple[str, ...]
    template: str
    truth: str
    matrix: Matrix
    kl: Mapping[int, Mapping[str, Mapping[str, MeanInterval]]]
    jensen_shannon: Mapping[int, Mapping[str, Mapping[str, MeanInterval]]]
    agreement: Mapping[int, Mapping[str, Mapping[str, MeanInterval]]]
    vocabulary: Mapping[str, Matrix]
    quantiles: Mapping[int, Mapping[str, Mapping[str, Mapping[str, float]]]]
    floors: Mapping[int, Mapping[str, Mapping[str, Distance]]]
    vocabulary_floors: Mapping[int, Mapping[str, Mapping[str, Distance]]]
    quality: Mapping[int, Mapping[str, Quality]]
    rates: Mapping[str, Rate]
    scatter: Mapping[int, tuple[tuple[str, float, float, float], ...]]
    worst: Mapping[int, tuple[Worst, ...]]
    reach: tuple[Reach, ...]
    theory: tuple[TheorySize, ...]
    window: int | None
    costs: tuple[RouteCost, ...]
    figures: Mapping[int, Mapping[str, Mapping[str, float]]]
    notes: tuple[str, ...] = ()
    seed: int | None = field(default=None, metadata=OPTIONAL)
    digest: str | None = field(default=None, metadata=OPTIONAL)
