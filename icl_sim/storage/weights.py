"""Weights on disk: a safetensors file, and a JSON sidecar that says what they are.

safetensors alone accepts flipped bits, a name twice, and names like ``../x``. Here the sidecar
states the file's SHA-256, the spec and its own SHA-256, and the header is read by us: the leaves
must be those of the spec, float32, one after another, with nothing between or behind them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from constructions.rotary import Rotary
from constructions.spec import Layer, TransformerSpec, check_params, param_shapes
from icl_sim.errors import InputError
from icl_sim.execution.memory_guard import require
from icl_sim.execution.signatures import checked
from icl_sim.storage.whole_files import write_whole

Arrays = dict[str, np.ndarray]
SEAL = "sidecar_sha256"


@checked
def save_weights(
    path: str | Path, spec: TransformerSpec, params: Mapping[str, Any], **about: Any
) -> tuple[Path, Path]:
    """Writes ``path``.safetensors and ``path``.json and returns both paths.

    Args:
      path: without a suffix.
      spec, params: what to write; all leaves float32.
      about: more for the sidecar, JSON values.

    Raises:
      InputError: a path without a name, params that do not fit the spec or are not finite, or files
        that cannot be written.
    """
    if not Path(path).name:
        raise InputError(f"path: expected the name of a file, got {str(path)!r}")
    raw, sidecar = pack(spec, params, **about)
    files = Path(f"{path}.safetensors"), Path(f"{path}.json")
    try:
        files[0].parent.mkdir(parents=True, exist_ok=True)
        write_whole(files[0], raw)
        write_whole(files[1], sidecar)
    except OSError as error:
        raise InputError(f"{files[0]}: cannot be written, {error.strerror}") from None
    return files


@checked
def load_weights(path: str | Path) -> tuple[TransformerSpec, Arrays, dict[str, Any]]:
    """What `save_weights` wrote at ``path``, with or without its suffix: spec, params, sidecar.

    Raises:
      InputError: a missing, damaged or changed file, one that memory does not last for, or leaves
        that are not those of the spec.
    """
    path = str(path).removesuffix(".safetensors")
    try:
        files = Path(f"{path}.safetensors"), Path(f"{path}.json")
        # A header that lies about its leaves is found out before they are made; the file itself and
        # the leaves, which are copies of its parts, take as much as it is long.
        length = sum(file.stat().st_size for file in files)
        require(f"loading {path}", lambda bytes: 2 * bytes, host=True, bytes=length)
        raw, sidecar = files[0].read_bytes(), files[1].read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: expected {path}.safetensors and its sidecar {path}.json, got "
            f"{type(error).__name__}: write them with save_weights or export"
        ) from None
    return unpack(raw, sidecar, name=path)


def pack(spec: TransformerSpec, params: Mapping[str, Any], **about: Any) -> tuple[bytes, str]:
    """The bytes of the safetensors file and the text of its sidecar."""
    # safetensors writes the memory as it lies, whatever the order of the axes.
    leaves = {name: np.asarray(leaf, order="C") for name, leaf in params.items()}
    _check(spec, leaves, "params")
    raw = safetensors.numpy.save(leaves)
    sidecar = about | {"sha256": hashlib.sha256(raw).hexdigest(), "spec": asdict(spec)}
    sidecar[SEAL] = sealed(sidecar)
    return raw, json.dumps(sidecar, indent=1, sort_keys=True, allow_nan=False) + "\n"


def sealed(about: Mapping[str, Any]) -> str:
    """The SHA-256 of a sidecar, all of it but for this sum itself."""
    rest = {name: value for name, value in about.items() if name != SEAL}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def unpack(
    raw: bytes, sidecar: str, *, name: str
) -> tuple[TransformerSpec, Arrays, dict[str, Any]]:
    """Spec, params and sidecar of packed weights; ``name`` is for messages.

    Raises:
      InputError: as for `load_weights`.
    """
    try:
        about = json.loads(sidecar, object_pairs_hook=_unique)
        expected, seal, own = about["sha256"], about[SEAL], sealed(about)
        if seal != own:
            raise ValueError(f"{SEAL} {str(seal)[:12]}..., and not {own[:12]}...: it was changed")
        spec = _spec(about["spec"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{name}.json: expected a sidecar with sha256 and spec, sealed by {SEAL}, got "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}; write it again"
        ) from None
    found = hashlib.sha256(raw).hexdigest()
    if found != expected:
        raise InputError(
            f"{name}.safetensors: expected SHA-256 {str(expected)[:12]}..., got {found[:12]}...: "
            "the file is damaged, write it again"
        )
    _check_header(raw, spec, name)
    leaves = dict(safetensors.numpy.load(raw))
    _check(spec, leaves, name)
    return spec, leaves, about


def _check_header(raw: bytes, spec: TransformerSpec, name: str) -> None:
    """The leaves of the spec and nothing else, metadata neither; float32, packed without gaps."""
    shapes = param_shapes(spec)
    try:
        size = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + size], object_pairs_hook=_unique)
        if header.keys() != shapes.keys():
            odd = sorted(header.keys() ^ shapes.keys())
            raise ValueError(f"the leaves of the spec, missing or unknown: {', '.join(odd)}")
        stop = 0
        for leaf, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            bytes_ = 4 * math.prod(shapes[leaf])
            wanted = {"dtype": "F32", "shape": list(shapes[leaf])}
            wanted["data_offsets"] = [stop, stop + bytes_]
            if entry != wanted:
                raise ValueError(f"{leaf} to be {wanted}, got {entry}")
            stop += bytes_
        if 8 + size + stop != len(raw):
            raise ValueError(f"{8 + size + stop:,} bytes, got {len(raw):,}")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{name}.safetensors: expected {reason}") from None


def _check(spec: TransformerSpec, leaves: Arrays, name: str) -> None:
    try:
        check_params(spec, leaves)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None
    wrong = sorted(leaf for leaf, value in leaves.items() if value.dtype != np.float32)
    if wrong:
        raise InputError(f"{name}: expected float32, got {leaves[wrong[0]].dtype} for {wrong[0]}")
    for leaf, value in leaves.items():
        if not np.isfinite(value).all():
            raise InputError(f"{name}: expected finite weights, got NaN or infinity in {leaf}")


def _spec(fields: dict[str, Any]) -> TransformerSpec:
    layers = tuple(
        Layer(**(layer | {"rotary": Rotary(**layer["rotary"])} if layer.get("rotary") else layer))
        for layer in fields["layers"]
    )
    return TransformerSpec(**(fields | {"layers": layers, "positions": tuple(fields["positions"])}))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1)
        raise ValueError(f"each name once, got {twice!r} twice")
    return found
