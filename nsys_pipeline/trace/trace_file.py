"""The file or folder that a trace is in, and what has to be made of it before its tables can be read."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from nsys_pipeline.errors import NsysError, TraceError
from nsys_pipeline.trace import cache
from nsys_pipeline.trace.identify import PACKED, Kind, identify
from nsys_pipeline.trace.options import TraceOptions
from nsys_pipeline.trace.source import EXPORT_AGAIN, Source


class TraceFile:
    """Exports a report and unpacks an archive when its tables are asked for, into the cache where there is one."""

    def __init__(
        self, path: Path, kind: Kind, options: TraceOptions, scratch: Path, on_progress: Callable[[str], None]
    ) -> None:
        self.path = path
        self.kind = kind
        self._options = options
        self._scratch = scratch
        self._progress = on_progress
        self._source: Source | None = None
        self._unpacking: Future[Path] | None = None

    def begin_unpacking(self) -> None:
        """Unpack an archive in the background: DuckDB takes a moment to import."""
        if self.kind in PACKED:
            pool = ThreadPoolExecutor(1)
            self._unpacking = pool.submit(self._unpack)
            pool.shutdown(wait=False)

    def source(self) -> Source:
        """The tables of the export. Raises TraceError and NsysError where there is no way to them."""
        if self._source is None:
            self._source = self._open()
        return self._source

    def settle(self) -> None:
        """See `Source.settle`."""
        if self._source:
            self._source.settle()

    def interrupt(self) -> None:
        """See `Source.interrupt`."""
        if self._source:
            self._source.interrupt()

    def close(self) -> None:
        """Let go of files."""
        if self._source:
            self._source.close()
        if self._unpacking:
            wait([self._unpacking])

    def _open(self) -> Source:
        from nsys_pipeline.trace.parquet_source import ParquetSource
        from nsys_pipeline.trace.sqlite_source import SqliteSource

        if self.kind is Kind.PARQUET_DIR:
            return ParquetSource(self.path)
        if self.kind is Kind.SQLITE:
            return SqliteSource(self.path)
        if self.kind is Kind.REPORT:
            return SqliteSource(self._export())
        self._progress(f"unpacking {self.path.name}")
        unpacked = self._unpacking.result() if self._unpacking else self._unpack()
        inner = identify(unpacked)
        if inner is not Kind.SQLITE:
            raise TraceError(f"`{self.path}` holds {inner.value} data, not a SQLite export", hint=EXPORT_AGAIN)
        return SqliteSource(unpacked)

    def _export(self) -> Path:
        from nsys_pipeline.capture import export_sqlite, find_nsys

        self._progress(f"exporting {self.path.name}")
        exported = self._derived("exports")
        if not exported.exists():
            exported.parent.mkdir(parents=True, exist_ok=True)
            try:
                nsys = find_nsys(self._options.nsys)
            except NsysError as error:
                raise NsysError(f"`{self.path}` must be exported by nsys: {error.message}", hint=error.hint) from error
            export_sqlite(nsys, self.path, exported)
        return exported

    def _unpack(self) -> Path:
        from nsys_pipeline.trace.unpack import unpack

        return unpack(self.path, self.kind, self._derived("unpacked"))

    def _derived(self, folder: str) -> Path:
        cache_dir = self._options.cache_dir or cache.default_cache_dir()
        use_cache = self._options.use_cache and cache.is_writable(cache_dir / folder)
        return cache.entry(cache_dir if use_cache else self._scratch, folder, self.path, ".sqlite")


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for what one open trace spills and unpacks."""
    return tempfile.TemporaryDirectory(prefix="llmperf-")
