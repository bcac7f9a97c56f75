"""Machines out as GGUF files, llama.cpp's format: the inverse of `gguf_files` for Llamas."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from constructions.construction import Construction, Words
from constructions.spec import check_params
from icl_sim.errors import InputError
from icl_sim.pretrained.families import FAMILIES, stock_config
from icl_sim.pretrained.gguf_files import NAMES, pairs_from_halves
from icl_sim.pretrained.layouts import to_stock
from icl_sim.pretrained.packages import need
from icl_sim.pretrained.saving import WINDOW

_CONTROL, _WHOLE = 3, 4  # kinds of tokens: of no text; text that is never cut


def to_gguf(built: Construction, path: str | Path, *, window: int = WINDOW) -> Path:
    """Writes a machine as a GGUF file of float32, which llama.cpp runs.

    Each word of the vocabulary is a token with a blank behind it, so that a prompt is cut at its
    blanks; it has to end with one. llama.cpp drops blanks that are none of these.

    Args:
      built: a machine whose tokens have names.
      path: of the file.
      window: the longest prompt that the file states, in tokens.

    Raises:
      InputError: no such machine, one that is no Llama, or a file that cannot be written.
    """
    if not isinstance(built.fields, Words) or built.machine is None:
        raise InputError(f"{built.name}: expected a machine whose tokens have names")
    words, stop = built.fields.words, built.machine.stop
    family, spec = FAMILIES["llama"], built.spec
    config = stock_config(family, spec)
    check_params(spec, built.params)
    layer, library = spec.layers[0], need("gguf")
    try:
        writer = library.GGUFWriter(Path(path), "llama")
    except OSError as error:
        raise InputError(f"{path}: cannot be written, {error.strerror}") from None
    writer.add_name(built.name)
    writer.add_license("apache-2.0")
    writer.add_file_type(library.LlamaFileType.ALL_F32)
    writer.add_context_length(window)
    writer.add_vocab_size(spec.input_size)
    writer.add_embedding_length(spec.width)
    writer.add_block_count(len(spec.layers))
    writer.add_feed_forward_length(layer.hidden)
    writer.add_head_count(layer.heads)
    writer.add_head_count_kv(layer.groups)
    writer.add_key_length(layer.key_size)
    writer.add_value_length(layer.value_size)
    writer.add_rope_dimension_count(layer.key_size)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(spec.epsilon)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"{word} " for word in words])
    writer.add_token_types([_CONTROL if i == stop else _WHOLE for i in range(len(words))])
    writer.add_token_merges(["a b"])  # one is demanded, and no text gets there
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(stop)
    writer.add_pad_token_id(stop)
    writer.add_add_bos_token(False)
    theirs = {stock: ours for ours, stock in NAMES["llama"].items()}
    for name, row in family.rows(spec).items():
        stem, _, kind = name.rpartition(".")
        number = re.search(r"\.(\d+)\.", stem)
        pattern = stem if number is None else stem.replace(number[0], ".{}.", 1)
        tensor = to_stock(row, built.params)
        if pattern.endswith(("q_proj", "k_proj")):
            heads = layer.heads if pattern.endswith("q_proj") else layer.groups
            tensor = pairs_from_halves(tensor, heads=heads)
        stem = theirs[pattern].format(number and number[1])
        writer.add_tensor(f"{stem}.{kind}", np.ascontiguousarray(tensor, np.float32))
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    except OSError as error:
        raise InputError(f"{path}: cannot be written, {error.strerror}") from None
    finally:
        writer.close()
    return Path(path)
