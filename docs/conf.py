"""Sphinx: the pages of this folder and a page for each public name; scripts/docs builds them."""

from __future__ import annotations

import re
from typing import Any

project = "icl-sim"
author = "The icl-sim authors"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
]
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_use_rtype = False
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "icl-sim"
nitpicky = False

# Of names that are dicts, whose own docstring is the type's.
DATA = {
    "CLAIMS": "The claims of the audit by their ids; `register_claim` adds one.",
    "CONSTRUCTIONS": "Functions from options to a `Construction`, by name.",
    "PREDICTORS": "Every route from data to laws, by name; `register_predictor` adds one.",
    "PROGRAMS": "Turing machines that compute known functions, by name.",
    "SUBLEQ": "SUBLEQ programs of the looped construction, by name.",
}


def plain(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text: what would be markup in them is escaped, but for code."""
    if (last := name.rpartition(".")[2]) in DATA:
        lines[:] = [DATA[last], ""]
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(`+[^`]*`+)", line)
            parts[::2] = [re.sub(r"([|*]|_(?!\w))", r"\\\1", part) for part in parts[::2]]
            lines[i] = "".join(parts)


def setup(app: Any) -> None:
    """Before napoleon, which writes markup."""
    app.connect("autodoc-process-docstring", plain, priority=400)
