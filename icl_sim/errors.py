"""Bad input as one line: what was expected, what came, how to mend it."""


class InputError(ValueError):
    """A user's mistake.  The command line prints its message alone and exits with code 2."""
