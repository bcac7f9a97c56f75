"""Fine-tuning as Turing machines: the only list of them."""

from collections.abc import Callable

from constructions.machines.counting import counting
from constructions.machines.logistic import logistic
from constructions.machines.perceptron import perceptron
from constructions.machines.program import TrainingProgram

TRAINING: dict[str, Callable[..., TrainingProgram]] = {
    "counting": counting,
    "perceptron": perceptron,
    "logistic": logistic,
}
