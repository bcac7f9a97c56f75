"""What the learners of a linear model share: their options, and the problems they take."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from constructions.blueprint import Blueprint, LayerBlueprint
from constructions.certificate import Certificate, Record, by_length
from constructions.construction import Construction, assemble
from constructions.gadgets import embedding
from constructions.learners.options import check_sizes
from constructions.learners.prompt import as_array, longest
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec


@dataclass(frozen=True, kw_only=True)
class Regression:
    """What one construction is built and certified for; the same for all its prompts.

    Args:
      features: d.
      steps: of the iteration, each a loop of the layers.
      learning_rate: eta, of gradient descent.
      penalty: of ridge regression; 0 without.
      queries: m.
      norm, target: the largest Euclidean norm of a feature vector and the largest |y|.
      length: the longest prompt, in tokens.
      a_posteriori: build even where no error is certified of all prompts of that length.

    Raises:
      ValueError: a number out of range.
    """

    features: int
    steps: int
    learning_rate: float = 0.0
    penalty: float = 0.0
    queries: int
    norm: float
    target: float = 1.0
    length: int
    a_posteriori: bool = False

    def __post_init__(self) -> None:
        check_sizes(
            features=(self.features, 1),
            steps=(self.steps, 1),
            queries=(self.queries, 1),
            length=(self.length, self.queries),
        )
        for name, size in (("norm", self.norm), ("target", self.target)):
            if not 2.0**-20 <= size <= 2.0**20:
                raise ValueError(f"{name}: expected 2^-20 to 2^20, got {size:g}")
        if not 0 <= self.penalty < math.inf:
            raise ValueError(f"penalty: expected a finite number >= 0, got {self.penalty}")

    @property
    def limit(self) -> int:
        """The longest prompt that float32 can be certified for."""
        return min(self.length, 2**20)

    def blueprint(
        self, residual: Residual, fields: Residual, *layers: LayerBlueprint, answer: str
    ) -> Blueprint:
        """Layers that are looped once a step on vectors of these fields; ``answer`` is put out."""
        return Blueprint(
            residual=residual,
            embed=embedding(fields, residual),
            layers=layers,
            out={answer: np.eye(1)},
            inputs="vectors",
            loops=self.steps,
        )

    def learner(
        self,
        name: str,
        blueprint: Blueprint,
        fields: Residual,
        *,
        certify: Callable[..., Certificate],
        fill: Callable[..., Any],
        oracle: Callable[..., Any],
        source: str,
        proof: str,
        parse: Callable[[Any], dict[str, Any]] | None = None,
        enclose: Callable[..., float] | None = None,
    ) -> Construction:
        """`assemble` with these options: ``certify`` takes them and the blueprint by keyword."""
        return assemble(
            name, blueprint, fields=fields, parse=parse or self.parse, fill=fill,
            decode=self.answers, certify=partial(certify, blueprint=blueprint, options=self),
            oracle=oracle, source=source, proof=proof, enclose=enclose,
        )  # fmt: skip

    def certificate(
        self,
        spec: TransformerSpec,
        params: Params,
        records: Sequence[Record],
        error: Callable[[int], float],
    ) -> Certificate:
        """Of the predictions' absolute error, which depends on the length of the prompt."""
        return by_length(
            spec, params, tuple(records), error, length=self.limit, unit="absolute error"
        )

    def parse(self, problem: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The problem, checked: features [n, d], targets [n], weights [n] and queries [m, d].

        Raises:
          ValueError: arrays of other shapes, or values beyond what is certified.
        """
        x = as_array("features", problem["features"], (None, self.features))
        n = len(x)
        y = as_array("targets", problem["targets"], (n,))
        queried = self.queried(problem)
        weights = as_array("weights", problem.get("weights", np.full(n, 1 / max(n, 1))), (n,))
        norm, largest = longest(x, queried), np.abs(y).max(initial=0)
        if norm > self.norm * (1 + 1e-6) or largest > self.target * (1 + 1e-6):
            raise ValueError(
                f"expected features of norm up to {self.norm:g} and targets up to {self.target:g} "
                f"(certified), got {norm:.4g} and {largest:.4g}: scale them, or build with these"
            )
        if (weights < 0).any() or weights.sum() > 1 + 1e-6:
            raise ValueError(
                f"weights: expected numbers >= 0 of sum <= 1, got a least weight of "
                f"{weights.min():.4g} and a sum of {weights.sum():.4g}"
            )
        return {"features": x, "targets": y, "weights": weights, "queries": queried}

    def queried(self, problem: Mapping[str, Any]) -> np.ndarray:
        """float64 [m, d]."""
        queries = np.atleast_2d(problem["queries"])
        return as_array("queries", queries, (self.queries, self.features))

    def answers(self, outputs: Any) -> np.ndarray:
        """[m]: what the queries' tokens, the last ones, put out."""
        return np.asarray(outputs)[..., -self.queries :, 0]


def check_penalty(penalty: float) -> None:
    """Raises ValueError for a penalty that is no positive number."""
    if not 0 < penalty < math.inf:
        raise ValueError(f"penalty: expected a finite number > 0, got {penalty}")
