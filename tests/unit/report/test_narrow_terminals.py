"""Tables in a terminal of 80 columns: no row is wrapped, and what a reader compares is there."""

from __future__ import annotations

import io

import attrs
import pytest
from rich.cells import cell_len

from nsys_pipeline.analyze import analyze
from nsys_pipeline.records import HostRow, RankRow, Report
from nsys_pipeline.report import terminal
from nsys_pipeline.report.document import Document, Section
from nsys_pipeline.report.host import host_section
from nsys_pipeline.report.ranks import ranks_section
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.real_traces import SUFFIX, TRACES

S = 1_000_000_000


@pytest.fixture(scope="module")
def report() -> Report:
    with open_trace(TRACES / f"h100_cuda_graph_whole{SUFFIX}", TraceOptions()) as trace:
        return analyze(trace)


def lines_of(section: Section | None, monkeypatch: pytest.MonkeyPatch, width: int = 80) -> list[str]:
    assert section is not None
    monkeypatch.setenv("COLUMNS", str(width))
    stream = io.StringIO()
    terminal.render_document(Document("", (), (section,)), stream)
    return stream.getvalue().splitlines()


def rank_row(number: int, *, is_numbered: bool) -> RankRow:
    """A rank that trains: 23 s of measured time, and steps of more than a second."""
    return RankRow(
        rank=number if is_numbered else None, world=1024, process_id=4_194_000 + number, host_id=1,
        device_ids=[number % 8], trace=None, window_ns=23 * S, compute_ns=15 * S, transfer_ns=3 * S, wait_ns=3 * S,
        copy_ns=S, idle_ns=S, blamed_ns=2 * S, blamed_step_ns=S, is_late=False, late_phase=None, reason=None,
        more_ns=None, flops=None, median_step_ns=1_234_000_000, median_input_wait_ns=1_034_000_000, mfu_wall=0.234,
        is_lower_bound=False, is_upper_bound=False,
    )  # fmt: skip


@pytest.mark.parametrize("is_numbered", [True, False])
def test_ranks_that_train(report: Report, monkeypatch: pytest.MonkeyPatch, is_numbered: bool) -> None:
    ranks = [rank_row(number, is_numbered=is_numbered) for number in (1022, 1023)]

    lines = lines_of(ranks_section(attrs.evolve(report, ranks=ranks)), monkeypatch)

    assert max(map(cell_len, lines)) <= 80
    (row,) = [line for line in lines if line.startswith("1023" if is_numbered else "pid 4195023")]
    # 65.2 % of the time in kernels that compute, 13.0 in transfers, 13.0 waiting, 4.3 idle; copies have no room.
    numbers = row.removeprefix("pid ").split()[1:]
    assert numbers == ["7", "23,000", "65.2", "13.0", "13.0", "4.3", "2,000", "1,234", "1,034", "23.4"]


def test_functions_of_the_host(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        HostRow(
            phase="prefill", part=part, function=function, file=f"/lib/integrations/{name}.py", line=1234,
            self_samples=100, samples=300, share_ratio=0.333, self_ns=4 * S, self_error_ns=20_000_000, time_ns=5 * S,
            time_error_ns=1, lines=[],
        )
        for part in ("api", "cold")
        for function, name in (("apply_rotary_pos_emb", "sdpa_attention"), ("forward", "flash_attention"))
    ]  # fmt: skip

    lines = lines_of(host_section(attrs.evolve(report, host=rows)), monkeypatch)
    wide = lines_of(host_section(attrs.evolve(report, host=rows)), monkeypatch, 140)

    assert max(map(cell_len, lines)) <= 80
    table = [line for line in lines if line.endswith("4,000.0 33.3")]
    assert len(table) == len(set(table)) == 4
    assert [line.split()[-4:] for line in wide if "1234" in line] == [["4,000.0", "20.0", "33.3", "5,000"]] * 4
