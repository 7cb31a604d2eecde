"""The database in the cache that tables of a trace go to, where there is a cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nsys_pipeline.duck import literal
from nsys_pipeline.trace import cache
from nsys_pipeline.trace.options import TraceOptions

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

STORE = "store"


class Store:
    """A catalog called `name`, made in a file beside its final place; `keep` moves it there, read-only from then on."""

    def __init__(self, path: Path, options: TraceOptions, name: str = STORE) -> None:
        self.name = name
        self.is_cached = False
        self.cache_dir = options.cache_dir or cache.default_cache_dir()
        self._entry: Path | None = None
        self._partial: Path | None = None
        if options.use_cache and "?" in str(self.cache_dir):
            # DuckDB takes what follows it in a path for parameters.
            options.progress(
                f"no cache: `{self.cache_dir}` has a question mark (set LLMPERF_CACHE_DIR to another folder)"
            )
        elif options.use_cache:
            self._entry = cache.entry(
                self.cache_dir, "traces", path, ".duckdb", cache.code_fingerprint(), options.identity()
            )

    @property
    def has_entry(self) -> bool:
        """Whether an earlier run has left its tables."""
        return self._entry is not None and self._entry.exists()

    @property
    def cached_file(self) -> Path | None:
        """The file with the tables of an earlier run, where they are used."""
        return self._entry if self.is_cached else None

    @property
    def is_in_file(self) -> bool:
        """Whether the tables are being written to the cache."""
        return self._partial is not None

    @property
    def is_attached(self) -> bool:
        """Whether there is a catalog beside the connection's own; else all tables are made in that."""
        return self.is_cached or self.is_in_file

    def attach(self, con: DuckDBPyConnection) -> None:
        """Attach what an earlier run has left, else a new file, or nothing where there is no cache."""
        import duckdb

        if self._entry and self._entry.exists():
            with suppress(duckdb.Error):
                self._attach(con, self._entry, read_only=True)
                self.is_cached = True
                with suppress(OSError):
                    os.utime(self._entry)
                return
        if self._entry:
            try:
                self._partial = cache.temporary(self._entry)
                self._partial.unlink(missing_ok=True)
                self._attach(con, self._partial, read_only=False)
            except (OSError, duckdb.Error):
                # No place for a cache: work in memory.
                self._partial = self._entry = None

    def keep(self, con: DuckDBPyConnection) -> bool:
        """Put what was built into the cache, for the next run; False where there is nothing to do.

        Failing to is no error: the cache is a convenience.
        """
        if self.is_cached or self._partial is None or self._entry is None:
            return False
        con.execute(f"DETACH {self.name}")
        kept = self._partial
        with suppress(OSError):
            self._partial.replace(self._entry)
            kept, self._partial = self._entry, None
        self._attach(con, kept, read_only=True)
        self.is_cached = True
        cache.trim(self.cache_dir)
        return True

    def has_late(self, relation: str) -> bool:
        """Whether an earlier run has left nsys.`relation` beside the entry."""
        file = self._file_beside(relation)
        return self.is_cached and file is not None and file.exists()

    def attach_late(self, con: DuckDBPyConnection, relation: str, load: Callable[[str], None]) -> str | None:
        """Attach the catalog beside the entry that holds nsys.`relation`, which `load` makes in it at first.

        Returns its name; None where there is no cache, or no access to it any more.
        """
        import duckdb

        file = self._file_beside(relation)
        if file is None:
            return None
        catalog = f"{self.name}_{relation.lower()}"
        if not file.exists() and not self._make_late(con, file, catalog, load):
            return None
        try:
            con.execute(f"ATTACH {literal(str(file))} AS {catalog} (READ_ONLY)")
        except duckdb.PermissionException:
            return None
        except duckdb.Error:
            # Damaged: the next run makes it again.
            with suppress(OSError):
                file.unlink()
            return None
        with suppress(OSError):
            os.utime(file)
        return catalog

    def _make_late(self, con: DuckDBPyConnection, file: Path, catalog: str, load: Callable[[str], None]) -> bool:
        import duckdb

        partial = cache.temporary(file)
        try:
            con.execute(f"ATTACH {literal(str(partial))} AS {catalog}")
        except duckdb.Error:
            return False
        try:
            load(catalog)
            con.execute(f"DETACH {catalog}")
            partial.replace(file)
        except (OSError, duckdb.IOException, duckdb.TransactionException, duckdb.FatalException):
            # No room for a cache: the table goes into memory, which spills where there is room.
            with suppress(duckdb.Error):
                con.execute(f"DETACH {catalog}")
            return False
        finally:
            _remove(partial)
        cache.trim(self.cache_dir)
        return True

    def close(self) -> None:
        """Remove what was not kept; the connection must be closed."""
        if self._partial:
            _remove(self._partial)

    def _file_beside(self, relation: str) -> Path | None:
        return self._entry and self._entry.with_name(f"{self._entry.stem}.{relation.lower()}.duckdb")

    def _attach(self, con: DuckDBPyConnection, file: Path, *, read_only: bool) -> None:
        con.execute(f"ATTACH {literal(str(file))} AS {self.name}{' (READ_ONLY)' if read_only else ''}")


def _remove(database: Path) -> None:
    for leftover in (database, database.with_name(database.name + ".wal")):
        leftover.unlink(missing_ok=True)
