"""What runs found: the contents of results.json and of the pages."""

from __future__ import annotations

from dataclasses import dataclass, field

from icl_sim.claims.claim import Audit, Judgement
from icl_sim.comparison.costs import Cost
from icl_sim.comparison.language_result import LanguageComparison
from icl_sim.comparison.result import Comparison
from icl_sim.storage.json_form import INLINE, OPTIONAL
from icl_sim.training.run_results import FineTuning, Pretraining


@dataclass(frozen=True)
class Check:
    """A figure against its limit: passed if it is at most that."""

    name: str
    value: float
    limit: float
    passed: bool


@dataclass(frozen=True)
class Findings:
    """All that a report can show; what is missing is not shown.

    Attributes:
      audit: verdicts on the claims.
      comparisons: every predictor on the same data.
      language: every route through a language model.
      collapse: tables of several sizes, of which one law is asked to hold.
      training: paths of fine-tuning.
      pretraining: bases made.
      checks: of the weights, of training and of retrieval.
      costs: of fine-tuning and of prompting.
    """

    audit: Audit | None = field(default=None, metadata=INLINE)
    comparisons: tuple[Comparison, ...] = field(default=(), metadata=OPTIONAL)
    language: tuple[LanguageComparison, ...] = field(default=(), metadata=OPTIONAL)
    collapse: tuple[Comparison, ...] = field(default=(), metadata=OPTIONAL)
    training: tuple[FineTuning, ...] = field(default=(), metadata=OPTIONAL)
    pretraining: tuple[Pretraining, ...] = field(default=(), metadata=OPTIONAL)
    checks: tuple[Check, ...] = field(default=(), metadata=OPTIONAL)
    costs: tuple[Cost, ...] = field(default=(), metadata=OPTIONAL)

    @property
    def statements(self) -> tuple[Judgement, ...]:
        """Of the audit, if there is one."""
        return self.audit.statements if self.audit else ()

    @property
    def as_expected(self) -> bool:
        """Whether every verdict is the one that the theory derives, and every check passed."""
        judged = all(judgement.as_derived for judgement in self.statements)
        return judged and all(check.passed for check in self.checks)
