"""From what a command raises to one line on stderr and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any

from icl_sim.errors import InputError
from icl_sim.execution import hosts


def exit_code(program: str, command: Callable[[], int], *, interrupted: str = "") -> int:
    """Runs a command; what it raises becomes one line on stderr, with the program's name.

    Args:
      program: the name.
      command: what is run.
      interrupted: said after Ctrl-C, unless the KeyboardInterrupt says what became of the run.

    Returns:
      0 done, 1 a claim or check failed, 2 bad input, 130 interrupted.
    """
    try:
        code = command()
        sys.stdout.flush()
        return code
    except InputError as error:
        tell(f"{program}: {error}")
        return 2
    except FloatingPointError as error:
        tell(f"{program}: {error}")
        return 1
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        tell(f"{program}: more memory than there is ({error}): ask for less")
        return 2
    except BrokenPipeError:
        # The reader went away, as `head` does; what is left to be flushed has nowhere to go.
        _silence(sys.stdout)
        return 0
    except OSError as error:
        what = "standard output" if error.filename is None else str(error.filename)
        _silence(sys.stdout)
        tell(f"{program}: {what}: {error.strerror or error}; results that were recorded are safe")
        return 2
    except KeyboardInterrupt as stop:
        if not hosts.is_worker():  # their supervisor says it
            tell("; ".join(filter(None, (f"{program}: interrupted", str(stop) or interrupted))))
        return 130


def open_streams() -> None:
    """Occupies standard streams that were closed, so that no file of ours gets their numbers.

    What is printed on a closed standard output is refused as on a full disk; what is told on a
    closed standard error is lost.
    """
    # Read-only, so that writing fails.
    for number, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, mode), number)  # the lowest free number, mostly this one
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)


def tell(message: str) -> None:
    """One line on stderr; a stderr that takes none changes no exit code."""
    try:
        print(" ".join(message.split()), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        _silence(sys.stderr)


def _silence(stream: Any) -> None:
    """Lets what is left in a stream's buffer go nowhere, so that the interpreter can end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
