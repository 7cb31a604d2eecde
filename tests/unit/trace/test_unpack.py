"""Packed traces: bounded, refused early where they hold something else, and called by their own name."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from nsys_pipeline.errors import TraceError, UsageError
from nsys_pipeline.trace import TraceOptions, open_trace
from nsys_pipeline.trace.identify import SQLITE_MAGIC
from nsys_pipeline.trace.unpack import LEAST_LIMIT_BYTES, LIMIT_RATIO, limit_of
from tests.cli.run import run
from tests.support.small_trace import small_trace

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "xz": lambda raw: lzma.compress(raw, preset=0),
    "gz": lambda raw: gzip.compress(raw, 1),
    "zst": lambda raw: zstandard.ZstdCompressor().compress(raw),
}


def packed(content: bytes, suffix: str, folder: Path) -> Path:
    path = folder / f"trace.sqlite.{suffix}"
    path.write_bytes(PACKERS[suffix](content))
    return path


def opened(path: Path, folder: Path, **options: Any) -> None:
    with open_trace(path, TraceOptions(cache_dir=folder / "cache", **options)) as trace:
        trace.build("load.gpu_ops")


def left_in(folder: Path) -> list[Path]:
    return [file for file in (folder / "cache").rglob("*") if file.is_file()]


@pytest.mark.parametrize("suffix", PACKERS)
def test_what_unpacks_to_too_much_is_refused(suffix: str, tmp_path: Path) -> None:
    # given a bomb that begins like a database
    path = packed(SQLITE_MAGIC + bytes(50_000_000), suffix, tmp_path)
    assert path.stat().st_size < 300_000

    with pytest.raises(TraceError, match=r"trace.sqlite.\w+` unpacks to more than 0.0 GB") as refused:
        opened(path, tmp_path, unpack_limit="20MB")

    assert refused.value.hint is not None
    assert "--unpack-limit" in refused.value.hint
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_trace_within_the_limit_is_read(suffix: str, tmp_path: Path) -> None:
    content = small_trace().write(tmp_path / "plain.sqlite").read_bytes()

    opened(packed(content, suffix, tmp_path), tmp_path, unpack_limit=f"{len(content)}B")

    with pytest.raises(TraceError, match="unpacks to more than"):
        opened(packed(content, suffix, tmp_path), tmp_path, unpack_limit=f"{len(content) - 1}B")


def test_the_limit_follows_the_size(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x" * 1000)
    assert limit_of(path, None) == LEAST_LIMIT_BYTES
    assert limit_of(path, 7) == 7
    with path.open("r+b") as file:
        file.truncate(1 << 30)
    assert limit_of(path, None) == LIMIT_RATIO << 30


@pytest.mark.parametrize("suffix", PACKERS)
def test_what_is_no_database_is_refused_at_its_beginning(suffix: str, tmp_path: Path) -> None:
    path = packed(bytes(50_000_000), suffix, tmp_path)

    with pytest.raises(TraceError, match=r"trace.sqlite.\w+` is no file that llmperf knows"):
        opened(path, tmp_path)

    assert left_in(tmp_path) == []


def test_a_packed_report_says_what_it_is(tmp_path: Path) -> None:
    path = packed(b"NVIDIA Tegra Profiler Report 2024@2@3@38.\n" + bytes(100), "xz", tmp_path)

    with pytest.raises(TraceError, match="holds nsys report data, not a SQLite export"):
        opened(path, tmp_path)


def test_damage_inside_is_told_of_the_file_that_was_given(tmp_path: Path) -> None:
    content = small_trace().write(tmp_path / "plain.sqlite").read_bytes()
    cut = packed(content[: len(content) // 2], "xz", tmp_path)
    with pytest.raises(TraceError, match=r"trace.sqlite.xz` is truncated"):
        opened(cut, tmp_path)

    torn = bytearray(content)
    torn[4096 : len(torn) // 2] = b"\xff" * (len(torn) // 2 - 4096)
    with pytest.raises(TraceError) as damaged:
        opened(packed(bytes(torn), "gz", tmp_path), tmp_path)
    assert str(tmp_path / "trace.sqlite.gz") in damaged.value.message
    assert "cache" not in damaged.value.message


def test_no_size_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError):
        TraceOptions(unpack_limit="lots")
    path = packed(SQLITE_MAGIC + bytes(5_000_000), "xz", tmp_path)
    assert run(capsys, "analyze", path, "--unpack-limit", "lots")[0] == 2
    code, _, err = run(capsys, "analyze", path, "--unpack-limit", "1MB", "--no-cache")
    assert code == 1
    assert f"error: `{path}` unpacks to more than" in err
    assert run(capsys, "export", path, "--unpack-limit", "1MB")[0] == 1
