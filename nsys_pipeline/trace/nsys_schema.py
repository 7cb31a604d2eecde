"""The tables and columns of an nsys export that llmperf reads, with the types they get in DuckDB.

Exports differ by nsys version and are lazy, so any of these may be absent: a missing table becomes an empty one, a
missing column becomes NULL, both with the type given here. ``sql/load`` is the only reader.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import attrs

# What a column may be read as. TEXT that is not UTF-8 is repaired on the way in.
INTEGER = "BIGINT"
# Ids of the large tables, which take half the memory so. Where one does not fit, the table is read as BIGINT.
NARROW = "UINTEGER"
TEXT = "VARCHAR"
REAL = "DOUBLE"


@attrs.frozen
class NsysTable:
    """Columns of one nsys table. `table`: where they are, if not in the table of the same name.

    `required`: columns without which a row means nothing; a trace with such rows is refused.
    `marks`: columns of which every export has at least one: without any, the table is another one under this name.
    `row_id`: the type of the row's number.
    `is_private`: names and values, some of which hold environment variables or secrets; only what is left without them
    (`nsys.clean.without_values`) is read. `blocks`: columns of text that may hold an environment as one block, with NUL
    between its variables: it is read as NULL, other text with NUL in it as ''. `bytes_columns`: columns of bytes,
    which are read as text of two hexadecimal digits for each byte. `only_with`: rows without a value in that column
    are left out. `explained_by`: a table without which the rows say nothing, and none is read.
    """

    columns: Mapping[str, str]
    table: str | None = None
    required: tuple[str, ...] = ()
    row_id: str = INTEGER
    marks: tuple[str, ...] = ()
    is_private: bool = False
    blocks: tuple[str, ...] = ()
    bytes_columns: tuple[str, ...] = ()
    only_with: str | None = None
    explained_by: str | None = None


def _ints(names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), INTEGER)


def _ids(names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), NARROW)


def _texts(names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), TEXT)


EXPORTED_COLUMNS = "EXPORTED_COLUMNS"
TRACE_FILES = "TRACE_FILES"
UNREAD_WORK = "UNREAD_WORK"
# Read only when a query wants them, and then kept in a file of their own beside the trace's cache entry.
LATE_TABLES = ("KERNEL_LAUNCH_CONFIG",)

TABLES: Mapping[str, NsysTable] = {
    "CUPTI_ACTIVITY_KIND_KERNEL": NsysTable(
        _ints("start end globalPid graphNodeId")
        | _ids("deviceId streamId correlationId demangledName shortName gridX gridY gridZ"),
        required=("start", "end"),
        row_id=NARROW,
        marks=("shortName", "demangledName", "mangledName", "gridX"),
    ),
    # The rest of a kernel's row, which the analysis does not need: half of the time of reading a large trace.
    "KERNEL_LAUNCH_CONFIG": NsysTable(
        _ints(
            "registersPerThread gridX gridY gridZ blockX blockY blockZ staticSharedMemory dynamicSharedMemory "
            "localMemoryPerThread"
        ),
        table="CUPTI_ACTIVITY_KIND_KERNEL",
    ),
    "CUPTI_ACTIVITY_KIND_MEMCPY": NsysTable(
        _ints(
            "start end deviceId contextId streamId correlationId globalPid bytes copyKind srcKind dstKind graphNodeId"
        ),
        required=("start", "end"),
        marks=("bytes", "copyKind", "srcKind", "dstKind"),
    ),
    "CUPTI_ACTIVITY_KIND_MEMSET": NsysTable(
        _ints("start end deviceId contextId streamId correlationId globalPid bytes value memKind graphNodeId"),
        required=("start", "end"),
        marks=("bytes", "value", "memKind"),
    ),
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": NsysTable(
        _ints("start end deviceId contextId streamId correlationId globalPid graphId graphExecId"),
        required=("start", "end"),
        marks=("graphId", "graphExecId"),
    ),
    "CUPTI_ACTIVITY_KIND_RUNTIME": NsysTable(
        _ints("start end globalTid") | _ids("correlationId nameId"),
        marks=("globalTid", "nameId", "returnValue"),
        row_id=NARROW,
    ),
    "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION": NsysTable(
        _ints("start end deviceId contextId streamId correlationId globalPid syncType deprecatedSyncType")
    ),
    "NVTX_EVENTS": NsysTable(
        _ints("start end eventType globalTid endGlobalTid textId domainId") | _texts("text"),
        marks=("eventType", "text", "textId", "domainId"),
    ),
    # What an event says beside its text, in exports made with --include-blobs=true. Ids of names in it are of the
    # file: `stringBase`, which no export has, is what a job of several files adds to them.
    "NVTX_PAYLOADS": NsysTable(
        _ints("start globalTid eventType domainId stringBase") | _texts("binaryData"),
        table="NVTX_EVENTS",
        bytes_columns=("binaryData",),
        only_with="binaryData",
        explained_by="NVTX_PAYLOAD_SCHEMA_ENTRIES",
    ),
    "NVTX_PAYLOAD_SCHEMAS": NsysTable(_ints("domainId schemaId payloadSize") | _texts("name")),
    "NVTX_PAYLOAD_SCHEMA_ENTRIES": NsysTable(_ints("domainId schemaId idx type offset") | _texts("name")),
    "PROFILER_OVERHEAD": NsysTable(_ints("start end globalTid nameId")),
    "StringIds": NsysTable(_ints("id") | _texts("value"), required=("id",), marks=("value",), blocks=("value",)),
    "PROCESSES": NsysTable(_ints("globalPid pid") | _texts("name")),
    "ThreadNames": NsysTable(_ints("nameId globalTid priority")),
    "TARGET_INFO_GPU": NsysTable(
        _ints("id isDiscrete memoryBandwidth clockRate smCount pwGpuId cuDevice totalMemory l2CacheSize")
        | _ints("computeMajor computeMinor")
        | _texts("name busLocation uuid chipName")
    ),
    # Before mid-2021. Its units of clock and bandwidth are not documented, so they are not read.
    "TARGET_INFO_CUDA_GPU": NsysTable(
        _ints("deviceId numMultiprocessors computeCapabilityMajor computeCapabilityMinor") | _texts("name")
    ),
    "TARGET_INFO_CUDA_DEVICE": NsysTable(_ints("gpuId cudaId pid numMultiprocessors")),
    "TARGET_INFO_CUDA_CONTEXT_INFO": NsysTable(_ints("processId deviceId contextId isGreenContext")),
    "TARGET_INFO_SESSION_START_TIME": NsysTable(_ints("utcEpochNs")),
    "ANALYSIS_DETAILS": NsysTable(_ints("duration startTime stopTime")),
    "DIAGNOSTIC_EVENT": NsysTable(_ints("timestamp severity globalPid") | _texts("text")),
    "META_DATA_CAPTURE": NsysTable(_texts("name value"), is_private=True),
    "TARGET_INFO_SYSTEM_ENV": NsysTable(_texts("name value"), is_private=True),
    "META_DATA_EXPORT": NsysTable(_texts("name value")),
    "EXPORT_META_DATA": NsysTable(_texts("name value")),
    "GPU_METRICS": NsysTable(
        _ints("timestamp typeId") | _ids("metricId") | _ints("value"),
        row_id=NARROW,
    ),
    "TARGET_INFO_GPU_METRICS": NsysTable(_ints("typeId sourceId metricId") | _texts("typeName metricName")),
    "ENUM_CUDA_MEMCPY_OPER": NsysTable(_ints("id") | _texts("name label")),
    # Not nsys': what torch.profiler says of collectives beside their kernels. See `kineto_collectives`.
    "TORCH_COLLECTIVES": NsysTable(
        _ints("start end globalPid streamId correlationId messageBytes rankCount") | _texts("communicator")
    ),
    # Nor this: the tables and columns that the export has.
    EXPORTED_COLUMNS: NsysTable(_texts("table_name column_name")),
    # Nor this: what stands in tables of GPU work that nothing here reads.
    UNREAD_WORK: NsysTable(_ints("row_count time_ns") | _texts("table_name")),
    # Nor this: the files that the trace is read from, with the processes of each.
    TRACE_FILES: NsysTable(
        _ints("file_id rank host_id clock_error_ns globalPid start_ns replica moved_ns") | _texts("path problem")
    ),
}

#: Tables of CUPTI's activities with times and a GPU that are no work of a GPU, or details of work in other tables.
_NO_WORK = re.compile(
    r"(?:KERNEL|MEMCPY|MEMSET|GRAPH_TRACE|SYNCHRONIZATION|CUDA_EVENT|OVERHEAD|RUNTIME|DRIVER|JIT|MEMORY.*"
    r"|(?:BLOCK|WARP)_.*|OPENACC_.*|OPENMP.*|.*CONTEXT|.*CTX_SWITCH|HOST_LAUNCH|GRAPH_HOST_NODE|.*PAGE_FAULT.*)"
)


def is_unread_work(table: str, columns: Collection[str]) -> bool:
    """Whether a table looks like work of GPUs that nothing here reads, as those of later versions may be."""
    _, prefix, kind = table.partition("CUPTI_ACTIVITY_KIND_")
    has_times = {"start", "end"} <= set(columns)
    return bool(prefix) and has_times and "deviceId" in columns and not _NO_WORK.fullmatch(kind)


# CUDA counts GPUs from 0, and sums over them are kept by a number of ten bits.
MAX_DEVICE_ID = 1023

# An export without any of these is not (or not yet) an nsys trace.
IDENTIFYING_TABLES = (
    "CUPTI_ACTIVITY_KIND_KERNEL",
    "CUPTI_ACTIVITY_KIND_RUNTIME",
    "NVTX_EVENTS",
    "TARGET_INFO_GPU",
    "TARGET_INFO_SESSION_START_TIME",
    "ANALYSIS_DETAILS",
    "META_DATA_CAPTURE",
)

# Rows of these have no meaning without StringIds, which every export of them has.
NAMED_TABLES = ("CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_RUNTIME")

# Where an export has one of these, it has rows in it.
METADATA_TABLES = ("META_DATA_EXPORT", "EXPORT_META_DATA")
