"""A construction: weights, how to pose a problem to them, and what they are proved to answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from typing import Any, Protocol, runtime_checkable

import numpy as np

from constructions.argument_types import check_fields, checked, short
from constructions.certificate import Certificate
from constructions.fields import TokenRanges
from constructions.pairs_vocabulary import PairsVocabulary
from constructions.programs.turing import Trace
from constructions.residual import Residual
from constructions.single_vocabulary import SingleVocabulary
from constructions.spec import Params, TransformerSpec, check_params
from constructions.stock_vocabulary import StockVocabulary
from constructions.vocabulary import END, Vocabulary

# Vocabularies whose tokens have names.
Words = StockVocabulary | PairsVocabulary | SingleVocabulary


@dataclass(frozen=True)
class MachineIO:
    """How a construction writes down the run of a Turing machine, token by token.

    Args:
      vocabulary: the tokens.
      stop: the token that ends a run.
    """

    vocabulary: Vocabulary
    stop: int = END

    def transcribe(self, trace: Trace) -> np.ndarray:
        """The tokens that decoding must produce for the trace's recorded steps: int32 [tokens]."""
        return self.vocabulary.transcribe(trace)


@dataclass(frozen=True, eq=False, repr=False)
class Construction:
    """Weights written by hand, with everything needed to run and to check them.

    ``encode`` is ``parse``, then ``fill`` in NumPy, then the certificate's check: the layout of a
    prompt stands in ``fill`` alone. Code under `jax.jit` calls ``fill`` itself, with arrays of its
    own; `jax.vmap` makes a prompt for each row of them.

    Args:
      name: its name in `CONSTRUCTIONS`.
      kind: ``machine``, ``learner`` or ``program``, for lists.
      spec, params: the architecture and float32 weights.
      residual: the named slices of the residual stream.
      fields: of inputs that are vectors, their named columns; of tokens, what names them.
      parse: problem -> the keyword arguments of ``fill``, as NumPy arrays. Raises ValueError if it
        is no problem of this construction.
      fill: arrays -> inputs of `forward`, by pure operations of NumPy or JAX, whichever they are
        arrays of. It checks nothing. What each takes stands at the function that builds it.
      encode: problem -> inputs of `forward`. Raises ValueError beyond the certificate.
      decode: outputs of `forward` [T, V] -> answer; with a ``machine``, all tokens from the prompt
        to the end of the run -> answer.
      oracle: problem -> answer, computed without any network.
      certificate: when decode(forward(encode(problem))) equals the oracle, and how closely.
      source: theorem and paper.
      proof: the argument, in a few lines.
      certify: (spec, params) -> certificate of those weights. Raises ValueError if they are not
        of the proven form.
      machine: of a construction that answers by writing a run, how it does; else None.
      enclose: of a learner that certifies the prompt at hand: the keyword arguments of ``fill``,
        and ``outputs`` of `forward` or None -> a bound in the certificate's unit; else None.

    >>> from constructions.learners.lookup import lookup
    >>> built = lookup(vocab=2, contexts=3)
    >>> built.parse({"pairs": [(0, 1), (2, 0)], "query": 2})
    {'contexts': array([0, 2]), 'outputs': array([1, 0]), 'queries': array([2])}
    >>> built.fill(contexts=np.array([0, 2]), outputs=np.array([1, 0]), queries=np.arange(3))
    array([5, 0, 4, 2, 3, 0, 1, 2], dtype=int32)
    """

    name: str
    kind: str
    spec: TransformerSpec
    params: Params
    residual: Residual
    fields: Residual | TokenRanges | Vocabulary | Words
    parse: Callable[[Any], dict[str, Any]]
    fill: Callable[..., Any]
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    oracle: Callable[[Any], Any]
    certificate: Certificate
    source: str
    proof: str
    certify: Callable[[TransformerSpec, Params], Certificate]
    machine: MachineIO | None = None
    enclose: Callable[..., float] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_params(self.spec, self.params)

    def bound(self, problem: Any, *, outputs: Any = None) -> float:
        """The error certified for this very prompt: distance from the oracle's answer at most.

        In the unit of the certificate, and for every engine that computes in its arithmetic, in
        whatever order it sums. It is computed from the numbers of the prompt, operation by
        operation, where the construction knows how; else it is the certificate's own, of all
        prompts of that length.

        Args:
          problem: as for ``encode``.
          outputs: what `forward` gave for it, [T, V]. An optimum's distance from that very answer
            is certified by a gap, which may be far less than what holds for all engines.

        Raises:
          ValueError: no problem of this construction, or beyond the certificate.

        >>> from constructions.learners.least_squares import least_squares
        >>> built = least_squares(features=1, steps=2)
        >>> problem = {"features": [[1.0]], "targets": [0.3], "queries": [[1.0]]}
        >>> f"{built.bound(problem):.0e}, {built.certificate.error(length=2):.0e}"
        '3e-07, 1e-06'
        """
        inputs = self.encode(problem)
        sizes = dict(self.certificate.limits)
        if "length" in sizes:
            sizes["length"] = len(inputs)
        of_all = float(self.certificate.error(**sizes))
        if self.enclose is None:
            return of_all
        return min(of_all, float(self.enclose(outputs=outputs, **self.parse(problem))))

    def __eq__(self, other: object) -> bool:
        """Whether both are the same weights of the same architecture under one name."""
        if not isinstance(other, Construction):
            return NotImplemented
        return (self.name, self.spec) == (other.name, other.spec) and all(
            np.array_equal(leaf, other.params[name]) for name, leaf in self.params.items()
        )

    def __hash__(self) -> int:
        return hash((self.name, self.spec))

    def __repr__(self) -> str:
        return self.explain()

    def _repr_html_(self) -> str:
        """What a notebook shows: the card in small, as tables."""
        certificate = self.certificate
        facts = {
            "source": self.source,
            "proof": self.proof,
            "certificate": certificate.summary(),
            "residual stream": ", ".join(f"{n} ({k})" for n, k in self.residual.sizes.items()),
        }
        records = (
            (r.part, r.kind, "exact" if r.exact else f"margin {r.margin:.3g}", r.note)
            for r in certificate.records
        )
        tables = "".join(
            f"<table>{''.join(map(_row, rows))}</table>" for rows in (facts.items(), records)
        )
        title = f"{self.name}: {self.kind}, {len(self.spec.layers)} layers x {self.spec.loops}"
        return f"<h4>{escape(title)}</h4>{tables}"

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


def _row(cells: Iterable[str]) -> str:
    """A row of an HTML table, its texts at the left."""
    inside = (f'<td style="text-align: left">{escape(cell)}</td>' for cell in cells)
    return f"<tr>{''.join(inside)}</tr>"


def machine_io(built: Construction) -> MachineIO:
    """How the construction writes runs.

    Raises:
      ValueError: it does not.
    """
    if built.machine is None:
        raise ValueError(f"{built.name}: expected a construction that writes a machine's run")
    return built.machine


@runtime_checkable
class Plan(Protocol):
    """What says which weights stand where: a `Blueprint`, or another with its three names."""

    @property
    def residual(self) -> Residual:
        """The named slices of the residual stream."""

    @property
    def spec(self) -> TransformerSpec:
        """The architecture."""

    def build(self) -> Params:
        """The weights, float32."""


def posing(name: str, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What a construction of that name does with a problem; what is none is refused in one line."""

    def call(problem: Any) -> Any:
        try:
            return read(problem)
        except KeyError as error:
            raise ValueError(
                f"{name}: expected a problem with {error}, got the keys {', '.join(problem)}"
            ) from None
        except (TypeError, IndexError, AttributeError, OverflowError) as error:
            got = f"{short(problem)}: {error}"
            raise ValueError(f"{name}: expected a problem of its kind, got {got}") from None

    return call


@checked
def assemble(
    name: str,
    plan: Plan,
    *,
    fields: Residual | TokenRanges,
    certify: Callable[[TransformerSpec, Params], Certificate],
    parse: Callable[[Any], dict[str, Any]],
    fill: Callable[..., Any],
    decode: Callable[[Any], Any],
    oracle: Callable[..., Any],
    source: str,
    proof: str,
    check: Callable[..., None] = lambda **data: None,
    kind: str = "learner",
    enclose: Callable[..., float] | None = None,
) -> Construction:
    """A learner or program: the blueprint's weights, certified, and one layout of its prompts.

    Args:
      name, fields, certify, parse, fill, decode, source, proof, enclose: as in `Construction`.
      plan: the weights.
      oracle: the keyword arguments of ``fill`` -> answer.
      check: takes them too, and raises ValueError for a prompt that is not certified whatever its
        length.
      kind: ``learner`` or ``program``.
    """
    spec, params = plan.spec, plan.build()
    certificate = certify(spec, params)

    parsed = posing(name, parse)

    def encode(problem: Any) -> np.ndarray:
        data = parsed(problem)
        inputs: np.ndarray = fill(**data)
        certificate.check(length=len(inputs))
        check(**data)
        return inputs

    return Construction(
        name=name,
        kind=kind,
        spec=spec,
        params=params,
        residual=plan.residual,
        fields=fields,
        parse=parsed,
        fill=fill,
        encode=encode,
        decode=decode,
        oracle=lambda problem: oracle(**parsed(problem)),
        certificate=certificate,
        source=source,
        proof=proof,
        certify=certify,
        enclose=enclose,
    )
