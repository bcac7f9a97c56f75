"""Stock checkpoints in: a directory or a GGUF file becomes model, params and tokenizer."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from constructions.spec import TransformerSpec, param_shapes
from icl_sim.errors import InputError
from icl_sim.execution.memory_guard import require
from icl_sim.execution.signatures import checked
from icl_sim.pretrained.families import read_config, switches
from icl_sim.pretrained.gguf_files import GGUF
from icl_sim.pretrained.layouts import Family, stock_shape, to_leaves
from icl_sim.pretrained.models import find_model
from icl_sim.pretrained.safetensors_files import Stored, check_digests, read_tensors
from icl_sim.pretrained.stock_config import Origin
from icl_sim.pretrained.strict_json import object_of, read_text
from icl_sim.pretrained.tokenizer import Tokenizer, read_tokenizer, words_tokenizer
from icl_sim.transformer import Transformer, load_params

CONFIG, GENERATION = "config.json", "generation_config.json"


@checked
def from_pretrained(
    path: str | Path, *, tokenizer: bool = True
) -> tuple[Transformer, dict[str, jax.Array], Tokenizer | None]:
    """A stock checkpoint as a model of the one architecture.

    Names, shapes, types and places of all tensors are checked before any is read; nothing is
    unpickled and nothing is fetched. Weights become float32, exactly.

    Args:
      path: a directory with config.json and safetensors, a ``.gguf`` file, a name that `find_model`
        knows, or ``base``, the one that ships with the package, whose words are numbers.
      tokenizer: read the tokenizer too, which needs the extra ``lm``; else None is returned for it.

    Returns:
      (model, params, tokenizer); ``model.origin`` keeps what `to_pretrained` needs to write the
      same checkpoint again.

    Raises:
      InputError: a missing, damaged or foreign file, a model that the spec cannot say, a weight
        that is not finite, more weights than memory lasts for.
    """
    if str(path) == "base":
        return _base(tokenizer)
    where = find_model(path)
    if where.is_file():
        file = GGUF(where)
        config = file.config()
        family, spec = read_config(config, name=str(where))
        stored = _fitting(family, spec, file.tensors(config), where)
        words = file.tokenizer() if tokenizer else None
        origin = Origin(json.dumps(config), tokenizer=words)
    else:
        text, name = read_text(where / CONFIG), str(where / CONFIG)
        family, spec = read_config(object_of(text, name=name), name=name)
        generation = where / GENERATION
        more = read_text(generation) if generation.is_file() else ""
        object_of(more or "{}", name=str(generation))
        stored = _fitting(family, spec, read_tensors(where), where)
        check_digests(where, switches(spec))
        words = read_tokenizer(where) if tokenizer else None
        kinds = {tensor.dtype for tensor in stored.values()}
        origin = Origin(text, more, kinds.pop() if len(kinds) == 1 else "float32", words)
    if words is not None and words.size > spec.input_size:
        raise InputError(
            f"{words.name}: expected at most the model's {spec.input_size} tokens, got {words.size}"
        )
    return Transformer(spec, origin=origin), _read(family, spec, stored, where), words


def _base(tokenizer: bool) -> tuple[Transformer, dict[str, jax.Array], Tokenizer | None]:
    from icl_sim.training.base_model import load_base

    base = load_base()
    words = list(map(str, range(base.spec.input_size)))
    read = Tokenizer(words_tokenizer(words), name="base") if tokenizer else None
    return Transformer(base.spec), base.params, read


def _fitting(
    family: Family, spec: TransformerSpec, stored: Mapping[str, Stored], where: Path
) -> dict[str, Stored]:
    """The tensors that the spec needs, under their full names.

    Raises:
      InputError: one is missing, unknown or of another shape.
    """
    head = "lm_head.weight"
    bare = not any(name.startswith(family.prefix) for name in stored)
    named = {
        family.prefix + name if bare and name != head else name: tensor
        for name, tensor in stored.items()
        if not re.search(family.buffers, name)
    }
    shapes = param_shapes(spec)
    expected = {n: stock_shape(row, shapes) for n, row in family.rows(spec).items()}
    if spec.readout == "tied" and head in named:
        _check_tied(family, named, where)
        del named[head]
    faults = [f"missing {name}" for name in expected if name not in named]
    faults += [f"unknown {name}" for name in named if name not in expected]
    faults += [
        f"{name}: shape {shape}, got {named[name].shape}"
        for name, shape in expected.items()
        if name in named and named[name].shape != shape
    ]
    if faults:
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(
            f"{where}: expected the tensors of its config, got {'; '.join(faults[:3])}{more}"
        )
    return named


def _check_tied(family: Family, named: Mapping[str, Stored], where: Path) -> None:
    """A head stored beside the embedding that it is tied to must equal it."""
    embedding = next(n for n, entry in family.table.items() if entry.leaves == ("embed",))
    if embedding not in named:
        return
    one, other = named[embedding], named["lm_head.weight"]
    if one.shape != other.shape or not np.array_equal(one.read(), other.read()):
        raise InputError(f"{where}: lm_head.weight: expected {embedding}, to which it is tied")


def _read(
    family: Family, spec: TransformerSpec, stored: Mapping[str, Stored], where: Path
) -> dict[str, jax.Array]:
    shapes = param_shapes(spec)
    weights = sum(map(math.prod, shapes.values()))
    require(f"loading {where}", lambda weights: 8 * weights, host=True, weights=weights)
    leaves: dict[str, np.ndarray] = {}
    for name, row in family.rows(spec).items():
        leaves |= to_leaves(row, stored[name].read(), shapes)
    try:
        return load_params(spec, leaves)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
