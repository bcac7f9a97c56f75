"""Files that are there whole or not at all: written beside, synced, renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path to write to in place of ``path``, which has the new content once the block ends.

    A full disk, an exception or a kill at any moment leaves the old content, or none. What is no
    regular file, such as /dev/stdout, is written to directly.

    Raises:
      OSError: as the system says; nothing has changed.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "page.html"
    >>> with replacing(path) as part:
    ...     _ = part.write_text("whole")
    ...     path.exists()
    False
    >>> path.read_text(), [file.name for file in path.parent.iterdir()]
    ('whole', ['page.html'])
    """
    target = Path(os.path.realpath(path))  # a link stays one
    if os.path.exists(target) and not os.path.isfile(target):
        yield target
        return
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        descriptor = os.open(part, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(part, target)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    sync_directory(target.parent)


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Writes a file, text in UTF-8, whole or not at all; see `replacing`."""
    raw = content.encode() if isinstance(content, str) else content
    with replacing(path) as part:
        part.write_bytes(raw)


def sync_directory(directory: str | Path) -> None:
    """Makes the names of new files in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
