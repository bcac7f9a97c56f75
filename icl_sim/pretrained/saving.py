"""Stock checkpoints out: a directory that `transformers` loads unmodified."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from constructions.construction import Construction, Words
from constructions.fields import TokenRanges
from constructions.spec import TransformerSpec, check_params, param_shapes
from icl_sim.errors import InputError
from icl_sim.execution.signatures import checked
from icl_sim.pretrained.families import (
    canonical,
    find_family,
    read_config,
    stock_config,
    switches,
)
from icl_sim.pretrained.layouts import Family, stock_shape, to_stock
from icl_sim.pretrained.loading import CONFIG, GENERATION
from icl_sim.pretrained.model_card import learner_card, model_card
from icl_sim.pretrained.safetensors_files import DTYPES, INDEX, SINGLE, write_tensors
from icl_sim.pretrained.stock_config import ROTARY_KEYS, Origin
from icl_sim.pretrained.tokenizer import CONFIG as TOKENIZER_CONFIG
from icl_sim.pretrained.tokenizer import TEXT, Tokenizer, words_tokenizer
from icl_sim.storage.whole_files import write_whole
from icl_sim.transformer import Transformer, unstack_layers

CARD = "README.md"
WINDOW = 2**17
TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


@checked
def to_pretrained(
    model: Construction | Transformer,
    directory: str | Path,
    *,
    params: Mapping[str, Any] | None = None,
    tokenizer: Tokenizer | None = None,
    family: str | None = None,
    dtype: str | None = None,
    window: int = WINDOW,
) -> Path:
    """Writes a model in the stock form; the inverse of `from_pretrained`.

    Args:
      model: a construction, or a model with its params.
      directory: where to write config.json, generation_config.json, model.safetensors and the
        tokenizer's files; made if it is not there.
      params: the weights; of a construction, its own unless given. Stacked layers will do.
      tokenizer: written beside them; by default that which the model was loaded with. A model that
        never had one gets words: the tokens' names, if they have any, else their numbers.
      family: one of `FAMILIES`; by default that which the model came from, or ``llama``.
      dtype: what the weights are written as: float32, bfloat16 or float16. By default that of the
        checkpoint which the model came from, if it holds every weight exactly; of a machine, what
        its certificate is for; else float32.
      window: the longest prompt that the config states, in tokens, where positions set no limit.

    Returns:
      The directory. That of a stock machine or learner has a model card, README.md.

    Raises:
      InputError: a spec that the family cannot hold, naming the switch; weights that do not fit the
        spec or are not finite; a directory that cannot be written or holds other weights.
    """
    spec, origin = model.spec, getattr(model, "origin", None)
    machine = model.machine if isinstance(model, Construction) else None
    stop = machine.stop if machine else None
    if params is None:
        if not isinstance(model, Construction):
            raise InputError("to_pretrained: expected params with a model, got none")
        params = model.params
    if dtype is None and isinstance(model, Construction) and isinstance(model.fields, Words):
        dtype = model.certificate.dtype
    kind, config = _config(spec, origin, family, window)
    leaves = _checked(spec, params)
    dtype = _dtype(leaves, dtype, origin)
    tokenizer = tokenizer or (origin.tokenizer if origin else None)
    config |= {"architectures": [kind.architecture], "dtype": dtype, "torch_dtype": dtype}
    generation = _generation(config, origin, tokenizer, stop)
    # Without them the stock classes take their own, and end at a token that is none of the model's.
    config = {key: generation.get(key) for key in TOKENS} | config
    files = {CONFIG: _text(config), GENERATION: _text(generation)}
    if tokenizer is not None:
        files |= tokenizer.files
    elif isinstance(model, Construction) and isinstance(model.fields, Words):
        files |= _words(model.fields.words, stop)
        if params is model.params:  # which the certificate is for
            files[CARD] = model_card(model, model.fields)
    elif isinstance(model, Construction) and isinstance(model.fields, TokenRanges):
        files |= _words(model.fields.words, stop)
        if params is model.params and (card := learner_card(model)):
            files[CARD] = card
    elif origin is None:
        files |= _words(list(map(str, range(spec.input_size))), stop)
    rows, shapes = kind.rows(spec), param_shapes(spec)
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / INDEX).exists():
            raise InputError(f"{folder}: expected no other weights, got {INDEX}: write elsewhere")
        for name, text in files.items():
            write_whole(folder / name, text)
        write_tensors(
            folder / SINGLE,
            {name: stock_shape(row, shapes) for name, row in rows.items()},
            lambda name: to_stock(rows[name], leaves),
            dtype=dtype,
            switches=switches(spec),
        )
    except OSError as error:
        raise InputError(f"{folder}: cannot be written, {error.strerror}") from None
    return folder


def _config(
    spec: TransformerSpec, origin: Origin | None, family: str | None, window: int
) -> tuple[Family, dict[str, Any]]:
    """The family and its config: what was read, if it still says the spec, else a new one."""
    if origin is not None:
        read = json.loads(origin.config)
        kind, held = read_config(read, name="origin")
        family = family or kind.name
        if family == kind.name and canonical(held) == canonical(spec):
            made = stock_config(kind, spec)
            return kind, read | {key: made[key] for key in ROTARY_KEYS if key in made}
    kind = find_family(family or "llama", where="family")
    config = stock_config(kind, spec)
    return kind, config if spec.position_rows else config | {"max_position_embeddings": window}


def _checked(spec: TransformerSpec, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The leaves in float32."""
    params = unstack_layers(spec, {name: jnp.asarray(leaf) for name, leaf in params.items()})
    leaves = {name: np.asarray(leaf) for name, leaf in params.items()}
    try:
        check_params(spec, leaves)
    except ValueError as error:
        raise InputError(str(error)) from None
    leaves = {name: leaf.astype(np.float32) for name, leaf in leaves.items()}
    for name, leaf in leaves.items():
        if not np.isfinite(leaf).all():
            raise InputError(f"{name}: expected finite weights, got NaN or infinity")
    return leaves


def _dtype(leaves: Mapping[str, np.ndarray], dtype: str | None, origin: Origin | None) -> str:
    names = {str(kind) for kind in DTYPES.values()}
    if dtype is None:
        kept = origin.dtype if origin else "float32"
        exact = all(np.array_equal(_rounded(leaf, kept), leaf) for leaf in leaves.values())
        return kept if exact else "float32"
    if dtype not in names:
        raise InputError(f"dtype: expected one of {', '.join(sorted(names))}, got {dtype!r}")
    for name, leaf in leaves.items():
        if not np.isfinite(_rounded(leaf, dtype)).all():
            raise InputError(f"{name}: expected weights in the range of {dtype}, got larger ones")
    return dtype


def _rounded(leaf: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        return leaf.astype(jnp.dtype(dtype)).astype(np.float32)


def _generation(
    config: Mapping[str, Any], origin: Origin | None, tokenizer: Tokenizer | None, stop: int | None
) -> dict[str, Any]:
    if origin is not None and origin.generation:
        return json.loads(origin.generation)
    known = dict.fromkeys(TOKENS, stop) | {"bos_token_id": None}
    if tokenizer is not None:
        known = dict(zip(TOKENS, (tokenizer.bos, tokenizer.eos, tokenizer.pad), strict=True))
    stated = {key: config[key] for key in TOKENS if config.get(key) is not None}
    return known | stated | {"do_sample": False}


def _words(words: Sequence[str], stop: int | None) -> dict[str, str]:
    about: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
    }
    if stop is not None:
        about |= {"eos_token": words[stop], "pad_token": words[stop]}
    return {TEXT: words_tokenizer(words, eos=stop), TOKENIZER_CONFIG: _text(about)}


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n"
