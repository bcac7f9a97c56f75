"""From the answers of all cells to what they say: measures, floors, costs, five sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from icl_sim.bounds.sizes import sample_size
from icl_sim.comparison import language_measures as measures
from icl_sim.comparison.language_costs import route_costs
from icl_sim.comparison.language_result import LanguageComparison, TheorySize, Worst
from icl_sim.comparison.language_sentences import sentences
from icl_sim.comparison.result import TRUTH, Distance, MeanInterval
from icl_sim.data.text_pairs import TextTask
from icl_sim.predictors.language_model import LanguageModel

EPS = (0.05, 0.1, 0.2)
DELTA = 0.05
SEEN = 8  # demonstrations a context from which on all contexts count as seen
WORST = 10
# What a first look at prompting and at fine-tuning takes, if it is there.
PROMPTED = ("in-context", "calibrated")
Index = tuple[int, int, int]  # size, task, draw


def summed_up(
    base: LanguageModel,
    tasks: Sequence[TextTask],
    sizes: Sequence[int],
    names: tuple[str, ...],
    seeds: int,
    cells: Mapping[Index, Any],
    *,
    seconds: Mapping[str, float],
    key_of: Callable[[int, int, int, str], str],
) -> LanguageComparison:
    """The comparison that the cells, see `icl_sim.comparison.language.Cell`, add up to."""
    every = (*names, TRUTH)
    T = range(len(tasks))
    one = cells[sizes[0], 0, 0]
    draw = measures.Bootstrap([len(cells[sizes[0], t, 0].prompts) for t in T])
    laws = {n: [_laws(cells, n, t, seeds, names) for t in T] for n in sizes}
    labels = {
        n: [np.stack([cells[n, t, s].labels for s in range(seeds)]) for t in T] for n in sizes
    }
    pairs = {
        name: {n: measures.pairwise(laws[n], measure) for n in sizes}
        for name, measure in measures.MEASURES.items()
    }
    spread = pairs["matrix"]
    matrix = {n: _named(spread[n], every, draw, Distance) for n in sizes}
    others = {
        name: {n: _named(pairs[name][n], every, draw, MeanInterval) for n in sizes}
        for name in ("kl", "jensen_shannon", "agreement")
    }
    tuned = [n for n in names if one.answers[n].trained]
    reference = next(iter(tuned), None)
    free = [n for n in names if one.answers[n].own and n not in tuned and n != "zero-shot"]
    prompted = next((n for n in PROMPTED if n in names), next(iter(free), None))
    known = all(task.laws is not None for task in tasks)
    counted = {n: [_counted(cells, n, t, seeds) for t in T] for n in sizes}
    about: dict[str, Any] = {
        "task": _family(tasks),
        "base": base.name,
        "sizes": tuple(sizes),
        "predictors": every,
        "reference": reference,
        "prompted": prompted,
        "tasks": len(tasks),
        "seeds": seeds,
        "queries": len(one.prompts),
        "choices": one.choices,
        "template": tasks[0].template.header + tasks[0].template.text,
        "truth": "law" if known else "labels",
        "matrix": matrix,
        **others,
        "vocabulary": _vocabulary(cells, sizes, T, seeds, draw),
        "quantiles": {n: measures.quantiles(spread[n], every) for n in sizes},
        "floors": {n: _floors(cells, n, T, seeds, names, draw) for n in sizes},
        "vocabulary_floors": {n: _whole_floors(cells, n, T, seeds, draw) for n in sizes},
        "quality": {
            n: dict(zip(every, measures.quality(laws[n], labels[n], draw), strict=True))
            for n in sizes
        },
        "rates": _rates(spread, every, draw, len(one.prompts)) if known else {},
        "scatter": {n: _scatter(cells[n, 0, 0], prompted, reference) for n in sizes},
        "worst": {n: _worst(cells[n, 0, 0], prompted, reference) for n in sizes},
        "reach": tuple(
            measures.reach(
                {n: [x[:, every.index(name), every.index(reference)] for x in spread[n]]
                 for n in sizes},
                draw, route=name, reference=reference, eps=eps,
            )
            for name in free
            for eps in EPS
        ) if reference else (),
        "theory": _theory(len(one.prompts), len(one.choices), counted[max(sizes)]),
        "window": _window(base, cells, max(sizes), prompted),
        "costs": tuple(
            row
            for n in sizes
            for row in route_costs(
                base.model.spec, n, cells[n, 0, 0].answers,
                {name: _seconds(seconds, key_of, n, T, seeds, name) for name in names},
                {name: cells[n, 0, 0].answers[name].adapted for name in names},
                reference,
            )
        ),
        "figures": {
            n: {name: _figures(cells, n, T, seeds, name) for name in names
                if cells[n, 0, 0].answers[name].figures}
            for n in sizes
        },
        "notes": tuple(dict.fromkeys([*(n for task in tasks for n in task.notes), *one.notes])),
    }  # fmt: skip
    found = LanguageComparison(summary=(), **about)
    return LanguageComparison(summary=sentences(found), **about)


def _laws(
    cells: Mapping[Index, Any], n: int, t: int, seeds: int, names: Sequence[str]
) -> np.ndarray:
    """[R, S, m, C], the truth last."""
    here = [cells[n, t, s] for s in range(seeds)]
    rows = [[cell.answers[name].laws for cell in here] for name in names]
    return np.array([*rows, [cell.truth for cell in here]], np.float64)


def _named(
    figures: measures.Figures, names: Sequence[str], draw: measures.Bootstrap, cell: type
) -> dict[str, dict[str, Any]]:
    found = measures.distances(figures, draw)
    return measures.named(found if cell is Distance else found[:3], names, cell)


def _vocabulary(
    cells: Mapping[Index, Any], sizes: Sequence[int], T: range, seeds: int, draw: measures.Bootstrap
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for measure, rows in cells[sizes[0], 0, 0].whole.items():
        if measure == "noise" or not rows:
            continue
        names = list(rows)
        found[measure] = {
            n: _named(
                [
                    np.array(
                        [
                            [[cells[n, t, s].whole[measure][a][b] for b in names] for a in names]
                            for s in range(seeds)
                        ]
                    )
                    for t in T
                ],
                names,
                draw,
                Distance,
            )
            for n in sizes
        }
    return found


def _floors(
    cells: Mapping[Index, Any],
    n: int,
    T: range,
    seeds: int,
    names: Sequence[str],
    draw: measures.Bootstrap,
) -> dict[str, dict[str, Distance]]:
    def moved(cell: Any, name: str, noise: str) -> np.ndarray:
        laws = (
            np.asarray(a.laws, np.float64) for a in (cell.answers[name], cell.noises[name][noise])
        )
        return measures.total_variation(*laws)

    return {
        name: {
            noise: _distance(
                [np.stack([moved(cells[n, t, s], name, noise) for s in range(seeds)]) for t in T],
                draw,
            )
            for noise in cells[n, 0, 0].noises[name]
        }
        for name in names
        if cells[n, 0, 0].noises[name]
    }


def _whole_floors(
    cells: Mapping[Index, Any], n: int, T: range, seeds: int, draw: measures.Bootstrap
) -> dict[str, dict[str, Distance]]:
    return {
        name: {
            noise: _distance(
                [
                    np.stack([cells[n, t, s].whole["noise"][name][noise] for s in range(seeds)])
                    for t in T
                ],
                draw,
            )
            for noise in rows
        }
        for name, rows in cells[n, 0, 0].whole["noise"].items()
        if rows
    }


def _distance(figures: measures.Figures, draw: measures.Bootstrap) -> Distance:
    return Distance(*map(float, measures.distances(figures, draw)))


def _rates(
    spread: Mapping[int, measures.Figures],
    every: Sequence[str],
    draw: measures.Bootstrap,
    contexts: int,
) -> dict[str, Any]:
    seen = {n: [x[:, :-1, -1] for x in by_task] for n, by_task in spread.items()
            if n >= SEEN * contexts}  # fmt: skip
    return measures.rates(seen, every[:-1], draw)


def _scatter(cell: Any, prompted: str | None, tuned: str | None) -> tuple[Any, ...]:
    if prompted is None or tuned is None:
        return ()
    best = cell.truth.argmax(axis=1)
    m = range(len(best))
    a, b, c = cell.answers[prompted].laws, cell.answers[tuned].laws, cell.truth
    return tuple(
        (cell.prompts[i], float(a[i, best[i]]), float(b[i, best[i]]), float(c[i, best[i]]))
        for i in m
    )


def _worst(cell: Any, prompted: str | None, tuned: str | None) -> tuple[Worst, ...]:
    if prompted is None or tuned is None:
        return ()
    a, b = (np.asarray(cell.answers[n].laws, np.float64) for n in (prompted, tuned))
    apart = measures.total_variation(a, b)
    choices = cell.choices
    return tuple(
        Worst(cell.prompts[i], float(apart[i]), choices[a[i].argmax()], choices[b[i].argmax()])
        for i in np.argsort(-apart, kind="stable")[:WORST]
    )


def _counted(cells: Mapping[Index, Any], n: int, t: int, seeds: int) -> float:
    """Demonstrations of each query's own context, mean."""
    return float(np.mean([cells[n, t, s].seen.mean() for s in range(seeds)]))


def _theory(contexts: int, choices: int, seen: Sequence[float]) -> tuple[TheorySize, ...]:
    """Sizes of a table of m contexts, where contexts repeat."""
    if max(seen) < 1:
        return ()
    found = []
    for eps in EPS:
        size = sample_size(vocab=choices, eps=eps, delta=DELTA, contexts=contexts)
        each = (size.abstract, size.weissman, size.lower)
        found.append(TheorySize(eps, *(int(contexts * n) for n in each)))
    return tuple(found)


def _window(
    base: LanguageModel, cells: Mapping[Index, Any], size: int, prompted: str | None
) -> int | None:
    """How many demonstrations of this length the window holds."""
    if base.window is None or prompted is None:
        return None
    answer = cells[size, 0, 0].answers[prompted]
    return int((base.window - answer.own) / max(answer.shared, 1) * size) if answer.shared else None


def _seconds(
    seconds: Mapping[str, float],
    key_of: Callable[[int, int, int, str], str],
    n: int,
    T: range,
    seeds: int,
    name: str,
) -> float | None:
    found = [seconds.get(key_of(n, t, s, name)) for t in T for s in range(seeds)]
    timed = [x for x in found if x is not None]
    return float(np.mean(timed)) if timed else None


def _figures(
    cells: Mapping[Index, Any], n: int, T: range, seeds: int, name: str
) -> dict[str, float]:
    every = [cells[n, t, s].answers[name].figures for t in T for s in range(seeds)]
    return {figure: float(np.mean([one[figure] for one in every])) for figure in every[0]}


def _family(tasks: Sequence[TextTask]) -> str:
    """The name that the tasks have in common, without their numbers."""
    first, *others = (task.name for task in tasks)
    words = first.split()
    same = [w for i, w in enumerate(words) if all(o.split()[i : i + 1] == [w] for o in others)]
    return " ".join(same) or first
