from __future__ import annotations

import contextlib
import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from icl_sim.errors import InputError
from icl_sim.storage.checkpoints import CheckpointError, Checkpoints

CONFIG = {"seed": 1, "steps": 30}


def state(step):
    rng = np.random.default_rng(step)
    leaves = {f"layer_{i}.w": jnp.asarray(rng.normal(size=(9, 5)), jnp.float32) for i in range(3)}
    return leaves, optax.adam(1e-3).init(leaves), jnp.int32(step), np.float32(0.5)


def same(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        np.asarray(x).dtype == np.asarray(y).dtype and (np.asarray(x) == np.asarray(y)).all()
        for x, y in pairs
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("checkpoints") / "good"
    with Checkpoints(directory, config=CONFIG) as checkpoints:
        for step in (10, 20, 30):
            checkpoints.save(step, state(step))
    return directory


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def test_nothing_saved_is_nothing_restored(tmp_path):
    with Checkpoints(tmp_path / "new", config=CONFIG) as checkpoints:
        assert checkpoints.restore(state(0)) is None


def test_the_newest_step_comes_back_bit_for_bit_and_old_ones_go(copied):
    with Checkpoints(copied, config=CONFIG) as checkpoints:
        step, tree = checkpoints.restore(state(0))
    assert step == 30
    assert same(tree, state(30))
    assert checkpoints.skipped == ()
    assert sorted(path.name for path in copied.iterdir()) == ["20", "30"]


def test_a_note_comes_back_with_its_step_and_is_sealed_with_it(tmp_path):
    with Checkpoints(tmp_path / "c", config=CONFIG) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state(step), note={"cells": [step] * 9})
    with Checkpoints(tmp_path / "c", config=CONFIG) as checkpoints:
        assert checkpoints.note is None
        assert checkpoints.restore(state(0))[0] == 2
        assert checkpoints.note == {"cells": [2] * 9}
    (path,) = (tmp_path / "c" / "2" / "manifest").glob("metadata")
    path.write_bytes(path.read_bytes().replace(b"[2, 2,", b"[2, 3,"))
    with Checkpoints(tmp_path / "c", config=CONFIG) as checkpoints:
        assert checkpoints.restore(state(0))[0] == 1
        assert checkpoints.note == {"cells": [1] * 9}
        assert checkpoints.skipped == ("checkpoint 2: the manifest does not match its own SHA-256",)


def corrupt(path, kind, rng):
    content = bytearray(path.read_bytes())
    if kind == "delete":
        path.unlink()
        return
    if kind == "flip":
        place = rng.integers(len(content) * 8)
        content[place // 8] ^= 1 << (place % 8)
    elif kind == "truncate":
        del content[rng.integers(len(content)) :]
    else:
        start = rng.integers(len(content))
        content[start : start + 64] = bytes(len(content[start : start + 64]))
    path.write_bytes(bytes(content))


# After a damaged file tensorstore still reports to an event loop that Orbax has closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_hundred_corruptions_load_exactly_or_fall_back_by_name(saved, tmp_path):
    rng = np.random.default_rng(0)
    fell_back = 0
    for trial in range(100):
        directory = shutil.copytree(saved, tmp_path / str(trial))
        files = sorted(path for path in (directory / "30").rglob("*") if path.stat().st_size)
        files = [path for path in files if path.is_file()]
        # Half of the corruptions hit the data, most of which is in few files.
        data = max(files, key=lambda path: path.stat().st_size)
        path = data if trial % 2 else files[rng.integers(len(files))]
        corrupt(path, ("flip", "flip", "truncate", "delete", "zero")[trial % 5], rng)
        with Checkpoints(directory, config=CONFIG) as checkpoints:
            step, tree = checkpoints.restore(state(0))
            assert same(tree, state(step))
            if step == 30:
                assert checkpoints.skipped == ()
                continue
            fell_back += 1
            assert step == 20
            assert len(checkpoints.skipped) == 1
            assert checkpoints.skipped[0].startswith("checkpoint 30: ")
            # The step can be taken and saved again.
            checkpoints.save(30, state(30))
            assert checkpoints.restore(state(0))[0] == 30
        shutil.rmtree(directory)
    assert fell_back > 40


def test_a_flipped_bit_of_a_leaf_is_named(copied, monkeypatch):
    with Checkpoints(copied, config=CONFIG) as checkpoints:
        manager = checkpoints._manager
        honest = manager.restore

        def flipped(step, args):
            restored = honest(step, args=args)
            if step == 30 and "state" in restored:
                restored.state["0/layer_1.w"] = restored.state["0/layer_1.w"] + 1
            return restored

        monkeypatch.setattr(manager, "restore", flipped)
        assert checkpoints.restore(state(0))[0] == 20
    assert checkpoints.skipped == ("checkpoint 30: 0/layer_1.w does not match its SHA-256",)


def test_when_no_step_is_intact_nothing_is_invented(copied):
    for step in ("20", "30"):
        for path in (copied / step / "manifest").iterdir():
            path.write_bytes(b"")
    with (
        Checkpoints(copied, config=CONFIG) as checkpoints,
        pytest.raises(
            CheckpointError, match=r"no checkpoint is intact \(checkpoint 30.*20.*remove"
        ),
    ):
        checkpoints.restore(state(0))


def test_another_configuration_is_refused_and_named(copied):
    with (
        Checkpoints(copied, config=CONFIG | {"seed": 2}) as checkpoints,
        pytest.raises(InputError, match="another seed;"),
    ):
        checkpoints.restore(state(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.astype(jnp.bfloat16),
            r"\('bfloat16', \(9, 5\)\), found \('float32', \(9, 5\)",
        ),
        (lambda w: w[:8], r"\('float32', \(8, 5\)\), found \('float32', \(9, 5\)\)"),
    ],
)
def test_another_dtype_or_shape_is_refused_and_named(copied, change, message):
    leaves, *rest = state(0)
    leaves["layer_1.w"] = change(leaves["layer_1.w"])
    with (
        Checkpoints(copied, config=CONFIG) as checkpoints,
        pytest.raises(InputError, match=r"0/layer_1\.w: expected " + message),
    ):
        checkpoints.restore((leaves, *rest))


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot open checkpoints in .*file/in"):
        Checkpoints(tmp_path / "file" / "in", config=CONFIG)


@pytest.mark.parametrize("turn", [np.asfortranarray, lambda x: x[::-1], lambda x: x[:, ::2]])
def test_arrays_of_any_layout_come_back_equal(turn, tmp_path):
    leaf = {"w": turn(np.arange(20.0).reshape(4, 5))}
    with Checkpoints(tmp_path, config=CONFIG) as checkpoints:
        checkpoints.save(1, leaf)
        assert same(checkpoints.restore(leaf)[1], leaf)


DEEP = b"[" * 5000 + b"]" * 5000


@pytest.mark.parametrize("content", [DEEP, b"[]", b"{}", b"null", b"", b"\0", b'{"a": NaN}'])
@pytest.mark.parametrize("name", ["_CHECKPOINT_METADATA", "manifest/metadata", "state/_METADATA"])
def test_files_with_foreign_content_are_skipped_or_refused(copied, name, content, capfd):
    (copied / "30" / name).write_bytes(content)

    deep = name == "_CHECKPOINT_METADATA" and content in (DEEP, b"[]")
    refused = pytest.raises(InputError, match="remove the step that is damaged")
    with refused if deep else contextlib.nullcontext():
        with Checkpoints(copied, config=CONFIG) as checkpoints:
            step, tree = checkpoints.restore(state(0))
        assert same(tree, state(step))
    assert "Traceback" not in capfd.readouterr().err


def test_a_step_by_another_name_is_none(copied):
    (copied / "30").rename(copied / "0030")
    (copied / ("9" * 200)).mkdir()
    with Checkpoints(copied, config=CONFIG) as checkpoints:
        assert checkpoints.restore(state(0))[0] == 20


def test_other_arithmetic_is_refused_and_named(copied):
    jax.config.update("jax_enable_x64", False)
    try:
        with (
            Checkpoints(copied, config=CONFIG) as checkpoints,
            pytest.raises(InputError, match="another x64;"),
        ):
            checkpoints.restore(state(0))
    finally:
        jax.config.update("jax_enable_x64", True)


def test_a_failed_write_says_so_once_and_leaves_nothing_behind(tmp_path, monkeypatch, capfd):
    with Checkpoints(tmp_path, config=CONFIG) as checkpoints:
        checkpoints.save(1, state(1))

        def full(step, args):
            (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
            logging.getLogger("absl").error("a thread raised\nTraceback")
            raise ValueError("RESOURCE_EXHAUSTED: write: No space left on device [many words]")

        monkeypatch.setattr(checkpoints._manager, "save", full)
        with pytest.raises(InputError, match="write checkpoints in .*: No space left on device;"):
            checkpoints.save(2, state(2))
        assert [path.name for path in tmp_path.iterdir()] == ["1"]
        assert checkpoints.restore(state(0))[0] == 1
    assert capfd.readouterr().err == ""
