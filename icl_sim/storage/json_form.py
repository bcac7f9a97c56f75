"""Results as JSON: the one place where their types become dicts."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast, get_args, get_origin, get_type_hints

# What the metadata of a result's field may say.
INLINE = {"json": "inline"}  # its keys stand beside the others
OPTIONAL = {"json": "optional"}  # left out where it is None or empty
OMITTED = {"json": "omitted"}  # never written


def json_form(value: Any) -> Any:
    """The JSON value of a result: fields by their names, keys as strings, sequences as lists.

    >>> from dataclasses import dataclass, field
    >>> @dataclass(frozen=True)
    ... class Law:
    ...     by_size: dict
    ...     note: str | None = field(default=None, metadata=OPTIONAL)
    >>> json_form((Law({16: (0.5, 0.5)}), Law({}, "none drawn")))
    [{'by_size': {'16': [0.5, 0.5]}}, {'by_size': {}, 'note': 'none drawn'}]
    """
    if is_dataclass(value):
        found: dict[str, Any] = {}
        for field in fields(value):
            inner, how = getattr(value, field.name), field.metadata.get("json")
            if how == "omitted" or (how and (inner is None or inner == ())):
                continue
            found |= json_form(inner) if how == "inline" else {field.name: json_form(inner)}
        return found
    if isinstance(value, Mapping):
        return {str(key): json_form(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_form(inner) for inner in value]
    return value


def from_json(kind: Any, found: Any) -> Any:
    """The value of a type whose `json_form` this is; mappings by number are in its order.

    Raises:
      LookupError, TypeError, ValueError, AttributeError: it is none.

    >>> from icl_sim.training.run_results import OracleStop
    >>> from_json(dict[int, tuple[OracleStop, ...]], {"16": [{"step": 20.0, "truth": 0.2}]})
    {16: (OracleStop(step=20.0, truth=0.2),)}
    """
    outer, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        hints, make = get_type_hints(kind), cast(Callable[..., Any], kind)
        return make(**{name: from_json(hints[name], value) for name, value in found.items()})
    if outer is types.UnionType and found is not None:
        (only,) = (one for one in inner if one is not types.NoneType)
        return from_json(only, found)
    if outer is tuple:
        each = inner[:1] * len(found) if inner[-1] is Ellipsis else inner
        return tuple(from_json(one, value) for one, value in zip(each, found, strict=True))
    if outer in (dict, Mapping):
        key, one = inner
        items = found.items()
        if key is int:
            items = sorted((int(name), value) for name, value in items)
        return {name: from_json(one, value) for name, value in items}
    return found
