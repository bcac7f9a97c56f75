"""Distances by their definitions, in NumPy float64."""

from __future__ import annotations

import numpy as np

inf = np.inf


def softmax(x):
    x = np.asarray(x, np.float64)
    top = x.max(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        e = np.where(x == top, 1.0, np.exp(np.where(np.isinf(x), -inf, x - top)))
    return e / e.sum(-1, keepdims=True)


def log_softmax(x):
    x = np.asarray(x, np.float64)
    top = x.max(-1, keepdims=True)
    assert np.isfinite(top).all()
    return x - top - np.log(np.exp(x - top).sum(-1, keepdims=True))


def tv(p, q):
    return np.abs(p - q).sum(-1) / 2


def kl(p, log_p, log_q):
    with np.errstate(invalid="ignore"):
        return np.where(p > 0, p * (log_p - log_q), 0).sum(-1)


def kl_of_laws(p, q):
    with np.errstate(divide="ignore"):
        return kl(p, np.log(p), np.log(q))


def js(p, q):
    return (kl_of_laws(p, (p + q) / 2) + kl_of_laws(q, (p + q) / 2)) / 2
