"""Kills commands that record, at random moments, and resumes them: nothing may be lost or changed.

Each command runs twice undisturbed, the second time with the programs that the first compiled. Then
it is killed (SIGKILL) again and again at random moments of that second time, resumed, and at last
left to end. Its JSON, apart from times, must be that of the undisturbed runs, every record that was
on the disk at a kill must be there at the end with the same result, and no resumed run may print a
traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from icl_sim.storage.records import canonical_json, read_directory

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import stock_models  # noqa: E402 - it lies among the tests

ROWS = [f"w{i} w{i + 1},{'glad' if i % 3 else 'sad'}" for i in range(20)]
LANGUAGE = "compare --base {model} --data {data} --sizes 4 --tasks 1 --predictors lora-8 in-context"
COMMANDS = {
    "verify": ["verify", "C1.token", "C2.sup"],
    "compare": ["compare", "--task", "tables", "--sizes", "16", "--predictors", "counts", "bayes"],
    "train sft": ["train", "sft", "--task", "tables", "--sizes", "16", "--tasks", "2"],
    "train base": ["train", "base", "--steps", "60"],
    "emulate": ["emulate", "bb5", "--max-steps", "12000000"],
    # Fine-tuning of sequences: a language model of random weights on a file of prompts.
    "compare --base": LANGUAGE.split(),
    "reproduce": ["reproduce"],
}
SHARES = dict.fromkeys(COMMANDS, 4) | {"reproduce": 1}  # it takes minutes, the others seconds
# What may differ from run to run: times, where the results lie, and from where a run was resumed.
VOLATILE = ("seconds", "per_second", "path", "report", "base", "note", "resumed_at")


def start(words: list[str], out: Path, *, resume: bool) -> subprocess.Popen:
    """The command, in a process of its own; programs are kept beside its results."""
    more = ["--resume"] if resume else []
    return subprocess.Popen(  # noqa: S603 - this very program
        [sys.executable, "-m", "icl_sim", *words, "--json", "--out", str(out), *more],
        env=os.environ | {"PYTHONPATH": str(ROOT), "ICL_SIM_COMPILED": str(out.parent / "kept")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def steady(value: Any) -> Any:
    """A result without what may differ."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not any(word in k for word in VOLATILE)}
        return {key: steady(inner) for key, inner in kept.items()}
    return [steady(inner) for inner in value] if isinstance(value, list) else value


def on_disk(out: Path) -> dict[str, str]:
    """The results recorded so far, by key."""
    return {
        record.key: canonical_json(record.result)
        for file in read_directory(out)
        for record in file.records
    }


def finish(process: subprocess.Popen) -> Any:
    """The JSON of a run that is left to end."""
    out, err = process.communicate()
    if process.returncode not in (0, 1) or "Traceback" in err:
        raise AssertionError(f"code {process.returncode}: {err[-2000:]}")
    return steady(json.loads(out))


def language(folder: Path) -> dict[str, Path]:
    """A small language model and a file of prompts, for the command that names them."""
    from icl_sim.pretrained import words_tokenizer

    model, data = folder / "model", folder / "mine.csv"
    if not model.exists():
        stock_models.write(model, stock_models.CASES["smollm2"])
        words = ("?", "Input:", "Output:", "->", "glad", "sad", *(f"w{i}" for i in range(58)))
        (model / "tokenizer.json").write_text(words_tokenizer(words))
        data.write_text("\n".join(["text,label", *ROWS]) + "\n")
    return {"model": model, "data": data}


def attack(name: str, kills: int, draw: random.Random) -> None:
    """Kills and resumes one command; AssertionError if anything is lost or different."""
    folder = Path(tempfile.mkdtemp())
    try:
        words = [word.format(**language(folder)) for word in COMMANDS[name]]
        expected = finish(start(words, folder / "whole", resume=False))
        begin = time.monotonic()
        found = finish(start(words, folder / "again", resume=False))
        whole = time.monotonic() - begin
        check(name, found, expected, on_disk(folder / "whole"), folder / "again")
        out, done, resume, seen = folder / "killed", 0, False, dict[str, str]()
        while done < kills:
            process = start(words, out, resume=resume)
            try:
                process.wait(timeout=draw.uniform(0, whole))
                found = finish(process)  # it was faster: begin again
                check(name, found, expected, seen, out)
                shutil.rmtree(out)
                resume, seen = False, {}
                continue
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            process.communicate()
            done, resume = done + 1, out.exists()
            now = on_disk(out)
            if lost := {k for k, result in seen.items() if now.get(k) != result}:
                raise AssertionError(f"{name}: lost or changed {sorted(lost)[:3]}")
            seen = now
        check(name, finish(start(words, out, resume=resume)), expected, seen, out)
        print(f"{name:>14}: {kills} kills, {len(seen)} records at the last one, same result")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check(name: str, found: Any, expected: Any, seen: dict[str, str], out: Path) -> None:
    """Raises AssertionError unless a run ended as the undisturbed one did."""
    if found != expected:
        raise AssertionError(f"{name}: another result than the undisturbed run")
    end = on_disk(out)
    if lost := {k for k, result in seen.items() if end.get(k) != result}:
        raise AssertionError(f"{name}: lost or changed at the end {sorted(lost)[:3]}")


def main() -> int:
    """Attacks the commands and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="all together (50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", nargs="+", default=list(COMMANDS), choices=COMMANDS)
    arguments = parser.parse_args()
    draw, failed = random.Random(arguments.seed), 0  # noqa: S311 - moments, not secrets
    whole = sum(SHARES[name] for name in arguments.commands)
    for name in arguments.commands:
        try:
            attack(name, max(arguments.kills * SHARES[name] // whole, 1), draw)
        except AssertionError as error:
            print(f"{name:>14}: FAILED, {error}")
            failed += 1
        sys.stdout.flush()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
