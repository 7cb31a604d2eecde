"""Find, parse and order the modules of ``sql/``: one file, one SELECT, one relation. `trace.runner` runs them.

``sql/attribute/launches/gpu_work.sql`` defines ``attribute.gpu_work``: the first folder names the schema, a second one
only groups. The header of a file is its documentation and its
contract; `scripts/check_sql_modules.py` checks it against the statement itself::

    -- What one row is, in a sentence or two.
    -- Grain: the key, and what is NULL when.
    -- requires: load.kernels, attribute.launches
    -- materialize: table                      (or temporary: not kept for later runs; left out: a view)
    -- empty without: attribute.layer_ranges   (no row where that table has none: nor is what it alone needs built then;
                                                a condition may follow: load.ranks WHERE world > 1;
                                                of several, with ; between them, one with a row is enough)
    -- params: spans                           (only in a macro)
    -- returns: BIGINT  What it is. Unit: ns.  (only in a macro that is a function of values: then no columns)
    -- columns:
    --   kernel_id BIGINT  What it is. Unit: ns.

A module of ``sql/findings`` is something that a reader must know: its rows are the places where it holds. Its header
has some keys more, and its columns begin with `phase VARCHAR` and `at_stake_ns BIGINT`::

    -- severity: warning   (error: a number is wrong; warning: a number lacks something; info: worth knowing)
    -- message: the end of {range_count:,} ranges was not recorded
    -- hint: let the workload end by itself
    -- concerns: attribute.phase_walls   (who asks for what is made from it is told; may be left out)

If it has a third column `budget_part VARCHAR`, it is a cause: something that could be cured. `at_stake_ns` is then the
most that the cure would save, and no more than the classes of the phase's time budget that `budget_part` names, joined
by `+`; or it is `outside` of all budgets.
`{column}` in a text is the value of that column: `:,` groups digits, `:ms` reads ns, `:us` ns as microseconds, `:%` a
ratio (see `template_sql`).
The relation `findings._all` has the rows of all of them as sentences; the view `findings` is what readers get.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

import attrs

# A relation may only require relations of its own layer or of layers to its left.
LAYERS = ("nsys", "input", "macros", "load", "attribute", "estimate", "views", "findings")
EXTERNAL_LAYERS = ("nsys", "input")
KEYS = (
    "severity", "message", "hint", "concerns", "requires", "materialize", "empty without", "params", "returns",
    "columns",
)  # fmt: skip
ALL_FINDINGS = "findings._all"
KEPT_FINDINGS = "findings._kept"


class ModuleError(Exception):
    """A module of ``sql/`` is malformed: a bug in llmperf, not in the user's input."""


@attrs.frozen
class Column:
    """A documented column of a relation."""

    name: str
    type: str
    doc: str


@attrs.frozen
class Part:
    """A SELECT of a union, which has no row if none of `empty_without`, each of which may follow FROM, has one."""

    sql: str
    empty_without: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()


@attrs.frozen
class Module:
    """One file of ``sql/``; or, with `parts`, a union of several that the code makes."""

    name: str
    doc: str
    grain: str
    requires: tuple[str, ...]
    columns: tuple[Column, ...]
    sql: str
    parts: tuple[Part, ...] = ()
    is_table: bool = False
    is_temporary: bool = False
    empty_without: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    returns: Column | None = None
    severity: str | None = None
    message: str | None = None
    hint: str | None = None
    concerns: tuple[str, ...] = ()

    @property
    def layer(self) -> str:
        return self.name.partition(".")[0]

    @property
    def relation(self) -> str:
        return self.name.partition(".")[2]

    @property
    def needed_rows_of(self) -> tuple[str, ...]:
        """The relations of which `empty_without` tells."""
        return tuple(map(relation_of, self.empty_without))

    @property
    def is_macro(self) -> bool:
        return bool(self.params)

    @property
    def is_public(self) -> bool:
        return self.layer == "views" and not self.relation.startswith("_")

    @property
    def is_finding(self) -> bool:
        return self.layer == "findings" and not self.relation.startswith("_")

    @property
    def is_cause(self) -> bool:
        """Whether it is a finding with a value: time of the budget that a cure would save."""
        return self.is_finding and any(column.name == "budget_part" for column in self.columns)


def relation_of(empty_without: str) -> str:
    """The relation in `RELATION` or `RELATION WHERE condition`."""
    return empty_without.partition(" ")[0]


def sql_root() -> Path:
    """Folder of the modules: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "sql"
    return inside if inside.is_dir() else package.parent / "sql"


def parse(name: str, text: str) -> Module:
    """Parse one module. Raises ModuleError where the header or the statement breaks the rules."""
    header = []
    lines = text.splitlines()
    while lines and lines[0].startswith("--"):
        header.append(lines.pop(0)[2:].removeprefix(" "))
    sql = "\n".join(lines).strip().removesuffix(";")
    if not header or not sql:
        raise ModuleError(f"{name}: needs a header and one SELECT")

    prose: list[str] = []
    fields: dict[str, list[str]] = {}
    current = prose
    for line in header:
        key, colon, rest = line.partition(":")
        if colon and key in KEYS:
            current = fields.setdefault(key, [])
            line = rest.strip()  # noqa: PLW2901
        if line:
            current.append(line)
    grain_at = next((i for i, line in enumerate(prose) if line.startswith("Grain:")), None)
    if grain_at is None and "returns" in fields:
        grain_at = len(prose)
    if grain_at is None:
        raise ModuleError(f"{name}: the header does not say its grain")
    layer = name.partition(".")[0]
    if layer == "findings" and not {"severity", "message"} <= fields.keys():
        raise ModuleError(f"{name}: a finding needs a severity and a message")
    if fields.get("materialize", ["table"]) not in (["table"], ["temporary"]):
        raise ModuleError(f"{name}: `materialize` is neither table nor temporary, or stands twice")
    if layer not in LAYERS or layer in EXTERNAL_LAYERS:
        raise ModuleError(f"{name}: `{layer}` is no layer of sql/")
    return Module(
        name=name,
        doc=" ".join(prose[:grain_at]),
        grain=" ".join(prose[grain_at:]).removeprefix("Grain:").strip(),
        requires=_names(fields.get("requires")),
        columns=parse_columns(name, fields.get("columns", [])),
        sql=sql,
        is_table="materialize" in fields,
        is_temporary=fields.get("materialize") == ["temporary"],
        empty_without=tuple(re.split(r"\s*;\s*", " ".join(fields["empty without"])))
        if "empty without" in fields
        else (),
        params=tuple(re.findall(r"\w+", " ".join(fields.get("params", [])))),
        returns=_parse_returns(name, fields.get("returns")),
        severity=_text(fields.get("severity")),
        message=_text(fields.get("message")),
        hint=_text(fields.get("hint")),
        concerns=_names(fields.get("concerns")),
    )


def _names(lines: list[str] | None) -> tuple[str, ...]:
    return tuple(re.findall(r"[\w.]+", " ".join(lines or [])))


def _text(lines: list[str] | None) -> str | None:
    return None if lines is None else " ".join(line.strip() for line in lines)


def _parse_returns(name: str, lines: list[str] | None) -> Column | None:
    if lines is None:
        return None
    kind, _, doc = " ".join(line.strip() for line in lines).partition(" ")
    if not doc:
        raise ModuleError(f"{name}: `returns` is not `TYPE description`")
    return Column(name.partition(".")[2], kind, doc.strip())


def parse_columns(name: str, lines: Iterable[str]) -> tuple[Column, ...]:
    """Read `  name TYPE  description` lines; deeper ones go on with the description above. Raises ModuleError."""
    columns: list[Column] = []
    for line in lines:
        if line.startswith("    "):  # continues the description above
            last = columns.pop()
            columns.append(attrs.evolve(last, doc=f"{last.doc} {line.strip()}"))
            continue
        match = re.match(r"  (\w+)\s+([A-Z]+(?:\([^)]*\))?(?:\[\])?)\s+(\S.*)", line)
        if not match:
            raise ModuleError(f"{name}: column line is not `name TYPE description`: {line!r}")
        columns.append(Column(*match.groups()))
    return tuple(columns)


@cache
def all_modules() -> Mapping[str, Module]:
    """Every module of ``sql/`` by name."""
    root = sql_root()
    modules = {}
    for layer in LAYERS:
        for path in sorted((root / layer).rglob("*.sql")):
            name = f"{layer}.{path.stem}"
            modules[name] = parse(name, path.read_text(encoding="utf-8"))
    modules[ALL_FINDINGS] = all_findings(modules.values())
    return modules


def all_findings(modules: Iterable[Module]) -> Module:
    """The relation of everything that the findings among `modules`, and Python, have to say: see `views.findings`."""
    found = sorted((module for module in modules if module.is_finding), key=lambda one: one.name)
    doc = "What a reader must know, as sentences: the findings of sql/findings, and what only Python can tell."
    return _sentences(ALL_FINDINGS, doc, found, [NOTICES])


def kept_apart(modules: Mapping[str, Module], rests_on_passing: Callable[[str], bool]) -> dict[str, Module]:
    """`modules` with the findings that another run has in any case in a relation of their own, which can be kept."""
    found = sorted((module for module in modules.values() if module.is_finding), key=lambda one: one.name)
    passing = [module for module in found if any(map(rests_on_passing, module.requires))]
    kept = [module for module in found if module not in passing]
    if ALL_FINDINGS not in modules or not kept:
        return dict(modules)
    doc = "The findings that rest on the trace alone."
    others = [Part(f"FROM {KEPT_FINDINGS}", requires=(KEPT_FINDINGS,)), NOTICES]
    return {
        **modules,
        KEPT_FINDINGS: _sentences(KEPT_FINDINGS, doc, kept, []),
        ALL_FINDINGS: _sentences(ALL_FINDINGS, modules[ALL_FINDINGS].doc, passing, others),
    }


def _sentences(name: str, doc: str, found: Sequence[Module], others: Sequence[Part]) -> Module:
    parts = (*(Part(sentences_sql(one), one.empty_without, one.requires) for one in found), *others)
    return Module(
        name=name,
        doc=doc,
        grain="code, phase, message.",
        requires=tuple(dict.fromkeys(needed for part in parts for needed in part.requires)),
        columns=parse_columns(name, _FINDING_COLUMNS),
        sql=union_sql(parts),
        parts=parts,
        is_table=True,
    )


def union_sql(parts: Iterable[Part]) -> str:
    """All rows of all `parts`."""
    return "\nUNION ALL\n".join(part.sql for part in parts)


NOTICES = Part(
    "SELECT code, severity, phase, message, hint, at_stake_ns, NULL::VARCHAR AS budget_part FROM input.notices",
    requires=("input.notices",),
)


def sentences_sql(finding: Module) -> str:
    """A SELECT of the rows of a finding with its texts filled in: the columns of the view `findings`."""
    part = "budget_part" if finding.is_cause else "NULL::VARCHAR AS budget_part"
    message, hint = template_sql(finding, finding.message), template_sql(finding, finding.hint)
    return (
        f"SELECT '{finding.relation}' AS code, '{finding.severity}' AS severity, phase, {message} AS message, "
        f"{hint} AS hint, at_stake_ns, {part}\nFROM (\n{finding.sql}\n)"
    )


_FINDING_COLUMNS = (
    "  code        VARCHAR  What it is, in a word that stays.",
    "  severity    VARCHAR  'error', 'warning' or 'info'.",
    "  phase       VARCHAR  The phase that it is about, NULL where it is about the whole trace.",
    "  message     VARCHAR  A sentence.",
    "  hint        VARCHAR  What to do about it, NULL where there is nothing to do.",
    "  at_stake_ns BIGINT   Time that it is about, NULL where that is not known. Unit: ns.",
    "  budget_part VARCHAR  Of a cause: classes of the budget that it is in, joined by '+', or 'outside'. Else NULL.",
)


def placeholders(template: str | None) -> list[tuple[str, str]]:
    """(column, format) of each place of a message or hint."""
    return re.findall(r"\{(\w+)(?::([^}]*))?\}", template or "")


def template_sql(module: Module, template: str | None) -> str:
    """The SQL expression of a message or hint. What is NULL reads `unknown`; a text that is one column stays NULL.

    Formats: none, a value as it is; `,` digits in groups; `ms` ns as milliseconds; `us` ns as
    microseconds; `%` a ratio as a percentage.
    """
    if template is None:
        return "NULL::VARCHAR"
    if match := re.fullmatch(r"\{(\w+)\}", template):
        return match[1]
    parts = re.split(r"(\{\w+(?::[^}]*)?\})", template)
    return f"concat({', '.join(_template_part(module, part) for part in parts if part)})"


def _template_part(module: Module, part: str) -> str:
    found = placeholders(part)
    if not found:
        return "'" + part.replace("'", "''") + "'"
    (column, spec) = found[0]
    formats = {
        "": f"{column}::VARCHAR",
        ",": f"format('{{:,}}', {column})",
        # Less than 0.05 ms is no 0.0 ms.
        "ms": f"if(abs({column}) BETWEEN 1 AND 49999, format('{{:,.1f}} µs', {column} / 1e3),"
        f" format('{{:,.1f}} ms', {column} / 1e6))",
        "us": f"format('{{:,.1f}} µs', {column} / 1e3)",
        "%": f"format('{{:.0f}} %', {column} * 100.0)",
    }
    if spec not in formats or column not in {one.name for one in module.columns}:
        raise ModuleError(f"{module.name}: `{part}` names no column, or has a format that is not known")
    return f"coalesce({formats[spec]}, 'unknown')"


def closure(
    targets: Iterable[str],
    modules: Mapping[str, Module] | None = None,
    built: Collection[str] = (),
    needs: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[str]:
    """`targets` and everything they need that is not built, dependencies first. `needs`: those of external relations.

    Raises ModuleError for unknown names and for cycles.
    """
    modules = all_modules() if modules is None else modules
    order: list[str] = []
    done = set(built)

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in done:
            return
        if name in path:
            raise ModuleError(f"cycle: {' -> '.join([*path, name])}")
        is_external = name.partition(".")[0] in EXTERNAL_LAYERS
        if not is_external and name not in modules:
            raise ModuleError(f"{path[-1] if path else 'target'} needs {name}, which no file defines")
        for dependency in needs.get(name, ()) if is_external else modules[name].requires:
            visit(dependency, (*path, name))
        done.add(name)
        order.append(name)

    for target in targets:
        visit(target, ())
    return order


def macro_ddl(module: Module) -> str:
    """The statement that creates a macro in the schema of its layer."""
    signature = f"CREATE OR REPLACE MACRO {module.name}({', '.join(module.params)}) AS"
    if module.returns is None:
        return f"{signature} TABLE {module.sql}"
    return f"{signature} {re.sub(r'^SELECT ', '', module.sql)}"
