"""All families, and what fits them: config -> family and spec, spec -> config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from constructions.rotary import Rotary
from constructions.spec import Layer, TransformerSpec
from icl_sim.errors import InputError
from icl_sim.pretrained.gemma import GEMMA3
from icl_sim.pretrained.gpt2 import GPT2
from icl_sim.pretrained.layouts import Family
from icl_sim.pretrained.llama import LLAMA, MISTRAL
from icl_sim.pretrained.opt import OPT
from icl_sim.pretrained.qwen import QWEN2, QWEN3
from icl_sim.pretrained.stock_config import Config

FAMILIES: dict[str, Family] = {
    family.name: family for family in (GEMMA3, GPT2, LLAMA, MISTRAL, OPT, QWEN2, QWEN3)
}


def find_family(name: Any, *, where: str) -> Family:
    """The family of that ``model_type``.

    Raises:
      InputError: there is none.
    """
    if not isinstance(name, str) or name not in FAMILIES:
        raise InputError(f"{where}: expected one of {', '.join(FAMILIES)}, got {name!r}")
    return FAMILIES[name]


def read_config(values: Mapping[str, Any], *, name: str) -> tuple[Family, TransformerSpec]:
    """The family and the spec of a parsed config.json.

    Args:
      values: the parsed file.
      name: for messages.

    Raises:
      InputError: an unknown family, or a value that the spec cannot say.
    """
    family = find_family(values.get("model_type"), where=f"{name}: model_type")
    config = Config(values, name=name)
    config.require_off()
    return family, family.spec(config)


def stock_config(family: Family, spec: TransformerSpec) -> dict[str, Any]:
    """The config that the family gives to a spec.

    Raises:
      InputError: the family cannot hold it, naming the first switch that differs.
    """
    spec = canonical(spec)
    if not spec.layers or spec.inputs != "tokens":
        got = "no layers" if spec.inputs == "tokens" else f"inputs {spec.inputs}"
        raise InputError(f"{family.name}: expected layers and tokens, got {got}")
    values = {"model_type": family.name, "architectures": [family.architecture]}
    values |= family.config(spec)
    held = family.spec(Config(values, name=f"{family.name}: as its config"))
    for name, expected, got in _differences(held, spec):
        raise InputError(f"{family.name}: {name}: expected {expected!r}, got {got!r}")
    return values


def canonical(spec: TransformerSpec) -> TransformerSpec:
    """The spec, with one of several ways to say the same."""

    def one(layer: Layer) -> Layer:
        return replace(layer, kv_heads=0) if layer.kv_heads == layer.heads else layer

    return replace(spec, layers=tuple(map(one, spec.layers)))


def switches(spec: TransformerSpec) -> dict[str, Any]:
    """All that the spec says besides defaults, as plain values; a new switch changes no old one."""

    def plain(value: Any) -> Any:
        if isinstance(value, TransformerSpec | Layer | Rotary):
            pairs = ((f, getattr(value, f.name)) for f in fields(value))
            return {f.name: plain(x) for f, x in pairs if x != f.default}
        return [plain(x) for x in value] if isinstance(value, tuple) else value

    return plain(canonical(spec))


def _differences(a: TransformerSpec, b: TransformerSpec) -> Iterator[tuple[str, Any, Any]]:
    for f in fields(a):
        if f.name != "layers" and getattr(a, f.name) != getattr(b, f.name):
            yield f.name, getattr(a, f.name), getattr(b, f.name)
    for i, (x, y) in enumerate(zip(a.layers, b.layers, strict=True)):
        for f in fields(x):
            if getattr(x, f.name) != getattr(y, f.name):
                yield f"layer {i} {f.name}", getattr(x, f.name), getattr(y, f.name)
