"""What DuckDB may use of the memory that a process may use, and what a query may make the process use."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nsys_pipeline.errors import UsageError

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
# Python with its libraries, and what DuckDB and the reader do not count: measured with 5 and 20 million kernels.
_OVERHEAD_BYTES = 150 * 10**6
_OVERHEAD_SHARE = 0.15


def duckdb_limit_bytes(process_limit: str) -> int:
    """DuckDB's limit under which the whole process stays within `process_limit` ('2GB', '800MB', '1.5GiB').

    Where that leaves less than three quarters, the limit is small and DuckDB gets three quarters of it. Raises
    UsageError for anything that is no amount of memory.
    """
    given = parse_bytes(process_limit)
    if not given:
        raise UsageError(f"`{process_limit}` is no amount of memory", hint="for example --memory-limit 2GB")
    overhead = max(_OVERHEAD_BYTES, int(_OVERHEAD_SHARE * given))
    return max(given - overhead, given * 3 // 4)


def parse_bytes(text: str) -> int:
    """Bytes in '2GB', '800MB', '1.5GiB'; 0 where it is no such amount."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT]I?)?B?\s*", text.upper())
    return int(float(match[1]) * _UNITS[match[2] or ""]) if match else 0


@contextmanager
def bounded_growth(process_limit: str) -> Iterator[None]:
    """Let the process grow by no more than half as much again as `process_limit` and 256 MB.

    DuckDB does not count single values: `repeat('x', 4e9)` takes 4 GB, and its copy for Python as much again. Past the
    bound allocations fail, which DuckDB reports as it reports its own limit. Linux alone can bound what a process may
    write to; elsewhere this does nothing.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    used = re.search(r"^VmData:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    bound = int(used[1]) * 1024 + parse_bytes(process_limit) * 3 // 2 + (256 << 20) if used else soft
    if soft != resource.RLIM_INFINITY:
        bound = min(bound, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
