"""What a claim is made of: statements, each with an experiment that computes its verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from icl_sim.execution.progress import Progress
from icl_sim.execution.streams import stream
from icl_sim.statistics.cells import MeanCell, TailCell
from icl_sim.statistics.intervals import ALPHA
from icl_sim.statistics.sweep import CellVerdict, sweep
from icl_sim.storage.json_form import INLINE, OMITTED
from icl_sim.storage.result_store import ResultStore

HOLDS = "HOLDS"
LOOSE = "HOLDS-LOOSE"  # true, and a better bound is given
FALSE = "FALSE-AS-STATED"  # with a counterexample family and a corrected statement
OPEN = "INCONCLUSIVE"
# Each verdict in words, for pages and README.
VERDICTS = {
    HOLDS: "true as written: proved, computed exactly, or every sampled cell certified",
    LOOSE: "true as written, and a better bound is given with it",
    FALSE: "false: a family of counterexamples is run, and what is true instead is given",
    OPEN: "the trials of this run decide neither way",
}

# The error probability of the whole audit is shared by its sampled statements, 20 at most, so that
# all of them together have confidence 1 - ALPHA; inside a statement its tests share its part.
STATEMENTS = 20
SHARE = ALPHA / STATEMENTS

# Trials of a sampled cell, where a statement has no reason for others.
REPLICATES = {"smoke": 400, "standard": 1000, "full": 10_000}

Figures = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Run:
    """What an experiment may use.

    Args:
      profile: smoke (seconds a statement), standard (minutes) or full (hours).
      key: root key of the statement; its randomness comes from nowhere else.
      store: where every Monte-Carlo result is recorded, and found again on resuming.
      progress: called as progress(label, done, total).
      spent: the error probability of each test so far.
    """

    profile: str
    key: jax.Array
    store: ResultStore
    progress: Progress
    spent: list[float] = field(default_factory=list, repr=False)

    @property
    def confidence(self) -> float:
        """1 - the error probabilities of all tests so far; 1 if nothing was tested by sampling."""
        return 1 - math.fsum(self.spent)

    def spend(self, alpha: float) -> float:
        """Counts a test of this error probability, and returns it."""
        self.spent.append(alpha)
        return alpha

    def stream(self, *name: str | int) -> np.random.Generator:
        """`icl_sim.execution.streams.stream` of this run's key."""
        return stream(self.key, *name)

    def sweep(
        self,
        name: str,
        cells: Sequence[TailCell | MeanCell],
        *,
        replicates: int,
        alpha: float = SHARE,
    ) -> list[CellVerdict]:
        """`icl_sim.statistics.sweep.sweep` of these cells, with this run's key and store.

        Args:
          name, cells, replicates: see there.
          alpha: the error probability that it spends; a statement with k tests gives SHARE / k.
        """
        return sweep(
            name,
            cells,
            key=self.key,
            replicates=replicates,
            store=self.store,
            alpha=self.spend(alpha),
            progress=self.progress,
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an experiment found.

    Args:
      verdict: one of HOLDS, HOLDS-LOOSE, FALSE-AS-STATED, INCONCLUSIVE.
      confidence: 1 for proofs and exact values; `judge` takes off what the tests of the run spent.
      replicates: trials drawn; 0 if nothing was sampled.
      why: the decisive figures, in a sentence or two.
      figures: tables for the report and the JSON output.
    """

    verdict: str
    confidence: float = 1.0
    replicates: int = 0
    why: str
    figures: Figures = field(default_factory=dict)


@dataclass(frozen=True)
class Statement:
    """One reading of a claim that is either true or not.

    Args:
      id: e.g. ``C1.token``.
      statement: what is judged, in a line.
      reading: which words are the abstract's and what this project takes them to mean.
      basis: PROOF, EXACT, TEST or several.
      derived: the verdict that the theory derives; the experiment does not see it.
      sources: theorems and papers.
      experiment: run -> outcome.
      premises: what is assumed of the data, the sampling and the learner.
      formula: the sizes and bounds judged, with their constants.
      lower: what every method needs, with constants.
      corrected: what is true in its place, where the statement is false or loose.
    """

    id: str
    statement: str
    reading: str
    basis: str
    derived: str
    sources: str
    experiment: Callable[[Run], Outcome] = field(repr=False, metadata=OMITTED)
    premises: str = ""
    formula: str = ""
    lower: str = ""
    corrected: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim of the abstract and its statements."""

    id: str
    title: str
    abstract: str
    statements: tuple[Statement, ...] = field(metadata=OMITTED)


@dataclass(frozen=True)
class Judgement:
    """A statement, and what its experiment found.

    Attributes:
      claim: the claim's id.
      statement: with the verdict that the theory derives.
      outcome: with the verdict of this run.
    """

    claim: str
    statement: Statement = field(metadata=INLINE)
    outcome: Outcome = field(metadata=INLINE)

    @property
    def as_derived(self) -> bool:
        """Whether the run's verdict is the theory's."""
        return self.outcome.verdict == self.statement.derived


@dataclass(frozen=True)
class Audit:
    """The verdicts of one run.

    Attributes:
      seed, profile: what was asked for.
      digest: SHA-256 of all its deterministic results.
      claims: those of which a statement was judged.
      statements: the judgements, in the order of the claims.
    """

    seed: int
    profile: str
    digest: str
    claims: tuple[Claim, ...]
    statements: tuple[Judgement, ...]

    @property
    def confidence(self) -> float:
        """That all sampled verdicts are right at once: 1 - the sum of what each may err."""
        return 1 - math.fsum(1 - s.outcome.confidence for s in self.statements)

    @property
    def surprises(self) -> tuple[str, ...]:
        """Ids of the statements whose verdict is not the one that the theory derives."""
        return tuple(s.statement.id for s in self.statements if not s.as_derived)
