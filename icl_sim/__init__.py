"""In-context learning against fine-tuning: run, train, compare and judge.

Names are imported when first used (PEP 562), so that importing this package costs nothing.

>>> import icl_sim
>>> icl_sim.sample_size(vocab=32, eps=0.15, delta=0.1, contexts=1).exact
304
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "CLAIMS": "claims",
    "PREDICTORS": "predictors",
    "Activations": "transformer",
    "Audit": "claims",
    "Base": "training.base_model",
    "Check": "report.findings",
    "Claim": "claims",
    "Comparison": "comparison",
    "Completions": "training.completions",
    "Cost": "comparison",
    "Demonstrations": "data.tasks",
    "Distance": "comparison",
    "Emulation": "emulation.turing",
    "Examples": "training",
    "Findings": "report.findings",
    "FineTuning": "training.run_results",
    "Gate": "training.base_model",
    "InputError": "errors",
    "Judgement": "claims",
    "LanguageData": "data.text_pairs",
    "LoopedEmulation": "emulation.looped",
    "MeanInterval": "comparison",
    "MemoryStore": "storage.result_store",
    "Outcome": "claims",
    "Predictor": "predictors",
    "Pretraining": "training.run_results",
    "Rate": "comparison",
    "Record": "storage.records",
    "ResultStore": "storage.result_store",
    "Run": "claims",
    "SampleSize": "bounds",
    "Sampling": "decoding.token_sampling",
    "Statement": "claims",
    "Store": "storage.store",
    "Summary": "divergence",
    "Task": "data.tasks",
    "Template": "data.text_pairs",
    "TextPair": "data.text_pairs",
    "TextTask": "data.text_pairs",
    "TrainConfig": "training",
    "Trained": "training",
    "Transformer": "transformer",
    "Verdict": "statistics.intervals",
    "Verification": "decoding",
    "bm25_scores": "data.rankings",
    "check_lemma": "statistics.lemmas",
    "compare": "comparison",
    "compare_language": "comparison",
    "completions": "training.completions",
    "costs": "comparison",
    "distances_over": "divergence",
    "emulate": "emulation.turing",
    "emulate_looped": "emulation.looped",
    "exact_failure_probability": "bounds",
    "find_machine": "emulation.machine_files",
    "fine_tune": "training",
    "forward": "transformer",
    "from_pretrained": "pretrained",
    "generate": "decoding",
    "judge": "claims",
    "load": "transformer",
    "load_base": "training.base_model",
    "load_weights": "storage.weights",
    "make_task": "data.tasks",
    "read_machine": "emulation.machine_files",
    "read_pairs": "data.text_files",
    "register_claim": "claims",
    "register_construction": "transformer",
    "register_predictor": "predictors",
    "reproduce": "reproduction",
    "retrieve": "data.rankings",
    "sample_demonstrations": "data.tasks",
    "sample_size": "bounds",
    "sample_tokens": "decoding.token_sampling",
    "save_weights": "storage.weights",
    "simultaneous_intervals": "statistics.simultaneous",
    "summarize": "divergence",
    "text_task": "data.text_tasks",
    "to_pretrained": "pretrained",
    "total_variation": "divergence",
    "total_variation_from_hidden": "divergence",
    "total_variation_from_logits": "divergence",
    "train_base": "training.runs",
    "train_sft": "training.runs",
    "tune_sequences": "training.sequence_tuning",
    "verify": "reproduction",
    "verify_trace": "decoding",
    "write_report": "report.pages",
}

if TYPE_CHECKING:  # the same names for type checkers, which do not follow the table
    from icl_sim.bounds import SampleSize as SampleSize
    from icl_sim.bounds import exact_failure_probability as exact_failure_probability
    from icl_sim.bounds import sample_size as sample_size
    from icl_sim.claims import CLAIMS as CLAIMS
    from icl_sim.claims import Audit as Audit
    from icl_sim.claims import Claim as Claim
    from icl_sim.claims import Judgement as Judgement
    from icl_sim.claims import Outcome as Outcome
    from icl_sim.claims import Run as Run
    from icl_sim.claims import Statement as Statement
    from icl_sim.claims import judge as judge
    from icl_sim.claims import register_claim as register_claim
    from icl_sim.comparison import Comparison as Comparison
    from icl_sim.comparison import Cost as Cost
    from icl_sim.comparison import Distance as Distance
    from icl_sim.comparison import MeanInterval as MeanInterval
    from icl_sim.comparison import Rate as Rate
    from icl_sim.comparison import compare as compare
    from icl_sim.comparison import compare_language as compare_language
    from icl_sim.comparison import costs as costs
    from icl_sim.data.rankings import bm25_scores as bm25_scores
    from icl_sim.data.rankings import retrieve as retrieve
    from icl_sim.data.tasks import Demonstrations as Demonstrations
    from icl_sim.data.tasks import Task as Task
    from icl_sim.data.tasks import make_task as make_task
    from icl_sim.data.tasks import sample_demonstrations as sample_demonstrations
    from icl_sim.data.text_files import read_pairs as read_pairs
    from icl_sim.data.text_pairs import LanguageData as LanguageData
    from icl_sim.data.text_pairs import Template as Template
    from icl_sim.data.text_pairs import TextPair as TextPair
    from icl_sim.data.text_pairs import TextTask as TextTask
    from icl_sim.data.text_tasks import text_task as text_task
    from icl_sim.decoding import Verification as Verification
    from icl_sim.decoding import generate as generate
    from icl_sim.decoding import verify_trace as verify_trace
    from icl_sim.decoding.token_sampling import Sampling as Sampling
    from icl_sim.decoding.token_sampling import sample_tokens as sample_tokens
    from icl_sim.divergence import Summary as Summary
    from icl_sim.divergence import distances_over as distances_over
    from icl_sim.divergence import summarize as summarize
    from icl_sim.divergence import total_variation as total_variation
    from icl_sim.divergence import total_variation_from_hidden as total_variation_from_hidden
    from icl_sim.divergence import total_variation_from_logits as total_variation_from_logits
    from icl_sim.emulation.looped import LoopedEmulation as LoopedEmulation
    from icl_sim.emulation.looped import emulate_looped as emulate_looped
    from icl_sim.emulation.machine_files import find_machine as find_machine
    from icl_sim.emulation.machine_files import read_machine as read_machine
    from icl_sim.emulation.turing import Emulation as Emulation
    from icl_sim.emulation.turing import emulate as emulate
    from icl_sim.errors import InputError as InputError
    from icl_sim.predictors import PREDICTORS as PREDICTORS
    from icl_sim.predictors import Predictor as Predictor
    from icl_sim.predictors import register_predictor as register_predictor
    from icl_sim.pretrained import from_pretrained as from_pretrained
    from icl_sim.pretrained import to_pretrained as to_pretrained
    from icl_sim.report.findings import Check as Check
    from icl_sim.report.findings import Findings as Findings
    from icl_sim.report.pages import write_report as write_report
    from icl_sim.reproduction import reproduce as reproduce
    from icl_sim.reproduction import verify as verify
    from icl_sim.statistics.intervals import Verdict as Verdict
    from icl_sim.statistics.lemmas import check_lemma as check_lemma
    from icl_sim.statistics.simultaneous import simultaneous_intervals as simultaneous_intervals
    from icl_sim.storage.records import Record as Record
    from icl_sim.storage.result_store import MemoryStore as MemoryStore
    from icl_sim.storage.result_store import ResultStore as ResultStore
    from icl_sim.storage.store import Store as Store
    from icl_sim.storage.weights import load_weights as load_weights
    from icl_sim.storage.weights import save_weights as save_weights
    from icl_sim.training import Examples as Examples
    from icl_sim.training import TrainConfig as TrainConfig
    from icl_sim.training import Trained as Trained
    from icl_sim.training import fine_tune as fine_tune
    from icl_sim.training.base_model import Base as Base
    from icl_sim.training.base_model import Gate as Gate
    from icl_sim.training.base_model import load_base as load_base
    from icl_sim.training.completions import Completions as Completions
    from icl_sim.training.completions import completions as completions
    from icl_sim.training.run_results import FineTuning as FineTuning
    from icl_sim.training.run_results import Pretraining as Pretraining
    from icl_sim.training.runs import train_base as train_base
    from icl_sim.training.runs import train_sft as train_sft
    from icl_sim.training.sequence_tuning import tune_sequences as tune_sequences
    from icl_sim.transformer import Activations as Activations
    from icl_sim.transformer import Transformer as Transformer
    from icl_sim.transformer import forward as forward
    from icl_sim.transformer import load as load
    from icl_sim.transformer import register_construction as register_construction

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("icl-sim")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
