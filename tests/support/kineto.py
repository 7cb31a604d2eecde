"""Traces of torch.profiler by hand, in the layout that Kineto writes, and out of exports of nsys.

    trace = KinetoTrace()
    trace.annotation("prefill", 0, 90_000)
    trace.launch(10_000, gpu=(20_000, 45_000), name="gemm")
    path = trace.write(tmp_path / "trace.json")

Times are ns; the file has µs with three digits. `BASE_NS` lies before all of them, as in real files.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

BASE_NS = 5_031_268_000_000_000
PID, TID = 4711, 4711
_COPY_NAMES = {1: "HtoD", 2: "DtoH", 8: "DtoD"}
_MEMORY_NAMES = {0: "Pageable", 1: "Pinned", 2: "Device"}


class Raw(str):
    """A number as it stands in the file."""


class KinetoTrace:
    """Events in the order of calls, and what stands beside them (`head`)."""

    def __init__(self, **head: Any) -> None:
        self.head: dict[str, Any] = {
            "schemaVersion": 1, "deviceProperties": [gpu()], "record_shapes": 1,
            "baseTimeNanoseconds": 1_790_857_026_000_000_000, **head,
        }  # fmt: skip
        self.tail: dict[str, Any] = {"traceName": "trace.json"}
        self.events: list[dict[str, Any]] = []
        self.correlation = 0
        self.meta("process_name", PID, 0, name="python")
        self.meta("thread_name", PID, TID, name=f"thread {TID} (python)")

    def meta(self, what: str, pid: object, tid: object, **args: Any) -> None:
        self.events.append({"ph": "M", "name": what, "ts": us(0), "pid": pid, "tid": tid, "args": args})

    def event(
        self, cat: str, name: str, start: int, end: int, pid: object = PID, tid: object = TID, **args: Any
    ) -> None:
        """One complete event."""
        times = {"ts": us(start), "dur": us(end - start, base=0)}
        self.events.append({"ph": "X", "cat": cat, "name": name, "pid": pid, "tid": tid, **times, "args": args})

    def annotation(self, name: str, start: int, end: int, *, tid: int = TID) -> None:
        self.event("user_annotation", name, start, end, tid=tid, **{"External id": 1})

    def op(self, name: str, start: int, end: int, dims: Any = None, *, tid: int = TID) -> None:
        self.event("cpu_op", name, start, end, tid=tid, **({} if dims is None else {"Input Dims": dims}))

    def call(self, name: str, start: int, end: int, correlation: int, *, tid: int = TID) -> None:
        self.event("cuda_runtime", name, start, end, tid=tid, cbid=211, correlation=correlation)

    def kernel(
        self, name: str, start: int, end: int, correlation: int, *, device: int = 0, stream: int = 7, **args: Any
    ) -> None:
        self.event(
            "kernel", name, start, end, device, stream, device=device, context=1, stream=stream,
            correlation=correlation, grid=[4, 1, 1], block=[128, 1, 1], **{"registers per thread": 32}, **args,
        )  # fmt: skip

    def launch(self, at: int, gpu: tuple[int, int], name: str = "gemm", *, tid: int = TID, **more: Any) -> None:
        """A call of 2 µs at `at` and its kernel."""
        self.correlation += 1
        self.call("cudaLaunchKernel", at, at + 2_000, self.correlation, tid=tid)
        self.kernel(name, *gpu, self.correlation, **more)

    def text(self) -> str:
        head = "".join(f'  "{key}": {json.dumps(value)},\n' for key, value in self.head.items())
        tail = "".join(f',\n  "{key}": {json.dumps(value)}' for key, value in self.tail.items())
        events = ",\n".join(_event(event) for event in self.events)
        return f'{{\n{head}  "traceEvents": [\n{events}\n  ]{tail}\n}}\n'

    def write(self, path: Path) -> Path:
        data = self.text().encode()
        path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
        return path


def gpu(number: int = 0, name: str = "NVIDIA H100 80GB HBM3") -> dict[str, Any]:
    return {
        "id": number, "name": name, "totalGlobalMem": 85_024_112_640, "computeMajor": 9, "computeMinor": 0,
        "maxThreadsPerBlock": 1024, "warpSize": 32, "numSms": 132,
    }  # fmt: skip


def us(ns: int, base: int = BASE_NS) -> Raw:
    return Raw(f"{(ns + base) // 1000}.{(ns + base) % 1000:03}")


def _event(event: dict[str, Any]) -> str:
    """Names as they are, quotes too, and args behind the rest: see Kineto's `output_json.cpp`."""
    lines = []
    for key, value in event.items():
        if key == "args":
            args = ", ".join(f'"{name}": {json.dumps(one)}' for name, one in value.items())
            lines.append(f'    "args": {{\n      {args}\n    }}')
        else:
            lines.append(f'    "{key}": ' + (value if isinstance(value, Raw | int) else f'"{value}"').__str__())
    return "  {\n" + ",\n".join(lines) + "\n  }"


def from_export(sqlite: Path, path: Path) -> Path:
    """The export of one process as torch.profiler would have written it: what it does not record is left out."""
    with closing(sqlite3.connect(sqlite)) as con:
        con.row_factory = sqlite3.Row
        strings = dict(con.execute("SELECT id, value FROM StringIds").fetchall())
        devices = [
            {**gpu(row["id"], row["name"]), "numSms": row["smCount"]}
            for row in con.execute("SELECT * FROM TARGET_INFO_GPU")
        ]
        trace = KinetoTrace(deviceProperties=devices)
        domains = {0: ""}
        name: str
        events = con.execute("SELECT * FROM NVTX_EVENTS ORDER BY eventType DESC, rowid").fetchall()
        for row in events:
            name = strings.get(row["textId"], row["text"]) or ""
            where = {"pid": row["globalTid"] >> 24 & 0xFFFFFF, "tid": row["globalTid"] & 0xFFFFFF}
            if row["eventType"] == 75:
                domains[row["domainId"]] = name
                continue
            if domains.get(row["domainId"], "") == "llmperf":
                name = "llmperf:" + quote(name, safe=" {}[]:,._-")
            if row["eventType"] in (59, 34):
                trace.event("user_annotation", name, row["start"], row["end"] or row["start"], **where)
        for thread in con.execute("SELECT * FROM ThreadNames").fetchall():
            pid, tid = thread["globalTid"] >> 24 & 0xFFFFFF, thread["globalTid"] & 0xFFFFFF
            trace.meta("thread_name", pid, tid, name=f"thread {tid} ({strings[thread['nameId']]})")
        for row in con.execute("SELECT * FROM CUPTI_ACTIVITY_KIND_RUNTIME"):
            where = {"pid": row["globalTid"] >> 24 & 0xFFFFFF, "tid": row["globalTid"] & 0xFFFFFF}
            name = strings[row["nameId"]].rpartition("_v")[0] or strings[row["nameId"]]
            trace.event("cuda_runtime", name, row["start"], row["end"], **where, correlation=row["correlationId"])
        for table, cat in (("KERNEL", "kernel"), ("MEMCPY", "gpu_memcpy"), ("MEMSET", "gpu_memset")):
            for row in con.execute(f"SELECT * FROM CUPTI_ACTIVITY_KIND_{table}").fetchall():
                args = {"device": row["deviceId"], "stream": row["streamId"], "correlation": row["correlationId"]}
                if cat == "kernel":
                    name = strings[row["demangledName"]]
                    args |= {"grid": [row["gridX"], row["gridY"], row["gridZ"]]}
                    args |= {"block": [row["blockX"], row["blockY"], row["blockZ"]]}
                else:
                    args |= {"bytes": row["bytes"]}
                    name = "Memset (Device)"
                if cat == "gpu_memcpy":
                    memories = [_MEMORY_NAMES[row[key]] for key in ("srcKind", "dstKind")]
                    name = f"Memcpy {_COPY_NAMES[row['copyKind']]} ({memories[0]} -> {memories[1]})"
                trace.event(cat, name, row["start"], row["end"], row["deviceId"], row["streamId"], **args)
    return trace.write(path)
