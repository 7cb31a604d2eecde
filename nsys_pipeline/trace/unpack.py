"""Unpack a compressed export, no further than it may reach."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nsys_pipeline.errors import TraceError
from nsys_pipeline.trace.cache import temporary
from nsys_pipeline.trace.formats import Kind
from nsys_pipeline.trace.identify import SQLITE_MAGIC, identify, packed_as, renamed

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from _typeshed import SupportsRead

CHUNK_BYTES = 1 << 20
# Real exports pack to a tenth; what grows more is made to fill a disk.
LEAST_LIMIT_BYTES = 4 << 30
LIMIT_RATIO = 100


class _CutOffError(Exception):
    """The packed data ends before it says so."""


class _Bounded:
    """Writes an unpacked export, and refuses what is none or too much."""

    def __init__(self, path: Path, stream: BinaryIO, limit_bytes: int, partial: Path) -> None:
        self._path, self._stream, self._partial = path, stream, partial
        self._limit, self._written = limit_bytes, 0

    def write(self, chunk: bytes) -> None:
        is_first = not self._written
        self._written += len(chunk)
        if self._written > self._limit:
            raise _too_large(self._path, self._limit)
        self._stream.write(chunk)
        if is_first and chunk and not SQLITE_MAGIC.startswith(chunk[: len(SQLITE_MAGIC)]):
            self._stream.flush()
            kind = identify(self._partial, shown=self._path)
            raise TraceError(
                f"`{self._path}` holds {kind.value} data, not a SQLite export",
                hint="export it again: `nsys export --type sqlite REPORT.nsys-rep`",
            )


def limit_of(path: Path, limit_bytes: int | None) -> int:
    """How much `path` may unpack to: `limit_bytes`, or a hundred times its size, but 4 GiB at least."""
    return limit_bytes or max(LEAST_LIMIT_BYTES, LIMIT_RATIO * path.stat().st_size)


def unpack(
    path: Path,
    kind: Kind,
    final: Path,
    *,
    limit_bytes: int | None = None,
    finish: Callable[[Path], object] | None = None,
) -> Path:
    """Write the SQLite export that `path` holds to `final`; `finish` may change it before it is there.

    Raises TraceError where the archive is damaged, holds something else or more than `limit_of` allows, or where the
    disk is full.
    """
    if final.exists():
        return final
    partial = temporary(final)
    again = "copy or download it again"
    try:
        with partial.open("wb") as stream:
            bounded = _Bounded(path, stream, limit_of(path, limit_bytes), partial)
            if kind is Kind.ZSTD:
                _unpack_zstd(path, bounded)
            else:
                _unpack_stream(path, kind, bounded)
        identify(partial, shown=path)
        if finish is not None:
            _finish(finish, partial, path)
        partial.replace(final)
    except TraceError:
        raise
    except OSError as error:
        if error.errno:
            raise TraceError(
                f"`{path}` cannot be unpacked to `{final.parent}`: {error.strerror}",
                hint="make room there, or unpack it yourself elsewhere",
            ) from error
        raise TraceError(f"`{path}` is a damaged {kind.value} file: {error}", hint=again) from error
    except Exception as error:  # lzma.LZMAError, EOFError, zlib.error, zstandard.ZstdError: no common base
        raise TraceError(f"`{path}` is a damaged {kind.value} file: {error}", hint=again) from error
    finally:
        partial.unlink(missing_ok=True)
        partial.with_name(f"{partial.name}-journal").unlink(missing_ok=True)
    return final


@contextmanager
def open_bounded(path: Path, *, limit_bytes: int | None = None) -> Iterator[SupportsRead[bytes]]:
    """What `path` holds, unpacked if it is packed, as a stream.

    Its `read` raises TraceError where the archive is damaged or holds more than `limit_of` allows.
    """
    try:
        with path.open("rb") as file:
            kind = packed_as(file.read(8))
        with _stream(path, kind) as stream:
            yield _BoundedReader(path, kind, stream, limit_of(path, limit_bytes) if kind else None)
    except OSError as error:
        raise TraceError(f"`{path}` cannot be read: {error.strerror or error}") from error


class _BoundedReader:
    def __init__(self, path: Path, kind: Kind | None, stream: SupportsRead[bytes], limit_bytes: int | None) -> None:
        self._path, self._kind, self._stream, self._limit = path, kind, stream, limit_bytes
        self._read = 0

    def read(self, size: int = -1, /) -> bytes:
        try:
            chunk = self._stream.read(size)
        except Exception as error:  # as in `unpack`
            kind = self._kind.value if self._kind else "plain"
            raise TraceError(
                f"`{self._path}` is a damaged {kind} file: {error}", hint="copy or download it again"
            ) from error
        self._read += len(chunk)
        if self._limit is not None and self._read > self._limit:
            raise _too_large(self._path, self._limit)
        return chunk


def first_bytes(path: Path, kind: Kind, count: int = 64) -> bytes:
    """The first bytes of what a packed file holds; none where it is damaged."""
    try:
        with _stream(path, kind) as stream:
            return stream.read(count)
    except Exception:  # whatever the library says: `unpack` says it to the user
        return b""


def _stream(path: Path, kind: Kind | None) -> AbstractContextManager[SupportsRead[bytes]]:
    if kind is None:
        return path.open("rb")
    if kind is Kind.ZSTD:
        import zstandard

        unpacked: BinaryIO = zstandard.open(path, "rb")
        return unpacked
    return _reader(path, kind)


def _too_large(path: Path, limit_bytes: int) -> TraceError:
    return TraceError(
        f"`{path}` unpacks to more than {limit_bytes / 1e9:,.1f} GB",
        hint="if that is right, raise --unpack-limit, or unpack it yourself",
    )


def _finish(finish: Callable[[Path], object], partial: Path, path: Path) -> None:
    try:
        finish(partial)
    except TraceError as error:
        raise renamed(error, partial, path) from error


def _reader(path: Path, kind: Kind) -> AbstractContextManager[SupportsRead[bytes]]:
    return lzma.open(path, "rb") if kind is Kind.XZ else gzip.open(path, "rb")


def _unpack_stream(path: Path, kind: Kind, unpacked: _Bounded) -> None:
    with _reader(path, kind) as packed:
        while chunk := packed.read(CHUNK_BYTES):
            unpacked.write(chunk)


# What it unpacks to is in memory as a whole, and may be 32,000 times as much.
_ZSTD_CHUNK_BYTES = 1 << 12


def _unpack_zstd(path: Path, unpacked: _Bounded) -> None:
    # The library's own reader takes the end of the file for the end of the data.
    import zstandard

    frame = zstandard.ZstdDecompressor().decompressobj()
    with path.open("rb") as packed:
        while chunk := packed.read(_ZSTD_CHUNK_BYTES):
            while chunk:
                if frame.eof:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                unpacked.write(frame.decompress(chunk))
                chunk = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise _CutOffError("it ends too early")
