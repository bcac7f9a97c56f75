"""From what a command raises to one line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from icl_sim.errors import InputError
from icl_sim.execution import hosts


def exit_code(program: str, command: Callable[[], int], *, interrupted: str = "") -> int:
    """Runs a command; what it raises becomes one line on stderr, with the program's name.

    Returns:
      0 done, 1 a claim or check failed, 2 bad input, 130 interrupted.
    """
    try:
        code = command()
        sys.stdout.flush()
        return code
    except InputError as error:
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = " ".join(str(error).split())
        print(f"{program}: more memory than there is ({reason}): ask for less", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader went away, as `head` does; what is left to be flushed has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        if not hosts.is_worker():  # their supervisor says it
            line = "; ".join(filter(None, (f"{program}: interrupted", interrupted)))
            print(line, file=sys.stderr)
        return 130
