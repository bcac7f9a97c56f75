"""Free completions as choices: those that are held out, each scored by all of its tokens."""

from __future__ import annotations

from icl_sim.data.text_pairs import HeldOut, LanguageData
from icl_sim.errors import InputError

QUERIES = 24  # each is asked about the completions of all: their square is what is scored


def with_candidates(
    data: LanguageData, held: HeldOut, *, name: str
) -> tuple[LanguageData, HeldOut]:
    """The same data if they have choices; else the first queries, and their completions as choices.

    The law of a route is then that on these candidates: which of them it would write.

    Raises:
      InputError: all held-out completions are the same.

    >>> from icl_sim.data.text_pairs import Template
    >>> data = LanguageData((), ("2 + 2", "3 + 4"), (), Template())
    >>> with_candidates(data, HeldOut((("4",), ("7",)), None), name="sums")[0].choices
    ('4', '7')
    """
    if data.choices:
        return data, held
    labels = held.labels[:QUERIES]
    choices = tuple(dict.fromkeys(label for own in labels for label in own))
    if len(choices) < 2:
        raise InputError(
            f"{name}: expected two or more different held-out completions, got {len(choices)}: "
            "hold out more prompts, or name the choices"
        )
    return (
        data._replace(queries=data.queries[:QUERIES], choices=choices),
        held._replace(labels=labels),
    )


def note(data: LanguageData, chosen: LanguageData) -> tuple[str, ...]:
    """What was done, for the user."""
    if data.choices:
        return ()
    return (
        f"Completions are free: the {len(chosen.choices)} that are held out of "
        f"{len(chosen.queries)} prompts stand as choices, each scored by all of its tokens.",
    )
