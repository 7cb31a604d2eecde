"""ncu's CSV, read line by line: other output may stand between its rows, and a file may end in the middle of one."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import attrs

from nsys_pipeline.errors import TraceError
from nsys_pipeline.ncu.command import APART, METRICS, TIME
from nsys_pipeline.ncu.numbers import decimal_mark, number, unit_factor
from nsys_pipeline.ncu.profile import KernelCounters, Profile, tensor_metrics, with_tensor_metrics

_ID, _NAME, _PROCESS, _DEVICE, _CAPABILITY = "ID", "Kernel Name", "Process ID", "Device", "CC"
_METRIC, _UNIT, _VALUE = "Metric Name", "Metric Unit", "Metric Value"
_HEADER = re.compile(r'\ufeff?"?ID"?\s*([,;\t])')
_READ = (*METRICS, *APART)
# Sections have labels instead of the names of metrics.
_LABELS = {"Duration": TIME}
_HINT = "make it with `ncu --import REPORT --csv --page raw --print-units base`"


@attrs.frozen
class _Row:
    """A row of a table: its line in the file, what it says, and whether all of it is there."""

    line: int
    cells: Mapping[str, str]
    is_whole: bool


@attrs.define
class _Table:
    columns: Sequence[str]
    is_quoted: bool
    rows: list[_Row] = attrs.field(factory=list)


@attrs.define
class _Launch:
    """What a file says of one kernel. `values`: text and unit of each metric that llmperf reads."""

    name: str
    process: str
    device: int | None
    capability: str | None
    line: int
    values: dict[str, tuple[str, str]] = attrs.field(factory=dict)
    is_whole: bool = True


def read_csv(text: str) -> Profile:
    """Each kernel of ncu's CSV: the raw page (a column a metric) or the details page (a row a metric).

    Several tables after one another, as of several ranks, are read as one. Damaged rows are left out and named in
    `problems`. Raises TraceError where nothing can be read: no table of kernels, no kernels, none of the counters.
    """
    tables = _tables(text)
    if not tables:
        raise TraceError("there is no table of kernels as ncu prints it", hint=_HINT)
    problems: list[str] = []
    launches: list[_Launch] = []
    for index, table in enumerate(tables):
        if _NAME not in table.columns:
            raise TraceError(f"its table has no column `{_NAME}`: it is no CSV of ncu's kernels", hint=_HINT)
        part = "" if len(tables) == 1 else f"table {index + 1}"
        found = _long(table, part) if _METRIC in table.columns else _raw(table, part)
        problems += _damage(found)
        launches += found
    if not launches:
        raise TraceError("its table has no kernels: ncu profiled none", hint="see what ncu itself printed")
    if not any(launch.values for launch in launches if launch.is_whole):
        if not any(launch.is_whole for launch in launches):
            raise TraceError(f"no kernel of it is whole: {'; '.join(problems)}", hint=_HINT)
        raise TraceError(
            f"it has none of the counters that llmperf reads, of {len(launches):,} kernels",
            hint="`llmperf ncu TRACE` prints the command that measures them",
        )
    return _profile(launches, problems)


def _profile(launches: Sequence[_Launch], problems: Sequence[str]) -> Profile:
    mark = decimal_mark(text for launch in launches for text, _ in launch.values.values())
    unknown: dict[str, None] = {}
    measured: list[dict[str, float | None]] = []
    for launch in launches:
        values: dict[str, float | None] = {}
        for metric, (text, unit) in launch.values.items():
            value, factor = number(text, mark), unit_factor(unit)
            if value is not None and factor is None:
                unknown[f"the unit `{unit}` of {metric} is not known: its values are left out"] = None
            values[metric] = None if value is None or factor is None else value * factor
        measured.append(values)
    chosen = tensor_metrics((launch.capability, values) for launch, values in zip(launches, measured, strict=True))
    numbers: Counter[tuple[str, str]] = Counter()
    kernels = []
    unsure: set[str] = set()  # processes of which a launch of an unknown name is lost
    for launch, values in zip(launches, measured, strict=True):
        if launch.is_whole or launch.name:
            kernel = KernelCounters.of(
                launch.name, with_tensor_metrics(values, chosen), process=launch.process, device=launch.device
            )
            numbers[kernel.process, kernel.name] += 1
            if launch.is_whole:
                number_of = None if launch.process in unsure else numbers[kernel.process, kernel.name]
                kernels.append(attrs.evolve(kernel, launch=number_of))
        else:
            unsure.add(launch.process)
    return Profile(tuple(kernels), (*problems, *unknown))


def _damage(launches: Sequence[_Launch]) -> list[str]:
    damaged = [launch for launch in launches if not launch.is_whole]
    return [
        f"line {launch.line:,} is damaged or cut short: "
        + (
            f"this launch of `{KernelCounters.of(launch.name, {}).name}` is left out"
            if launch.name
            else "its kernel is left out"
        )
        for launch in damaged
    ]


def _raw(table: _Table, part: str) -> list[_Launch]:
    units: Mapping[str, str] = {}
    launches = []
    for row in table.rows:
        if row.cells.get(_ID) == "":  # the line of units follows the header
            if not row.is_whole:
                raise TraceError(f"its line of units (line {row.line:,}) is damaged: no number has a unit", hint=_HINT)
            units = row.cells
            continue
        launch = _launch(row, part)
        if row.is_whole:
            launch.values = {
                metric: (row.cells[metric], units.get(metric, "")) for metric in _READ if metric in row.cells
            }
        launches.append(launch)
    return launches


def _long(table: _Table, part: str) -> list[_Launch]:
    launches: dict[tuple[str, str], _Launch] = {}
    lost = []
    for row in table.rows:
        number_of = row.cells.get(_ID)
        if not row.is_whole and (number_of is None or (_PROCESS in table.columns and _PROCESS not in row.cells)):
            lost.append(_launch(row, part))
            continue
        launch = launches.setdefault((row.cells.get(_PROCESS, ""), number_of or ""), _launch(row, part))
        if not row.is_whole:
            launch.is_whole, launch.line = False, row.line
            continue
        metric = _LABELS.get(row.cells[_METRIC], row.cells[_METRIC])
        if metric in _READ:
            launch.values[metric] = (row.cells[_VALUE], row.cells.get(_UNIT, ""))
    found = list(launches.values())
    # The rows of the last kernel may end early without a row that is cut.
    usual = min((len(launch.values) for launch in found[:-1] if launch.is_whole), default=len(METRICS) if lost else 0)
    if found and len(found[-1].values) < usual:
        found[-1].is_whole, found[-1].line = False, table.rows[-1].line
    return [*found, *lost]


def _launch(row: _Row, part: str) -> _Launch:
    device = re.match(r"\d+", row.cells.get(_DEVICE, ""))
    return _Launch(
        name=row.cells.get(_NAME, ""),
        process=" ".join(filter(None, (part, row.cells.get(_PROCESS, "")))),
        device=int(device[0]) if device else None,
        capability=row.cells.get(_CAPABILITY),
        line=row.line,
        is_whole=row.is_whole,
    )


def _tables(text: str) -> list[_Table]:
    tables: list[_Table] = []
    for line, record, delimiter in _records(text):
        cells = next(csv.reader([record], delimiter=delimiter), [])
        if _HEADER.match(record):
            tables.append(_Table([cell.strip('\ufeff "') for cell in cells], '"' in record))
            continue
        columns = tables[-1].columns
        # Spreadsheets fill rows up.
        while len(cells) > len(columns) and not cells[-1]:
            cells.pop()
        is_closed = record.count('"') % 2 == 0 and (record.endswith('"') or not tables[-1].is_quoted)
        is_whole = len(cells) == len(columns) and is_closed
        # Of a row that is cut, the last cell may be cut, too.
        known = cells if is_whole else cells[: len(columns)][:-1]
        named = dict(zip(columns, (cell.strip() for cell in known), strict=False))
        tables[-1].rows.append(_Row(line, named, is_whole))
    return tables


def _records(text: str) -> Iterator[tuple[int, str, str]]:
    """Headers, rows and lines of units, with their line numbers and delimiters; what else is in the text is left out.

    A cell in quotes may hold line breaks, if it is closed before the next row begins.
    """
    lines = re.split(r"\r\n|\r|\n", text)
    delimiter, begins = "", re.compile(r"(?!)")
    index = 0
    while index < len(lines):
        first, record = index, lines[index]
        index += 1
        if header := _HEADER.match(record):
            delimiter = header[1]
            mark = '"' if '"' in header[0] else ""
            # An ID, or nothing before units; or no more than a part of an ID, where the file ends.
            begins = re.compile(rf"{mark}\d*{mark}{re.escape(delimiter)}" + (r'|"\d*"?$' if mark else ""))
        elif not begins.match(record):
            continue
        end, whole = index, record
        while whole.count('"') % 2 and end < len(lines) and not (begins.match(lines[end]) or _HEADER.match(lines[end])):
            whole += "\n" + lines[end]
            end += 1
        if end > index and whole.count('"') % 2 == 0:
            index, record = end, whole
        yield first + 1, record, delimiter
