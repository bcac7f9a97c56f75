"""Runs of stock machines over several windows: each prompt holds the whole configuration."""

from __future__ import annotations

import numpy as np
import pytest
from cases_machines import BB5, BEAVERS
from numpy_llama import NumpyLlama

from constructions import CONSTRUCTIONS, TuringMachine
from icl_sim import to_pretrained
from icl_sim.cli import run as command
from icl_sim.emulation.transcripts import check_transcript, continue_prompt, prompt_text
from icl_sim.errors import InputError

BB2 = TuringMachine.from_bbchallenge(BEAVERS["BB(2)"])
FIVE = TuringMachine.from_bbchallenge(BB5, name="BB(5)")
STOCK = ("stock", "stock-pairs", "stock-single")


def whole_run(machine, construction, steps, bits):
    """All words behind the first prompt, from the interpreter."""
    options = {"machine": machine}
    if construction != "stock-single":
        options = {"states": len(machine.working)}
    built = CONSTRUCTIONS[construction](**options, bits=bits)
    return built.fields.text(built.machine.transcribe(machine.run("", steps))).split()


@pytest.mark.parametrize("construction", STOCK)
def test_every_window_of_a_transcript_goes_on_as_the_whole_run(construction):
    how, steps = {"construction": construction, "bits": 6}, 250
    words = whole_run(FIVE, construction, steps, 6)
    prompt, at, rng = prompt_text(FIVE, "", **how), 0, np.random.default_rng(0)
    while at < len(words):
        length = int(rng.integers(2, 80))
        window = f"{prompt} {' '.join(words[at : at + length])}"
        found = check_transcript(FIVE, window, **how, continued=at > 0)
        assert (found.agrees, found.tokens) == (True, len(words[at : at + length]))
        prompt, at = continue_prompt(FIVE, window, **how), at + length
        # A place that ends a window in pairs is written again behind the prompt.
        at -= at < len(words) and words[at - 1].startswith("@")
    assert len(prompt.split()) < 100


def test_a_window_with_a_wrong_token_names_it():
    text = "<start> A0:1RB A1:1LB B0:1LA B1:1RZ [0]=1 0>1LA@-2 0>1RB@-1 1>1LZ@0"
    found = check_transcript(BB2, text, continued=True)
    assert (found.agrees, found.wrong, found.behind) == (False, 1, "0>1LA@-2")
    assert (found.expected, found.got) == ("1>1RZ@0", "1>1LZ@0")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<start> A0:1RB A1:1LB B0:1LA B1:1RZ <go>", "goes on, got none"),
        ("<start> A0:1RB A1:1LB B0:1LA B1:1RZ [0]=1 <go> 1>1LB@-1 <end>", "one that has ended"),
        ("<start> A0:1RB A1:1LB B0:1LA [0]=1 0>1LA@-2", "without B1:1RZ"),
        ("<start> A0:1RB A1:1LB B0:1LA B1:1RZ [-128]=1 <go> 0>1RB@1", "cells -128 to 127"),
        ("<start> A0:1RB A1:1LB B0:1LA B1:1RZ 0>1RB@-128", "cells -128 to 127"),
        ("A0:1RB", "expected a prompt from <start> to a step"),
    ],
)
def test_what_cannot_go_on_is_refused(text, reason):
    with pytest.raises(InputError, match=reason):
        continue_prompt(BB2, text)


def test_steps_that_are_not_certain_are_refused_in_a_window_too():
    stays = {("A", a): ("A", b, 0) for a, b in (("0", "1"), ("1", "0"))}
    machine = TuringMachine("stays", ("A",), ("0", "1"), "0", "A", stays)
    text = "<start> A0:1SA A1:0SA <go> 0>1SA@0"
    for dtype, most in (("float32", 2231),):
        continue_prompt(machine, text, steps=most, dtype=dtype)
        with pytest.raises(InputError, match=rf"visits: expected at most {most + 1}"):
            continue_prompt(machine, text, steps=most + 1, dtype=dtype)
    how = {"construction": "stock-single", "dtype": "bfloat16"}
    with pytest.raises(InputError, match=r"visits: expected at most 2\d .*bfloat16"):
        continue_prompt(machine, "<start> <go> A0:1SA@0", steps=100, **how)


def test_a_checkpoint_for_bfloat16_carries_a_run_over_windows_of_few_visits(tmp_path):
    how = {"construction": "stock-single", "bits": 6, "dtype": "bfloat16"}
    built = CONSTRUCTIONS["stock-single"](machine=FIVE, bits=6, dtype="bfloat16")
    model, fields, run = NumpyLlama(to_pretrained(built, tmp_path)), built.fields, []
    prompt = prompt_text(FIVE, "", **how)
    for _ in range(8):
        found = fields.text(model.generate(fields.read(prompt), 40))
        run += found.split()
        text = f"{prompt} {found}"
        assert check_transcript(FIVE, text, **how, continued=len(run) > 40).agrees
        prompt = continue_prompt(FIVE, text, **how)
    assert run == whole_run(FIVE, "stock-single", 320, 6)


def test_the_command_line_goes_on_and_checks(capsys, tmp_path):
    file = tmp_path / "run.txt"
    file.write_text("<start> A0:1RB A1:1LB B0:1LA B1:1RZ [0]=1 <go> 1>1LB@-1 0>1LA@-2")
    assert command(["icl-sim", "prompt", BEAVERS["BB(2)"], "--after", str(file)]) == 0
    prompt = capsys.readouterr().out.strip()
    assert prompt == "<start> A0:1RB A1:1LB B0:1LA B1:1RZ [0]=1 0>1LA@-2"
    file.write_text(f"{prompt} 0>1RB@-1 1>1RZ@0 <end>")
    assert command(["icl-sim", "check-run", "--continued", BEAVERS["BB(2)"], str(file)]) == 0
    assert "3 tokens, all right; the run has ended" in capsys.readouterr().out
    both = ["--after", str(file), "--tape", "1"]
    assert command(["icl-sim", "prompt", BEAVERS["BB(2)"], *both]) == 2
    assert "--after: expected no --tape" in capsys.readouterr().err
