"""Tables of Nsight Systems SQLite exports, by generation, as far as an analyzer reads them.

Columns are named and ordered as in real exports; later generations add some in the middle, as nsys does. Taken from
exports of nsys 2024.2.3 and 2025.3.2 and, for the other generations, from the drift notes that NVIDIA ships. The
cluster columns of 2026.1 carry CUPTI's names.
"""

from __future__ import annotations

from dataclasses import dataclass

# The generations, oldest first: nsys release → schema version written by it (None: no metadata table at all).
SCHEMA_VERSIONS: dict[str, str | None] = {
    "2020.3": None,
    "2022.4": "3.0.0",
    "2023.3": "3.4.0",
    "2024.2": "3.11.1",
    "2025.3": "3.20.3",
    "2026.1": "3.24.0",
}
GENERATIONS = tuple(SCHEMA_VERSIONS)
PRODUCT_VERSIONS = {
    "2022.4": "2022.4.2.1",
    "2023.3": "2023.3.1.92",
    "2024.2": "2024.2.3.38",
    "2025.3": "2025.3.2.0",
    "2026.1": "2026.1.1.0",
}

# "column" or "column@first generation that has it" or "column@first..last".
_GPU_OP = "start end deviceId contextId greenContextId@2024.2 streamId correlationId globalPid"
_TABLES: dict[str, str] = {
    "StringIds": "id value",
    "NVTX_EVENTS": (
        "start end eventType rangeId category color text globalTid endGlobalTid textId domainId uint64Value int64Value"
        " doubleValue uint32Value int32Value floatValue jsonTextId@2022.4 jsonText@2022.4 binaryData@2025.3"
    ),
    "CUPTI_ACTIVITY_KIND_RUNTIME": "start end eventClass globalTid correlationId nameId returnValue callchainId",
    "CUPTI_ACTIVITY_KIND_KERNEL": (
        f"{_GPU_OP} demangledName shortName mangledName@2022.4 launchType cacheConfig registersPerThread gridX gridY"
        " gridZ blockX blockY blockZ clusterX@2026.1 clusterY@2026.1 clusterZ@2026.1 staticSharedMemory"
        " dynamicSharedMemory localMemoryPerThread localMemoryTotal gridId sharedMemoryExecuted graphNodeId@2022.4"
        " graphId@2026.1 sharedMemoryLimitConfig@2022.4"
    ),
    "CUPTI_ACTIVITY_KIND_MEMCPY": (
        f"{_GPU_OP} bytes copyKind deprecatedSrcId srcKind dstKind srcDeviceId srcContextId dstDeviceId dstContextId"
        " migrationCause graphNodeId@2022.4 virtualAddress@2022.4 copyCount@2025.3"
    ),
    "CUPTI_ACTIVITY_KIND_MEMSET": f"{_GPU_OP} value bytes graphNodeId@2022.4 memKind",
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": f"{_GPU_OP} graphId graphExecId",
    "CUDA_GRAPH_EVENTS": (
        "start end eventClass globalTid nameId graphNodeId@2022.4..2023.3 graphId@2024.2 originalGraphId@2024.2"
        " graphExecId@2024.2"
    ),
    "CUDA_GRAPH_NODE_EVENTS": "start end eventClass globalTid nameId graphNodeId originalGraphNodeId",
    "TARGET_INFO_GPU": (
        "vmId id name busLocation isDiscrete l2CacheSize totalMemory memoryBandwidth clockRate smCount pwGpuId uuid"
        " luid chipName cuDevice computeMajor computeMinor smMajor smMinor"
    ),
    "TARGET_INFO_SYSTEM_ENV": "globalVid devStateName name nameEnum value",
    "TARGET_INFO_CUDA_DEVICE": "gpuId cudaId pid",
    "TARGET_INFO_CUDA_NULL_STREAM": "streamId hwId vmId processId deviceId contextId",
    "TARGET_INFO_CUDA_CONTEXT_INFO": (
        "nullStreamId hwId vmId processId deviceId contextId parentContextId isGreenContext"
    ),
    "PROCESSES": "globalPid pid name",
    "ThreadNames": "nameId priority globalTid",
    "ANALYSIS_DETAILS": "globalVid duration startTime stopTime",
    "ENUM_CUDA_MEMCPY_OPER": "id name label",
    "TARGET_INFO_SESSION_START_TIME": "utcEpochNs utcTime localTime",
    "GPU_METRICS": "rawTimestamp@2025.3 timestamp typeId metricId value",
    "TARGET_INFO_GPU_METRICS": "typeId sourceId typeName metricId metricName",
    "DIAGNOSTIC_EVENT": "timestamp timestampType source severity text globalPid",
    "PROFILER_OVERHEAD": "start end globalTid nameId returnValue",
    "EXPORT_META_DATA": "name value",
    "META_DATA_EXPORT": "name value",
    "META_DATA_CAPTURE": "name value",
}
# Whole tables that came or went. Missing here: in every generation.
_TABLE_SPANS: dict[str, str] = {
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": "2024.2",
    "CUDA_GRAPH_EVENTS": "2022.4",
    "CUDA_GRAPH_NODE_EVENTS": "2024.2",
    "TARGET_INFO_CUDA_DEVICE": "2025.3",
    "TARGET_INFO_CUDA_NULL_STREAM": "2020.3..2023.3",
    "TARGET_INFO_CUDA_CONTEXT_INFO": "2024.2",
    "ANALYSIS_DETAILS": "2022.4",
    "ENUM_CUDA_MEMCPY_OPER": "2022.4",
    "GPU_METRICS": "2024.2",
    "TARGET_INFO_GPU_METRICS": "2024.2",
    "DIAGNOSTIC_EVENT": "2024.2",
    "EXPORT_META_DATA": "2022.4..2022.4",
    "META_DATA_EXPORT": "2023.3",
    "META_DATA_CAPTURE": "2023.3",
}
_TEXT_COLUMNS = {
    "value", "name", "devStateName", "text", "jsonText", "binaryData", "busLocation", "uuid", "chipName", "label",
    "typeName", "metricName",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """One table of one generation: its name and columns in file order."""

    name: str
    columns: tuple[str, ...]

    def ddl(self) -> str:
        """The CREATE TABLE statement, with nsys' loose SQLite types."""
        columns = ", ".join(f'"{column}" {self._type(column)}' for column in self.columns)
        return f"CREATE TABLE {self.name} ({columns})"

    def _type(self, column: str) -> str:
        if column == "value" and self.name in ("CUPTI_ACTIVITY_KIND_MEMSET", "GPU_METRICS"):
            return "INTEGER"
        if column == "id" and self.name == "StringIds":
            return "INTEGER NOT NULL PRIMARY KEY"
        if column in ("doubleValue", "floatValue"):
            return "REAL"
        return "TEXT" if column in _TEXT_COLUMNS else "INTEGER"


def _within(span: str, generation: str) -> bool:
    first, _, last = span.partition("..")
    index = GENERATIONS.index(generation)
    return GENERATIONS.index(first) <= index <= (GENERATIONS.index(last) if last else len(GENERATIONS))


def tables(generation: str) -> dict[str, Table]:
    """Every table that an export of `generation` can hold. Raises KeyError for a generation that is not modelled."""
    if generation not in SCHEMA_VERSIONS:
        raise KeyError(f"{generation} is not one of {', '.join(GENERATIONS)}")
    found = {}
    for name, spec in _TABLES.items():
        if name in _TABLE_SPANS and not _within(_TABLE_SPANS[name], generation):
            continue
        parts = [column.partition("@") for column in spec.split()]
        found[name] = Table(name, tuple(column for column, at, span in parts if not at or _within(span, generation)))
    return found
