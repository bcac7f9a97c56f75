"""Compiled programs, kept from run to run: JAX's persistent cache, in a folder of one's own.

JAX's key of a program holds the program, the versions and the flags, so a program that is found
there is the one that would be compiled, and results have the same bits. The key does not hold the
processor, whose instructions the program uses: each kind of processor has a folder of its own.

What lies there is machine code that will be run. So the directory has to belong to the user, and
nobody else may enter it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import warnings
from pathlib import Path

from icl_sim.errors import InputError

CACHE = "ICL_SIM_CACHE"  # the environment variable that names the cache of models and programs
VARIABLE = "ICL_SIM_COMPILED"  # another directory for programs, or off
MOST = 2**30  # bytes that are kept; the oldest programs go


def cache_directory() -> Path:
    """Where models and programs are kept: ICL_SIM_CACHE, or ~/.cache/icl-sim."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "icl-sim")


def keep_compiled() -> Path | None:
    """From now on JAX keeps what it compiles, and takes from there what it finds.

    Returns:
      The directory; None if ICL_SIM_COMPILED is ``off``, if JAX was told of one of its own, or if
      none can be made, as in a home that is read-only.

    Raises:
      InputError: the directory is someone else's, or others may enter it.
    """
    import jax

    told = os.environ.get(VARIABLE, "")
    if told == "off" or jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return None
    directory = Path(told) if told else cache_directory() / "compiled"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_own(directory)
        folder = directory / _processor()
        folder.mkdir(mode=0o700, exist_ok=True)
        _prune(folder)
    except OSError:
        return None
    # Another run may be writing what this one reads; then this one compiles it again.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    # Small and quick ones, too: there are many, and reading one takes a tenth of compiling it.
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder


def _require_own(directory: Path) -> None:
    """Raises InputError unless the directory is this user's alone."""
    found = directory.lstat()
    mode, owner = found.st_mode & 0o7777, found.st_uid
    if directory.is_symlink() or owner != os.geteuid() or mode & 0o077:
        raise InputError(
            f"{directory}: expected a directory of your own with mode 700, since programs in it "
            f"are run, got owner {owner}, mode {mode:o}: run chmod 700 or remove it, or use "
            "--no-cache"
        )


def _processor() -> str:
    """A name for this kind of processor: what it is called, and what it can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    told = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    text = "\n".join([platform.machine(), platform.processor(), *sorted(told)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _prune(folder: Path) -> None:
    """Removes the oldest programs until no more than MOST bytes are left."""
    files = [(entry.stat(), entry.path) for entry in os.scandir(folder)]
    size = sum(stat.st_size for stat, _ in files)
    for stat, path in sorted(files, key=lambda file: file[0].st_mtime):
        if size <= MOST:
            return
        os.unlink(path)
        size -= stat.st_size
