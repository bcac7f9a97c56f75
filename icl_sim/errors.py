"""Bad input as one line: what was expected, what came, how to fix it."""

from __future__ import annotations


class InputError(ValueError):
    """A user's mistake. The command line prints its message alone and exits with code 2."""
