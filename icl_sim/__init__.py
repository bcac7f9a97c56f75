"""In-context learning against fine-tuning: run, train, compare and judge.

Names are imported when first used (PEP 562), so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "CLAIMS": "claims",
    "InputError": "errors",
    "PREDICTORS": "predictors",
    "Transformer": "transformer",
    "check_lemma": "statistics.lemmas",
    "distances_over": "divergence",
    "exact_failure_probability": "bounds",
    "fine_tune": "training",
    "forward": "transformer",
    "from_pretrained": "pretrained",
    "generate": "decoding",
    "load": "transformer",
    "read_machine": "emulation.machine_files",
    "register_predictor": "predictors",
    "sample_size": "bounds",
    "to_pretrained": "pretrained",
    "total_variation": "divergence",
    "total_variation_from_hidden": "divergence",
    "total_variation_from_logits": "divergence",
    "verify_trace": "decoding",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
