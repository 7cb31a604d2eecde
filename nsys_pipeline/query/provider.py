"""Builds what queries read, for one trace: modules of ``sql/``, and the export's own tables."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from nsys_pipeline.duck import literal, records
from nsys_pipeline.errors import TraceError
from nsys_pipeline.inputs.notices import CODES
from nsys_pipeline.inputs.registry import INPUTS, NEEDS
from nsys_pipeline.query.raw_tables import RawTables
from nsys_pipeline.query.statement import Relation
from nsys_pipeline.records import Finding
from nsys_pipeline.sqlmods import LAYERS, NOTICES, all_modules, closure, sentences_sql

if TYPE_CHECKING:
    from pathlib import Path

    from nsys_pipeline.inputs import AnalysisOptions
    from nsys_pipeline.trace import Trace


class Relations(Protocol):
    """What a session asks: relations, each made when it is first asked for. Safe to share between threads."""

    @property
    def name(self) -> str:
        """What they go by beside others; '' alone."""
        ...

    @property
    def path(self) -> Path:
        """Where they come from."""
        ...

    @property
    def memory_limit(self) -> str:
        """What DuckDB may use for them, as `--memory-limit` has it."""
        ...

    def findings(self, relations: Iterable[Relation]) -> list[Finding]:
        """What a reader of `relations` must know."""
        ...

    def provide(self, relations: Iterable[Relation]) -> None:
        """Build `relations`, as far as they are names of these. Raises TraceError where they cannot be read."""
        ...

    def build(self, *targets: str) -> None:
        """Build relations by their full names."""
        ...

    def table_names(self) -> list[str]:
        """Everything that may follow FROM."""
        ...

    def raw_columns(self, table: str) -> list[str]:
        """Columns of a table of the export, whatever its case; none where there is no such table."""
        ...

    def before_closing_off(self) -> Path | None:
        """Open what may not be opened later, and return the folder that must stay readable, if any."""
        ...

    def interrupt(self) -> None:
        """Stop what another thread builds."""
        ...

    def close(self, *, waits: bool = True) -> None:
        """Close what they come from; without `waits`, what can be closed while something is busy with it."""
        ...


class Provider:
    """The relations of one open trace, each made when it is first asked for. Safe to share between threads."""

    def __init__(self, trace: Trace, options: AnalysisOptions, name: str = "") -> None:
        self.trace = trace
        self.trace.describe(options)
        self.name = name
        self.raw = RawTables(trace)
        self.lock = threading.RLock()
        self._exposed: set[str] = set()
        self.trace.build(*(module.name for module in all_modules().values() if module.is_macro))

    @property
    def options(self) -> AnalysisOptions:
        """The model, the shapes and the peaks that fill in utilization."""
        return self.trace.inputs.options

    @property
    def path(self) -> Path:
        """The trace's path."""
        return self.trace.path

    @property
    def memory_limit(self) -> str:
        """The trace's, as `--memory-limit` has it."""
        return self.trace.options.memory_limit

    def findings(self, relations: Iterable[Relation]) -> list[Finding]:
        """What a reader of `relations` must know: the findings that concern anything that they are made from."""
        targets, _ = self._targets(relations)
        read = set(closure(targets, needs=NEEDS))
        modules = [one for one in all_modules().values() if one.is_finding and not read.isdisjoint(one.concerns)]
        codes = [code for code, (_, concerns) in CODES.items() if not read.isdisjoint(concerns)]
        selects = [sentences_sql(module) for module in modules]
        if codes:
            selects.append(f"{NOTICES.sql} WHERE code IN ({', '.join(map(literal, codes))})")
        if not selects:
            return []
        with self.lock:
            self.trace.build(*(needed for module in modules for needed in module.requires), "input.notices")
            with self.trace.reading():
                rows = records(self.trace.connection, " UNION ALL ".join(selects))
        return sorted((Finding(**row) for row in rows), key=Finding.rank)

    def provide(self, relations: Iterable[Relation]) -> None:
        """Build `relations`, as far as they are names of this trace. Raises TraceError where it cannot be read."""
        targets, raw = self._targets(relations)
        self.build(*targets)
        if raw:
            self._load_raw(raw)

    def _targets(self, relations: Iterable[Relation]) -> tuple[set[str], set[str]]:
        """Full names of what `relations` are in this trace, and the tables of the export among them."""
        targets: set[str] = set()
        raw: set[str] = set()
        for relation in relations:
            schema, name = relation.schema.lower(), relation.name.lower()
            if schema == "nsys" and (table := self.raw.find(name)):
                raw.add(table)
            elif schema == "nsys" and name == "kernel_launch_config":
                targets.add("nsys.KERNEL_LAUNCH_CONFIG")
            elif target := _target(schema, name):
                targets.add(target)
        return targets, raw

    def build(self, *targets: str) -> None:
        """Build relations of ``sql/`` by their full names."""
        with self.lock:
            self.trace.build(*targets)
            self.raw.provide(())
            self._expose(targets)

    def _expose(self, targets: Iterable[str]) -> None:
        """In a database of several traces a view goes by `trace.view`: DuckDB looks for it in the schema `main`."""
        if not self.name:
            return
        for target in targets:
            module = all_modules().get(target)
            if module and module.is_public and target not in self._exposed:
                self.trace.connection.execute(f"CREATE OR REPLACE VIEW main.{module.relation} AS FROM {target}")
                self._exposed.add(target)

    def _load_raw(self, tables: set[str]) -> None:
        import duckdb

        try:
            with self.lock:
                self.raw.provide(sorted(tables))
        except duckdb.OutOfMemoryException as error:
            raise TraceError(
                f"{', '.join(sorted(tables))} does not fit the memory limit", hint="raise it with --memory-limit"
            ) from error

    def table_names(self) -> list[str]:
        """Everything of this trace that may follow FROM: the public views, then the export's own tables."""
        prefix = f"{self.name}." if self.name else ""
        public = sorted(module.relation for module in all_modules().values() if module.is_public)
        return [f"{prefix}{name}" for name in (*public, *(f"nsys.{table}" for table in self.raw.names()))]

    def raw_columns(self, table: str) -> list[str]:
        """Columns of a table of the export, whatever its case; none where there is no such table."""
        found = self.raw.find(table)
        return self.raw.columns(found) if found else []

    def before_closing_off(self) -> Path | None:
        """Attach what the cache has kept. Tables of a Parquet export are read later: its folder stays readable."""
        with self.lock:
            self.trace.attach_late_tables()
            self.trace.is_closed_off = True
        path = self.trace.source().path
        return path if path.is_dir() else None

    def interrupt(self) -> None:
        """Stop what another thread builds."""
        self.trace.interrupt()

    def close(self, *, waits: bool = True) -> None:
        """Close the trace, or only remove what is temporary if it is busy."""
        self.trace.close(waits=waits)


def _target(schema: str, name: str) -> str | None:
    full = f"{schema or 'views'}.{name}"
    if schema and schema not in LAYERS:
        return None
    if schema == "input":
        return full if full in INPUTS else None
    module = all_modules().get(full)
    return full if module and not module.is_macro else None
