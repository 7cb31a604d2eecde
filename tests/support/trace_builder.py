"""Writes small SQLite traces as ``nsys export`` would, so that a test's whole input fits on one screen.

    trace = TraceBuilder()
    main = trace.process(pid=100).thread()
    main.push(0, 50, "prefill")
    main.launch(10, gpu=(20, 45))
    path = trace.write(tmp_path / "trace.sqlite")

All times are ns on the trace's clock. GPU work is ``gpu=(start, end)``; the API call that launched it becomes one row
of CUPTI_ACTIVITY_KIND_RUNTIME that takes CALL_NS unless told otherwise. Correlation ids count up from 1 in every
process, as CUPTI's do, so the ids of two processes are equal unless a test says otherwise.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.support.nsys_schema import PRODUCT_VERSIONS, SCHEMA_VERSIONS, Table, tables

PUSH_POP, START_END, MARK, DOMAIN_CREATE = 59, 60, 34, 75
RUNTIME_CLASS, BACKTRACE_CLASS = 0, 67
CALL_NS = 2
SESSION_START_NS = 586_491_075
Span = tuple[int, int]
Row = dict[str, Any]

# What nsys writes where a test did not care; every other column of a row is NULL.
_ROW_DEFAULTS: dict[str, Row] = {
    "CUPTI_ACTIVITY_KIND_KERNEL": {
        "contextId": 1, "launchType": 1, "cacheConfig": 0, "registersPerThread": 32,
        "gridX": 1024, "gridY": 1, "gridZ": 1,
        "blockX": 128, "blockY": 1, "blockZ": 1, "staticSharedMemory": 0, "dynamicSharedMemory": 0,
        "localMemoryPerThread": 0, "localMemoryTotal": 0, "gridId": 0, "sharedMemoryExecuted": 32768,
        "clusterX": 0, "clusterY": 0, "clusterZ": 0,
    },
    "CUPTI_ACTIVITY_KIND_RUNTIME": {"returnValue": 0, "eventClass": RUNTIME_CLASS},
    "CUPTI_ACTIVITY_KIND_MEMCPY": {"contextId": 1, "srcKind": 1, "dstKind": 2, "copyCount": 1},
    "CUPTI_ACTIVITY_KIND_MEMSET": {"contextId": 1, "value": 0, "memKind": 2},
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": {"contextId": 1},
    "TARGET_INFO_GPU": {"vmId": 1 << 48, "busLocation": "0000:01:00.0", "isDiscrete": 1},
    "DIAGNOSTIC_EVENT": {"timestampType": 1, "source": 1},
}  # fmt: skip


def global_tid(pid: int, tid: int = 0, *, vm: int = 1, hw: int = 0) -> int:
    """nsys' serialized thread id, ``<hw:8><vm:8><pid:24><tid:24>``; with `tid` 0 it is a globalPid."""
    for name, value, bits in (("pid", pid, 24), ("tid", tid, 24), ("vm", vm, 8), ("hw", hw, 8)):
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{name} {value} does not fit into {bits} bits")
    serialized = hw << 56 | vm << 48 | pid << 24 | tid
    return serialized - (1 << 64) if serialized >> 63 else serialized  # SQLite's integers are signed


class TraceBuilder:
    """Collects rows and writes them as one SQLite export.

    `schema` is one of ``nsys_schema.GENERATIONS``. `lazy` leaves out tables without rows, as exports do by default.
    `registered` stores names of ranges as StringIds (``textId``), as registered strings and nsys ≥ 2025 are stored;
    otherwise as plain ``text``. Both can be overridden per range.
    """

    def __init__(self, schema: str = "2025.3", *, lazy: bool = True, registered: bool | None = None) -> None:
        self.schema = schema
        self._tables: dict[str, Table] = tables(schema)
        self._lazy = lazy
        self._registered = schema >= "2025" if registered is None else registered
        self._rows: dict[str, list[Row]] = {}
        self._strings: dict[str, int] = {}
        self._processes: list[ProcessBuilder] = []
        self._without: set[str] = set()
        self._without_columns: set[tuple[str, str]] = set()
        self._not_utf8: dict[int, bytes] = {}
        self._duration: int | None = None

    def __repr__(self) -> str:
        """Every row that was asked for, so that a failing random trace can be read."""
        lines = [f"nsys {self.schema}, strings {self._strings}"]
        for table, rows in self._rows.items():
            defaults = _ROW_DEFAULTS.get(table, {})
            for row in rows:
                told = {c: v for c, v in row.items() if v is not None and (c not in defaults or defaults[c] != v)}
                lines.append(f"{table} {told}")
        return "\n".join(lines)

    # -- what the trace holds ----------------------------------------------------------------------------------------

    def process(self, pid: int = 100, *, name: str | None = "python", vm: int = 1, hw: int = 0) -> ProcessBuilder:
        """Another process of the trace, with its own domains and correlation ids."""
        process = ProcessBuilder(self, pid, vm, hw)
        self._processes.append(process)
        self.row("PROCESSES", globalPid=process.global_pid, pid=pid, name=name)
        return process

    def gpu(
        self,
        device: int = 0,
        *,
        name: str = "NVIDIA H100 80GB HBM3",
        sm_count: int = 132,
        memory_bandwidth: int = 3_352_320_000_000,
        clock_hz: int = 1_980_000_000,
        compute: tuple[int, int] = (9, 0),
        l2_cache_bytes: int | None = None,
    ) -> TraceBuilder:
        """One row of TARGET_INFO_GPU. Units: bytes per second, Hz, bytes."""
        self.row(
            "TARGET_INFO_GPU",
            id=device,
            cuDevice=device,
            name=name,
            smCount=sm_count,
            memoryBandwidth=memory_bandwidth,
            clockRate=clock_hz,
            totalMemory=85_024_112_640,
            l2CacheSize=l2_cache_bytes,
            computeMajor=compute[0],
            computeMinor=compute[1],
            smMajor=compute[0],
            smMinor=compute[1],
        )
        return self

    def diagnostic(self, text: str, *, severity: int = 1, at: int = 0, process: ProcessBuilder | None = None) -> None:
        """One line of nsys' own log; severity 1 is info, 2 warning, 3 error. Dropped where the schema has no table."""
        if "DIAGNOSTIC_EVENT" in self._tables:
            pid = process.global_pid if process else None
            self.row("DIAGNOSTIC_EVENT", timestamp=at, severity=severity, text=text, globalPid=pid)

    def capture_metadata(self, **values: str) -> None:
        """Rows of META_DATA_CAPTURE; ``__`` in a keyword stands for ``:``."""
        for name, value in values.items():
            self.row("META_DATA_CAPTURE", name=name.replace("__", ":"), value=value)

    def session(self, duration: int) -> TraceBuilder:
        """Length of the recording (default: until the last event). Events count from its start, 0."""
        self._duration = duration
        return self

    def graph_creation(self, start: int, end: int, thread: ThreadBuilder, *, graph_id: int = 1) -> None:
        """A graph that was created at `start`, which real traces hold with negative times, too."""
        self.row(
            "CUDA_GRAPH_EVENTS",
            start=start,
            end=end,
            eventClass=95,
            globalTid=thread.global_tid,
            nameId=self.string("cudaGraphInstantiate"),
            graphId=graph_id,
            graphNodeId=graph_id << 32,
        )

    # -- what the trace lacks ----------------------------------------------------------------------------------------

    def without(self, *names: str) -> TraceBuilder:
        """Leave these tables out, whatever they hold."""
        self._without.update(names)
        return self

    def without_column(self, column: str, *names: str) -> TraceBuilder:
        """Leave `column` out of these tables; with no table named, out of all of them."""
        self._without_columns.update((name, column) for name in (names or tuple(self._tables)))
        return self

    def bad_bytes(self, text: str, raw: bytes) -> TraceBuilder:
        """Store `raw` (not UTF-8) where the string `text` would be in StringIds."""
        self._not_utf8[self.string(text)] = raw
        return self

    # -- writing -----------------------------------------------------------------------------------------------------

    def string(self, value: str) -> int:
        """Id of `value` in StringIds."""
        return self._strings.setdefault(value, len(self._strings) + 1)

    def row(self, table: str, **values: Any) -> None:
        """Append one row by column names; columns that this generation lacks are dropped."""
        if table not in self._tables:
            raise KeyError(f"nsys {self.schema} writes no table {table}")
        known = self._tables[table].columns
        self._rows.setdefault(table, []).append(
            {column: value for column, value in (_ROW_DEFAULTS.get(table, {}) | values).items() if column in known}
        )

    def bulk(self, table: str, rows: list[Row]) -> None:
        """Append complete rows as they are: no defaults, no check of columns."""
        self._rows.setdefault(table, []).extend(rows)

    def shuffled(self, random: Random) -> TraceBuilder:
        """Put the rows of every table into another order, which since nsys 2025.6 an export may do, too."""
        for rows in self._rows.values():
            random.shuffle(rows)
        return self

    def write(self, path: Path) -> Path:
        """Write the export to `path`, which must not exist, and return it."""
        if path.exists():
            raise FileExistsError(path)
        rows = self._rows | self._closing_rows()
        with closing(sqlite3.connect(path)) as db, db:
            for name, table in self._tables.items():
                if name in self._without or (self._lazy and not rows.get(name)):
                    continue
                kept = tuple(c for c in table.columns if (name, c) not in self._without_columns)
                db.execute(Table(name, kept).ddl())
                slots = ", ".join("?" * len(kept))
                db.executemany(
                    f"INSERT INTO {name} VALUES ({slots})",
                    ([row.get(column) for column in kept] for row in rows.get(name, ())),
                )
            for string_id, raw in self._not_utf8.items():
                db.execute("UPDATE StringIds SET value = CAST(? AS TEXT) WHERE id = ?", (raw, string_id))
        return path

    def _closing_rows(self) -> dict[str, list[Row]]:
        """Rows that every export has without a test asking for them: strings, metadata, the session's times."""
        added: dict[str, list[Row]] = {"StringIds": [{"id": i, "value": v} for v, i in self._strings.items()]}
        if SCHEMA_VERSIONS[self.schema] is not None:
            table = "EXPORT_META_DATA" if "EXPORT_META_DATA" in self._tables else "META_DATA_EXPORT"
            version = str(SCHEMA_VERSIONS[self.schema])
            major, minor, micro = version.split(".")
            pairs = {
                "EXPORT_PRODUCT_NAME": "NVIDIA Nsight Systems",
                "EXPORT_PRODUCT_VERSION": PRODUCT_VERSIONS[self.schema],
                "EXPORT_SCHEMA_VERSION": version,
                "EXPORT_SCHEMA_VERSION_MAJOR": major,
                "EXPORT_SCHEMA_VERSION_MINOR": minor,
                "EXPORT_SCHEMA_VERSION_MICRO": micro,
            }
            added[table] = [{"name": name, "value": value} for name, value in pairs.items()] + self._rows.get(table, [])
        if "ANALYSIS_DETAILS" in self._tables:
            ends = (row.get("end") or row.get("start") or 0 for rows in self._rows.values() for row in rows)
            duration = max(ends, default=0) if self._duration is None else self._duration
            # Start and stop are on another clock than the events, which count from the start.
            times = {"duration": duration, "startTime": SESSION_START_NS, "stopTime": SESSION_START_NS + duration}
            added["ANALYSIS_DETAILS"] = [{"globalVid": 1 << 48, **times}]
        return added


@dataclass(eq=False)
class ProcessBuilder:
    """One process: its threads, its NVTX domains, its correlation ids."""

    trace: TraceBuilder
    pid: int
    vm: int = 1
    hw: int = 0
    _domains: dict[str, int] = field(default_factory=dict)
    _correlations: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def global_pid(self) -> int:
        return global_tid(self.pid, vm=self.vm, hw=self.hw)

    def thread(self, tid: int | None = None, *, name: str | None = None) -> ThreadBuilder:
        """A thread of the process; the main thread, whose tid is the pid, when `tid` is left out."""
        thread = ThreadBuilder(self, self.pid if tid is None else tid)
        if name is not None:
            self.trace.row("ThreadNames", nameId=self.trace.string(name), priority=0, globalTid=thread.global_tid)
        return thread

    def domain(self, name: str | None, thread: ThreadBuilder) -> int:
        """Id of an NVTX domain in this process (0 is the default one); its first use writes the creation event."""
        if name is None:
            return 0
        if name not in self._domains:
            self._domains[name] = len(self._domains) + 1
            self.trace.row(
                "NVTX_EVENTS",
                start=0,
                eventType=DOMAIN_CREATE,
                text=name,
                globalTid=thread.global_tid,
                domainId=self._domains[name],
            )
        return self._domains[name]

    def next_correlation(self) -> int:
        return next(self._correlations)

    # GPU work without an API row: what runs before the capture, or was launched by a call that was not traced.

    def kernel(
        self,
        gpu: Span,
        *,
        correlation: int | None,
        name: str = "kernel",
        device: int | None = 0,
        stream: int = 7,
        **more: Any,
    ) -> ProcessBuilder:
        """One kernel row. `correlation` None writes NULL; `more` are further columns."""
        string = self.trace.string(name)
        self._gpu_row(
            "CUPTI_ACTIVITY_KIND_KERNEL",
            gpu,
            correlation,
            device,
            stream,
            {"demangledName": string, "shortName": string, "mangledName": string} | more,
        )
        return self

    def memcpy(
        self, gpu: Span, *, correlation: int | None, size_bytes: int = 1024, kind: int = 1, device: int = 0,
        stream: int = 7, **more: Any,
    ) -> ProcessBuilder:  # fmt: skip
        """One copy; kind 1 is host to device, 2 device to host, 8 device to device."""
        more = {"bytes": size_bytes, "copyKind": kind} | more
        self._gpu_row("CUPTI_ACTIVITY_KIND_MEMCPY", gpu, correlation, device, stream, more)
        return self

    def memset(
        self,
        gpu: Span,
        *,
        correlation: int | None,
        size_bytes: int = 1024,
        device: int = 0,
        stream: int = 7,
        **more: Any,
    ) -> ProcessBuilder:
        """One memset."""
        more = {"bytes": size_bytes} | more
        self._gpu_row("CUPTI_ACTIVITY_KIND_MEMSET", gpu, correlation, device, stream, more)
        return self

    def graph(
        self, gpu: Span, *, correlation: int | None, graph_id: int = 1, device: int = 0, stream: int = 7
    ) -> ProcessBuilder:
        """One launch of a CUDA graph that was traced as a whole."""
        more = {"graphId": graph_id, "graphExecId": graph_id + 1}
        self._gpu_row("CUPTI_ACTIVITY_KIND_GRAPH_TRACE", gpu, correlation, device, stream, more)
        return self

    def _gpu_row(
        self, table: str, gpu: Span, correlation: int | None, device: int | None, stream: int, more: Row
    ) -> None:
        common = {
            "start": gpu[0],
            "end": gpu[1],
            "deviceId": device,
            "streamId": stream,
            "correlationId": correlation,
            "globalPid": self.global_pid,
        }
        self.trace.row(table, **(common | more))


@dataclass(eq=False)
class ThreadBuilder:
    """One thread: its ranges, its API calls and what they launched. Every method returns the thread, to be chained."""

    process: ProcessBuilder
    tid: int

    @property
    def trace(self) -> TraceBuilder:
        return self.process.trace

    @property
    def global_tid(self) -> int:
        return global_tid(self.process.pid, self.tid, vm=self.process.vm, hw=self.process.hw)

    # -- NVTX --------------------------------------------------------------------------------------------------------

    def push(
        self, start: int, end: int | None, name: str, *, domain: str | None = None, registered: bool | None = None
    ) -> ThreadBuilder:
        """A push/pop range; `end` None is a push that was never popped."""
        return self._nvtx(PUSH_POP, start, end, name, domain, registered)

    def start_end(
        self,
        start: int,
        end: int | None,
        name: str,
        *,
        domain: str | None = None,
        ended_by: ThreadBuilder | None = None,
    ) -> ThreadBuilder:
        """A start/end range, which another thread may have ended."""
        other = ended_by.global_tid if ended_by and ended_by.global_tid != self.global_tid else None
        return self._nvtx(START_END, start, end, name, domain, None, endGlobalTid=other)

    def mark(self, at: int, text: str, *, domain: str | None = None) -> ThreadBuilder:
        """A mark: an instant, no range."""
        return self._nvtx(MARK, at, None, text, domain, None)

    def _nvtx(
        self,
        kind: int,
        start: int,
        end: int | None,
        name: str,
        domain: str | None,
        registered: bool | None,
        **more: Any,
    ) -> ThreadBuilder:
        by_id = self.trace._registered if registered is None else registered
        self.trace.row(
            "NVTX_EVENTS",
            start=start,
            end=end,
            eventType=kind,
            text=None if by_id else name,
            textId=self.trace.string(name) if by_id else None,
            globalTid=self.global_tid,
            domainId=self.process.domain(domain, self),
            **more,
        )
        return self

    # -- CUDA --------------------------------------------------------------------------------------------------------

    def call(
        self,
        at: int,
        *,
        until: int | None = None,
        api: str = "cudaLaunchKernel_v7000",
        correlation: int | None = None,
        backtrace: bool = False,
    ) -> int:
        """One API call; returns its correlation id. `backtrace` adds the second row that --cudabacktrace leaves."""
        correlation = self.process.next_correlation() if correlation is None else correlation
        for event_class in (RUNTIME_CLASS, BACKTRACE_CLASS) if backtrace else (RUNTIME_CLASS,):
            self.trace.row(
                "CUPTI_ACTIVITY_KIND_RUNTIME",
                start=at,
                end=at + CALL_NS if until is None else until,
                eventClass=event_class,
                globalTid=self.global_tid,
                correlationId=correlation,
                nameId=self.trace.string(api),
                callchainId=1 if event_class == BACKTRACE_CLASS else None,
            )
        return correlation

    def launch(
        self, at: int, gpu: Span, *, name: str = "kernel", device: int | None = 0, stream: int = 7,
        until: int | None = None, correlation: int | None = None, backtrace: bool = False, **more: Any,
    ) -> ThreadBuilder:  # fmt: skip
        """A kernel launch and its kernel."""
        correlation = self.call(at, until=until, correlation=correlation, backtrace=backtrace)
        self.process.kernel(gpu, correlation=correlation, name=name, device=device, stream=stream, **more)
        return self

    def memcpy(self, at: int, gpu: Span, **more: Any) -> ThreadBuilder:
        """A cudaMemcpyAsync and its copy; `more` as in ProcessBuilder.memcpy."""
        self.process.memcpy(gpu, correlation=self.call(at, api="cudaMemcpyAsync_v3020"), **more)
        return self

    def memset(self, at: int, gpu: Span, **more: Any) -> ThreadBuilder:
        """A cudaMemsetAsync and its memset; `more` as in ProcessBuilder.memset."""
        self.process.memset(gpu, correlation=self.call(at, api="cudaMemsetAsync_v3020"), **more)
        return self

    def graph_launch(
        self, at: int, *, gpu: Span | None = None, nodes: Sequence[Span] = (), graph_id: int = 1, device: int = 0,
        stream: int = 7, until: int | None = None,
    ) -> ThreadBuilder:  # fmt: skip
        """A cudaGraphLaunch: one GRAPH_TRACE row for `gpu`, one kernel row with a graphNodeId for each of `nodes`."""
        correlation = self.call(at, until=until, api="cudaGraphLaunch_v10000")
        if gpu is not None:
            self.process.graph(gpu, correlation=correlation, graph_id=graph_id, device=device, stream=stream)
        for index, node in enumerate(nodes):
            self.process.kernel(
                node,
                correlation=correlation,
                name=f"node{index}",
                device=device,
                stream=stream,
                graphNodeId=graph_id << 32 | index,
                graphId=graph_id,
            )
        return self
