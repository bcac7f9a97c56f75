"""Inputs that a reader or the command line might meet, and what each may do with them.

A target is a strategy and a check. A check returns "accepted" or "refused" and raises
AssertionError if the input ended in anything but a right result or a refusal of one line, took
more than `LIMIT`, or was accepted though it says something else than what was written.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import stock_models
from cases_machine_files import ADDITION, INCREMENT
from fuzz_command_lines import ARGV, LIMIT, check_command, folder
from hypothesis import strategies as st

from constructions import CONSTRUCTIONS
from icl_sim.data.text_files import read_pairs
from icl_sim.emulation.machine_files import parse_machine
from icl_sim.errors import InputError
from icl_sim.pretrained import from_pretrained, to_pretrained
from icl_sim.storage.checkpoints import Checkpoints
from icl_sim.storage.records import Record, canonical_json, digest, merge, read_file
from icl_sim.storage.store import Store
from icl_sim.storage.weights import SEAL, pack, sealed, unpack


class Target(NamedTuple):
    """What is drawn, what is done with it, and its share of all inputs."""

    inputs: st.SearchStrategy
    check: Callable[[Any], str]
    share: float = 1.0


PIECES = [
    *[b"", b"\0", b"\n", b'"', b"{", b"}", b"[", b"]", b",", b":", b"-", b"9" * 400, b"1e999"],
    *[b"NaN", b"Infinity", b"null", b"true", b"-1", b"0", b"1.5", b"\xff", b"\xed\xa0\x80"],
    *[b"[" * 3000, b'{"a":' * 2000, b'"__metadata__":{"a":1},', b'"data_offsets"', b"../x"],
    *[b"[/red]", b"\x1b[2J", b"F16", b"I64", b"\r\n", "\u2028".encode(), b"A" * 5000],
]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "put", "copy", "end"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 63),
        st.sampled_from(PIECES),
    ),
    min_size=1,
    max_size=4,
)


def edited(content: bytes, edits: list) -> bytes:
    """The content after flips, cuts, insertions, repetitions and truncations."""
    for kind, place, number, piece in edits:
        at = int(place * len(content))
        if kind == "flip" and content:
            changed = content[at] ^ (1 << number % 8)
            content = content[:at] + bytes([changed]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at] + content[at + number :]
        elif kind == "put":
            content = content[:at] + piece + content[at + number % 4 :]
        elif kind == "copy":
            content = content[:at] + content[at : at + number] + content[at:]
        elif kind == "end":
            content = content[:at]
    return content


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or the InputError that refused it; in time, and on one line."""
    start = time.process_time()
    try:
        found = call()
    except InputError as error:
        found = error
    assert not isinstance(found, InputError) or len(str(found).splitlines()) <= 1, found
    assert time.process_time() - start < LIMIT, f"{time.monotonic() - start:.1f} s"
    return found


def named(found: Any) -> str:
    return "refused" if isinstance(found, InputError) else "accepted"


# --- machine files -------------------------------------------------------------------------------

MACHINES = [INCREMENT, ADDITION, "1RB1LB_1LA1RZ", "1RB1LC_1RC1RB_1RD0LE_1LA1LD_1RZ0LA"]


def check_machine(drawn: tuple[str, list]) -> str:
    """A text is a machine that runs, or is refused."""
    text = edited(drawn[0].encode(), drawn[1]).decode(errors="replace")
    found = outcome(lambda: parse_machine(text, name="m"))
    if not isinstance(found, InputError):
        outcome(lambda: found.run(found.alphabet, 100))
    return named(found)


# --- weights and sidecars ------------------------------------------------------------------------


@cache
def packed() -> tuple[bytes, str, Any]:
    built = CONSTRUCTIONS["lookup"](vocab=3)
    raw, sidecar = pack(built.spec, built.params, name="lookup")
    return raw, sidecar, unpack(raw, sidecar, name="lookup")


def check_weights(drawn: tuple[bool, bool, list]) -> str:
    """Changed weights are refused; forged sums, which vouch for the change, end in no traceback."""
    import hashlib

    of_sidecar, forged, edits = drawn
    raw, sidecar, (spec, leaves, _) = packed()
    if of_sidecar:
        sidecar = edited(sidecar.encode(), edits).decode(errors="replace")
    else:
        raw = edited(raw, edits)
    if forged:
        with contextlib.suppress(ValueError, RecursionError, AttributeError, TypeError):
            about = json.loads(sidecar)
            about["sha256"] = hashlib.sha256(raw).hexdigest()
            about[SEAL] = sealed(about)
            sidecar = json.dumps(about)
    found = outcome(lambda: unpack(raw, sidecar, name="w"))
    if not isinstance(found, InputError) and not forged:
        assert found[0] == spec, "another spec was accepted"
        assert all(np.array_equal(found[1][name], leaf) for name, leaf in leaves.items())
    return named(found)


# --- records -------------------------------------------------------------------------------------


RECORDS = {f"cell {i}": {"failures": i, "high": i / 7} for i in range(5)}


@cache
def recorded() -> bytes:
    with Store(folder() / "run", config={"seed": 1}) as store:
        for key, result in RECORDS.items():
            store.append(Record(key, result))
    return (folder() / "run" / "records-0.jsonl").read_bytes()


def check_records(drawn: list) -> str:
    """Other results are never read, and missing ones are told."""
    path = folder() / "records-0.jsonl"
    path.write_bytes(edited(recorded(), drawn))
    found = outcome(lambda: read_file(path))
    if isinstance(found, InputError):
        return "refused"
    results = {record.key: record.result for record in found.records}
    assert all(RECORDS[key] == result for key, result in results.items())
    whole = len(results) == len(RECORDS)
    assert whole or found.header is None or found.faults() or found.open_end(), "a loss untold"
    return "accepted"


def check_forged_records(drawn: tuple[list, list, bytes]) -> str:
    """Lines with right checksums and any content: refused, or read to the end of it."""
    values, edits, piece = drawn
    lines = [{"schema": 1, "config": {}, "info": {}, "line": 1}, *values]
    *bodies, last = (canonical_json(line).encode() for line in lines)
    bodies.append(edited(last.replace(b'"a"', piece), edits))
    path = folder() / "records-0.jsonl"
    forged = (b'{"crc32":"%08x","record":%s}\n' % (zlib.crc32(body), body) for body in bodies)
    path.write_bytes(b"".join(forged))
    return named(outcome(lambda: digest(merge([read_file(path)]).values())))


WORDS = st.sampled_from(["key", "result", "info", "line", "end", "schema", "config", "a"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
).filter(lambda value: canonical(value) is not None)

RECORD = st.builds(
    lambda key, result: {"key": key, "result": result, "info": {}}, WORDS, st.just("a") | JSON
)


def canonical(value: Any) -> str | None:
    try:
        return canonical_json(value)
    except ValueError:
        return None


# --- checkpoints ---------------------------------------------------------------------------------


@cache
def checkpoints() -> tuple[Path, list[Path]]:
    good = folder() / "good"
    with Checkpoints(good, config={"seed": 1}) as manager:
        for step in (10, 20):
            manager.save(step, {"w": np.full((40, 3), step, np.float32)}, note=[step])
    return good, sorted(p.relative_to(good) for p in good.rglob("*") if p.is_file())


def check_checkpoint(drawn: tuple[float, list]) -> str:
    """A step is restored as it was saved, or not at all."""
    good, names = checkpoints()
    damaged = folder() / "damaged"
    shutil.rmtree(damaged, ignore_errors=True)
    shutil.copytree(good, damaged)
    path = damaged / names[int(drawn[0] * len(names))]
    path.write_bytes(edited(path.read_bytes(), drawn[1]))

    def restored() -> Any:
        with Checkpoints(damaged, config={"seed": 1}) as manager:
            return manager.restore({"w": np.zeros((40, 3), np.float32)}), manager.note

    found = outcome(restored)
    if not isinstance(found, InputError):
        (step, tree), note = found
        assert (tree["w"] == step).all(), "other values were restored"
        assert note == [step]
    return named(found)


# --- stock checkpoints ---------------------------------------------------------------------------


@cache
def stock() -> tuple[dict[str, bytes], Any]:
    made = folder() / "stock"
    read = from_pretrained(
        stock_models.write(made / "in", stock_models.CASES["mistral"]), tokenizer=False
    )
    out = to_pretrained(read[0], made / "out", params=read[1])
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    return {name: files[name] for name in ("config.json", "model.safetensors")}, read


def check_stock(drawn: tuple[bool, list]) -> str:
    """What a changed directory of ours holds is refused, or the same model."""
    files, (model, params, _) = stock()
    name = "config.json" if drawn[0] else "model.safetensors"
    damaged = folder() / "stock" / "damaged"
    damaged.mkdir(exist_ok=True)
    for each, content in files.items():
        (damaged / each).write_bytes(edited(content, drawn[1]) if each == name else content)
    found = outcome(lambda: from_pretrained(damaged, tokenizer=False))
    if not isinstance(found, InputError):
        assert found[0].spec == model.spec, "another spec was accepted"
        assert all(np.array_equal(found[1][n], leaf) for n, leaf in params.items())
    return named(found)


# --- files of prompts and completions -----------------------------------------------------------

ROWS = [(f"prompt {i % 7}", "even" if i % 2 else "odd") for i in range(24)]
TEXTS = {
    "csv": "prompt,completion\n" + "".join(f'"{p}",{c}\n' for p, c in ROWS),
    "tsv": "text\tlabel\n" + "".join(f"{p}\t{c}\n" for p, c in ROWS),
    "jsonl": "".join(json.dumps({"input": p, "output": c}) + "\n" for p, c in ROWS),
}


def check_texts(drawn: tuple[str, list]) -> str:
    """A file is a task whose rows stand in the file, or is refused."""
    form, edits = drawn
    content = edited(TEXTS[form].encode(), edits)
    path = folder() / f"rows.{form}"
    path.write_bytes(content)
    found = outcome(lambda: read_pairs(path))
    if not isinstance(found, InputError):
        data, _ = found.split(len(found.pool))
        assert len(data.demonstrations) == len(found.pool) <= content.count(b"\n") + 2
    return named(found)


TARGETS = {
    "machine files": Target(st.tuples(st.sampled_from(MACHINES), EDITS), check_machine, 3),
    "weights and sidecars": Target(
        st.tuples(st.booleans(), st.booleans(), EDITS), check_weights, 3
    ),
    "records": Target(EDITS, check_records, 3),
    "records with right checksums": Target(
        st.tuples(
            st.lists(JSON | RECORD, max_size=3),
            st.just([]) | EDITS,
            st.just(b'"a"') | st.sampled_from(PIECES),
        ),
        check_forged_records,
    ),
    "checkpoints": Target(
        st.tuples(st.floats(0, 1, exclude_max=True), EDITS), check_checkpoint, 0.1
    ),
    "stock checkpoints": Target(st.tuples(st.booleans(), EDITS), check_stock, 1),
    "data files": Target(st.tuples(st.sampled_from(sorted(TEXTS)), EDITS), check_texts, 1),
    "command lines": Target(ARGV, check_command, 3),
}
