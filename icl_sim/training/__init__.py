"""Genuine training of the one Transformer class: fine-tuning, and pretraining of the base."""

from __future__ import annotations

from icl_sim.training.completions import Completions, completions
from icl_sim.training.config import TrainConfig
from icl_sim.training.copies import Copies, fine_tune_copies
from icl_sim.training.examples import Examples, context_laws, draw, loss, table_examples
from icl_sim.training.fine_tuning import Trained, fine_tune, train
from icl_sim.training.sequence_tuning import Tuned, score, tune_sequences
from icl_sim.training.stopping import Stopped, train_to_best, train_validated

__all__ = [
    "Completions",
    "Copies",
    "Examples",
    "Stopped",
    "TrainConfig",
    "Trained",
    "Tuned",
    "completions",
    "context_laws",
    "draw",
    "fine_tune",
    "fine_tune_copies",
    "loss",
    "score",
    "table_examples",
    "train",
    "train_to_best",
    "train_validated",
    "tune_sequences",
]
