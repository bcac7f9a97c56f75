"""``sample-size``: how many demonstrations suffice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from icl_sim.cli import flags, output

if TYPE_CHECKING:
    from icl_sim.bounds import SampleSize

# Of each size: for whom it is enough, or what it is. The whole is in SampleSize's docstring.
MEANINGS = {
    "exact": "suffices at the uniform law, and nothing less does: the empirical law, exactly",
    "weissman": "suffices for every law, by Weissman's inequality",
    "mcdiarmid": "suffices for every law, by McDiarmid's inequality around the mean",
    "abstract": "the abstract's (V/eps^2) ln(m/delta), constant 1: suffices if ln(m/delta) >= 1/2",
    "lower": "necessary, whatever the estimator, for the worst law",
    "sequence_mean": "a prefix: suffices for whole outputs in the mean, by add-one smoothing",
    "sequence_tail": "a prefix: suffices for whole outputs with probability 1 - delta",
    "sequence_abstract": "claim C2's (l ln V/eps^2) ln(1/delta), constant 1",
    "linear_mean": "a halfspace: claim C3's d/eps, suffices for a mean error of eps",
    "linear_tail": "a halfspace: suffices with probability 1 - delta",
    "linear_lower": "a halfspace: necessary with probability 1 - delta",
    "linear_abstract": "claim C4's ln(1/delta)/eps^2, constant 1",
}


def add(commands: Any) -> None:
    """Adds the command and its flags."""
    about = "how many demonstrations suffice per context"
    parser = flags.add_command(commands, "sample-size", run, about)
    parser.add_argument("--vocab", type=int, required=True, metavar="V", help="symbols an output")
    parser.add_argument(
        "--eps", type=str, required=True, metavar="E", help="total variation allowed, 0 to 1"
    )
    parser.add_argument(
        "--delta", type=float, required=True, metavar="D", help="failure probability allowed"
    )
    parser.add_argument(
        "--contexts", type=int, required=True, metavar="M", help="contexts that are all to be right"
    )
    parser.add_argument("--length", type=int, default=1, metavar="L", help="output tokens (1)")
    parser.add_argument(
        "--dim", type=int, default=None, metavar="D", help="of linear classification"
    )


def run(arguments: Any) -> int:
    """Prints the answer, then every size that is defined with its meaning."""
    from icl_sim.bounds import sample_size

    parameters = ("vocab", "eps", "delta", "contexts", "length", "dim")
    size = sample_size(**flags.chosen(arguments, *parameters))
    if arguments.json:
        output.print_json(size)
        return 0
    print(answer(size))
    rows = [
        (name.replace("_", " "), f"{found:,}", meaning)
        for name, meaning in MEANINGS.items()
        if (found := getattr(size, name)) is not None
    ]
    output.print_table(("size", "n", "what it is, a context"), rows)
    if size.note:
        print(size.note)
    return 0


def answer(size: SampleSize) -> str:
    """The size to take, in a line: the exact one, or the least proved one where that is missing.

    >>> from icl_sim import sample_size
    >>> answer(sample_size(vocab=32, eps=0.15, delta=0.1, contexts=1))
    'n = 304 a context: exact, uniform law (545 for every law)'
    """
    proved = min(size.weissman, size.mcdiarmid)
    if size.exact is None:
        return f"n = {proved:,} a context: proved, every law"
    return f"n = {size.exact:,} a context: exact, uniform law ({proved:,} for every law)"
