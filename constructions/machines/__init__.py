"""Turing machines carried out by transformers, and the programs that they run."""
