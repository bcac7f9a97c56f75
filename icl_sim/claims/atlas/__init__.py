"""Theorems of the field beside the audit: a claim file each, judged through the same weights.

None samples, so none takes a share of the audit's error probability. Proofs: docs/atlas.md.
"""

from __future__ import annotations

from icl_sim.claims.atlas import ahn, bai, fu, perez, petrov, von_oswald, xie, zhang
from icl_sim.claims.claim import Claim

ATLAS: dict[str, Claim] = {
    module.CLAIM.id: module.CLAIM
    for module in (von_oswald, ahn, zhang, bai, fu, xie, petrov, perez)
}
