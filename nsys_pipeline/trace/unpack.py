"""Unpack a compressed export into the cache."""

from __future__ import annotations

import gzip
import lzma
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from nsys_pipeline.errors import TraceError
from nsys_pipeline.trace.cache import temporary
from nsys_pipeline.trace.identify import Kind

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from _typeshed import SupportsRead


def _reader(path: Path, kind: Kind) -> AbstractContextManager[SupportsRead[bytes]]:
    if kind is Kind.XZ:
        return lzma.open(path, "rb")
    if kind is Kind.GZIP:
        return gzip.open(path, "rb")
    import zstandard

    packed: AbstractContextManager[SupportsRead[bytes]] = zstandard.open(path, "rb")
    return packed


def unpack(path: Path, kind: Kind, final: Path) -> Path:
    """Write what `path` holds to `final`. Raises TraceError where the archive is damaged or the disk is full."""
    if final.exists():
        return final
    partial = temporary(final)
    try:
        with _reader(path, kind) as packed, partial.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
        partial.replace(final)
    except OSError as error:
        if error.errno:
            raise TraceError(f"`{path}` cannot be unpacked to `{final.parent}`: {error.strerror}") from error
        raise TraceError(f"`{path}` is a damaged {kind.value} file: {error}") from error
    except Exception as error:  # lzma.LZMAError, EOFError, zstandard.ZstdError: no common base
        raise TraceError(f"`{path}` is a damaged {kind.value} file: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return final
