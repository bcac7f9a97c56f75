"""Progress: what long computations call, and what the command line shows of it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from icl_sim.execution.hosts import is_worker

Progress = Callable[[str, int, int], None]  # progress(label, done, total)

PULSE = 30.0  # seconds between two lines where there is no terminal
LATEST = 3  # bars below the overall one


def quiet(label: str, done: int, total: int) -> None:
    """Shows nothing."""


class ProgressBar:
    """What runs, on stderr; called as progress(label, done, total).

    A terminal shows the first label as the overall bar, and the labels under way below it. What is
    finished goes, and so does all below the overall bar when that one moves. Elsewhere a line tells
    every PULSE seconds how far it is. A label is known by its part before a comma; what follows
    may change: ``fine-tuning, loss 0.31``.

    Args:
      pulse: seconds between two lines.
    """

    def __init__(self, *, pulse: float = PULSE) -> None:
        self._pulse = pulse
        self._state: dict[str, tuple[str, int, int]] = {}  # the overall label first
        self._bars: Any = None  # where there is a terminal
        self._tasks: dict[str, Any] = {}
        self._stopped = threading.Event()
        self._lock = threading.Lock()  # two threads may tell of what they do

    def __enter__(self) -> ProgressBar:
        from rich.console import Console

        self._start = time.monotonic()
        console = Console(stderr=True)
        self._bars = _bars(console) if console.is_terminal else None
        self._thread = threading.Thread(target=self._beat, daemon=True)
        if self._bars:
            self._bars.start()
            self._tasks["starting"] = self._bars.add_task("starting", total=None)
        elif not is_worker():  # the log of one is its supervisor's, which reads the last line
            self._thread.start()
        return self

    def __call__(self, label: str, done: int, total: int) -> None:
        """Shows that ``done`` of ``total`` are done."""
        with self._lock:
            self._show(label, done, total)

    def _show(self, label: str, done: int, total: int) -> None:
        name, now = label.split(",")[0], (label, done, total)
        first = next(iter(self._state), name)
        if name == first:
            below = dict(self._state) if self._state.get(name) == now else {}
            state = below | {name: now}
        else:
            state = {key: value for key, value in self._state.items() if key != name}
            if done < total:
                state[name] = now
        self._state = state  # a new mapping each time: the heartbeat reads it from its own thread
        if self._bars:
            self._draw(state)

    def _draw(self, state: dict[str, tuple[str, int, int]]) -> None:
        overall, *others = state
        shown = {overall, *others[-LATEST:]}
        for name in self._tasks.keys() - shown:
            self._bars.remove_task(self._tasks.pop(name))
        for name in state:
            if name in shown:
                label, done, total = state[name]
                if name not in self._tasks:
                    self._tasks[name] = self._bars.add_task(label, total=total)
                self._bars.update(self._tasks[name], description=label, completed=done, total=total)

    def _beat(self) -> None:
        while not self._stopped.wait(self._pulse):
            minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
            states = [f"{label} {done:,}/{total:,}" for label, done, total in self._state.values()]
            what = "; ".join(states[:1] + states[1:][-LATEST:]) or "starting"
            sys.stderr.write(f"{minutes:02}:{seconds:02} {what}\n")
            sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        if self._bars:
            self._bars.stop()
        elif self._thread.is_alive():
            self._thread.join()


def _bars(console: Any) -> Any:
    """Rich's bars: label, bar, count, speed, time left; gone when they stop."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    class Speed(ProgressColumn):
        def render(self, task: Task) -> str:
            return f"{task.speed:,.0f}/s" if task.speed else ""

    return Bars(
        TextColumn("{task.description}", markup=False),  # names are no markup
        BarColumn(),
        MofNCompleteColumn(),
        Speed(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
