"""Run the modules of ``sql/`` on demand: asking for one builds what it needs first.

Relations of the schemas ``nsys`` and ``input`` do not come from files: the caller hands in a function that makes them,
and says what those of ``input`` are made from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from nsys_pipeline.duck import execute_parsed, quote
from nsys_pipeline.sqlmods import (
    LAYERS,
    Module,
    Part,
    all_modules,
    closure,
    kept_apart,
    macro_ddl,
    relation_of,
    union_sql,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class Runner:
    """Builds modules on one connection, each at most once.

    `external` makes a relation of the schemas ``nsys`` or ``input`` when it is first needed, and all that `needs` says
    it is made from is there. Tables go to the connection's own catalog. Where there is an attached database `store`,
    a file that a later run attaches, they go there, with a view of the same name in the connection's own catalog; but
    not those that rest on a relation of `passing`, which another run may fill otherwise.

    `copies_views`: views that several modules read, or that the report reads, are made as tables, too. DuckDB binds and
    plans a view anew for each that reads it, which takes a small trace longer than to write down its rows.
    """

    def __init__(
        self,
        con: DuckDBPyConnection,
        external: Callable[[str], None],
        *,
        store: str | None = None,
        modules: Mapping[str, Module] | None = None,
        on_module: Callable[[str], None] | None = None,
        may_write: bool = True,
        needs: Mapping[str, Sequence[str]] = MappingProxyType({}),
        passing: Collection[str] = (),
        copies_views: bool = False,
    ) -> None:
        self.con = con
        self.external = external
        self.store = store
        self.modules = all_modules() if modules is None else modules
        self.on_module = on_module
        self.may_write = may_write
        self.needs = needs
        self.passing = frozenset(passing)
        self.built: set[str] = set()
        self._has_rows: dict[str, bool] = {}
        self._rests_on_passing: dict[str, bool] = {}
        self._adopted: set[str] = set()
        self.modules = kept_apart(self.modules, self.rests_on_passing)
        self._rests_on_passing.clear()
        readers = Counter(needed for module in self.modules.values() for needed in module.requires)
        self.copies_views = copies_views
        self._views: set[str] = set()
        self._copied = {name for name, count in readers.items() if copies_views and count > 1}
        databases = ["", f"{store}."] if store and may_write else [""]
        con.execute(";".join(f"CREATE SCHEMA IF NOT EXISTS {where}{layer}" for where in databases for layer in LAYERS))
        if store:
            stored = con.execute(
                "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE database_name = ?", [store]
            ).fetchall()
            self.adopt(*(name for (name,) in stored))

    def will_read(self, names: Iterable[str]) -> None:
        """Say that these will be queried in any case: see `copies_views`. A view is bound when it is made, too."""
        if self.copies_views:
            self._copied.update(set(names) - self._views)

    def closure(self, targets: Iterable[str]) -> list[str]:
        """What is to be built for `targets`, dependencies first."""
        return closure(targets, self.modules, self.built, self.needs)

    def rests_on_passing(self, name: str) -> bool:
        """Whether a relation is made from one of `passing`."""
        known = self._rests_on_passing
        if name not in known:
            known[name] = name in self.passing or any(map(self.rests_on_passing, self._direct_needs(name)))
        return known[name]

    def forget_passing(self, passing: Collection[str] | None = None) -> None:
        """Have everything made anew that rests on what was passing, or is from now on: its inputs are others."""
        stale = {name for name in self.built if self.rests_on_passing(name)}
        if passing is not None and frozenset(passing) != self.passing:
            self.passing = frozenset(passing)
            self._rests_on_passing.clear()
            stale |= {name for name in self.built if self.rests_on_passing(name)}
        for name in stale & self._adopted:
            # What is made in its place may be a table.
            self.con.execute(f"DROP VIEW IF EXISTS {name}")
            self._adopted.discard(name)
        self.built -= stale
        self._has_rows = {source: known for source, known in self._has_rows.items() if relation_of(source) not in stale}

    def restart(self, kept: Collection[str]) -> None:
        """Have all but `kept` made anew, in memory alone: the store's tables are of other data now."""
        for name in self._adopted - set(kept):
            self.con.execute(f"DROP VIEW IF EXISTS {name}")
        self._adopted.clear()
        self._has_rows.clear()
        self.built = set(kept)
        self.may_write = False

    def _direct_needs(self, name: str) -> Sequence[str]:
        return self.modules[name].requires if name in self.modules else self.needs.get(name, ())

    def build(self, *targets: str) -> None:
        """Build `targets` and what they need, but for what only relations without rows are made from.

        Temporary tables are dropped as soon as nothing of it reads them.
        """
        last_use = self._last_uses(self.closure(targets), targets)
        for target in targets:
            self._build(target, last_use)
        self._drop(name for temporaries in last_use.values() for name in temporaries)

    def _build(self, name: str, last_use: Mapping[str, Collection[str]]) -> None:
        if name in self.built:
            return
        module = self.modules.get(name)
        parts = self._parts_with_rows(module, last_use) if module else [Part("", (), tuple(self._direct_needs(name)))]
        for part in parts:
            for needed in part.requires:
                self._build(needed, last_use)
        if name not in self.built:  # an external relation is built on the way to another
            if self.on_module:
                self.on_module(name)
            if module:
                self._create(module, union_sql(parts))
            else:
                self.external(name)
            self.built.add(name)
        # Spilled to disk, most likely, and read again for nothing if it stayed.
        self._drop(last_use.get(name, ()))

    def _drop(self, temporaries: Iterable[str]) -> None:
        for name in self.built.intersection(temporaries):
            self.con.execute(f"DROP TABLE IF EXISTS {name}")
            self.built.discard(name)

    def _last_uses(self, order: list[str], targets: Collection[str]) -> dict[str, list[str]]:
        """Module → the temporary tables of `order` that nothing after it reads. Views keep what they read."""
        kept_by_views = {
            needed for module in self.modules.values() if not module.is_table for needed in module.requires
        }
        last: dict[str, str] = {}
        for name in order:
            for needed in self._direct_needs(name):
                if needed in order and needed in self.modules and self.modules[needed].is_temporary:
                    last[needed] = name
        uses: dict[str, list[str]] = {}
        for temporary, user in last.items():
            if temporary not in kept_by_views and temporary not in targets:
                uses.setdefault(user, []).append(temporary)
        return uses

    def _create(self, module: Module, query: str) -> None:
        """`query`: the module's SELECT; empty if it is known to give no row."""
        if module.is_macro:
            execute_parsed(self.con, macro_ddl(module))
        elif not module.is_table and module.name not in self._copied:
            self._views.add(module.name)
            execute_parsed(self.con, f"CREATE OR REPLACE VIEW {module.name} AS {query or _no_rows(module)}")
        else:
            is_stored = module.is_table and not module.is_temporary and self._may_store(module)
            columns = ", ".join(f"{quote(one.name)} {one.type}" for one in module.columns)
            place = f"{self.store}.{module.name}" if is_stored else module.name
            made = execute_parsed(
                self.con, f"CREATE OR REPLACE TABLE {place} {f'AS {query}' if query else f'({columns})'}"
            )
            self._has_rows[module.name] = bool(query) and made.fetchall() != [(0,)]
            if is_stored:
                self.adopt(module.name)

    def _parts_with_rows(self, module: Module, last_use: Mapping[str, Collection[str]]) -> list[Part]:
        """The SELECTs of `module` but for those that are known to give no row."""
        parts = module.parts or (Part(module.sql, module.empty_without, module.requires),)
        sources = list(dict.fromkeys(source for part in parts for source in part.empty_without))
        for source in sources:
            self._build(relation_of(source), last_use)
        if unknown := [source for source in sources if source not in self._has_rows]:
            asked = " UNION ALL ".join(f"(SELECT {index} FROM {one} LIMIT 1)" for index, one in enumerate(unknown))  # noqa: S608
            self._has_rows |= dict.fromkeys(unknown, False) | {
                unknown[index]: True for (index,) in self.con.execute(asked).fetchall()
            }
        return [part for part in parts if not part.empty_without or any(map(self._has_rows.get, part.empty_without))]

    def _may_store(self, module: Module) -> bool:
        return self.store is not None and self.may_write and not self.rests_on_passing(module.name)

    def adopt(self, *names: str) -> None:
        """Let each of `names` mean the table of that name in the store."""
        if names:
            views = (f"CREATE OR REPLACE VIEW {name} AS FROM {self.store}.{name}" for name in names)
            self.con.execute(";".join(views))
            self.built.update(names)
            self._adopted.update(names)


def _no_rows(module: Module) -> str:
    columns = ", ".join(f"NULL::{one.type} AS {quote(one.name)}" for one in module.columns)
    return f"SELECT {columns} WHERE false"
