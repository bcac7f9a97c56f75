"""No command imports what it does not use: the start of a command is what people wait for most."""

from __future__ import annotations

import subprocess
import sys

import pytest

from icl_sim.claims import ATLAS, CLAIMS
from icl_sim.cli.verify import shipped

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
        ("list", 0, {"orbax", "matplotlib", "sklearn"}),
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


def test_ids_are_read_off_the_source_as_they_are():
    claims = CLAIMS | ATLAS
    ids = [*claims, *(s.id for claim in claims.values() for s in claim.statements), "atlas"]
    assert shipped() == sorted(ids)
