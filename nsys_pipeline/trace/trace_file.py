"""The file or folder that a trace is in, and what has to be made of it before its tables can be read."""

from __future__ import annotations

import tempfile
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Self

from nsys_pipeline.errors import NsysError, TraceError
from nsys_pipeline.trace import cache
from nsys_pipeline.trace.formats import CONVERTED, PACKED, Converted, Kind
from nsys_pipeline.trace.identify import identify, local_path, renamed, run_traces
from nsys_pipeline.trace.options import TraceOptions
from nsys_pipeline.trace.source import Source
from nsys_pipeline.trace.store import Store

# As it lies on the disk, packed or not; and the file that its tables are read from.
SMALL_BYTES, SMALL_TABLES_BYTES = 1 << 20, 32 << 20


def find_trace(path: str | Path, options: TraceOptions | None = None, *, begins: bool = True) -> TraceFile:
    """The trace at `path`, or the one in the run directory there; an archive is being unpacked from now on (`begins`).

    A directory with a trace for each rank is one trace. Raises TraceError, with what the path is, where it is none;
    UsageError for a URL that is not file:///….
    """
    path = local_path(path)
    kind = identify(path)
    if kind is Kind.RUN_DIR:
        (path,) = run_traces(path)
        kind = identify(path)
    options = options or TraceOptions()
    file = TraceFile(path, kind, options)
    if begins and not Store(path, options).has_entry:
        file.begin_unpacking()
    return file


class TraceFile:
    """Exports a report and unpacks an archive when its tables are asked for, into the cache where there is one.

    Use as a context manager, or close it; a `Trace` made of it closes it too.
    """

    def __init__(self, path: Path, kind: Kind, options: TraceOptions) -> None:
        self.path = path
        self.kind = kind
        self.options = options
        self._folder = tempfile.TemporaryDirectory(prefix="llmperf-")
        self._source: Source | None = None
        self._unpacking: Future[Path] | None = None
        self._members: list[TraceFile] = []
        self.lacks_nsys = False
        """Whether a rank is left out that an nsys could export: the next run may find one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    @property
    def scratch(self) -> Path:
        """A folder for what is unpacked and spilled, until `close`."""
        return Path(self._folder.name)

    def is_small(self, tables: Path) -> bool:
        """Whether waking several threads for each statement takes longer than what they would share.

        `tables`: the file that its tables are read from, which an archive or a report may say little about.
        """
        sizes = ((self.path, SMALL_BYTES), (tables, SMALL_TABLES_BYTES))
        return all(file.is_file() and file.stat().st_size <= most for file, most in sizes)

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
        for member in self._members:
            member.close()
        if self._unpacking:
            wait([self._unpacking])
        self._folder.cleanup()

    def _open(self) -> Source:
        from nsys_pipeline.trace.parquet_source import ParquetSource
        from nsys_pipeline.trace.sqlite_source import SqliteSource

        if self.kind is Kind.PARQUET_DIR:
            return ParquetSource(self.path)
        if self.kind is Kind.SQLITE:
            return SqliteSource(self.path)
        if self.kind is Kind.JOB:
            return self._open_job()
        if self.kind is Kind.REPORT:
            return SqliteSource(self._export(), shown=self.path)
        if converted := CONVERTED.get(self.kind):
            self.options.progress(f"reading {self.path.name}")
            return SqliteSource(self._convert(converted), shown=self.path)
        self.options.progress(f"unpacking {self.path.name}")
        unpacked = self._unpacking.result() if self._unpacking else self._unpack()
        return SqliteSource(unpacked, shown=self.path)

    def _open_job(self) -> Source:
        from nsys_pipeline.trace.job_source import JobSource

        sources: list[tuple[Path, Source | TraceError]] = []
        for path in run_traces(self.path):
            try:
                member = TraceFile(path, identify(path), self.options)
                self._members.append(member)
                sources.append((path, member.source()))
            except NsysError as error:
                self.lacks_nsys = True
                sources.append((path, TraceError(error.message, hint=error.hint)))
            except TraceError as error:
                sources.append((path, error))
        return JobSource(self.path, sources)

    def _export(self) -> Path:
        from nsys_pipeline.nsys import export_sqlite, find_nsys

        self.options.progress(f"exporting {self.path.name}")
        exported = self._derived("exports")
        if not exported.exists():
            exported.parent.mkdir(parents=True, exist_ok=True)
            try:
                nsys = find_nsys(self.options.nsys)
            except NsysError as error:
                raise NsysError(f"`{self.path}` must be exported by nsys: {error.message}", hint=error.hint) from error
            try:
                export_sqlite(nsys, self.path, exported, finish=_without_values)
            except TraceError as error:
                raise renamed(error, exported, self.path) from error
        return exported

    def _unpack(self) -> Path:
        from nsys_pipeline.trace.unpack import unpack

        limit = self.options.unpack_limit_bytes
        return unpack(self.path, self.kind, self._derived("unpacked"), limit_bytes=limit, finish=_without_values)

    def _convert(self, converted: Converted) -> Path:
        # Our own code makes it: another version may make it otherwise.
        out = self._derived("converted", cache.code_fingerprint())
        return converted.convert(self.path, out, self.options.unpack_limit_bytes)

    def _derived(self, folder: str, *salt: str) -> Path:
        cache_dir = self.options.cache_dir or cache.default_cache_dir()
        use_cache = self.options.use_cache and cache.is_writable(cache_dir / folder)
        return cache.entry(cache_dir if use_cache else self.scratch, folder, self.path, ".sqlite", *salt)


def _without_values(export: Path) -> None:
    """Take what is private out of a copy that the cache keeps: the environment of programs has no business there."""
    from nsys_pipeline.nsys.clean import holds_private, scrub_environment

    if holds_private(export):
        scrub_environment(export, keeps_names=True)
