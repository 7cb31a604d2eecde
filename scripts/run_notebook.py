#!/usr/bin/env python
"""Run a notebook's code cells in order, as Jupyter would, without Jupyter.

python scripts/run_notebook.py docs/tour.ipynb            run; exit 1 where an output has changed
python scripts/run_notebook.py --write docs/tour.ipynb    run and store the outputs
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def run(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The notebook with fresh outputs, and a line for each cell whose stored output differs."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    changed = []
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, 1):
        outputs = _run_cell("".join(cell["source"]), namespace, number)
        if _shown(outputs) != _shown(cell["outputs"]):
            changed.append(f"cell {number}: {cell['source'][0].strip() if cell['source'] else ''}")
        cell["outputs"], cell["execution_count"] = outputs, number
    return notebook, changed


def _shown(outputs: list[dict[str, Any]]) -> list[Any]:
    """What a reader sees of outputs: text, which is as wide as the terminal, only where there is no HTML."""
    return [
        data.get("text/html", data.get("text/plain"))
        for data in (one.get("data", {"text/plain": one.get("text")}) for one in outputs)
    ]


def _run_cell(source: str, namespace: dict[str, Any], number: int) -> list[dict[str, Any]]:
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    value = None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"cell {number}", "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), namespace)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": _lines(printed.getvalue())})
    if value is not None:
        data = {"text/plain": _lines(repr(value))}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = _lines(value._repr_html_())
        outputs.append({"data": data, "execution_count": number, "metadata": {}, "output_type": "execute_result"})
    return outputs


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main(arguments: list[str]) -> int:
    """Run the notebook that is named."""
    path = Path(arguments[-1]).resolve()
    os.chdir(ROOT)
    notebook, changed = run(path)
    if "--write" in arguments:
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return 0
    for line in changed:
        print(f"changed: {line}")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
