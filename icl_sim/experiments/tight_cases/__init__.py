"""The cases of `experiments.tightness`: formula -> kind, case, (stated, exact)."""

from icl_sim.experiments.tight_cases import access, halfspaces, outputs, tokens
from icl_sim.experiments.tight_cases.base import Case

CASES: dict[str, Case] = tokens.CASES | outputs.CASES | access.CASES | halfspaces.CASES

__all__ = ["CASES", "Case"]
