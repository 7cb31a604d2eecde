"""A trace for Perfetto's viewer (ui.perfetto.dev): phases, ranges, calls, GPU work per stream, flows, counters.

Times are those of the trace, to the nanosecond. Needs the package `perfetto` (extra of the same name).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from nsys_pipeline.errors import UsageError
from nsys_pipeline.text import printable

if TYPE_CHECKING:
    from nsys_pipeline.trace import Trace

_SEQUENCE = 1
_BATCH = 50_000
_SPANS = """
    SELECT
        lane.track, lane.process_id, lane.thread_id, lane.device_id, lane.stream_id, lane.domain, lane.depth < 0,
        start_ns, end_ns, name, category, phase, id, api_id
    FROM views._timeline_spans
    ORDER BY 1, 2, 3, 4, 5, 6, 7, start_ns, end_ns DESC, lane.depth, id
"""
_COUNTERS = (
    "tensor_active_ratio", "sm_active_ratio", "sm_issue_ratio", "dram_read_ratio", "dram_write_ratio", "pcie_rx_ratio",
    "pcie_tx_ratio", "nvlink_rx_ratio", "nvlink_tx_ratio",
)  # fmt: skip


class _Span(NamedTuple):
    track: str
    process_id: int | None
    thread_id: int | None
    device_id: int | None
    stream_id: int | None
    domain: str | None
    is_free: bool | None
    start_ns: int
    end_ns: int
    name: str | None
    category: str | None
    phase: str | None
    id: int
    api_id: int | None

    @property
    def lane(self) -> tuple[object, ...]:
        return self[:7]


def write_perfetto(trace: Trace, stream: IO[bytes]) -> int:
    """Write `trace` in Perfetto's format and return how many slices it has. Raises UsageError without `perfetto`."""
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as proto
        from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder
    except ImportError as error:
        raise UsageError(
            "the package `perfetto` is not installed",
            hint="pip install '.[perfetto]' in a checkout of llmperf, or `pip install perfetto`",
        ) from error
    trace.build("views._timeline_spans", "views.threads", "views.devices", "views.processes", "load.counter_samples")
    with trace.reading():
        return _Writer(trace, StreamingTraceProtoBuilder(stream), proto).write()


class _Writer:
    """Writes packets one by one; names are sent once and then meant by number."""

    def __init__(self, trace: Trace, builder: Any, proto: Any) -> None:
        self._connection = trace.connection
        self._builder = builder
        self._proto = proto
        self._tracks: dict[tuple[object, ...], int] = {}
        self._names: dict[str, int] = {}
        self._categories: dict[str, int] = {}
        self._slices = 0

    def write(self) -> int:
        """Everything, and how many slices it was."""
        first = self._packet(None)
        first.sequence_flags = self._proto.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        # The field of every slice's one annotation.
        interned = first.interned_data.debug_annotation_names.add()
        interned.iid, interned.name = 1, "phase"
        self._builder.write_packet(first)
        self._describe()
        self._launching = set(self._column("SELECT DISTINCT api_id FROM attribute.gpu_work WHERE api_id IS NOT NULL"))
        lane: tuple[object, ...] | None = None
        rows: list[_Row] = []
        for span in self._spans():
            if span.lane != lane:
                self._end(rows)
                lane, rows = span.lane, []
            self._put(span, rows)
        self._end(rows)
        self._counters()
        return self._slices

    def _spans(self) -> Iterator[_Span]:
        self._connection.execute(_SPANS)
        while batch := self._connection.fetchmany(_BATCH):
            yield from map(_Span._make, batch)

    def _column(self, query: str) -> list[Any]:
        return [row[0] for row in self._connection.execute(query).fetchall()]

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(query).fetchall()

    # -- tracks --------------------------------------------------------------------------------------------------------

    def _describe(self) -> None:
        for pid, name in self._rows("SELECT DISTINCT process_id, name FROM views.processes ORDER BY ALL"):
            self._track(("process", pid), process=(pid, name))
        for pid, tid, name in self._rows("SELECT process_id, thread_id, name FROM views.threads ORDER BY ALL"):
            self._track(("thread", pid, tid), parent=self._tracks.get(("process", pid), 0), thread=(pid, tid, name))
        for device, name in self._rows("SELECT device_id, name FROM views.devices ORDER BY device_id"):
            self._track(("gpu", device), name=f"GPU {device} {name}" if name else f"GPU {device}")

    def _track(
        self,
        key: tuple[object, ...],
        *,
        name: str | None = None,
        parent: int = 0,
        process: tuple[int, str | None] | None = None,
        thread: tuple[int, int, str | None] | None = None,
        unit: str | None = None,
    ) -> int:
        """Number of the track `key`, which is described the first time that it is asked for."""
        if key in self._tracks:
            return self._tracks[key]
        self._tracks[key] = len(self._tracks) + 1
        packet = self._packet(None)
        about = packet.track_descriptor
        about.uuid = self._tracks[key]
        if parent:
            about.parent_uuid = parent
        if name:
            about.name = printable(name)
        if process:
            about.process.pid, about.process.process_name = process[0], printable(process[1] or "")
        if thread:
            about.thread.pid, about.thread.tid, about.thread.thread_name = *thread[:2], printable(thread[2] or "")
        if unit:
            about.counter.unit_name = unit
        self._builder.write_packet(packet)
        return self._tracks[key]

    def _track_of(self, span: _Span, row: int) -> int:
        """The track of a lane's row: below its thread, or its GPU."""
        if span.device_id is None:
            parent = self._track(("thread", span.process_id, span.thread_id), name=f"thread {span.thread_id}")
            title = {"phase": "phases", "range": f"NVTX {span.domain}".rstrip(), "api": "CUDA calls"}[span.track]
        else:
            parent = self._track(("gpu", span.device_id), name=f"GPU {span.device_id}")
            title = "work of phases" if span.track == "gpu_phase" else f"stream {span.stream_id}"
        return self._track((*span.lane, row), name=f"{title} ({row + 1})" if row else title, parent=parent)

    # -- slices --------------------------------------------------------------------------------------------------------

    def _put(self, span: _Span, rows: list[_Row]) -> None:
        """Begin a slice in the first row that takes it: one that is free, or, on a host, one that it nests in."""
        nests = span.track in ("range", "api")
        end = max(span.start_ns, span.end_ns)
        for row in rows:
            row.end_until(span.start_ns, self._finish)
            if not row.open or (nests and end <= row.open[-1]):
                break
        else:
            row = _Row(self._track_of(span, len(rows)))
            rows.append(row)
        row.open.append(end)
        self._begin(span, row.track)

    def _end(self, rows: list[_Row]) -> None:
        for row in rows:
            row.end_until(None, self._finish)

    def _begin(self, span: _Span, track: int) -> None:
        packet = self._packet(span.start_ns)
        event = packet.track_event
        event.type = self._proto.TrackEvent.TYPE_SLICE_BEGIN
        event.track_uuid = track
        event.name_iid = self._interned(packet, "event_names", self._names, printable(span.name or "?"))
        category = printable(span.category or "other")
        event.category_iids.append(self._interned(packet, "event_categories", self._categories, category))
        if span.phase:
            annotation = event.debug_annotations.add()
            annotation.name_iid, annotation.string_value = 1, printable(span.phase)
        if span.track == "api" and span.id in self._launching:
            event.flow_ids.append(span.id)
        if span.api_id in self._launching:
            # A flow ends once: of a CUDA graph the first node has the arrow.
            self._launching.remove(span.api_id)
            event.terminating_flow_ids.append(span.api_id)
        self._builder.write_packet(packet)
        self._slices += 1

    def _finish(self, track: int, at_ns: int) -> None:
        packet = self._packet(at_ns)
        packet.track_event.type = self._proto.TrackEvent.TYPE_SLICE_END
        packet.track_event.track_uuid = track
        self._builder.write_packet(packet)

    def _interned(self, packet: Any, field: str, known: dict[str, int], text: str) -> int:
        if text not in known:
            known[text] = len(known) + 1
            entry = getattr(packet.interned_data, field).add()
            entry.iid, entry.name = known[text], text
        return known[text]

    # -- counters ------------------------------------------------------------------------------------------------------

    def _counters(self) -> None:
        names = ", ".join(_COUNTERS)
        for device, at_ns, *values in self._rows(
            f"SELECT lane, start_ns, {names} FROM load.counter_samples ORDER BY lane, start_ns"  # noqa: S608 - own names
        ):
            for name, value in zip(_COUNTERS, values, strict=True):
                if value is not None:
                    self._count(device, name.removesuffix("_ratio").replace("_", " "), at_ns, value)

    def _count(self, device: int, name: str, at_ns: int, value: float) -> None:
        gpu = self._track(("gpu", device), name=f"GPU {device}")
        track = self._track(("counter", device, name), name=name, parent=gpu, unit="%")
        packet = self._packet(at_ns)
        packet.track_event.type = self._proto.TrackEvent.TYPE_COUNTER
        packet.track_event.track_uuid = track
        packet.track_event.double_counter_value = 100 * value
        self._builder.write_packet(packet)

    def _packet(self, at_ns: int | None) -> Any:
        packet = self._builder.create_packet()
        packet.trusted_packet_sequence_id = _SEQUENCE
        if at_ns is not None:
            packet.timestamp = max(0, at_ns)
            packet.sequence_flags = self._proto.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        return packet


class _Row:
    """A track of slices that nest or follow each other, with the ends of those that are open."""

    def __init__(self, track: int) -> None:
        self.track = track
        self.open: list[int] = []

    def end_until(self, at_ns: int | None, finish: Callable[[int, int], None]) -> None:
        """End what has ended at `at_ns`, or everything."""
        while self.open and (at_ns is None or self.open[-1] <= at_ns):
            finish(self.track, self.open.pop())
