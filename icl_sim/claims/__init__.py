"""The audit: every claim of the abstract as statements with verdicts computed from a run."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import jax

from icl_sim.claims import c0, c1, c2, c3, c4, c5, c6
from icl_sim.claims.atlas import ATLAS
from icl_sim.claims.claim import (
    SHARE,
    VERDICTS,
    Audit,
    Claim,
    Judgement,
    Outcome,
    Run,
    Statement,
)
from icl_sim.errors import InputError, require_known, same_name
from icl_sim.execution.profiles import PROFILES
from icl_sim.execution.progress import Progress, quiet
from icl_sim.execution.seeds import checked_seed
from icl_sim.execution.signatures import checked
from icl_sim.storage.records import digest
from icl_sim.storage.result_store import MemoryStore, ResultStore

__all__ = [
    "ATLAS",
    "CLAIMS",
    "VERDICTS",
    "Audit",
    "Claim",
    "Judgement",
    "Outcome",
    "Run",
    "Statement",
    "judge",
    "register_claim",
    "select",
]

CLAIMS: dict[str, Claim] = {claim.CLAIM.id: claim.CLAIM for claim in (c0, c1, c2, c3, c4, c5, c6)}


@checked
def register_claim(claim: Claim) -> None:
    """Adds a claim of your own; `verify`, its report and ``list`` then know its statements.

    Args:
      claim: its id a capital letter and digits or more, not taken; its statements' ids that id, a
        dot and a name, each once. ``docs/own.md`` writes one.

    Raises:
      InputError: no claim, an id that is taken or of another form, or an unknown verdict derived.
    """
    if not isinstance(claim, Claim) or not re.fullmatch(r"[A-Z][A-Za-z0-9]*", claim.id):
        raise InputError(f"register_claim: expected a Claim with an id such as D1, got {claim!r}")
    if claim.id in CLAIMS or claim.id in ATLAS:
        raise InputError(f"claim {claim.id!r} exists already: choose another id")
    ids = [statement.id for statement in claim.statements]
    form = re.compile(rf"{claim.id}\.[a-z0-9-]+")
    for statement in claim.statements:
        if not form.fullmatch(statement.id) or ids.count(statement.id) > 1:
            raise InputError(
                f"claim {claim.id}: expected distinct statements such as {claim.id}.token, got "
                f"{', '.join(ids)}"
            )
        if statement.derived not in VERDICTS:
            raise InputError(
                f"{statement.id}: expected a derived verdict, one of {', '.join(VERDICTS)}, got "
                f"{statement.derived!r}"
            )
    CLAIMS[claim.id] = claim


def select(names: Sequence[str]) -> list[tuple[Claim, Statement]]:
    """The statements of the named claims and statements, in the order of the audit.

    Args:
      names: ids such as ``C1`` or ``C1.sum``, in any case; none selects all of the audit, and
        ``atlas`` all theorems beside it.

    Raises:
      InputError: an unknown name.

    >>> [statement.id for _, statement in select(["c1.sum"])]
    ['C1.sum']
    >>> len({claim.id for claim, _ in select(["atlas"])}) == len(ATLAS)
    True
    """
    claims = CLAIMS | ATLAS if names else CLAIMS
    everything = [(claim, s) for claim in claims.values() for s in claim.statements]
    known = [*claims, *(s.id for _, s in everything), "atlas"]
    names = [same_name(name, known) for name in names]
    if "atlas" in names:
        names += ATLAS
    for name in names:
        require_known(name, known, what="claim or statement")
    return [(c, s) for c, s in everything if not names or c.id in names or s.id in names]


@checked
def judge(
    names: Sequence[str],
    *,
    profile: str = "smoke",
    seed: int = 0,
    store: ResultStore | None = None,
    progress: Progress = quiet,
) -> Audit:
    """Runs the experiments of the named statements and gathers their verdicts.

    Args:
      names: see `select`.
      profile: smoke, standard or full.
      seed: root of all randomness; a statement's stream depends on it and on its own id alone.
      store: records of replicates and verdicts; what it already holds is not computed again; by
        default nothing outlives the call.
      progress: called as progress(label, done, total).

    Raises:
      InputError: an unknown name or profile, or a seed that is none.
    """
    require_known(profile, PROFILES, what="--profile")
    root = jax.random.key(checked_seed(seed))
    store = MemoryStore() if store is None else store
    judgements = []
    selected = select(names)
    for done, (claim, statement) in enumerate(selected):
        progress("statements", done, len(selected))
        key = jax.random.fold_in(root, zlib.crc32(statement.id.encode()))
        run = Run(profile, key, store, progress)
        found = store.result(f"statement/{statement.id}", partial(_outcome, statement, run))
        judgements.append(Judgement(claim.id, statement, Outcome(**found)))
    progress("statements", len(selected), len(selected))
    claims = {claim.id: claim for claim, _ in selected}
    return Audit(
        seed=seed,
        profile=profile,
        digest=digest(store.records()),
        claims=tuple(claims.values()),
        statements=tuple(judgements),
    )


def _outcome(statement: Statement, run: Run) -> dict[str, Any]:
    """Its outcome, with the confidence that the tests of its run leave.

    Raises:
      ValueError: they spend more than a statement's share, as no experiment may.
    """
    found = statement.experiment(run)
    if math.fsum(run.spent) > SHARE * (1 + 1e-9):
        raise ValueError(
            f"{statement.id}: expected tests that share an error probability of {SHARE:g}, got "
            f"{math.fsum(run.spent):g}: split alpha among {len(run.spent)} of them"
        )
    return asdict(replace(found, confidence=min(found.confidence, run.confidence)))
