"""Machines carried out by transformers: their tokens, weights and certificates."""
