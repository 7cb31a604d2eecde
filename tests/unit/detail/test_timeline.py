"""What a timeline holds, unpacked by hand: every span of the trace once, in its lane, to the nanosecond."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.detail import read_timeline
from nsys_pipeline.records import Timeline
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.real_traces import SUFFIX, TRACES
from tests.support.trace_builder import TraceBuilder


def unpacked(timeline: Timeline) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Header, and spans with absolute times (ns since the origin) and texts; written for this test alone."""
    data = gzip.decompress(timeline.data)
    size = int.from_bytes(data[:4], "little")
    header = json.loads(data[4 : 4 + size])
    count, at, columns = header["count"], 4 + size, {}
    for name, width in header["columns"].items():
        planes = [data[at + plane * count : at + (plane + 1) * count] for plane in range(width)]
        columns[name] = [int.from_bytes(bytes(each), "little") for each in zip(*planes, strict=True)]
        at += width * count
    assert at == len(data)
    spans, index, link = [], 0, 0
    for lane in header["lanes"]:
        start = 0
        for _ in range(lane["count"]):
            start += columns["start"][index]
            code = columns["link"][index]
            link += -(code + 1) // 2 if code % 2 else code // 2
            spans.append(
                {
                    "lane": lane,
                    "start": start,
                    "end": start + columns["dur"][index],
                    "name": header["names"][columns["name"][index]],
                    "category": header["categories"][columns["category"][index]],
                    "phase": header["phases"][columns["phase"][index]],
                    "count": columns["count"][index],
                    "call": link - 1,
                }
            )
            index += 1
    return header, spans


def timeline_of(trace: TraceBuilder | Path, folder: Path, **options: Any) -> Timeline | None:
    path = trace if isinstance(trace, Path) else trace.write(folder / "trace.sqlite")
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        return read_timeline(opened, **options)


def in_track(spans: list[dict[str, Any]], track: str) -> list[tuple[object, ...]]:
    found = [span for span in spans if span["lane"]["track"] == track]
    return [(span["start"], span["end"], span["name"], span["category"], span["phase"]) for span in found]


def test_each_span_is_there_once_with_its_lane_its_phase_and_its_call(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process(100, name="serve").thread(name="main")
    main.push(1_000, 1_100, "request").push(1_010, 1_050, "prefill").push(1_060, 1_090, "decode")
    main.launch(1_015, gpu=(1_020, 1_030), name="gemm_a", stream=7)
    main.launch(1_070, gpu=(1_075, 1_080), name="rms_norm", stream=9)

    timeline = timeline_of(trace, tmp_path)

    assert timeline is not None
    header, spans = unpacked(timeline)
    assert in_track(spans, "phase") == [
        (10, 50, "prefill 0", "prefill", "prefill"),
        (60, 90, "decode 0", "decode", "decode"),
    ]
    assert in_track(spans, "range") == [
        (0, 100, "request", "range", ""), (10, 50, "prefill", "prefill", "prefill"),
        (60, 90, "decode", "decode", "decode"),
    ]  # fmt: skip
    assert in_track(spans, "gpu") == [(20, 30, "gemm_a", "gemm", "prefill"), (75, 80, "rms_norm", "norm", "decode")]
    assert in_track(spans, "gpu_phase") == [
        (20, 30, "prefill 0", "prefill", "prefill"), (75, 80, "decode 0", "decode", "decode"),
    ]  # fmt: skip
    calls = [span for span in spans if span["lane"]["track"] == "api"]
    assert {span["category"] for span in calls} == {"launch"}
    kernels = [span for span in spans if span["lane"]["track"] == "gpu"]
    assert [spans[span["call"]]["start"] for span in kernels] == [15, 70]
    assert all(span["call"] == -1 for span in spans if span["lane"]["track"] != "gpu")
    assert {(span["lane"]["device_id"], span["lane"]["stream_id"]) for span in kernels} == {(0, 7), (0, 9)}
    assert [lane["depth"] for lane in header["lanes"] if lane["track"] == "range"] == [0, 1]
    assert header["threads"] == {"100 100": "main"}
    assert header["duration_ns"] == 100
    assert (timeline.span_count, timeline.operation_count, timeline.resolution_ns) == (len(spans), len(spans), None)


def test_times_that_no_32_bits_hold_and_names_that_are_hostile(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(5, 7, "</script>\x1b\u202e").push(3 * 2**41, 3 * 2**41 + 2**33 + 1, "late")

    timeline = timeline_of(trace, tmp_path)

    assert timeline is not None
    _, spans = unpacked(timeline)
    assert [(start, end) for start, end, *_ in in_track(spans, "range")] == [
        (0, 2), (3 * 2**41 - 5, 3 * 2**41 + 2**33 - 4),
    ]  # fmt: skip
    assert in_track(spans, "range")[0][2].isprintable()  # type: ignore[attr-defined]


def test_a_trace_of_nothing_has_no_timeline(tmp_path: Path) -> None:
    assert timeline_of(TraceBuilder(), tmp_path) is None


def test_more_spans_than_a_page_carries_are_merged_and_none_is_lost(tmp_path: Path) -> None:
    path = TRACES / f"h100_gpu_metrics{SUFFIX}"
    whole, merged = timeline_of(path, tmp_path), timeline_of(path, tmp_path, max_spans=2_000)

    assert whole is not None
    assert merged is not None
    assert merged.resolution_ns is not None
    assert merged.span_count <= 2_000 < whole.span_count == whole.operation_count
    assert merged.operation_count == whole.operation_count
    (header, spans), (whole_header, whole_spans) = unpacked(merged), unpacked(whole)
    assert [lane["operations"] for lane in header["lanes"]] == [lane["count"] for lane in whole_header["lanes"]]
    assert header["duration_ns"] == whole_header["duration_ns"]
    # Each of the whole lies in one of the merged of its lane.
    for lane in range(len(header["lanes"])):
        inside = [span for span in spans if span["lane"] is header["lanes"][lane]]
        for span in (span for span in whole_spans if span["lane"] is whole_header["lanes"][lane]):
            assert any(one["start"] <= span["start"] and span["end"] <= one["end"] for one in inside)


def test_a_real_trace_takes_few_bytes_a_span(tmp_path: Path) -> None:
    timeline = timeline_of(TRACES / f"h100_llama1b{SUFFIX}", tmp_path)

    assert timeline is not None
    assert timeline.span_count > 300_000
    assert len(timeline.data) < 4 * timeline.span_count


@pytest.mark.parametrize("count", [1, 2])
def test_the_bytes_are_the_same_each_time(tmp_path: Path, count: int) -> None:
    trace = TraceBuilder()
    for pid in range(100, 100 + count):
        trace.process(pid).thread().push(0, 100, "prefill").launch(10, gpu=(20, 30))
    path = trace.write(tmp_path / "trace.sqlite")

    assert timeline_of(path, tmp_path) == timeline_of(path, tmp_path)
