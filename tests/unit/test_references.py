"""The generated references are complete and fresh."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from nsys_pipeline.query.session import Session
from nsys_pipeline.rules.kernels import kernel_family
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.real_traces import SUFFIX, TRACES

ROOT = Path(__file__).resolve().parents[2]
KERNEL_NAMES = Path(__file__).parent / "rules" / "kernel_names.tsv"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_references", ROOT / "scripts" / "generate_references.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_references_are_fresh(generator: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert generator.main(["--check"]) == 0, capsys.readouterr().out


def test_an_option_without_a_description_is_an_error(generator: ModuleType) -> None:
    option = SimpleNamespace(
        name="x", opts=["--x"], secondary_opts=[], metavar=None, help=None, default=None, required=False
    )
    with pytest.raises(generator.UndocumentedError, match="--x"):
        list(generator._parameters("verb", SimpleNamespace(params=[option])))
    with pytest.raises(generator.UndocumentedError, match="verb"):
        generator._first_line("verb", None)


def test_the_macro_gives_the_families_of_the_rules() -> None:
    """On every pair of names of a real trace, and on pairs that reach the rule for generic templates."""
    names = [
        ("elementwise_kernel", "void elementwise_kernel<gelu>(int)"),
        ("elementwise_kernel", "elementwise_kernel"),
        ("reduce_kernel", "reduce_kernel"),
        ("Kernel2", "Kernel2"),
        ("Kernel2", "void cutlass::Kernel2<x>(y)"),
        ("", ""),
    ]
    trace = open_trace(TRACES / f"h100_mixtral_small{SUFFIX}", TraceOptions(use_cache=False))
    with Session.of(trace) as session:
        with session.query(
            "SELECT DISTINCT name, full_name, kernel_family(name, full_name) FROM kernel_summary"
        ) as result:
            rows = result.rows()
        for name, full_name in names:
            with session.query("SELECT kernel_family($a, $b)", {"a": name, "b": full_name}) as result:
                rows.append((name, full_name, result.rows()[0][0]))
        # The table of tests/unit/rules, in one query.
        table = [line.split("\t") for line in KERNEL_NAMES.read_text(encoding="utf-8").splitlines()]
        pairs = [[short or full, full] for _, short, full in (row for row in table if len(row) == 3)]
        query = "SELECT p[1], p[2], kernel_family(p[1], p[2]) FROM (SELECT unnest($p) AS p)"
        with session.query(query, {"p": pairs}) as result:
            rows += result.rows()
    assert len(rows) > 400
    assert [row for row in rows if row[2] != kernel_family(row[0], row[1])] == []
