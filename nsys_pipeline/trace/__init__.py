"""Open anything that is a trace as a DuckDB connection on which the modules of ``sql/`` can be built."""

from nsys_pipeline.trace.options import TraceOptions
from nsys_pipeline.trace.trace import Trace, open_trace
from nsys_pipeline.trace.trace_file import TraceFile, find_trace

__all__ = ["Trace", "TraceFile", "TraceOptions", "find_trace", "open_trace"]
