"""How much of the process's memory DuckDB gets."""

import pytest

from nsys_pipeline.errors import UsageError
from nsys_pipeline.trace.memory import duckdb_limit_bytes


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2GB", 1_700_000_000),
        ("1500MB", 1_275_000_000),
        ("800 mb", 650_000_000),
        ("1GiB", 2**30 - int(2**30 * 0.15)),
        ("100MB", 75_000_000),
        ("1.5GB", 1_275_000_000),
        ("1000000", 750_000),
    ],
)
def test_the_rest_of_the_process_has_its_share(given: str, expected: int) -> None:
    assert duckdb_limit_bytes(given) == expected


@pytest.mark.parametrize("given", ["", "lots", "-1GB", "0", "0GB", "2PB", "GB", "nan"])
def test_anything_else_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="is no amount of memory"):
        duckdb_limit_bytes(given)
