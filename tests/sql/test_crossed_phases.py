"""Phases that cross are told whatever lies between the starts of the two."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.support.ask import report_of
from tests.support.trace_builder import TraceBuilder


def crossings(trace: TraceBuilder, folder: Path) -> list[tuple[str | None, int | None]]:
    return [(one.phase, one.at_stake_ns) for one in report_of(trace, folder).findings if one.code == "crossed_phases"]


def test_a_phase_inside_does_not_hide_one_that_crosses(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().start_end(0, 100, "prefill").start_end(10, 20, "forward")
    main.start_end(50, 150, "decode").launch(60, gpu=(70, 90))

    assert crossings(trace, tmp_path) == [("prefill", 50)]


@pytest.mark.parametrize("seed", range(3))
def test_phases_that_cross_are_those_of_all_pairs(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    trace = TraceBuilder().gpu()
    spans: list[tuple[int, int, int, str]] = []
    for number in range(2):
        main = trace.process().thread(100 + number)
        for start in random.sample(range(300), 12):
            end = start + random.choice((1, 15, 60))
            spans.append((number, start, end, f"phase{len(spans)}"))
            main.start_end(start, end, spans[-1][3], domain="llmperf")
        main.launch(400, gpu=(401, 402))
    pairs = {
        (one[3], one[2] - two[1])
        for one in spans
        for two in spans
        if one[0] == two[0] and one[1] < two[1] < one[2] < two[2]
    }

    found = crossings(trace, tmp_path)

    assert len(found) > 3
    assert {phase for phase, _ in found} == {phase for phase, _ in pairs}
    assert set(found) <= pairs
