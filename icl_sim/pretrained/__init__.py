"""Stock checkpoints in and out: pretrained models here, and ours in other people's software."""

from __future__ import annotations

from icl_sim.pretrained.families import FAMILIES, read_config, stock_config
from icl_sim.pretrained.gguf_saving import to_gguf
from icl_sim.pretrained.layouts import Family
from icl_sim.pretrained.loading import from_pretrained
from icl_sim.pretrained.models import fetch_smollm2, find_model
from icl_sim.pretrained.saving import to_pretrained
from icl_sim.pretrained.stock_config import Origin
from icl_sim.pretrained.text_generation import Generation, generate_text
from icl_sim.pretrained.tokenizer import Tokenizer, words_tokenizer

__all__ = [
    "FAMILIES",
    "Family",
    "Generation",
    "Origin",
    "Tokenizer",
    "fetch_smollm2",
    "find_model",
    "from_pretrained",
    "generate_text",
    "read_config",
    "stock_config",
    "to_gguf",
    "to_pretrained",
    "words_tokenizer",
]
