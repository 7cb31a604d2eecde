"""`llmperf export`: an .nsys-rep as SQLite or Parquet, or any trace with its views for other tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
import typer

from nsys_pipeline.cli.common import (
    AnalysisArguments,
    UntilOption,
    check_output,
    dataset_at,
    expanded,
    is_device_or_pipe,
    output_file,
    progress,
)
from nsys_pipeline.cli.messages import print_warning
from nsys_pipeline.errors import TraceError, UsageError
from nsys_pipeline.nsys import export_parquet, export_sqlite, find_nsys, scrub_environment
from nsys_pipeline.trace.clean_copy import clean_copy
from nsys_pipeline.trace.formats import CONVERTED, Kind
from nsys_pipeline.trace.identify import as_typed, is_remote, local_path, stem_of
from nsys_pipeline.trace.options import TraceOptions
from nsys_pipeline.trace.trace_file import find_trace

if TYPE_CHECKING:
    from nsys_pipeline.inputs import AnalysisOptions

_FORMATS = ("sqlite", "parquet")
_PERFETTO, _STACKS = "perfetto", "stacks"


@attrs.frozen(kw_only=True)
class ExportArguments(AnalysisArguments):
    """`--to` says what to write here."""

    to_s: UntilOption = None


@expanded
def export(
    trace: Annotated[
        Path,
        typer.Argument(
            metavar="TRACE",
            help="An .nsys-rep, a .json of torch.profiler, or SQLite (also packed) to clean; with --to, any trace, "
            "or a dataset of `llmperf fleet`.",
        ),
    ],
    *,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="duckdb (a file; of a dataset: views over it) or parquet (a folder): every public view. "
            "perfetto: a file for its viewer. stacks: what Python ran while the GPUs were idle, for flame graphs.",
        ),
    ] = None,
    output_format: Annotated[
        str, typer.Option("--format", help="sqlite (a file) or parquet (a directory).")
    ] = "sqlite",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A path, or a URL as s3://… [beside the trace].")
    ] = None,
    keep_environment: Annotated[
        bool, typer.Option("--keep-environment", help="Leave environment variables and secrets in the SQLite.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    told: ExportArguments,
) -> None:
    """Export a report to SQLite or Parquet, or, with --to, the views of any trace for other tools; print the path.

    OUTPUT may be a URL of a bucket (s3://…, gs://…): what is written appears there when it is whole. Environment
    variables, and secrets on the recorded command line, are removed from the SQLite, whether it is made of a report or
    is a copy of an export.
    """
    dataset = dataset_at(trace)

    def write(target: Path | None, *, force: bool) -> Path:
        # Text goes into a device or a pipe; a database would take its place.
        if target is not None and force and is_device_or_pipe(target) and to not in (_PERFETTO, _STACKS):
            raise UsageError(f"`{target}` is no file that can be replaced", hint="name a file with `-o`")
        if dataset:
            return _write_views(dataset, to, target, force=force)
        return _write(local_path(trace), to, output_format, target, keep_environment, told, force=force)

    if output is None or not is_remote(output):
        sys.stdout.write(f"{write(None if output is None else local_path(output), force=force)}\n")
        return
    from nsys_pipeline.fleet.storage import uploaded

    url = as_typed(output)
    with uploaded(url, force=force) as file:
        write(file, force=False)
    sys.stdout.write(f"{url}\n")


def _write_views(dataset: str, to: str | None, output: Path | None, *, force: bool) -> Path:
    """Write views over a dataset of a fleet as a DuckDB file, by default beside it, or here if it is in a bucket."""
    from nsys_pipeline.fleet.dataset import Dataset
    from nsys_pipeline.fleet.handover import hand_over_views

    if to != "duckdb":
        raise UsageError(f"`{dataset}` is a dataset of a fleet: Parquet files", hint="`--to duckdb` writes views of it")
    folder = Path() if is_remote(dataset) else Path(dataset).parent
    name = Path(dataset).resolve().name
    return hand_over_views(Dataset.at(dataset), output or folder / f"{name}.duckdb", force=force)


def _write(
    trace: Path,
    to: str | None,
    output_format: str,
    output: Path | None,
    keep_environment: bool,
    told: ExportArguments,
    *,
    force: bool,
) -> Path:
    """Write what is asked for, on this machine, and return where it is."""
    opening = told.trace_options()
    if to == _PERFETTO:
        return _to_perfetto(trace, output, opening, force=force)
    if to == _STACKS:
        return _to_stacks(trace, output, opening, force=force)
    if to is not None:
        return _hand_over(trace, to, output, told.analysis_options(), opening, force=force)
    if output_format not in _FORMATS:
        raise UsageError(f"`{output_format}` is not one of {', '.join(_FORMATS)}")
    report, kind = _only_file(trace)
    if kind is not Kind.REPORT:
        if output_format == "parquet":
            raise UsageError(f"`{trace}` is no report of nsys", hint="`--to parquet` writes the views of any trace")
        return clean_copy(
            report, kind, output or _beside(report, kind), keeps_environment=keep_environment, force=force,
            limit_bytes=opening.unpack_limit_bytes,
        )  # fmt: skip
    found = find_nsys(told.nsys)
    if output_format == "parquet":
        sys.stderr.write("note: the Parquet files hold the environment variables of the profiled processes\n")
        return export_parquet(found, report, output or report.with_suffix(".parquet"), force=force)
    exported = export_sqlite(
        found, report, output or report.with_suffix(".sqlite"), force=force, finish=None if keep_environment else _scrub
    )
    from nsys_pipeline.capture import inspect_trace

    for finding in inspect_trace(exported).findings:
        if finding.severity == "error":
            print_warning(finding.message, severity=finding.severity)
    return exported


def _only_file(trace: Path) -> tuple[Path, Kind]:
    """The file to export, that of a run directory too, and what it is. Raises TraceError where there is none."""
    with find_trace(trace, TraceOptions(use_cache=False), begins=False) as found:
        if found.kind is Kind.PARQUET_DIR:
            raise TraceError(f"`{trace}` is an export already", hint="`--to duckdb|parquet` writes its views")
        return found.path, found.kind


def _beside(export: Path, kind: Kind) -> Path:
    """The default name of a copy: the packed file's without its suffix, the plain one's with `-clean`."""
    if kind is Kind.SQLITE:
        return export.with_name(f"{export.stem}-clean{export.suffix}")
    if kind in CONVERTED:
        return export.with_name(f"{stem_of(export)}.sqlite")
    return export.with_suffix("") if export.suffix in (".xz", ".gz", ".zst") else export.with_suffix(".sqlite")


def _hand_over(
    trace: Path,
    to: str,
    output: Path | None,
    options: AnalysisOptions,
    opening: TraceOptions,
    *,
    force: bool,
) -> Path:
    """Write every public view of `trace` as one DuckDB file or a folder of Parquet files; say what is wrong in them."""
    from nsys_pipeline.query.handover import FORMATS, hand_over
    from nsys_pipeline.query.session import Session
    from nsys_pipeline.query.statement import Relation
    from nsys_pipeline.query.views import public_views
    from nsys_pipeline.trace import open_trace

    if to not in FORMATS:
        raise UsageError(f"`--to {to}` is not one of {', '.join((*FORMATS, _PERFETTO, _STACKS))}")
    target = output or trace.parent / f"{_stem(trace)}.{to}"
    with progress() as on_progress:
        opened = open_trace(trace, attrs.evolve(opening, on_progress=on_progress))
        with Session.of(opened, options, close_off=False) as session:
            path = hand_over(session, target, to, force=force)
            found = session.findings_about([Relation("", "", module.relation) for module in public_views()])
    for finding in found:
        print_warning(finding.message, finding.hint)
    return path


def _to_perfetto(trace: Path, output: Path | None, opening: TraceOptions, *, force: bool) -> Path:
    """Write `trace` for Perfetto's viewer."""
    from nsys_pipeline.detail import write_perfetto
    from nsys_pipeline.trace import open_trace

    target = output or trace.parent / f"{_stem(trace)}.pftrace"
    check_output(target, force=force)
    with (
        progress() as on_progress,
        open_trace(trace, attrs.evolve(opening, on_progress=on_progress)) as opened,
        output_file(target, force=force, binary=True) as stream,
    ):
        write_perfetto(opened, stream)
    return target


def _to_stacks(trace: Path, output: Path | None, opening: TraceOptions, *, force: bool) -> Path:
    """Write the stacks of `trace`'s Python for viewers of flame graphs."""
    from nsys_pipeline.detail import write_stacks
    from nsys_pipeline.trace import open_trace

    target = output or trace.parent / f"{_stem(trace)}.stacks.txt"
    check_output(target, force=force)
    with (
        progress() as on_progress,
        open_trace(trace, attrs.evolve(opening, on_progress=on_progress)) as opened,
        output_file(target, force=force) as stream,
    ):
        write_stacks(opened, stream)
    return target


def _stem(trace: Path) -> str:
    return stem_of(trace) or "trace"


def _scrub(trace: Path) -> None:
    scrub_environment(trace)
