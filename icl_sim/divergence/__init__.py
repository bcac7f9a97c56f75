"""How far two models' laws are apart, one number per context; and summaries over contexts.

Letters: m contexts, V outputs, D width of a residual stream.

Every distance comes in three forms: of laws, arrays whose last axis is a probability vector; of
logits, whose softmax is the law; and of hidden states with the matrix that makes logits of them,
for more contexts and outputs than memory holds.

Rows at the edge have one reading: a law is a limit of laws of finite logits. So a logit of -inf is
an impossible output, +inf shares all the mass with the other +inf, and a row of -inf alone (equal
logits) is the uniform law; log-counts of a context without data then give what counting gives it
by convention. NaN in a row makes that context's distance NaN, never a neighbor's. Subnormal
probabilities count as zero: XLA flushes them on a CPU.

Divergences are in nats. All distances refuse shapes that do not fit, and numbers that are not real,
with InputError, and are float64 if an argument is (JAX's x64 on or off), else float32. Rows that
must be laws are checked to be, unless they are traced.
"""

from __future__ import annotations

from icl_sim.divergence.contexts import distances_over
from icl_sim.divergence.distances import (
    jensen_shannon,
    jensen_shannon_from_logits,
    kl_divergence,
    kl_from_logits,
    top1_disagreement,
    total_variation,
    total_variation_from_logits,
)
from icl_sim.divergence.hidden import (
    jensen_shannon_from_hidden,
    kl_from_hidden,
    top1_from_hidden,
    total_variation_from_hidden,
)
from icl_sim.divergence.summary import Summary, summarize

__all__ = [
    "Summary",
    "distances_over",
    "jensen_shannon",
    "jensen_shannon_from_hidden",
    "jensen_shannon_from_logits",
    "kl_divergence",
    "kl_from_hidden",
    "kl_from_logits",
    "summarize",
    "top1_disagreement",
    "top1_from_hidden",
    "total_variation",
    "total_variation_from_hidden",
    "total_variation_from_logits",
]
