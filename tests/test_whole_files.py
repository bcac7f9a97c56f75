"""A file is there whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from constructions import CONSTRUCTIONS
from icl_sim.errors import InputError
from icl_sim.pretrained import to_pretrained
from icl_sim.report.card import write_card
from icl_sim.report.findings import Findings
from icl_sim.report.pages import write_report
from icl_sim.storage import whole_files
from icl_sim.storage.weights import load_weights, save_weights
from icl_sim.storage.whole_files import replacing, write_whole

LOOKUP = CONSTRUCTIONS["lookup"](vocab=3)
WRITERS = {
    "report": lambda folder: write_report(Findings(), folder),
    "card": lambda folder: write_card(LOOKUP, folder / "lookup.html"),
    "weights": lambda folder: save_weights(folder / "lookup", LOOKUP.spec, LOOKUP.params),
    "checkpoint": lambda folder: to_pretrained(CONSTRUCTIONS["stock"](), folder),
}


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_leaves_what_was_there_when_the_disk_is_full(name, tmp_path, monkeypatch):
    WRITERS[name](tmp_path)
    old = {path: b"old " + path.encode() for path in content(tmp_path)}
    for path, raw in old.items():
        (tmp_path / path).write_bytes(raw)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(whole_files.os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        WRITERS[name](tmp_path)
    assert content(tmp_path) == old


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path):
    (tmp_path / "link").symlink_to("file")
    write_whole(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "text"
    write_whole("/dev/null", "text")
    assert not os.path.isfile("/dev/null")


def test_an_exception_leaves_nothing(tmp_path):
    def interrupted():
        with replacing(tmp_path / "a") as part:
            part.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert content(tmp_path) == {}


@pytest.mark.parametrize(
    "turn",
    [
        np.asfortranarray,
        lambda x: x.T.copy().T,
        lambda x: x[::-1].copy()[::-1],
        lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
        lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    ],
)
def test_arrays_of_any_layout_come_back_equal(turn, tmp_path):
    params = {name: turn(leaf) for name, leaf in LOOKUP.params.items()}
    save_weights(tmp_path / "turned", LOOKUP.spec, params)
    _, loaded, _ = load_weights(tmp_path / "turned")
    for name, leaf in LOOKUP.params.items():
        np.testing.assert_array_equal(loaded[name], leaf)
