"""What a predictor is, and the kinds there are: what it reads and what it answers.

A new kind of data is a new `Kind` in KINDS; nothing else here asks which kind it has before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from icl_sim.data.tasks import Demonstrations
from icl_sim.data.vectors import LabeledVectors
from icl_sim.errors import InputError
from icl_sim.predictors.language_model import Question


def first_line(function: Any) -> str:
    """What a function's docstring begins with; nothing if it has none."""
    return (getattr(function, "__doc__", None) or "").strip().split("\n")[0]


@dataclass(frozen=True)
class Kind:
    """What the predictors of one kind read and answer.

    Args:
      name: as in ``register_predictor(..., kind=name)``.
      data: the type of a data set, a NamedTuple.
      shape: data -> the shape of the laws.
      reads, answers: the same in words.
      host: data sets are asked about one at a time, with concrete arrays; if not, predictors are
        jitted and vmapped.
    """

    name: str
    data: type
    shape: Callable[[Any], tuple[int, ...]]
    reads: str
    answers: str
    host: bool = False


TABLE = Kind(
    name="table",
    data=Demonstrations,
    shape=lambda data: tuple(data.counts.shape),
    reads="N demonstrations of m contexts and V outputs",
    answers="a law on the outputs for each context [m, V]",
)
CLASSIFICATION = Kind(
    name="classification",
    data=LabeledVectors,
    shape=lambda data: (len(data.queries), 2),
    reads="n labeled vectors [n, d] and m queries [m, d]",
    answers="a law on the classes +1 and -1 for each query [m, 2]",
    host=True,
)
LANGUAGE = Kind(
    name="language",
    data=Question,
    shape=lambda question: (len(question.data.queries), len(question.data.choices)),
    reads="demonstrations in words, m queries and a language model",
    answers="a law on the choices for each query [m, C]",
    host=True,
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in (CLASSIFICATION, LANGUAGE, TABLE)}


# What may move the laws of a language route: another order of the demonstrations, another template
# around them, another key.
NOISES = ("order", "template", "seed")


@dataclass(frozen=True)
class Predictor:
    """One route from data to laws.

    Args:
      function: (data, key) -> laws float32, rows summing to one; data are of the kind's type. The
        key is consumed; deterministic predictors ignore it. Jittable and vmappable unless ``host``:
        shapes come from the data's. Of kind ``language`` it may return an
        `icl_sim.predictors.language_model.Answer`, which is an array of laws.
      kind: what it reads and answers.
      counts_only: the function reads ``data.counts`` alone, so one compiled program serves every
        number of demonstrations (the other fields are then None).
      host: the function takes concrete data, one data set at a time, and cannot be jitted.
      moved_by: of kind ``language``, what moves its laws beside the data, of NOISES; a comparison
        measures by how much.
      bound: of kind ``table``, data -> the largest total variation from what its algorithm gives
        exactly, certified for these very data (NumPy, not traced); None where nothing is.
      about: a line for ``list``; by default the first line of the function's docstring.
    """

    function: Callable[[Any, jax.Array], Any]
    kind: Kind = TABLE
    counts_only: bool = False
    host: bool = False
    moved_by: tuple[str, ...] = ()
    about: str = ""
    bound: Callable[[Any], float] | None = None

    def __post_init__(self) -> None:
        if not self.about:
            told = getattr(self.function, "prompt", self.function)  # of a route that reads itself
            object.__setattr__(self, "about", first_line(told))

    def __call__(self, data: Any, key: jax.Array) -> Any:
        """The laws, float32, in the kind's shape.

        Raises:
          InputError: data of another kind, laws of another shape, or a function that cannot be
            traced and is not ``host``.
        """
        kind = self.kind
        if not isinstance(data, kind.data):
            raise InputError(
                f"predictor of kind {kind.name}: expected {kind.data.__name__}, got "
                f"{type(data).__name__}"
            )
        name = getattr(self.function, "__name__", "a predictor")
        try:
            laws = self.function(data, key)
        except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError):
            raise InputError(
                f"{name}: expected a function that JAX can trace, got one that needs the numbers: "
                "register it with host=True"
            ) from None
        if np.shape(laws) != kind.shape(data):
            raise InputError(
                f"{name}, of kind {kind.name}: expected {kind.answers}, here "
                f"{list(kind.shape(data))}, got shape {list(np.shape(laws))}"
            )
        return laws
