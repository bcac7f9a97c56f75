"""Progress: what long computations call, and the bar that the command line shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Progress = Callable[[str, int, int], None]  # progress(label, done, total)


def quiet(label: str, done: int, total: int) -> None:
    """Shows nothing."""


class ProgressBar:
    """A rich progress bar on stderr; called as progress(label, done, total)."""

    def __enter__(self) -> ProgressBar:
        from rich.console import Console
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

        console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),  # names are no markup
            BarColumn(),
            MofNCompleteColumn(),
            Speed(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, Any] = {}
        self._bars.start()
        return self

    def __call__(self, label: str, done: int, total: int) -> None:
        """Shows that ``done`` of ``total`` are done, in a bar of this label."""
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=total)
        self._bars.update(self._tasks[label], completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
