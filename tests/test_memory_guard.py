"""The memory guard: what is free, what fits, what a refusal says."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim import (
    InputError,
)
from icl_sim.execution.memory_guard import (
    SHARE,
    VARIABLE,
    budget,
    fitting,
    format_bytes,
    free_on_host,
    parse_bytes,
    placed,
    require,
    traced_bytes,
)

GIB = 2**30


def square(rows, columns):
    return 4 * rows * columns**2


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GiB", 2 * GIB), ("1.5 GiB", 3 * GIB // 2), (" 500MiB ", 500 * 2**20), ("4096", 4096)],
)
def test_amounts_are_read(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "2GB", "-1GiB", "lots", "1e9", "GiB"])
def test_other_amounts_are_refused_by_name(text, monkeypatch):
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(InputError, match=f"^{VARIABLE}: expected an amount such as 2GiB"):
        require("a table", square, rows=1, columns=1)


def test_amounts_are_shown_in_the_largest_unit():
    assert format_bytes(2 * GIB) == "2.0 GiB"
    assert format_bytes(GIB - 1) == "1,024.0 MiB"
    assert format_bytes(0) == "0 bytes"


def test_the_variable_is_the_budget(two_gib):
    assert budget() == budget(host=True) == 2 * GIB
    require("a table", square, rows=2 * GIB // 4, columns=1)
    with pytest.raises(InputError):
        require("a table", square, rows=2 * GIB // 4 + 1, columns=1)


def test_a_share_of_what_is_free_is_the_budget(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert budget() == pytest.approx(SHARE * free_on_host(), rel=0.1)


@pytest.mark.parametrize("rows", [1, 2, 7, 1000, 10**6, 10**30])
@pytest.mark.parametrize("columns", [1, 3, 17, 64, 10**9, 10**40])
@pytest.mark.parametrize("most", [3, 4, 1000, 2**31])
def test_the_proposal_fits_and_nothing_larger_does(rows, columns, most):
    shape = {"rows": rows, "columns": columns}
    if square(**shape) <= most:
        return
    found = fitting(square, shape, most)
    if found is None:
        assert square(1, 1) > most
        return
    assert square(**shape | found) <= most
    last = list(found)[-1]
    assert square(**shape | found | {last: found[last] + 1}) > most
    assert all(found[name] == 1 for name in list(found)[:-1])


def test_a_refusal_is_one_line_with_a_shape_that_passes(two_gib):
    with pytest.raises(InputError) as refusal:
        require("a table of lines", square, rows=10**6, columns=10**3)
    assert str(refusal.value) == (
        "a table of lines: expected at most 2.0 GiB of memory, got rows 1,000,000, columns 1,000, "
        f"which takes 3.6 TiB: rows 536 fits, or raise {VARIABLE}"
    )
    require("a table of lines", square, rows=536, columns=10**3)
    with pytest.raises(InputError):
        require("a table of lines", square, rows=537, columns=10**3)


def files(root, **texts):
    for name, text in texts.items():
        path = root / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


MEMINFO = "MemTotal: 16777216 kB\nMemAvailable:    8388608 kB\nSwapFree: 5 kB\n"
V2 = "sys__fs__cgroup__"
V1 = "sys__fs__cgroup__memory__"


def test_what_is_free_without_cgroups(tmp_path):
    files(tmp_path, proc__meminfo=MEMINFO)
    assert free_on_host(tmp_path) == 8 * GIB


def test_a_limit_of_cgroup_2_counts_at_every_level(tmp_path):
    files(
        tmp_path,
        proc__meminfo=MEMINFO,
        proc__self__cgroup="0::/job/step\n",
        **{
            f"{V2}job__memoryDOTmax": f"{3 * GIB}\n",
            f"{V2}job__memoryDOTcurrent": f"{2 * GIB}\n",
            f"{V2}job__memoryDOTstat": f"anon 7\ninactive_file {GIB // 2}\n",
            f"{V2}job__step__memoryDOTmax": "max\n",
            f"{V2}job__step__memoryDOTcurrent": "77\n",
            f"{V2}job__step__memoryDOTstat": "inactive_file 0\n",
        },
    )
    assert free_on_host(tmp_path) == 3 * GIB // 2


def test_a_container_sees_the_limit_at_its_mount_point(tmp_path):
    files(
        tmp_path,
        proc__meminfo=MEMINFO,
        proc__self__cgroup="0::/docker/0123abcd\n",
        **{
            f"{V2}memoryDOTmax": f"{GIB}\n",
            f"{V2}memoryDOTcurrent": f"{GIB // 4}\n",
            f"{V2}memoryDOTstat": "file 1\n",
        },
    )
    assert free_on_host(tmp_path) == 3 * GIB // 4


def test_a_limit_of_cgroup_1(tmp_path):
    files(
        tmp_path,
        proc__meminfo=MEMINFO,
        proc__self__cgroup="9:cpu,cpuacct:/x\n4:memory:/slurm/job_7\n0::/\n",
        **{
            f"{V1}memoryDOTlimit_in_bytes": "9223372036854771712\n",
            f"{V1}memoryDOTusage_in_bytes": f"{9 * GIB}\n",
            f"{V1}memoryDOTstat": "total_inactive_file 0\n",
            f"{V1}slurm__job_7__memoryDOTlimit_in_bytes": f"{4 * GIB}\n",
            f"{V1}slurm__job_7__memoryDOTusage_in_bytes": f"{5 * GIB}\n",
            f"{V1}slurm__job_7__memoryDOTstat": f"inactive_file 3\ntotal_inactive_file {2 * GIB}\n",
        },
    )
    assert free_on_host(tmp_path) == GIB


def test_what_is_free_is_never_negative(tmp_path):
    files(
        tmp_path,
        proc__meminfo=MEMINFO,
        proc__self__cgroup="0::/\n",
        **{
            f"{V2}memoryDOTmax": "100\n",
            f"{V2}memoryDOTcurrent": "200\n",
            f"{V2}memoryDOTstat": "inactive_file 0\n",
        },
    )
    assert free_on_host(tmp_path) == 0


def test_arrays_of_jax_are_in_place_already():
    tree = {"a": np.zeros((3, 5), np.float32), "b": jnp.zeros(7)}
    assert placed(tree, np.zeros(2, np.int32)) == 2 * 4 * 15 + 4 * 2


def product(x, y):
    return jnp.dot(x, y).sum()


def test_memory_of_traced_functions():
    x = jax.ShapeDtypeStruct((1000, 1000), np.float32)
    assert traced_bytes(product, x, x) == 4 * 1000**2 + 4
    assert traced_bytes(jax.jit(product), x, x) == 4 * 1000**2 + 4
    both = traced_bytes(lambda x, y: (jnp.dot(x, y), product(x, x)), x, x)
    assert both == 2 * 4 * 1000**2 + 4  # the first product is kept
    looped = traced_bytes(lambda x: jax.lax.fori_loop(0, 9, lambda _, y: jnp.dot(y, y), x), x)
    assert 4 * 1000**2 <= looped <= 2 * 4 * 1000**2
