"""Five sentences that say what a comparison through a language model found."""

from __future__ import annotations

from collections.abc import Iterable

from icl_sim.comparison.language_result import LanguageComparison, Reach
from icl_sim.comparison.result import Distance, MeanInterval

NEAR = 0.1  # the eps that the sentences speak of


def sentences(found: LanguageComparison) -> tuple[str, ...]:
    """What was compared, how far apart, from which N on, how good, at what cost."""
    largest = max(found.sizes)
    return (
        _what(found),
        _how_far(found, largest),
        _how_many(found),
        _how_good(found, largest),
        _what_cost(found, largest),
    )


def _what(found: LanguageComparison) -> str:
    tasks = f"{found.tasks} task{'s' * (found.tasks > 1)}"
    return (
        f"{found.base} was asked about {found.queries} held-out prompts of {found.task}, each with "
        f"{len(found.choices)} choices, after {_listed(found.sizes)} demonstrations ({tasks}, one "
        "template): this measures one model, and is no law about others."
    )


def _how_far(found: LanguageComparison, size: int) -> str:
    a, b = found.prompted, found.reference
    if a is None or b is None:
        return "No prompted route stands beside a fine-tuned one, so their distance is not known."
    cell = found.matrix[size][a][b]
    noise = floor(found, size, a, b)
    beyond = "beyond" if cell.low > noise else "not clearly beyond"
    return (
        f"At N = {size} the laws of {a} and {b} are {_interval(cell)} apart in total variation, "
        f"{beyond} what another order, template or seed alone moves them ({noise:.2f})."
    )


def _how_many(found: LanguageComparison) -> str:
    a, b = found.prompted, found.reference
    row = next((r for r in found.reach if r.route == a and r.eps == NEAR), None)
    if a is None or b is None or row is None:
        return "How many demonstrations would do is not known."
    window = "" if found.window is None else f" (one prompt holds about {found.window:,})"
    curve = ", ".join(f"{found.matrix[n][a][b].mean:.2f} at {n}" for n in sorted(found.sizes))
    return (
        f"Over N that distance is {curve}: {a} comes within {NEAR} of {b} "
        f"{_where(row, found.sizes)}{window}."
    )


def _how_good(found: LanguageComparison, size: int) -> str:
    names = [n for n in found.predictors if n != "truth"]
    if found.truth == "law":
        best = sorted(names, key=lambda n: found.matrix[size][n]["truth"].mean)
        told = ", ".join(f"{n} {_interval(found.matrix[size][n]['truth'])}" for n in best[:4])
        return f"At N = {size} the distances to the true law are, nearest first: {told}."
    best = sorted(names, key=lambda n: -found.quality[size][n].accuracy.mean)
    told = ", ".join(f"{n} {_interval(found.quality[size][n].accuracy)}" for n in best[:4])
    return f"At N = {size} the accuracies on held-out labels are, best first: {told}."


def _what_cost(found: LanguageComparison, size: int) -> str:
    rows = {row.route: row for row in found.costs if size == row.N}
    a, b = rows.get(found.prompted or ""), rows.get(found.reference or "")
    if a is None or b is None:
        return "No cost of prompting stands beside one of fine-tuning."
    even, cached = _from(a.break_even), _from(a.break_even_cached)
    return (
        f"{b.route} read {b.tokens_once:,} tokens in training and a prompt has "
        f"{a.tokens_whole:,.0f}, so fine-tuning is cheaper {even} ({cached} if the demonstrations "
        "are kept in a cache)."
    )


def _from(queries: int | None) -> str:
    if queries is None:
        return "never, in operations,"
    return "always" if queries <= 1 else f"from {queries:,} queries on"


def floor(found: LanguageComparison, size: int, *names: str) -> float:
    """The largest noise of these routes: mean total variation."""
    cells = [c for n in names for c in found.floors[size].get(n, {}).values()]
    return max((cell.mean for cell in cells), default=0.0)


def _interval(cell: Distance | MeanInterval) -> str:
    return f"{cell.mean:.2f} ({cell.low:.2f} to {cell.high:.2f})"


def _where(row: Reach, sizes: tuple[int, ...]) -> str:
    if row.N is None:
        return f"nowhere within the window of sizes, up to N = {max(sizes)}"
    if min(sizes) >= row.N:
        return f"from the first size, N = {min(sizes)}, on"
    low, high = (
        f"{n:.0f}" if n is not None else f"beyond {max(sizes)}" for n in (row.low, row.high)
    )
    return f"at N = {row.N:.0f} ({low} to {high})"


def _listed(values: Iterable[int]) -> str:
    *most, last = map(str, values)
    return f"{', '.join(most)} and {last}" if most else last
