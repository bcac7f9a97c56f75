"""The code of the notebooks of docs/ runs, and shows what their words say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy_llama import NumpyLlama
from tokenizers import Tokenizer

from constructions import CONSTRUCTIONS
from icl_sim import to_pretrained

DOCS = Path(__file__).parent.parent / "docs"


def run(path):
    """The names that the notebook's code leaves; it holds no outputs of an earlier run."""
    cells = json.loads(path.read_text())["cells"]
    names = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            exec(compile("".join(cell["source"]), path.name, "exec"), names)  # noqa: S102 - our own
    return names


def test_the_tour_runs_and_shows_what_it_says(capsys):
    names = run(DOCS / "tour.ipynb")
    assert names["size"].exact == 304
    assert "residual stream" in names["lookup"]._repr_html_()
    np.testing.assert_allclose(names["law"], names["lookup"].oracle(names["problem"]), atol=1e-4)
    assert (names["run"].steps, names["run"].halted, names["run"].agrees) == (21, True, True)
    assert set(names["found"].matrix[64]) == {"counts", "smoothed", "truth"}
    assert names["audit"].statements[0].as_derived
    assert "HOLDS" in capsys.readouterr().out


class StandIn:
    """What the notebook asks of `transformers`; scripts/check-stock runs it on the real one."""

    config = SimpleNamespace(model_type="llama", num_hidden_layers=2)
    dtype = "float32"

    def __init__(self, folder):
        self.llama = NumpyLlama(Path(folder))

    def eval(self):
        return self

    def generate(self, input_ids, *, max_new_tokens, do_sample):
        assert not do_sample
        prompt = input_ids[0].tolist()
        return np.array([prompt + self.llama.generate(prompt, max_new_tokens)])


class Words:
    def __init__(self, folder):
        self.words = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))

    def __call__(self, text, *, return_tensors):
        return {"input_ids": np.array([self.words.encode(text).ids])}

    def decode(self, tokens):
        return self.words.decode(tokens.tolist(), skip_special_tokens=False)


def test_the_stock_notebook_runs_on_an_independent_llama(tmp_path, monkeypatch, capsys):
    to_pretrained(CONSTRUCTIONS["stock"](states=8, bits=8), tmp_path / "stock")
    names = {
        "AutoModelForCausalLM": SimpleNamespace(from_pretrained=StandIn),
        "AutoTokenizer": SimpleNamespace(from_pretrained=Words),
    }
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(**names))
    monkeypatch.chdir(tmp_path)
    run(DOCS / "stock.ipynb")
    assert "300 steps of BB(5), all right" in capsys.readouterr().out
