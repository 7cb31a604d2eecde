"""Unpack a compressed export into the cache."""

from __future__ import annotations

import gzip
import lzma
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nsys_pipeline.errors import TraceError
from nsys_pipeline.trace.cache import temporary
from nsys_pipeline.trace.identify import Kind

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from _typeshed import SupportsRead

CHUNK_BYTES = 1 << 20


class _CutOffError(Exception):
    """The packed data ends before it says so."""


def _reader(path: Path, kind: Kind) -> AbstractContextManager[SupportsRead[bytes]]:
    return lzma.open(path, "rb") if kind is Kind.XZ else gzip.open(path, "rb")


def _unpack_zstd(packed: BinaryIO, unpacked: BinaryIO) -> None:
    # The library's own reader takes the end of the file for the end of the data.
    import zstandard

    frame = zstandard.ZstdDecompressor().decompressobj()
    while chunk := packed.read(CHUNK_BYTES):
        while chunk:
            if frame.eof:
                frame = zstandard.ZstdDecompressor().decompressobj()
            unpacked.write(frame.decompress(chunk))
            chunk = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise _CutOffError("it ends too early")


def unpack(path: Path, kind: Kind, final: Path) -> Path:
    """Write what `path` holds to `final`. Raises TraceError where the archive is damaged or the disk is full."""
    if final.exists():
        return final
    partial = temporary(final)
    again = "copy or download it again"
    try:
        if kind is Kind.ZSTD:
            with path.open("rb") as packed_bytes, partial.open("wb") as unpacked:
                _unpack_zstd(packed_bytes, unpacked)
        else:
            with _reader(path, kind) as packed, partial.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, CHUNK_BYTES)
        partial.replace(final)
    except OSError as error:
        if error.errno:
            raise TraceError(
                f"`{path}` cannot be unpacked to `{final.parent}`: {error.strerror}",
                hint="unpack it yourself, or make room there",
            ) from error
        raise TraceError(f"`{path}` is a damaged {kind.value} file: {error}", hint=again) from error
    except Exception as error:  # lzma.LZMAError, EOFError, zlib.error, zstandard.ZstdError: no common base
        raise TraceError(f"`{path}` is a damaged {kind.value} file: {error}", hint=again) from error
    finally:
        partial.unlink(missing_ok=True)
    return final
