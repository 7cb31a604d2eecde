"""What every recipe answers on a real trace, as one text: `scripts/golden_recipes.py` writes it, a test compares."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from nsys_pipeline.query.recipes import Recipe, all_recipes
from nsys_pipeline.query.session import Session
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.real_traces import SUFFIX
from tests.support.real_traces import TRACES as FOLDER

GOLDEN = Path(__file__).resolve().parent.parent / "sql" / "golden"
# One with layers and hardware counters, one with two GPUs that communicate, one with graphs recorded by node.
TRACES = ("h100_gpu_metrics", "h200x2_tensor_parallel", "h100_cuda_graph_node")
ROWS = 6


def answers(trace: str) -> str:
    """The first rows of every recipe on `trace`, floats with six digits."""
    with Session.of(open_trace(FOLDER / f"{trace}{SUFFIX}", TraceOptions(use_cache=False))) as session:
        return "\n".join(answer(session, recipe) for recipe in all_recipes().values())


def answer(session: Session, recipe: Recipe) -> str:
    """The first rows of one recipe."""
    with session.query(recipe.sql, recipe.arguments({})) as result:
        documented = [(column.name, column.type) for column in recipe.columns]
        assert list(zip(result.columns, result.types, strict=True)) == documented, recipe.name
        rows = result.rows()
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(result.columns)
    writer.writerows([_rounded(value) for value in row] for row in rows[:ROWS])
    return f"{recipe.name}: {len(rows)} rows\n{stream.getvalue()}"


def _rounded(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
