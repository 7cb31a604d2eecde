"""`llmperf sql`: ask a trace anything."""

from __future__ import annotations

import re
import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nsys_pipeline.cli.common import (
    AnalysisArguments,
    ForceOption,
    OutputOption,
    check_output,
    dataset_at,
    expanded,
    output_file,
    progress,
)
from nsys_pipeline.cli.messages import print_warning
from nsys_pipeline.errors import QueryError, UsageError
from nsys_pipeline.query.parameters import parse_parameters

if TYPE_CHECKING:
    from nsys_pipeline.inputs import AnalysisOptions
    from nsys_pipeline.query.session import Session
    from nsys_pipeline.trace import TraceOptions

_QUERY = "Query and result"
DEFAULT_ROWS = 100
DEFAULT_TIME_LIMIT_S = 600.0


class ResultFormat(StrEnum):
    """Formats of a result."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"
    arrow = "arrow"


@expanded
def sql(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="TRACE… [QUERY]",
            help="A run directory, .sqlite (also .xz .gz .zst), .nsys-rep or Parquet folder; several as NAME=TRACE; "
            "or a dataset of `llmperf fleet`. "
            'Then one SELECT, such as "from phases"; without it, a prompt.',
            show_default=False,
        ),
    ],
    *,
    file: Annotated[
        Path | None,
        typer.Option("-f", "--file", metavar="FILE", help="Read the query from FILE.", rich_help_panel=_QUERY),
    ] = None,
    format: Annotated[  # noqa: A002
        ResultFormat | None,
        typer.Option(
            "--format",
            help="Default: what FILE's name says, else a table. json: one object per line.",
            rich_help_panel=_QUERY,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A query that is there already: `llmperf schema --recipes`.", rich_help_panel=_QUERY
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", metavar="NAME=VALUE", help="Value of $NAME in the query; repeatable.", rich_help_panel=_QUERY
        ),
    ] = None,
    rows: Annotated[
        int, typer.Option(min=1, help="Rows of a table to show; the other formats have all.", rich_help_panel=_QUERY)
    ] = DEFAULT_ROWS,
    time_limit: Annotated[
        float, typer.Option(min=0.001, metavar="SECONDS", help="Stop a query that runs longer.", rich_help_panel=_QUERY)
    ] = DEFAULT_TIME_LIMIT_S,
    output: OutputOption = None,
    force: ForceOption = False,
    told: AnalysisArguments,
) -> None:
    """Answer one read-only SELECT over the public views of a trace; `llmperf schema` lists them.

    Several traces are named, as in `llmperf sql base=A.sqlite new=B.sqlite "from base.phases"`. A query can touch
    nothing else: no file, no network, no extension, no setting.
    """
    traces, query = split_arguments(arguments)
    text, parameters = _question(query, file, recipe, parse_parameters(param or ()))
    kind = _format(format, output)
    if output is not None:
        check_output(output, force=force)
    elif kind in (ResultFormat.parquet, ResultFormat.arrow) and sys.stdout.isatty():
        raise UsageError(f"{kind} is not for a terminal", hint="write it to a file with --output")
    options = told.analysis_options()
    with progress() as on_progress:
        session = _open(traces, told.trace_options(on_progress), options)
    with session:
        if text is None:
            _talk(session, rows=rows, time_limit_s=time_limit)
            return
        run(
            session, text, parameters, kind, rows=rows, time_limit_s=time_limit, output=output, force=force,
            is_recipe=recipe is not None,
        )  # fmt: skip


def _open(traces: dict[str, Path], opening: TraceOptions, options: AnalysisOptions) -> Session:
    """Open a dataset of many traces, one trace, or several under their names."""
    from nsys_pipeline.fleet.query import open_dataset
    from nsys_pipeline.query.session import Session

    datasets = [url for path in traces.values() if (url := dataset_at(path))]
    if not datasets:
        return Session.open(traces, opening, options)
    if len(traces) > 1:
        raise UsageError("a dataset of a fleet is asked alone: it holds many traces already")
    return open_dataset(datasets[0], opening)


def run(
    session: Session,
    text: str,
    parameters: dict[str, Any],
    kind: ResultFormat,
    *,
    rows: int,
    time_limit_s: float | None,
    output: Path | None = None,
    force: bool = False,
    is_recipe: bool = False,
) -> None:
    """Answer `text` in the format `kind`, on stdout or in a file; a recipe for each of several traces."""
    from nsys_pipeline.query.table import render_plan, render_table
    from nsys_pipeline.query.write import write_csv, write_frame, write_json

    if kind in (ResultFormat.parquet, ResultFormat.arrow):
        frame = (session.frame_each if is_recipe else session.frame)(text, parameters, time_limit_s=time_limit_s)
        _tell(session, text, is_recipe=is_recipe)
        with output_file(output, force=force, binary=True) as stream:
            write_frame(frame, kind.value, stream)
        return
    query = session.query_each if is_recipe else session.query
    with (
        query(text, parameters, time_limit_s=time_limit_s) as result,
        output_file(output, force=force) as stream,
    ):
        if result.is_plan and kind is ResultFormat.table:
            render_plan(result.rows(), stream)
            return
        if kind is ResultFormat.table:
            found = result.rows(rows + 1)
            width = shutil.get_terminal_size().columns if stream.isatty() else None
            if not _tell(session, text, is_recipe=is_recipe) and _lacks_model(result.columns, found):
                sys.stderr.write(f"hint: {_MODEL_HINT}\n")
            render_table(result.columns, result.types, found[:rows], stream, width=width, has_more=len(found) > rows)
            return
        _tell(session, text, is_recipe=is_recipe)
        if kind is ResultFormat.csv:
            write_csv(result, stream)
        else:
            write_json(result, stream)


_MODEL_HINT = (
    "MFU, MBU and SOL need a model (--model llama-3.2-1b), and shapes if the trace does not tell them "
    "(--shape 8x512+32)"
)


def _tell(session: Session, text: str, *, is_recipe: bool) -> bool:
    """Say on stderr what a reader of the answer must know, and whether there was anything."""
    findings = session.findings(text, each=is_recipe)
    for finding in findings:
        print_warning(finding.message, finding.hint)
    return bool(findings)


def _lacks_model(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> bool:
    """Whether utilization was asked for and every value is unknown."""
    wanted = [index for index, name in enumerate(columns) if name.startswith(("mfu_", "mbu_")) or name == "sol_ns"]
    return bool(rows and wanted) and all(row[index] is None for row in rows for index in wanted)


def split_arguments(arguments: list[str]) -> tuple[dict[str, Path], str | None]:
    """Traces by name ('' for the only one) and the query, where there is one. Raises UsageError."""
    named: dict[str, Path] = {}
    rest = list(arguments)
    while rest and (match := re.fullmatch(r"([A-Za-z_]\w*)=(.+)", rest[0], re.DOTALL)) and not Path(rest[0]).exists():
        if match[1] in named:
            raise UsageError(f"two traces are called `{match[1]}`")
        named[match[1]] = Path(match[2])
        rest.pop(0)
    traces = named or {"": Path(rest.pop(0))}
    if len(rest) > 1:
        raise UsageError(
            f"{len(rest)} arguments after the trace, and one query is all there can be",
            hint="quote the query; several traces need names: base=A.sqlite new=B.sqlite",
        )
    return traces, rest[0] if rest else None


def _question(
    query: str | None, file: Path | None, recipe: str | None, given: dict[str, Any]
) -> tuple[str | None, dict[str, Any]]:
    """The query and its parameters; None for the prompt. Raises UsageError where more than one was asked."""
    if sum(one is not None for one in (query, file, recipe)) > 1:
        raise UsageError("a query, --file and --recipe are three ways to say the same thing", hint="use one of them")
    if recipe is not None:
        from nsys_pipeline.query.recipes import find_recipe

        found = find_recipe(recipe)
        return found.sql, found.arguments(given)
    if file is not None:
        try:
            return file.read_text(encoding="utf-8"), given
        except OSError as error:
            raise UsageError(f"`{file}` cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise QueryError(f"`{file}` is not a text file") from error
    if query is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
        return sys.stdin.read(), given
    return query, given


def _talk(session: Session, *, rows: int, time_limit_s: float) -> None:
    import platformdirs

    from nsys_pipeline.query.prompt import Prompt

    with progress():
        # Once settings are locked nothing more goes into the cache: put everything there now.
        session.build(*(f"views.{name}" for name in ("phases", "phase_summary")))
    history = Path(platformdirs.user_state_dir("llmperf", appauthor=False)) / "sql_history"
    Prompt(session, rows=rows, time_limit_s=time_limit_s, history=history).run()


def _format(given: ResultFormat | None, output: Path | None) -> ResultFormat:
    from nsys_pipeline.query.write import format_of

    if given is not None:
        return given
    return ResultFormat(format_of(output) if output else "table")
