"""Turn a trace of torch.profiler (Kineto) into the tables of an nsys export, which everything else reads.

What becomes what is in docs/kineto.md. Annotations and operators become push/pop ranges of their threads; an operator's
text is the one that torch's `emit_nvtx` gives it. CUDA calls and GPU work keep their correlation ids.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from nsys_pipeline import markers
from nsys_pipeline.errors import TraceError
from nsys_pipeline.rules.kernels import short_name
from nsys_pipeline.trace.cache import temporary
from nsys_pipeline.trace.chrome_json import ChromeTrace
from nsys_pipeline.trace.kineto_collectives import collective
from nsys_pipeline.trace.unpack import open_bounded

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import SupportsRead

_PUSH_POP, _MARK, _DOMAIN_CREATE = 59, 34, 75
_OWN_DOMAIN_ID = 1
_BATCH_ROWS = 20_000
# What 24 bits of nsys' ids hold.
_MAX_ID = (1 << 24) - 1
# Numbers for threads whose ids do not fit: below all of these no system has so many threads.
_FIRST_OTHER_THREAD = 0xE00000

_CATEGORIES = {
    "kernel": "kernel", "concurrent_kernel": "kernel", "Kernel": "kernel",
    "gpu_memcpy": "memcpy", "Memcpy": "memcpy",
    "gpu_memset": "memset", "Memset": "memset",
    "cuda_runtime": "call", "cuda_driver": "call", "Runtime": "call",
    "cpu_op": "operator", "Operator": "operator",
    "user_annotation": "annotation",
}  # fmt: skip
"""Categories of events that are read, with those of torch 1.8, and what they are."""
_PYTHON = ("python_function", "Python function")
_OVERHEAD = "overhead"
_UNREAD = frozenset({
    *_PYTHON, "gpu_user_annotation", _OVERHEAD, "cuda_sync", "cuda_event", "cpu_instant_event", "external_correlation",
    "cuda_profiler_range", "collective_comm", "ac2g", "async_cpu_to_gpu", "fwdbwd", "forward_backward", "Trace",
})  # fmt: skip
"""Categories of events that repeat others or take no time of a GPU, and are not read."""
_MAX_UNKNOWN = 5
_WORK_KINDS = ("kernel", "memcpy", "memset")

_COPIES = {name: number for number, name in enumerate(
    ("HtoD", "DtoH", "HtoA", "AtoH", "AtoA", "AtoD", "DtoA", "DtoD", "HtoH", "PtoP"), 1
)}  # fmt: skip
_MEMORIES = {
    "Pageable": 0, "Pinned": 1, "Device": 2, "Array": 3, "Managed": 4, "Device Static": 5, "Managed Static": 6,
    "Unknown": 7,
}  # fmt: skip
_COPY_NAME = re.compile(r"Memcpy (\w+) \((.+) -> (.+)\)")
_FILL_NAME = re.compile(r"Memset \((.+)\)")
# Communicators of ranks that share sequences, as torch's device meshes and Megatron describe them.
_CONTEXT_GROUP = re.compile(r"mesh_cp|(?:HIERARCHICAL_)?CONTEXT_PARALLEL_GROUPS?")
_GRAPH_LAUNCHES = ("cu%GraphLaunch%", "hipGraphLaunch%")
_MARKS = tuple(f"{name} " for name in markers.MARKS)

_ATTENTION = "aten::_scaled_dot_product_"
_CAUSAL = {
    f"{_ATTENTION}flash_attention": 4, f"{_ATTENTION}flash_attention_for_cpu": 4, f"{_ATTENTION}efficient_attention": 6,
    f"{_ATTENTION}cudnn_attention": 6,
}  # fmt: skip
"""Which argument of attention says whether it is causal."""
_CONVOLUTION = ("stride", "padding", "dilation", "transposed")
"""Arguments 3 to 6 of `aten::convolution`."""

_OP = "start end deviceId contextId streamId correlationId globalPid"
_TABLES = {
    "CUPTI_ACTIVITY_KIND_KERNEL": f"{_OP} demangledName shortName registersPerThread gridX gridY gridZ blockX blockY "
    "blockZ dynamicSharedMemory graphNodeId",
    "CUPTI_ACTIVITY_KIND_MEMCPY": f"{_OP} bytes copyKind srcKind dstKind graphNodeId",
    "CUPTI_ACTIVITY_KIND_MEMSET": f"{_OP} bytes memKind graphNodeId",
    "CUPTI_ACTIVITY_KIND_RUNTIME": "start end globalTid correlationId nameId",
    "NVTX_EVENTS": "start end eventType globalTid textId domainId",
    "StringIds": "id value",
    "PROCESSES": "globalPid pid name",
    "ThreadNames": "nameId globalTid priority",
    "TARGET_INFO_GPU": "id isDiscrete smCount totalMemory computeMajor computeMinor name uuid",
    "TARGET_INFO_SESSION_START_TIME": "utcEpochNs",
    "TARGET_INFO_SYSTEM_ENV": "name value",
    "DIAGNOSTIC_EVENT": "timestamp severity globalPid text",
    "META_DATA_CAPTURE": "name value",
    "PROFILER_OVERHEAD": "start end globalTid nameId",
    "TORCH_COLLECTIVES": "start end globalPid streamId correlationId communicator messageBytes rankCount",
}
_TEXTS = frozenset({"value", "name", "text", "uuid", "communicator"})
_TIMED = ("CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_MEMCPY", "CUPTI_ACTIVITY_KIND_MEMSET",
          "CUPTI_ACTIVITY_KIND_RUNTIME", "NVTX_EVENTS", "PROFILER_OVERHEAD", "TORCH_COLLECTIVES")  # fmt: skip
_WORK = _TIMED[:3]


def convert(path: Path, final: Path, *, limit_bytes: int | None = None) -> Path:
    """Write the trace of torch.profiler at `path`, packed or not, to `final` as an nsys export in SQLite.

    Raises TraceError if it is damaged, is another program's, unpacks to more than `unpack.limit_of` allows, or if
    the disk is full.
    """
    if final.exists():
        return final
    partial = temporary(final)
    try:
        with (
            open_bounded(path, limit_bytes=limit_bytes) as stream,
            closing(sqlite3.connect(partial, isolation_level=None)) as lite,
        ):
            lite.execute("PRAGMA journal_mode = OFF")
            lite.execute("PRAGMA synchronous = OFF")
            lite.execute("BEGIN")
            _Conversion(lite, stream, path).run()
            lite.execute("COMMIT")
        partial.replace(final)
    except sqlite3.Error as error:
        raise TraceError(
            f"`{path}` cannot be converted in `{final.parent}`: {error}", hint="make room there, or pass --no-cache"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return final


class _Conversion:
    def __init__(self, lite: sqlite3.Connection, stream: SupportsRead[bytes], path: Path) -> None:
        self.lite, self.path = lite, path
        self.trace = ChromeTrace(stream, str(path))
        self.rows: dict[str, list[tuple[object, ...]]] = {name: [] for name in _TABLES}
        self.inserts = {}
        for name, columns in _TABLES.items():
            types = ", ".join(f'"{one}" {"TEXT" if one in _TEXTS else "INTEGER"}' for one in columns.split())
            lite.execute(f"CREATE TABLE {name} ({types})")
            self.inserts[name] = f"INSERT INTO {name} VALUES ({', '.join('?' * len(columns.split()))})"  # noqa: S608
        self.strings: dict[str, int] = {}
        self.kernel_names: dict[str, tuple[int, int]] = {}
        self.process: int | None = None
        self.threads: dict[object, int] = {}
        self.other_threads = 0
        self.first_ns: int | None = None
        self.has_own_domain = self.has_run_mark = False
        self.context_group: str | None = None
        self.counts = dict.fromkeys(
            ("events", "ours", "python_functions", "operators", "operators_with_shapes", "fractions", "untimed",
             "endless", "half_events"), 0
        )  # fmt: skip
        self.unknown: dict[str, int] = {}
        self.writers: dict[str, Callable[[dict[str, Any], int, int, dict[str, Any]], None]] = {
            "kernel": self._kernel, "memcpy": self._memcpy, "memset": self._memset, "call": self._call,
            "operator": self._operator, "annotation": self._annotation,
        }  # fmt: skip

    def run(self) -> None:
        writers = {category: self.writers[what] for category, what in _CATEGORIES.items()}
        counts = self.counts
        names: list[dict[str, Any]] = []
        for event in self.trace.events():
            counts["events"] += 1
            if not isinstance(event, dict):
                raise self._damaged(event, "it is no object")
            phase = event.get("ph")
            if phase == "M":
                names.append(event)
                continue
            category = event.get("cat")
            writer = writers.get(category) if phase == "X" and isinstance(category, str) else None
            if writer is None:
                counts["python_functions"] += category in _PYTHON
                if phase == "X" and category == _OVERHEAD:
                    self._overhead(event)
                self._pass_by(phase, category)
                continue
            try:
                start = self._ns(event["ts"])
                end = start + self._ns(event.get("dur", 0))
                if _CATEGORIES[str(category)] in _WORK_KINDS:
                    # Counted, like work that CUPTI has no times of.
                    start, end = (start, end) if "dur" in event else (0, 0)
                else:
                    counts["endless"] += "dur" not in event
                    if start == end == 0:  # ranges and calls without times say nothing
                        counts["untimed"] += 1
                        continue
                writer(event, start, end, event.get("args") or {})
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                raise self._damaged(event, _problem(error)) from error
            if (self.first_ns is None or start < self.first_ns) and not start == end == 0:
                self.first_ns = start
            counts["ours"] += 1
            if not counts["ours"] % _BATCH_ROWS:
                self._flush()
        if not counts["ours"]:
            raise TraceError(
                f"`{self.path}` is no trace of torch.profiler: of its {counts['events']:,} events none is an operator, "
                "an annotation, a CUDA call or work of the GPU",
                hint="llmperf reads what torch.profiler's `export_chrome_trace` writes",
            )
        self._names(names)
        self._facts()
        self._flush()
        self._finish()

    def _overhead(self, event: Mapping[str, Any]) -> None:
        """What the profiler did itself. The file does not say on which thread: see `_find_slowed_threads`."""
        try:
            start = self._ns(event["ts"])
            end = start + self._ns(event["dur"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return
        self.rows["PROFILER_OVERHEAD"].append((start, end, None, self._string(str(event.get("name")))))

    def _pass_by(self, phase: object, category: object) -> None:
        """Remember an event that is not read, if it may stand for work or a range."""
        if phase in ("B", "E") and category in _CATEGORIES:
            self.counts["half_events"] += 1
        elif phase == "X" and category not in _UNREAD:
            name = str(category)[:40]
            if name in self.unknown or len(self.unknown) < _MAX_UNKNOWN:
                self.unknown[name] = self.unknown.get(name, 0) + 1

    def _ns(self, microseconds: object) -> int:
        """Nanoseconds of µs with a fraction, exactly; what is beyond the third digit is rounded."""
        if type(microseconds) is int:
            return microseconds * 1000
        if isinstance(microseconds, str):
            # torch writes three digits.
            if microseconds[-4:-3] == "." and microseconds[:-4].isdigit():
                self.counts["fractions"] += 1
                return int(microseconds[:-4] + microseconds[-3:])
            from decimal import Decimal, InvalidOperation

            try:
                value = Decimal(microseconds) * 1000
                if value.is_finite() and abs(value) < 1 << 62:
                    self.counts["fractions"] += 1
                    return int(value.to_integral_value())
            except InvalidOperation:
                pass
        raise _NoTimeError(f"{str(microseconds)[:40]!r} is no time")

    def _string(self, text: str) -> int:
        number = self.strings.get(text)
        if number is None:
            number = self.strings[text] = len(self.strings)
            self.rows["StringIds"].append((number, _utf8(text)))
        return number

    def _kernel_names(self, name: str) -> tuple[int, int]:
        """Numbers of a kernel's whole and short name."""
        numbers = self.kernel_names.get(name)
        if numbers is None:
            numbers = self.kernel_names[name] = (self._string(name), self._string(short_name(name)))
        return numbers

    def _thread(self, event: Mapping[str, Any]) -> int:
        """The thread of a host event as nsys numbers it: pid and tid."""
        pid, tid = event["pid"], event["tid"]
        if self.process != pid:
            self._learn_process(pid)
        number = self.threads.get(tid)
        if number is None:
            value = int(tid)
            if not 0 <= value <= _MAX_ID:
                value = _FIRST_OTHER_THREAD + self.other_threads
                self.other_threads += 1
            number = self.threads[tid] = (self._key() << 24) | value
        return number

    def _known_thread(self, tid: object) -> int | None:
        return self.threads.get(tid) if isinstance(tid, int | str) else None

    def _learn_process(self, pid: object) -> None:
        if self.process is not None:
            raise self._merged(f"several processes, {self.process} and {str(pid)[:40]}")
        if type(pid) is not int:
            raise self._merged(f"a process `{str(pid)[:40]}`, as files have that were merged")
        self.process = pid

    def _merged(self, what: str) -> TraceError:
        return TraceError(
            f"`{self.path}` holds {what}: nothing says which GPU work is whose",
            hint="analyze the files that it was merged from: a folder with one for each rank is one trace",
        )

    def _key(self) -> int:
        return (self.process or 0) & _MAX_ID

    def _place(self, event: Mapping[str, Any], args: Mapping[str, Any], start: int, end: int) -> tuple[object, ...]:
        """Columns that all GPU work has; whose it is, is filled in at the end."""
        device = args.get("device", event.get("pid"))
        stream = args.get("stream", event.get("tid"))
        return (
            start, end, _whole(device), _whole(args.get("context")), _whole(stream), _whole(args.get("correlation")),
            None,
        )  # fmt: skip

    def _kernel(self, event: dict[str, Any], start: int, end: int, args: dict[str, Any]) -> None:
        names = self._kernel_names(str(event["name"]))
        group = args.get("Process Group Description")
        if isinstance(group, str) and _CONTEXT_GROUP.fullmatch(group) and (_whole(args.get("Group size")) or 0) > 1:
            self.context_group = group
        grid, block = _three(args.get("grid")), _three(args.get("block"))
        place = self._place(event, args, start, end)
        if "Collective name" in args and (said := collective(str(event["name"]), args)) is not None:
            *_, stream, correlation, process = place
            communicator, message_bytes, ranks = said
            self.rows["TORCH_COLLECTIVES"].append(
                (start, end, process, stream, correlation, _utf8(communicator), message_bytes, ranks)
            )
        self.rows["CUPTI_ACTIVITY_KIND_KERNEL"].append((
            *place, *names, _whole(args.get("registers per thread")), *grid, *block,
            _whole(args.get("shared memory")), None,
        ))  # fmt: skip

    def _memcpy(self, event: dict[str, Any], start: int, end: int, args: dict[str, Any]) -> None:
        found = _COPY_NAME.match(str(event.get("name")))
        kind, source, target = found.groups() if found else ("", "Unknown", "Unknown")
        args = {"device": args.get("inDevice", args.get("device", event.get("pid"))), **args}
        self.rows["CUPTI_ACTIVITY_KIND_MEMCPY"].append((
            *self._place(event, args, start, end), _whole(args.get("bytes")), _COPIES.get(kind),
            _MEMORIES.get(source, 7), _MEMORIES.get(target, 7), None,
        ))  # fmt: skip

    def _memset(self, event: dict[str, Any], start: int, end: int, args: dict[str, Any]) -> None:
        found = _FILL_NAME.match(str(event.get("name")))
        kind = _MEMORIES.get(found[1] if found else "Unknown", 7)
        place = self._place(event, args, start, end)
        self.rows["CUPTI_ACTIVITY_KIND_MEMSET"].append((*place, _whole(args.get("bytes")), kind, None))

    def _call(self, event: dict[str, Any], start: int, end: int, args: dict[str, Any]) -> None:
        thread, name = self._thread(event), self._string(str(event["name"]))
        self.rows["CUPTI_ACTIVITY_KIND_RUNTIME"].append((start, end, thread, _whole(args.get("correlation")), name))

    def _operator(self, event: dict[str, Any], start: int, end: int, args: dict[str, Any]) -> None:
        self.counts["operators"] += 1
        name = str(event["name"])
        dims = args.get("Input Dims", args.get("Input dims"))
        if isinstance(dims, list) and dims:
            self.counts["operators_with_shapes"] += 1
            name = f"{name}, sizes = {_sizes(dims)}{_arguments(name, args.get('Concrete Inputs'))}"
        self._range(event, start, end, self._string(name), 0)

    def _annotation(self, event: dict[str, Any], start: int, end: int, _: dict[str, Any]) -> None:
        name = str(event["name"])
        if not name.startswith(markers.TORCH_PREFIX):
            self._range(event, start, end, self._string(name), 0)
            return
        self.has_own_domain = True
        text = unquote(name.removeprefix(markers.TORCH_PREFIX))
        if text.startswith(_MARKS):
            self.has_run_mark |= text.startswith(markers.RUN_MARK)
            self._mark(start, self._thread(event), text)
        else:
            self._range(event, start, end, self._string(text), _OWN_DOMAIN_ID)

    def _mark(self, at: int, thread: int, text: str) -> None:
        self.rows["NVTX_EVENTS"].append((at, None, _MARK, thread, self._string(text), _OWN_DOMAIN_ID))

    def _range(self, event: Mapping[str, Any], start: int, end: int, text: int, domain: int) -> None:
        self.rows["NVTX_EVENTS"].append((start, end, _PUSH_POP, self._thread(event), text, domain))

    def _names(self, events: list[dict[str, Any]]) -> None:
        """Names of the process and its threads."""
        named: dict[int, str] = {}
        process_name = None
        for event in events:
            args = event.get("args")
            name = args.get("name") if isinstance(args, dict) else None
            if event.get("pid") != self.process or not isinstance(name, str):
                continue
            if event.get("name") == "process_name":
                process_name = name
            elif event.get("name") == "thread_name" and (thread := self._known_thread(event.get("tid"))) is not None:
                # `thread 1234 (python)`
                named[thread] = name.partition("(")[2].rstrip(")") or name
        if self.process is not None:
            name = None if process_name is None else _utf8(process_name)
            self.rows["PROCESSES"].append((self._key() << 24, self._key(), name))
            self.rows["ThreadNames"] += [(self._string(name), thread, 0) for thread, name in named.items()]

    def _facts(self) -> None:
        """What stands beside the events: devices, ranks, versions and the profiler's own warnings."""
        facts, counts = self.trace.facts, self.counts
        devices = facts.get("deviceProperties")
        devices = devices if isinstance(devices, list) else []
        # A rank that sees one GPU calls it 0, whichever it is.
        ranks = facts.get("distributedInfo")
        rank = _whole(ranks.get("rank")) if isinstance(ranks, dict) and len(devices) == 1 else None
        uuid = None if rank is None else _utf8(f"the only GPU of rank {rank} on {facts.get('host_name', 'its host')}")
        for device in devices:
            if isinstance(device, dict) and _whole(device.get("id")) is not None:
                numbers = (device.get(key) for key in ("numSms", "totalGlobalMem", "computeMajor", "computeMinor"))
                name = device.get("name")
                self.rows["TARGET_INFO_GPU"].append(
                    (_whole(device["id"]), 1, *map(_whole, numbers), None if name is None else _utf8(str(name)), uuid)
                )
        capture: dict[str, object] = {"recorder": "torch.profiler"}
        for key in ("schemaVersion", "trace_id", "cuda_runtime_version", "cuda_driver_version", "cupti_version",
                    "record_shapes", "with_stack", "with_flops", "with_modules", "profile_memory"):  # fmt: skip
            if isinstance(facts.get(key), (int, str)):
                capture[key] = facts[key]
        if self.unknown:
            capture["unknown_events"] = ", ".join(f"{count:,} `{name}`" for name, count in sorted(self.unknown.items()))
        if self.context_group is not None:
            capture["context_parallel_group"] = self.context_group
        self._rank()
        capture |= {
            "events": counts["events"], "operators": counts["operators"],
            "operators_with_shapes": counts["operators_with_shapes"], "python_functions": counts["python_functions"],
            "untimed_host_events": counts["untimed"], "endless_host_events": counts["endless"],
            "half_events": counts["half_events"],
            "repaired_names": self.trace.repaired_names, "is_tail_damaged": int(self.trace.is_tail_damaged),
            "has_whole_microseconds": int(not counts["fractions"]),
        }  # fmt: skip
        self.rows["META_DATA_CAPTURE"] += [(f"{META_PREFIX}{key}", _utf8(str(value))) for key, value in capture.items()]
        if isinstance(facts.get("host_name"), str):
            self.rows["TARGET_INFO_SYSTEM_ENV"].append(("Hostname", _utf8(str(facts["host_name"]))))
        for key, severity in (("WARNING", 2), ("ERROR", 3)):
            messages = facts.get(key)
            for message in messages if isinstance(messages, list) else ():
                self.rows["DIAGNOSTIC_EVENT"].append((self.first_ns, severity, self._key() << 24, _utf8(str(message))))

    def _rank(self) -> None:
        """What `distributedInfo` says, as the run mark of the process; and the domain that such marks are in."""
        ranks = self.trace.facts.get("distributedInfo")
        thread = next(iter(self.threads.values()), None)
        if thread is None:
            return
        if isinstance(ranks, dict) and not self.has_run_mark:
            told = {"rank": _whole(ranks.get("rank")), "world": _whole(ranks.get("world_size"))}
            known = {key: value for key, value in told.items() if value is not None}
            if known:
                self._mark(self.first_ns or 0, thread, markers.encode_run(framework="torch.profiler", **known))
                self.has_own_domain = True
        if self.has_own_domain:
            domain = (self.first_ns, None, _DOMAIN_CREATE, thread, self._string(markers.DOMAIN), _OWN_DOMAIN_ID)
            self.rows["NVTX_EVENTS"].append(domain)

    def _flush(self) -> None:
        for name, rows in self.rows.items():
            if rows:
                try:
                    self.lite.executemany(self.inserts[name], rows)
                except OverflowError as error:
                    raise TraceError(
                        f"`{self.path}` is damaged: a number does not fit 64 bits", hint="record it again"
                    ) from error
                rows.clear()

    def _finish(self) -> None:
        """Count time from the first event, say whose the GPU work is, and which kernels CUDA graphs ran."""
        first = self.first_ns or 0
        for name in _TIMED:
            has_process = "globalPid" in _TABLES[name].split() and self.process is not None
            ours = f", globalPid = {self._key() << 24}" if has_process else ""
            # Start and end 0: CUPTI could not take the time.
            shift = f'iif("start" = 0 AND "end" = 0, 0, {first})'
            self.lite.execute(f'UPDATE {name} SET "start" = "start" - {shift}, "end" = "end" - {shift}{ours}')  # noqa: S608
        self.lite.execute(f"UPDATE DIAGNOSTIC_EVENT SET timestamp = timestamp - {first}")  # noqa: S608
        base = self.trace.facts.get("baseTimeNanoseconds", 0)
        epoch = first + (base if isinstance(base, int) else 0)
        if 0 <= epoch < 1 << 62:
            self.lite.execute("INSERT INTO TARGET_INFO_SESSION_START_TIME VALUES (?)", (epoch,))
        self._mark_graphs()
        self._check_links()
        self._find_slowed_threads()
        for name in _TABLES:
            # Exports leave empty tables out.
            if not self.lite.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchall():  # noqa: S608
                self.lite.execute(f"DROP TABLE {name}")

    def _mark_graphs(self) -> None:
        """Number the nodes that each launch of a graph ran in the order of their starts; graphs have no numbers."""
        launches = (
            "SELECT r.correlationId FROM CUPTI_ACTIVITY_KIND_RUNTIME AS r JOIN StringIds AS s ON s.id = r.nameId "  # noqa: S608
            f"WHERE s.value LIKE '{_GRAPH_LAUNCHES[0]}' OR s.value LIKE '{_GRAPH_LAUNCHES[1]}'"
        )
        self.lite.execute(f"CREATE TEMP TABLE launches AS {launches}")
        works = " UNION ALL ".join(
            f'SELECT {i} AS work, rowid AS number, correlationId, "start" FROM {name} '  # noqa: S608
            "WHERE correlationId IN (SELECT correlationId FROM launches)"
            for i, name in enumerate(_WORK)
        )
        self.lite.execute(
            "CREATE TEMP TABLE nodes AS SELECT work, number, "  # noqa: S608
            f'row_number() OVER (PARTITION BY correlationId ORDER BY "start", work, number) AS node FROM ({works})'
        )
        for i, name in enumerate(_WORK):
            self.lite.execute(
                f"UPDATE {name} SET graphNodeId = node FROM nodes WHERE work = {i} AND number = {name}.rowid"  # noqa: S608
            )

    def _find_slowed_threads(self) -> None:
        """Whom the profiler held up: CUPTI asks for buffers within CUDA calls, so the thread of the last one."""
        overheads = self.lite.execute('SELECT "start", rowid FROM PROFILER_OVERHEAD ORDER BY "start"').fetchall()
        if not overheads:
            return
        calls = self.lite.execute('SELECT "start", globalTid FROM CUPTI_ACTIVITY_KIND_RUNTIME ORDER BY "start"')
        threads, thread, following = [], None, calls.fetchone()
        for start, row in overheads:
            while following is not None and following[0] <= start:
                thread, following = following[1], calls.fetchone()
            threads.append((thread, row))
        self.lite.executemany("UPDATE PROFILER_OVERHEAD SET globalTid = ? WHERE rowid = ?", threads)

    def _check_links(self) -> None:
        """Count, as facts of the capture, kernels that stand in the file twice, which go, and ids of several calls."""
        self.lite.execute(
            "DELETE FROM CUPTI_ACTIVITY_KIND_KERNEL WHERE rowid NOT IN "
            "(SELECT min(rowid) FROM CUPTI_ACTIVITY_KIND_KERNEL "
            'GROUP BY "start", "end", deviceId, streamId, correlationId, demangledName) AND "end" > 0'
        )
        facts = {"repeated_kernels": self.lite.execute("SELECT changes()").fetchone()[0]}
        facts["shared_ids"] = self.lite.execute(
            "SELECT count(*) FROM (SELECT correlationId FROM CUPTI_ACTIVITY_KIND_RUNTIME WHERE correlationId IN "
            "(SELECT correlationId FROM CUPTI_ACTIVITY_KIND_KERNEL WHERE correlationId <> 0) "
            "GROUP BY correlationId HAVING count(*) > 1)"
        ).fetchone()[0]
        rows = [(f"{META_PREFIX}{name}", str(count)) for name, count in facts.items()]
        self.lite.executemany(self.inserts["META_DATA_CAPTURE"], rows)

    def _damaged(self, event: object, problem: str) -> TraceError:
        name = event.get("name") if isinstance(event, dict) else event
        return TraceError(
            f"`{self.path}` is damaged: event {self.counts['events']:,}, `{str(name)[:60]}`, cannot be read "
            f"({problem[:120]})",
            hint="record it again",
        )


META_PREFIX = "torch_profiler:"
"""How names of what a trace of torch.profiler says about itself begin, in `META_DATA_CAPTURE`."""


def _sizes(dims: list[Any]) -> str:
    """Shapes as `emit_nvtx` writes them: `[[2, 3], []]`."""
    return "[" + ", ".join(_size(one) for one in dims) + "]"


def _arguments(operator: str, values: object) -> str:
    """What the cost of an operator depends on beside its shapes: see `inputs.operator_shapes`."""
    place = _CAUSAL.get(operator)
    if not isinstance(values, list):
        return ""
    if place is not None and len(values) > place and values[place] in ("True", "False"):
        return f", is_causal = {values[place]}"
    if operator == "aten::convolution" and len(values) > 6:
        return "".join(f", {name} = {value}" for name, value in zip(_CONVOLUTION, values[3:7], strict=True))
    return ""


def _size(dims: object) -> str:
    if not isinstance(dims, list):
        return "[]"
    if dims and isinstance(dims[0], list):
        return _sizes(dims)
    return "[" + ", ".join(map(str, dims)) + "]"


class _NoTimeError(ValueError):
    """A time that is none."""


def _problem(error: Exception) -> str:
    """What is wrong with an event, for people."""
    if isinstance(error, KeyError):
        return f"it has no `{error.args[0]}`"
    return str(error) if isinstance(error, _NoTimeError) else "a value is of another kind than torch.profiler writes"


def _utf8(text: str) -> str:
    """`text` without halves of characters, which JSON may hold and SQLite refuses."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _three(numbers: object) -> tuple[int | None, int | None, int | None]:
    if isinstance(numbers, list) and len(numbers) == 3:
        return _whole(numbers[0]), _whole(numbers[1]), _whole(numbers[2])
    return None, None, None


def _whole(value: object) -> int | None:
    """A number, `stream 7` too; None for anything else."""
    if type(value) is int:
        return value if -(1 << 63) <= value < 1 << 63 else None
    if isinstance(value, str):
        found = re.fullmatch(r"(?:stream )?(\d{1,18})(?:\.0*)?", value)
        return int(found[1]) if found else None
    return None
