"""Fine-tuning as Turing machines: the only list of them."""

from __future__ import annotations

from collections.abc import Callable

from constructions.programs.counting_machine import counting
from constructions.programs.logistic_machine import logistic
from constructions.programs.network_machine import neural
from constructions.programs.perceptron_machine import perceptron
from constructions.programs.program import TrainingProgram

TRAINING: dict[str, Callable[..., TrainingProgram]] = {
    "counting": counting,
    "perceptron": perceptron,
    "logistic": logistic,
    "network": neural,
}
