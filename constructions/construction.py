"""A construction: weights, how to pose a problem to them, and what they are proved to answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from constructions.certificate import Certificate
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec, check_params


@dataclass(frozen=True)
class Construction:
    """Weights written by hand, with everything needed to run and to check them.

    Args:
      name: its name in `CONSTRUCTIONS`.
      kind: ``machine`` or ``learner``.
      spec, params: the architecture and float32 weights.
      residual: the named slices of the residual stream.
      encode: problem -> inputs of `forward`. Raises ValueError beyond the certificate.
      decode: outputs of `forward` [T, V] -> answer; of a machine, all tokens from the prompt to
        the end of the run -> answer.
      oracle: problem -> answer, computed without any network.
      certificate: when decode(forward(encode(problem))) equals the oracle, and how closely.
      source: theorem and paper.
      proof: the argument, in a few lines.
      stop: of a machine, the token that ends a run.
      transcribe: of a machine, trace -> the tokens that decoding must produce.
      certify: (spec, params) -> certificate of those weights. Raises ValueError if they are not
        of the proven form.
    """

    name: str
    kind: str
    spec: TransformerSpec
    params: Params
    residual: Residual
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    oracle: Callable[[Any], Any]
    certificate: Certificate
    source: str
    proof: str
    stop: int | None = None
    transcribe: Callable[[Any], Any] | None = None
    certify: Callable[[TransformerSpec, Params], Certificate] | None = None

    def __post_init__(self) -> None:
        check_params(self.spec, self.params)

    def explain(self) -> str:
        """The construction in words: what each part of the residual stream and each head is."""
        spec = self.spec
        size = sum(leaf.size for leaf in self.params.values())
        nonzero = sum(int((leaf != 0).sum()) for leaf in self.params.values())
        lines = [
            f"{self.name}: {self.kind}, {len(spec.layers)} layers x {spec.loops}, "
            f"width {spec.width}, {size:,} weights of which {nonzero:,} are not zero",
            f"source: {self.source}",
            f"proof: {self.proof}",
            f"certificate: {self.certificate.summary()}",
            "residual stream: "
            + ", ".join(f"{name} ({size})" for name, size in self.residual.sizes.items()),
        ]
        for record in self.certificate.records:
            exact = "exact" if record.exact else f"margin {record.margin:.3g}"
            lines.append(f"{record.part}: {record.kind}, {exact}. {record.note}".rstrip())
        return "\n".join(lines)
