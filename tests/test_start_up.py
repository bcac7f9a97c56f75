"""No command imports what it does not use: the start of a command is what people wait for most."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from icl_sim.cli.listing import REGISTRIES, SHIPPED, inventory, refuse_typos
from icl_sim.errors import InputError

HEAVY = {"jax", "flax", "optax", "orbax", "matplotlib", "sklearn", "scipy.stats"}
SIZE = "sample-size --vocab 32 --eps .15 --delta .1 --contexts 1"


@pytest.mark.parametrize(
    ("line", "code", "unused"),
    [
        (SIZE, 0, HEAVY),
        ("emulate bb9", 2, HEAVY | {"scipy", "rich", "ruamel"}),
        ("prompt bb9", 2, HEAVY | {"scipy", "rich", "ruamel"}),
        ("verify C9", 2, HEAVY | {"scipy", "rich", "numpy"}),
        ("verify c1.tokne", 2, HEAVY | {"scipy", "rich", "numpy"}),
        ("list", 0, HEAVY | {"scipy", "numpy"}),
        ("compare --task tabels", 2, HEAVY | {"scipy", "rich", "numpy"}),
        ("compare --predictors lokup --base smollm2", 2, HEAVY | {"scipy", "rich", "numpy"}),
        ("train sft --task tabels", 2, HEAVY | {"scipy", "rich", "numpy"}),
        ("emulate bb2 --max-steps 50", 0, HEAVY - {"jax", "flax"}),
    ],
)
def test_a_command_imports_what_it_uses(line, code, unused, tmp_path):
    program = (
        f"import sys; from icl_sim.cli import run\n"
        f"code = run(['icl-sim', *{line.split()}])\n"
        f"found = {unused} & set(sys.modules)\n"
        f"sys.exit(f'exit {{code}}, imported {{found}}' if found or code != {code} else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


def test_what_is_listed_without_imports_is_what_there_is():
    now = json.loads(json.dumps(inventory()))
    assert json.loads(SHIPPED.read_text(encoding="utf-8")) == now, "run scripts/inventory"


def test_typos_of_plugins_are_left_to_them(monkeypatch):
    assert {"icl_sim.claims", "icl_sim.predictors"} <= sys.modules.keys()
    refuse_typos(judged=["C9"], task="french", predictors=["magic"], kinds=["table"])
    for name in [name for name in sys.modules if name in REGISTRIES]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match="claim or statement: expected .* got C9"):
        refuse_typos(judged=["C9"])
    with pytest.raises(InputError, match="--task: expected .* got french"):
        refuse_typos(task="french", kinds=["table"])
    refuse_typos(judged=["c1.SUM", "C0", "atlas"])
    refuse_typos(task="digits-3-8", predictors=["svm"], kinds=["classification"])
