"""The synthetic trace of the benchmark is attributed as its closed form says."""

from __future__ import annotations

from pathlib import Path

from scripts.make_range_heavy import KERNEL_NS, KERNELS_PER_STEP, RANGES_PER_STEP, make
from tests.support.reference import attribute, read_trace, summarize


def test_every_kernel_is_in_a_decode_step(tmp_path: Path) -> None:
    path = tmp_path / "heavy.sqlite"
    steps = 3  # two in the first thread's request, one in the second's

    counts = make(path, steps)

    assert (RANGES_PER_STEP, KERNELS_PER_STEP) == (289, 64)
    assert counts == (3 * 289 + 2, 192)
    assert len(read_trace(path).ranges) == 869
    summary = summarize(attribute(path))
    decode = summary["phases"]["decode"]
    assert list(summary["phases"]) == ["decode"]
    assert summary["unattributed"] == {}
    assert (decode["occurrences"], decode["kernel_count"], decode["kernel_time_ns"]) == (3, 192, 192 * KERNEL_NS)
    assert decode["other_thread"]["kernel_count"] == 0


def test_the_launching_range_is_the_operator(tmp_path: Path) -> None:
    path = tmp_path / "heavy.sqlite"
    make(path, 1)

    assert {item.range.text for item in attribute(path).work if item.range} == {"aten::matmul"}
