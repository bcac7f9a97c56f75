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
    most = 2 * GIB * 8 // 9 // 4  # an eighth more is asked for than the table has
    require("a table", square, rows=most, columns=1)
    with pytest.raises(InputError):
        require("a table", square, rows=most + 1, columns=1)


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
        f"which takes 4.1 TiB: rows 477 fits, or raise {VARIABLE}"
    )
    require("a table of lines", square, rows=477, columns=10**3)
    with pytest.raises(InputError):
        require("a table of lines", square, rows=478, columns=10**3)


def files(root, **texts):
    for name, text in texts.items():
        path = root / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


MEMINFO = "MemTotal: 16777216 kB\nMemAvailable:    8388608 kB\nSwapFree: 5 kB\n"
V2 = "sys__fs__cgroup__{}memoryDOT{}"
V1 = "sys__fs__cgroup__memory__{}memoryDOT{}"
NAMES = {V2: ("max", "current", "stat"), V1: ("limit_in_bytes", "usage_in_bytes", "stat")}


def level(version, place, *contents):
    """The files of a control group: its limit, what it uses, and its statistics."""
    names = (version.format(place, name) for name in NAMES[version])
    return {name: f"{text}\n" for name, text in zip(names, contents, strict=True)}


def free_in(root, group, *levels):
    """What is free for a process of this control group."""
    files(root, proc__meminfo=MEMINFO, proc__self__cgroup=group)
    for texts in levels:
        files(root, **texts)
    return free_on_host(root)


def test_what_is_free_without_cgroups(tmp_path):
    files(tmp_path, proc__meminfo=MEMINFO)
    assert free_on_host(tmp_path) == 8 * GIB


def test_a_limit_of_cgroup_2_counts_at_every_level(tmp_path):
    job = level(V2, "job__", 3 * GIB, 2 * GIB, f"anon 7\ninactive_file {GIB // 2}")
    step = level(V2, "job__step__", "max", 77, "inactive_file 0")
    assert free_in(tmp_path, "0::/job/step\n", job, step) == 3 * GIB // 2


def test_a_container_sees_the_limit_at_its_mount_point(tmp_path):
    top = level(V2, "", GIB, GIB // 4, "file 1")
    assert free_in(tmp_path, "0::/docker/0123abcd\n", top) == 3 * GIB // 4


def test_a_limit_of_cgroup_1(tmp_path):
    top = level(V1, "", 9223372036854771712, 9 * GIB, "total_inactive_file 0")
    inactive = f"inactive_file 3\ntotal_inactive_file {2 * GIB}"
    job = level(V1, "slurm__job_7__", 4 * GIB, 5 * GIB, inactive)
    groups = "9:cpu,cpuacct:/x\n4:memory:/slurm/job_7\n0::/\n"
    assert free_in(tmp_path, groups, top, job) == GIB


def test_what_is_free_is_never_negative(tmp_path):
    assert free_in(tmp_path, "0::/\n", level(V2, "", 100, 200, "inactive_file 0")) == 0


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
