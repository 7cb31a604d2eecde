"""What is written for Perfetto, read back with its own classes: every slice, every arrow, every sample."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.detail import write_perfetto
from nsys_pipeline.duck import scalar
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.cli.run import run
from tests.support.real_traces import SUFFIX, TRACES
from tests.support.trace_builder import TraceBuilder

proto = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2", reason="needs the extra `perfetto`")


class Read:
    """Slices as (track, start, end, name, category, phase), by the rules of Perfetto's documentation."""

    def __init__(self, data: bytes) -> None:
        trace = proto.Trace()
        trace.ParseFromString(data)
        self.tracks: dict[int, Any] = {}
        self.slices: list[tuple[str, int, int, str, str, str]] = []
        self.begun: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()
        self.counters: dict[str, list[tuple[int, float]]] = {}
        names: dict[int, str] = {}
        categories: dict[int, str] = {}
        open_slices: dict[int, list[tuple[int, str, str, str]]] = {}
        # As the viewer does: by time, and as written where times are equal.
        packets = list(trace.packet)
        for packet in packets:
            if packet.HasField("track_descriptor"):
                self.tracks[packet.track_descriptor.uuid] = packet.track_descriptor
            names |= {entry.iid: entry.name for entry in packet.interned_data.event_names}
            categories |= {entry.iid: entry.name for entry in packet.interned_data.event_categories}
        for packet in sorted((one for one in packets if one.HasField("track_event")), key=lambda one: one.timestamp):
            event = packet.track_event
            track = self.path(event.track_uuid)
            if event.type == proto.TrackEvent.TYPE_COUNTER:
                self.counters.setdefault(track, []).append((packet.timestamp, event.double_counter_value))
            elif event.type == proto.TrackEvent.TYPE_SLICE_BEGIN:
                phase = "".join(each.string_value for each in event.debug_annotations)
                begun = (packet.timestamp, names[event.name_iid], categories[event.category_iids[0]], phase)
                open_slices.setdefault(event.track_uuid, []).append(begun)
                self.begun.update(event.flow_ids)
                self.ended.update(event.terminating_flow_ids)
            else:
                start, *rest = open_slices[event.track_uuid].pop()
                self.slices.append((track, start, packet.timestamp, *rest))
        assert not any(open_slices.values())

    def path(self, uuid: int) -> str:
        about = self.tracks[uuid]
        name = about.name or about.thread.thread_name or f"thread {about.thread.tid}"
        if about.HasField("process"):
            return f"process {about.process.pid}"
        return f"{self.path(about.parent_uuid)}/{name}" if about.parent_uuid else name


def written(trace: TraceBuilder | Path, folder: Path) -> tuple[Read, int]:
    path = trace if isinstance(trace, Path) else trace.write(folder / "trace.sqlite")
    stream = io.BytesIO()
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        count = write_perfetto(opened, stream)
    return Read(stream.getvalue()), count


def test_slices_have_their_track_their_times_and_their_phase(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process(100, name="serve").thread(name="main")
    main.push(1_000, 1_100, "request").push(1_010, 1_050, "prefill")
    main.launch(1_015, gpu=(1_020, 1_030), name="gemm_a", stream=7)
    # A kernel that overlaps the one before in its stream has a track of its own.
    main.launch(1_019, gpu=(1_025, 1_040), name="rms_norm", stream=7)

    read, count = written(trace, tmp_path)

    assert count == len(read.slices)
    gpu = next(path for path in map(read.path, read.tracks) if path.startswith("GPU 0"))
    expected = [
        ("process 100/main/NVTX", 1_000, 1_100, "request", "range", ""),
        ("process 100/main/NVTX", 1_010, 1_050, "prefill", "prefill", "prefill"),
        ("process 100/main/phases", 1_010, 1_050, "prefill 0", "prefill", "prefill"),
        (f"{gpu}/stream 7", 1_020, 1_030, "gemm_a", "gemm", "prefill"),
        (f"{gpu}/stream 7 (2)", 1_025, 1_040, "rms_norm", "norm", "prefill"),
        (f"{gpu}/work of phases", 1_020, 1_040, "prefill 0", "prefill", "prefill"),
    ]
    assert sorted(one for one in read.slices if "CUDA" not in one[0]) == sorted(expected)
    assert read.begun == read.ended
    assert sum(read.ended.values()) == 2


@pytest.mark.parametrize("name", ["h100_gpu_metrics", "h100_cuda_graph_node"])
def test_a_real_trace_is_whole(name: str, tmp_path: Path) -> None:
    path = TRACES / f"{name}{SUFFIX}"
    read, count = written(path, tmp_path)

    assert count == len(read.slices)
    with open_trace(path, TraceOptions(use_cache=False)) as trace:
        trace.build("views.gpu_work", "views.api_calls", "views.nvtx_ranges", "load.counter_samples")
        for table, track in (("gpu_work", "/stream "), ("api_calls", "/CUDA calls"), ("nvtx_ranges", "/NVTX")):
            found = trace.connection.execute(f"SELECT start_ns, end_ns, name FROM views.{table}").fetchall()
            assert Counter(one[1:4] for one in read.slices if track in one[0]) == Counter(found), table
        # Each call that launched something has one arrow, to the first thing that it launched.
        calls = trace.connection.execute(
            "SELECT DISTINCT api_id FROM views.gpu_work WHERE api_id IS NOT NULL"
        ).fetchall()
        assert read.ended == Counter(call for (call,) in calls) == read.begun
        sampled = scalar(trace.connection, "SELECT count(sm_active_ratio) FROM load.counter_samples")
    assert sum(len(values) for track, values in read.counters.items() if track.endswith("sm active")) == sampled


def test_times_of_hostile_traces_break_nothing(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread().push(5, 5, "empty").push(5, 50, "\x1bb\u202e")
    main.start_end(10, 30, "free").start_end(20, 40, "free").launch(60, gpu=(70, 65))

    read, count = written(trace, tmp_path)

    assert count == len(read.slices)
    assert all(end >= start and name.isprintable() for _, start, end, name, *_ in read.slices)


def test_the_command_writes_a_file_and_never_over_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = TraceBuilder()
    trace.process().thread().push(0, 100, "prefill").launch(10, gpu=(20, 30))
    path = trace.write(tmp_path / "a.sqlite")

    assert run(capsys, "export", path, "--to", "perfetto") == (0, f"{tmp_path / 'a.pftrace'}\n", "")
    assert Read((tmp_path / "a.pftrace").read_bytes()).slices
    code, _, err = run(capsys, "export", path, "--to", "perfetto")
    assert code == 2
    assert "exists" in err
