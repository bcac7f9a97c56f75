"""``list``: the names of everything that this installation holds."""

from __future__ import annotations

from typing import Any

from icl_sim.cli import flags, output


def add(commands: Any) -> None:
    """Adds the command and its flags."""
    flags.add_command(commands, "list", run, "what this installation holds")


def run(arguments: Any) -> int:
    """Prints the names, kind by kind."""
    found = inventory()
    if arguments.json:
        output.print_json(found)
        return 0
    for kind, items in found.items():
        print(f"{kind}:")
        for item in items:
            values = [item] if isinstance(item, str) else item.values()
            print(" ", "  ".join(" ".join(v) if isinstance(v, list) else str(v) for v in values))
    return 0


def inventory() -> dict[str, list[Any]]:
    """Names of everything a user can ask for.

    Returns:
      constructions: name, kind, certificate and source of each; machines, programs (SUBLEQ, for
      the looped construction), claims, predictors (all kinds) and tasks (of ``compare``): names;
      kinds: of each kind of predictor what it reads and answers, its predictors and tasks.
    """
    from constructions import CONSTRUCTIONS
    from constructions.programs.named import PROGRAMS
    from constructions.programs.subleq import SUBLEQ
    from icl_sim.claims import CLAIMS
    from icl_sim.data.tasks import TASKS
    from icl_sim.data.text_tasks import TEXT_TASKS
    from icl_sim.data.vectors import VECTOR_TASKS
    from icl_sim.predictors import KINDS, predictor_names

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
        "claims": [
            {"id": s.id, "verdict derived": s.derived, "statement": s.statement}
            for claim in CLAIMS.values()
            for s in claim.statements
        ],
        "predictors": predictor_names(),
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
    }
