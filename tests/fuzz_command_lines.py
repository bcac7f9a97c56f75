"""Command lines of every kind, with what would take long cut short."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import strategies as st

from icl_sim.cli import run

LIMIT = 5.0  # seconds of the CPU: what else runs on a machine is not the reader's fault


@cache
def folder() -> Path:
    """A directory in memory where there is one."""
    memory = Path("/dev/shm")  # noqa: S108
    made = tempfile.mkdtemp(dir=memory if memory.is_dir() else None)
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


# One text each: as lists they would be as long as all the rest.
_COMMANDS = """reproduce verify sample-size emulate prompt check-run compare train generate list
export report doctor base sft"""
_FLAGS = """--json --seed --profile --out --resume --vocab --eps --delta --contexts --length --dim
--tape --construction --engine --max-steps --trace --task --sizes --predictors --tasks --seeds
--steps --replicas --adapt --rank --optimizer --learning-rate --format --option --records --base
--prompt --prefix --max-tokens --temperature --top-k --top-p --stop --bits --processes
--coordinator --process --restarts --join-timeout --help --version --flagfile --"""
_VALUES = """C1 C1.sum C0 bb2 bb3 lookup stock universal looped single dense verify counts bayes
english tables smoke full base smollm2 fibonacci 0 1 2 8 -1 1.5 .1 1e-9 nan inf -inf 1e999 1e-400
4294967296 99999999999999999999 /dev/null /dev/zero /proc/nowhere . .. ~ --- =-- 1RB1LB_1LA1RZ
1RA--- [/red] vocab=3 states=9 vocab=x = {} %s \\ @x"""
COMMANDS, FLAGS, VALUES = _COMMANDS.split(), _FLAGS.split(), _VALUES.split()
VALUES += ["", " ", "\n", "a" * 300, "\u202e", "\x1b[2J", "9" * 5000]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
WORD = st.sampled_from(FLAGS) | st.sampled_from(VALUES) | TEXT
ARGV = st.builds(
    lambda first, rest: [*first, *rest],
    st.lists(st.sampled_from(COMMANDS), max_size=2),
    st.lists(WORD | st.builds("{}={}".format, st.sampled_from(FLAGS), WORD), max_size=9),
)
# Where what was asked for would be computed: by then the words have been understood. What takes
# long, and is no reader's, ends there, as by Ctrl-C.
CUT = (
    "icl_sim.cli.command_line.supervise",
    "icl_sim.cli.export.export",
    "icl_sim.cli.export.export_stock",
    "icl_sim.cli.listing.inventory",
    "icl_sim.emulation.turing.load",
    "icl_sim.emulation.turing.verified",
    "icl_sim.emulation.looped.load",
    "icl_sim.pretrained.from_pretrained",
    "icl_sim.pretrained.loading.load_params",
    "icl_sim.reproduction.open_store",
    "icl_sim.report.viewer.render",
    "icl_sim.training.runs.make_task",
    "icl_sim.training.runs.pretrain",
)


def interrupted(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


@contextlib.contextmanager
def cut() -> Iterator[None]:
    """The command line with long computations cut."""
    with contextlib.ExitStack() as stack:
        for name in CUT:
            importlib.import_module(name.rpartition(".")[0])
            stack.enter_context(mock.patch(name, interrupted))
        yield


def check_command(words: list[str]) -> str:
    """Every command line ends with a documented code, and with one line if it is bad."""
    here = os.getcwd()
    os.chdir(folder())
    out, err = io.StringIO(), io.StringIO()
    start = time.process_time()
    try:
        with cut(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(["icl-sim", *words])
    except SystemExit as end:  # --help and --version
        code = end.code
        assert code == 0, words
    finally:
        os.chdir(here)
    seconds = time.process_time() - start
    assert seconds < LIMIT, f"{seconds:.1f} s: {words}"
    assert code in (0, 1, 2, 130), (code, words)
    lines = err.getvalue().splitlines()
    assert code != 2 or len(lines) == 1, (lines, words)
    assert "Traceback" not in err.getvalue(), words
    assert not any(f"did you mean {word}?" in err.getvalue() for word in words if word), words
    return "refused" if code == 2 else "accepted"
