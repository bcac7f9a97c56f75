"""A stock model's config.json, read key by key: each value is checked, each error names its key."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from constructions.rotary import Rotary
from icl_sim.errors import InputError

# Stock names of gates; the first of each is the one that is written.
GATES = {
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
}
# What the spec has no switch for, with the values that mean "off".
OFF: dict[str, tuple[Any, ...]] = {
    "add_cross_attention": (None, False),
    "attn_logit_softcapping": (None,),
    "auto_map": (None, {}),
    "final_logit_softcapping": (None,),
    "is_encoder_decoder": (None, False),
    "n_routed_experts": (None, 0),
    "num_experts": (None, 0),
    "num_local_experts": (None, 0),
    "original_max_position_embeddings": (None,),
    "partial_rotary_factor": (None, 1),
    "pruned_heads": (None, {}),
    "quantization_config": (None,),
    "use_bidirectional_attention": (None, False),
}
ROTARY_KEYS = ("rope_theta", "rope_scaling", "rope_parameters", "rope_local_base_freq")
# Keys of rope_parameters, by rope_type, and the arguments of `Rotary` that they are.
SCALINGS = {
    "default": ("none", {}),
    "linear": ("linear", {"factor": "factor"}),
    "llama3": (
        "llama3",
        {
            "factor": "factor",
            "low_freq_factor": "low",
            "high_freq_factor": "high",
            "original_max_position_embeddings": "length",
        },
    ),
    "yarn": (
        "yarn",
        {
            "factor": "factor",
            "beta_slow": "low",
            "beta_fast": "high",
            "original_max_position_embeddings": "length",
            "attention_factor": "attention",
        },
    ),
}
_ROTARY_OFF: dict[str, tuple[Any, ...]] = {
    "partial_rotary_factor": (None, 1),
    "truncate": (None, True),
    "mscale": (None, 0),
    "mscale_all_dim": (None, 0),
}


@dataclass(frozen=True)
class Origin:
    """What a model keeps of the stock checkpoint that it came from.

    Args:
      config, generation: text of its config.json and generation_config.json, the latter may be
        empty.
      dtype: of its tensors, if they have one; else float32.
      tokenizer: its `Tokenizer`, if it was read.
    """

    config: str
    generation: str = ""
    dtype: str = "float32"
    tokenizer: Any = field(default=None, compare=False, repr=False)

    @property
    def window(self) -> int | None:
        """The longest prompt that the model was made for, in tokens."""
        config = json.loads(self.config)
        return config.get("max_position_embeddings") or config.get("n_positions")

    @property
    def eos(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        for text in (self.generation, self.config):
            found = json.loads(text or "{}").get("eos_token_id")
            if found is not None:
                return tuple(found) if isinstance(found, list) else (found,)
        return ()


class Config:
    """Typed access to a config.

    Args:
      values: the parsed file.
      name: for messages.

    >>> Config({"hidden_size": "64"}, name="config.json").size("hidden_size")
    Traceback (most recent call last):
    icl_sim.errors.InputError: config.json: hidden_size: expected an integer from 1 to 2147483647, \
got '64'
    """

    def __init__(self, values: Mapping[str, Any], *, name: str) -> None:
        self.values, self.name = values, name

    def require_off(self) -> None:
        """Refuses every switch that the spec does not have and that is not off."""
        for key, allowed in OFF.items():
            self.only(key, *allowed)

    def refuse(self, key: str, expected: str) -> NoReturn:
        """Raises InputError for the value of ``key``."""
        got = repr(self.values[key]) if key in self.values else "nothing"
        got = got if len(got) < 80 else f"{got[:77]}..."
        raise InputError(f"{self.name}: {key}: expected {expected}, got {got}")

    def size(self, key: str, default: int | None = None, *, least: int = 1, most: int = 0) -> int:
        """An integer; absent or null means ``default`` if there is one."""
        value, most = self._value(key, default), most or 2**31 - 1
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.refuse(key, f"an integer from {least} to {most}")
        return value

    def number(self, key: str, default: float | None = None, *, above: float = 0) -> float:
        """A finite number above ``above``."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(key, f"a number > {above:g}")
        if not above < value < math.inf:
            self.refuse(key, f"a finite number > {above:g}")
        return float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            self.refuse(key, "true or false")
        return value

    def gate(self, key: str, default: str) -> str:
        """The gate of the MLP, by our name."""
        value = self._value(key, default)
        if not isinstance(value, str) or value not in GATES:
            self.refuse(key, f"one of {', '.join(GATES)}")
        return GATES[value]

    def only(self, key: str, *allowed: Any) -> None:
        """Refuses all values of ``key`` but those; absent is one of them."""
        if key in self.values and self.values[key] not in allowed:
            self.refuse(key, " or ".join(json.dumps(value) for value in allowed))

    def section(self, key: str) -> dict[str, Any]:
        """An object; empty if absent or null."""
        value = self._value(key, {})
        if not isinstance(value, dict):
            self.refuse(key, "an object")
        return value

    def reaches(self, layers: int, *, window: int, default: list[bool]) -> tuple[int, ...]:
        """The reach of each layer: ``window`` where ``layer_types`` says sliding, else 0 (all).

        Args:
          layers: how many.
          window: 0: no layer may slide.
          default: which layers slide if there are no ``layer_types``.
        """
        types = self.values.get("layer_types")
        if types is None:
            types = ["sliding_attention" if slides else "full_attention" for slides in default]
        kinds = ("full_attention", "sliding_attention") if window else ("full_attention",)
        if not isinstance(types, list) or len(types) != layers or not set(types) <= set(kinds):
            self.refuse("layer_types", f"{layers} times {' or '.join(kinds)}")
        return tuple(window if kind == "sliding_attention" else 0 for kind in types)

    def rotary(self, *, kind: str = "", theta: float = 1e4, old: str = "rope_theta") -> Rotary:
        """Rotary positions, from ``rope_theta`` and ``rope_scaling`` or from ``rope_parameters``.

        Args:
          kind: the kind of layer, where ``rope_parameters`` has an object for each.
          theta: if neither form states it.
          old: the key of theta in the old form.
        """
        new, label = self.section("rope_parameters"), "rope_parameters"
        if kind:
            if new.keys() - {"sliding_attention", "full_attention"}:
                self.refuse(label, "sliding_attention and full_attention")
            new, label = Config(new, name=self.name).section(kind), f"{label}.{kind}"
        scaling = {} if kind == "sliding_attention" else self.section("rope_scaling")
        new, scaling = _typed(new), _typed(scaling)
        for key in sorted(scaling.keys() & new.keys()):
            if scaling[key] != new[key]:
                self._differ(f"rope_scaling.{key}", scaling[key], label, new[key])
        stated = self.values.get(old)
        if None not in (stated, new.get("rope_theta")) and stated != new["rope_theta"]:
            self._differ(old, stated, label, new["rope_theta"])
        merged = {"rope_theta": self._value(old, theta)} | new | scaling
        return _rotary(Config(merged, name=f"{self.name}: {label}"), self)

    def _differ(self, key: str, value: Any, label: str, other: Any) -> NoReturn:
        raise InputError(f"{self.name}: {key}: expected {other!r} as in {label}, got {value!r}")

    def _value(self, key: str, default: Any) -> Any:
        value = self.values.get(key)
        return default if value is None else value


def _typed(section: dict[str, Any]) -> dict[str, Any]:
    """Without nulls, and with ``rope_type`` for the older ``type``."""
    found = {key: value for key, value in section.items() if value is not None}
    if "type" in found:
        kind = found.pop("type")
        found.setdefault("rope_type", kind)
    return found


def _rotary(parameters: Config, whole: Config) -> Rotary:
    values = parameters.values
    scaling = values.get("rope_type", "default")
    if not isinstance(scaling, str) or scaling not in SCALINGS:
        parameters.refuse("rope_type", f"one of {', '.join(SCALINGS)}")
    ours, keys = SCALINGS[scaling]
    for key, allowed in _ROTARY_OFF.items():
        parameters.only(key, *allowed)
    known = {"rope_theta", "rope_type", *keys, *_ROTARY_OFF}
    if unknown := sorted(values.keys() - known):
        parameters.refuse(unknown[0], f"no such key with rope_type {scaling}")
    arguments: dict[str, Any] = {"theta": parameters.number("rope_theta", above=1)}
    for key, argument in keys.items():
        if argument == "length":
            default = whole.values.get("max_position_embeddings")
            arguments[argument] = parameters.size(key, default)
        elif argument == "factor":
            arguments[argument] = parameters.number(key)
            if arguments[argument] < 1:
                parameters.refuse(key, "a number >= 1")
        elif key in values or scaling == "llama3":
            arguments[argument] = parameters.number(key)
        elif argument == "high":
            arguments[argument] = 32.0
    try:
        return Rotary(scaling=ours, **arguments)
    except ValueError as error:
        raise InputError(f"{parameters.name}: {error}") from None


def rotary_keys(rotary: Rotary | None, *, old: str = "rope_theta") -> dict[str, Any]:
    """Both stock forms of rotary positions: ``rope_theta`` with ``rope_scaling``, and the new one.

    >>> rotary_keys(Rotary(theta=100.0))["rope_parameters"]
    {'rope_type': 'default', 'rope_theta': 100.0}
    """
    rotary = rotary or Rotary()
    name, keys = next(
        (name, keys) for name, (ours, keys) in SCALINGS.items() if ours == rotary.scaling
    )
    scaling = {key: getattr(rotary, argument) for key, argument in keys.items()}
    if scaling.get("attention_factor") == 0:
        del scaling["attention_factor"]
    scaling = {"rope_type": name} | scaling
    return {
        old: rotary.theta,
        "rope_scaling": None if name == "default" else scaling,
        "rope_parameters": scaling | {"rope_theta": rotary.theta},
    }


def gate_name(gate: str) -> str:
    """The stock name of a gate; ours if it has none.

    >>> gate_name("gelu_tanh")
    'gelu_pytorch_tanh'
    """
    return next((stock for stock, ours in GATES.items() if ours == gate), gate)
