"""Runs the code of docs/stock.ipynb beside the directory ``stock``: `notebook.py DIR`."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def notebook(folder: Path) -> None:
    """Runs the code of docs/stock.ipynb beside the directory ``stock``."""
    path = ROOT / "docs" / "stock.ipynb"
    cells = json.loads(path.read_text())["cells"]
    code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    (folder / "notebook.py").write_text(code)
    os.chdir(folder)
    runpy.run_path("notebook.py")


if __name__ == "__main__":
    notebook(Path(sys.argv[1]))
