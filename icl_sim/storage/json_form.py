"""Results as JSON: the one place where their types become dicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

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
