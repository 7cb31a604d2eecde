"""What DuckDB may use of the memory that a process may use."""

from __future__ import annotations

import re

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
