"""Stock weights on disk: one safetensors file, or several under an index.

The header is read by us and checked before any tensor is: names once, known dtypes, offsets one
behind the other up to the end of the file. Files written here also state a SHA-256 of the header's
entries, the data and the spec, so that a flipped bit is found; of foreign files only what is not
finite or does not fit is.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from icl_sim.errors import InputError
from icl_sim.pretrained.strict_json import one_line, parse_object, read_object
from icl_sim.storage.whole_files import replacing

DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": jnp.dtype("bfloat16"),
}
LAYOUTS = ("pt", "np", "mlx")  # of those named in files, what has the names and axes of PyTorch
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_BLOCK = 2**24


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor that is known but not read yet.

    Args:
      shape: its shape.
      dtype: float32, float16 or bfloat16: ``read`` returns exactly its values, as float32.
      read: reads it.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


def find_files(folder: Path) -> list[Path]:
    """The safetensors files of a directory.

    Raises:
      InputError: there are none, or the index names what is not there.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        return sorted({folder / name for name in _weight_map(folder).values()})
    pickled = sorted(p.name for p in _list(folder) if p.suffix in PICKLED)
    if pickled:
        raise InputError(
            f"{folder / pickled[0]}: expected {SINGLE}, got pickled weights, which may run code "
            "when they are read: save them as safetensors"
        )
    raise InputError(f"{folder}: expected {SINGLE} or {INDEX}, got neither")


def read_tensors(folder: Path) -> dict[str, Stored]:
    """All tensors of a directory, none of them read.

    Raises:
      InputError: a missing or damaged file, or an index that disagrees with the files.
    """
    found: dict[str, Stored] = {}
    places: dict[str, str] = {}
    for path in find_files(folder):
        entries, _, start = read_header(path)
        for name, entry in entries.items():
            if name in found:
                raise InputError(f"{path}: expected each tensor in one file, got {name} again")
            found[name] = _stored(path, entry, start)
            places[name] = path.name
    if not (folder / SINGLE).is_file() and places != (expected := _weight_map(folder)):
        odd = sorted(n for n in places.keys() | expected if places.get(n) != expected.get(n))[0]
        raise InputError(
            f"{folder / INDEX}: {odd}: expected it in {places.get(odd)}, got {expected.get(odd)}"
        )
    return found


def read_header(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any], int]:
    """Entries of the tensors, the metadata, which are texts, and where the data begin.

    Raises:
      InputError: a file that cannot be read, is cut off, or is none of this format.
    """
    try:
        length = path.stat().st_size
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            if not 2 <= size <= min(length - 8, 10**8):
                raise ValueError(f"a header of 2 to {length - 8} bytes, got {size}")
            header = parse_object(file.read(size).decode())
        metadata = _checked_metadata(header.pop("__metadata__", {}))
        stop = 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            stop = _check_entry(name, entry, stop)
        if 8 + size + stop != length:
            raise ValueError(f"{8 + size + stop:,} bytes, got {length:,}: the file is damaged")
    except OSError as error:
        raise InputError(f"{path}: cannot be read, {error.strerror}") from None
    except (ValueError, TypeError, KeyError, RecursionError, struct.error) as error:
        raise InputError(f"{path}: expected {one_line(error)}") from None
    return header, metadata, 8 + size


def _checked_metadata(metadata: Any) -> dict[str, str]:
    """The metadata; ValueError unless they are texts, and the layout, if they name it, is ours."""
    if not isinstance(metadata, dict) or not all(isinstance(x, str) for x in metadata.values()):
        raise ValueError("__metadata__ to be an object of texts")
    if (layout := metadata.get("format", LAYOUTS[0])) not in LAYOUTS:
        raise ValueError(f"__metadata__, format: one of {', '.join(LAYOUTS)}, got {layout[:40]!r}")
    return metadata


def _check_entry(name: str, entry: dict[str, Any], start: int) -> int:
    """Where the entry ends; ValueError unless it starts at ``start`` and is as long as it says."""
    if entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name}: dtype, shape and data_offsets, got {sorted(entry)}")
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"{name}: one of {', '.join(DTYPES)}, got {entry['dtype']!r}")
    shape = entry["shape"]
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"{name}: sizes, got {shape}")
    stop = start + DTYPES[entry["dtype"]].itemsize * math.prod(shape)
    if entry["data_offsets"] != [start, stop]:
        raise ValueError(f"{name}: offsets {[start, stop]}, got {entry['data_offsets']}")
    return stop


def check_digests(folder: Path, switches: Mapping[str, Any]) -> None:
    """Raises InputError if a file states a SHA-256 and is not, or is for another spec."""
    for path in find_files(folder):
        entries, metadata, start = read_header(path)
        if "sha256" not in metadata:
            continue
        digest = _digest(entries, switches)
        with path.open("rb") as file:
            file.seek(start)
            while block := file.read(_BLOCK):
                digest.update(block)
        if digest.hexdigest() != metadata["sha256"]:
            raise InputError(
                f"{path}: expected SHA-256 {str(metadata['sha256'])[:12]}..., got "
                f"{digest.hexdigest()[:12]}...: the weights or the config are damaged or were "
                "changed, write them again with to_pretrained"
            )


def write_tensors(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    tensor: Callable[[str], np.ndarray],
    *,
    dtype: str,
    switches: Mapping[str, Any],
) -> None:
    """Writes one file, tensor by tensor.

    Args:
      path: where.
      shapes: of all tensors.
      tensor: name -> its values, called twice for each: for the digest and for the file.
      dtype: what they are written as.
      switches: of the spec, for the digest.
    """
    code = next(code for code, kind in DTYPES.items() if kind == jnp.dtype(dtype))
    entries, stop = {}, 0
    for name in sorted(shapes):
        start, stop = stop, stop + DTYPES[code].itemsize * math.prod(shapes[name])
        entries[name] = {"dtype": code, "shape": [*shapes[name]], "data_offsets": [start, stop]}
    digest = _digest(entries, switches)
    for name in entries:
        digest.update(_bytes(tensor(name), DTYPES[code]))
    about = {"__metadata__": {"format": "pt", "sha256": digest.hexdigest()}}
    header = json.dumps(about | entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with replacing(path) as part, part.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for name in entries:
            file.write(_bytes(tensor(name), DTYPES[code]))


def _digest(entries: Mapping[str, Any], switches: Mapping[str, Any]) -> Any:
    return hashlib.sha256(json.dumps([entries, switches], sort_keys=True).encode())


def _bytes(values: np.ndarray, dtype: np.dtype) -> Any:
    return np.ascontiguousarray(values.astype(dtype)).reshape(-1).view(np.uint8).data


def _stored(path: Path, entry: Mapping[str, Any], start: int) -> Stored:
    dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])

    def read() -> np.ndarray:
        offset = start + entry["data_offsets"][0]
        values = np.fromfile(path, dtype=dtype, count=math.prod(shape), offset=offset)
        return values.astype(np.float32, copy=False).reshape(shape)

    return Stored(shape, str(dtype), read)


def _weight_map(folder: Path) -> dict[str, str]:
    """Tensor -> file, from the index."""
    path = folder / INDEX
    places = read_object(path).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise InputError(f"{path}: expected a weight_map")
    for name in places.values():
        # A name that leads out of the directory is not one.
        plain = isinstance(name, str) and Path(name).name == name and name.endswith(".safetensors")
        if not plain or not os.path.isfile(folder / name):
            raise InputError(f"{path}: expected safetensors files beside it, got {name!r}")
    return places


def _list(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: expected a directory, {error.strerror}") from None
