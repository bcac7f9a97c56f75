"""``list``: the names of everything that this installation holds.

To compute them all experiments and JAX are imported, which takes seconds. So those that ship are
in inventory.json beside this file, which scripts/inventory writes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icl_sim.cli import flags, output
from icl_sim.errors import require_known, same_name

if TYPE_CHECKING:
    from icl_sim.claims import Claim


def add(commands: Any) -> None:
    """Adds the command and its flags."""
    flags.add_command(commands, "list", run, "what this installation holds")


def run(arguments: Any) -> int:
    """Prints a table of each kind, with a line for each name."""
    found = shipped() or inventory()
    if arguments.json:
        output.print_json(found)
        return 0
    for kind, (headers, keys) in TABLES.items():
        print(f"{kind} ({len(found[kind])})")
        names = found["about"][kind] if kind == "predictors" else found[kind]
        items = (_described(kind, item, found["about"]) for item in names)
        output.print_table(headers, [[item[key] for key in keys] for item in items])
        print()
    return 0


# Of each kind: the headers of its table, and what stands below them.
TABLES = {
    "constructions": (("name", "kind", "certified: source"), ("name", "kind", "about")),
    "machines": (("name", "for emulate: source"), ("name", "about")),
    "programs": (("name", "for emulate --construction looped"), ("name", "about")),
    "claims": (
        ("statement", "verdict derived", "what is judged"),
        ("id", "verdict derived", "about"),
    ),
    "atlas": (
        ("theorem", "verdict derived", "what is judged: verify atlas"),
        ("id", "verdict derived", "about"),
    ),
    "predictors": (("name", "kind", "what answers"), ("name", "kind", "about")),
    "tasks": (("name", "kind", "whose law is known"), ("name", "kind", "about")),
}


def _described(kind: str, item: Any, about: dict[str, Any]) -> dict[str, str]:
    """The cells of an item's row by their keys."""
    if kind == "constructions":
        return item | {"about": f"{item['certificate']}: {item['source']}"}
    if kind in ("claims", "atlas"):
        return item | {"about": item["statement"]}
    line = about[kind][item]
    # A route of language models may have the name of another, and stands behind its kind's.
    return {"name": item.rpartition("/")[2]} | line | {"about": line["about"].replace("`", "")}


def _statements(claims: Iterable[Claim]) -> list[dict[str, str]]:
    return [
        {"id": s.id, "verdict derived": s.derived, "statement": s.statement}
        for claim in claims
        for s in claim.statements
    ]


SHIPPED = Path(__file__).with_name("inventory.json")
REGISTRIES = {"icl_sim.claims", "icl_sim.predictors", "icl_sim.transformer"}


def shipped() -> dict[str, Any] | None:
    """The `inventory` as it ships; None where a registry was imported, and may hold more."""
    if REGISTRIES & sys.modules.keys():
        return None
    found: dict[str, Any] = json.loads(SHIPPED.read_text(encoding="utf-8"))
    return found


def refuse_typos(
    *,
    judged: Iterable[str] = (),
    task: str | None = None,
    predictors: Iterable[str] = (),
    kinds: Iterable[str] = (),
) -> None:
    """Raises InputError for a name that is none, at once; none where a plugin may know it.

    Args:
      judged: claims, statements and theorems.
      task: a family, or for classification one and its classes.
      predictors: routes.
      kinds: of predictors and tasks, as in `inventory`.
    """
    found = shipped()
    if found is None:
        return
    ids = [statement["id"] for kind in ("claims", "atlas") for statement in found[kind]]
    claims = dict.fromkeys(name.partition(".")[0] for name in ids)
    asked = [kind for kind in found["kinds"] if kind["kind"] in kinds]
    tasks = [name for kind in asked for name in kind["tasks"]]
    routes = [name for kind in asked for name in kind["predictors"]]
    known = {
        "claim or statement": (judged, [*claims, *ids, "atlas"]),
        "--task": ([] if task is None or task.partition("-")[0] in tasks else [task], tasks),
        "predictor": (predictors, routes),
    }
    for what, (names, all_) in known.items():
        for name in names:
            require_known(same_name(name, all_), all_, what=what)


def inventory() -> dict[str, Any]:
    """Names of everything a user can ask for.

    Returns:
      constructions: name, kind, certificate and source of each; machines, programs (SUBLEQ, for
      the looped construction), claims, atlas, predictors (all kinds) and tasks (of ``compare``):
      names;
      kinds: of each kind of predictor what it reads and answers, its predictors and tasks;
      about: [machines, programs, predictors, tasks][name], a line, and the kind where there is one.
    """
    from constructions import CONSTRUCTIONS
    from constructions.programs.named import PROGRAMS
    from constructions.programs.subleq import SUBLEQ
    from icl_sim.claims import ATLAS, CLAIMS
    from icl_sim.data.tasks import TASKS
    from icl_sim.data.text_tasks import TEXT_TASKS
    from icl_sim.data.vectors import VECTOR_TASKS
    from icl_sim.predictors import KINDS, PREDICTORS, predictor_names
    from icl_sim.predictors.kinds import first_line

    tasks = {
        "classification": sorted(VECTOR_TASKS),
        "language": sorted(TEXT_TASKS),
        "table": sorted(TASKS),
    }
    built = {name: build() for name, build in CONSTRUCTIONS.items()}
    return {
        "constructions": [
            {
                "name": name,
                "kind": construction.kind,
                "certificate": construction.certificate.summary(),
                "source": construction.source,
            }
            for name, construction in built.items()
        ],
        "machines": sorted(PROGRAMS),
        "programs": sorted(SUBLEQ),
        "claims": _statements(CLAIMS.values()),
        "atlas": _statements(ATLAS.values()),
        "predictors": sorted({name for kind in KINDS for name in predictor_names(kind)}),
        "tasks": sorted({name for names in tasks.values() for name in names}),
        "kinds": [
            {
                "kind": kind.name,
                "reads": kind.reads,
                "answers": kind.answers,
                "predictors": predictor_names(kind.name),
                "tasks": tasks.get(kind.name, []),
            }
            for kind in KINDS.values()
        ],
        "about": {
            "machines": {
                name: {
                    "about": f"{len(p.machine.working)} states, {len(p.machine.alphabet)} "
                    f"symbols: {p.source}"
                }
                for name, p in PROGRAMS.items()
            },
            "programs": {name: {"about": program.domain} for name, program in SUBLEQ.items()},
            "predictors": {
                name: {"kind": p.kind.name, "about": p.about}
                for name, p in sorted(PREDICTORS.items())
            },
            "tasks": {
                name: {
                    "kind": ", ".join(kind for kind, names in tasks.items() if name in names),
                    "about": about,
                }
                for name, about in {
                    **{name: first_line(make) for name, make in TEXT_TASKS.items()},
                    **{name: first_line(make) for name, make in TASKS.items()},
                    **VECTOR_TASKS,
                }.items()
            },
        },
    }
