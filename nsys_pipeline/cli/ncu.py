"""`llmperf ncu`: the Nsight Compute profile of the kernels that matter in a phase."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from nsys_pipeline.cli.common import (
    AnalysisArguments,
    ForceOption,
    TraceArgument,
    expanded,
    progress,
)
from nsys_pipeline.errors import NsysError, QueryError, UsageError
from nsys_pipeline.trace.run_file import read_run

if TYPE_CHECKING:
    from nsys_pipeline.ncu import KernelCounters

_CHOICE = "Which kernels"


_TOLD = (
    "model", "shape", "batch", "prompt_tokens", "new_tokens", "images", "image_patches", "image_size", "cache", "nsys",
)  # fmt: skip


@expanded
def ncu(
    trace: TraceArgument,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND …]", help="The workload, as it was captured; default: what the run directory recorded."
        ),
    ] = None,
    *,
    phase: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PHASE|NAME=REGEX",
            help="Phase whose kernels to profile [decode]; with `=`, ranges whose `domain:text` matches are it; "
            "repeatable.",
            rich_help_panel=_CHOICE,
        ),
    ] = None,
    top: Annotated[
        int,
        typer.Option(
            min=0,
            help="Kernel names that take most time; 0: every kernel, so that sums compare.",
            rich_help_panel=_CHOICE,
        ),
    ] = 5,
    launches: Annotated[
        int | None,
        typer.Option(
            min=1, help="Launches to profile at most; default: those of one occurrence.", rich_help_panel=_CHOICE
        ),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Run the command and show what was measured.")] = False,
    read: Annotated[
        Path | None,
        typer.Option("--read", metavar="FILE", help="Show what is in an .ncu-rep, or in its CSV, instead."),
    ] = None,
    report: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The report that ncu writes.")] = Path(
        "kernels.ncu-rep"
    ),
    output_format: Annotated[str, typer.Option("--format", metavar="table|json", help="Output.")] = "table",
    force: ForceOption = False,
    program: Annotated[str, typer.Option("--ncu", metavar="PATH", help="The ncu to use.")] = "ncu",
    told: Annotated[AnalysisArguments, _TOLD],
) -> None:
    """Print the ncu command that profiles the kernels of a phase; run it; read its report back beside the trace.

    The command profiles one steady occurrence: earlier launches of the same kernels in ranges of the same name are
    skipped. ncu runs each kernel several times (replay), so the workload takes much longer than without it.
    """
    if output_format not in ("table", "json"):
        raise UsageError(f"`{output_format}` is not an output format", hint="choose one of: table, json")
    of_phase, rules = _phase_and_rules(phase or [])
    told = attrs.evolve(told, phase=rules)
    options = told.analysis_options()
    from nsys_pipeline.query.recipes import find_recipe
    from nsys_pipeline.query.session import Session

    recipe = find_recipe("ncu_kernels")
    with progress() as on_progress:
        session = Session.open({"": trace}, told.trace_options(on_progress), options)
    with session:
        arguments = recipe.arguments({"phase": of_phase, "top": top})
        kernels = list(islice(session.records(recipe.sql, arguments), 100_000))
        if not kernels:
            raise QueryError(
                f"the trace has no kernel in a phase `{of_phase}`",
                hint="`llmperf analyze TRACE` lists its phases; graphs need `--cuda-graph node` to have kernels",
            )
        profiled = {"phase": of_phase, "occurrence": kernels[0]["occurrence"]}
        with session.query(_ESTIMATE, profiled) as result:
            estimate = next(iter(result.rows(1)), (None, None, None))
        operators: list[dict[str, Any]] = []
        if read is not None or run:
            operators = list(islice(session.records(_OPERATORS, profiled), 1_000_000))
    if read is not None:
        _show(_read(read, program), kernels, operators, estimate, output_format, has_every_name=top == 0)
        return
    from nsys_pipeline.ncu import Target, ncu_argv

    target = Target.of(kernels, launches, is_every_kernel=top == 0)
    argv = ncu_argv(program, target, command or _recorded_command(trace), report)
    if not run:
        sys.stdout.write(shlex.join(argv) + "\n")
        return
    if report.exists() and not force:
        raise UsageError(f"`{report}` exists", hint="pass --force to replace it, or another name with -o")
    _run(argv, report)
    _show(_read(report, program), kernels, operators, estimate, output_format, has_every_name=top == 0)


def _phase_and_rules(given: list[str]) -> tuple[str, list[str]]:
    """The phase to profile, and the rules NAME=REGEX: `--phase` is either."""
    names = [text for text in given if "=" not in text]
    if len(names) > 1:
        raise UsageError(
            f"`--phase {names[0]} --phase {names[1]}` are two phases", hint="profile one at a time, each to its own -o"
        )
    return (names[0] if names else "decode"), [text for text in given if "=" in text]


_ESTIMATE = "SELECT flops, bytes, gpu_busy_ns FROM phases WHERE phase = $phase AND occurrence = $occurrence"

_OPERATORS = (
    "SELECT k.name, k.launch_index, k.operator, k.source, k.is_helper, k.flops, k.bytes, k.operator_flops, "
    "k.operator_bytes, k.reason FROM kernel_operators AS k JOIN phases AS p USING (occurrence_id) "
    "WHERE p.phase = $phase AND p.occurrence = $occurrence ORDER BY k.dur_ns DESC, k.kernel_id"
)


def _recorded_command(trace: Path) -> list[str]:
    try:
        command = read_run(trace)["plan"]["command"]
    except (KeyError, TypeError):
        command = None
    if not command or not all(isinstance(part, str) for part in command):
        raise UsageError(
            f"nobody recorded which workload `{trace}` is of", hint="give it: `llmperf ncu TRACE -- python script.py`"
        )
    return list(command)


def _run(argv: list[str], report: Path) -> None:
    try:
        done = subprocess.run(argv, stdout=sys.stderr, check=False)
    except OSError as error:
        raise NsysError(
            f"`{argv[0]}` cannot be run: {error.strerror or error}",
            hint="install Nsight Compute, or name it with --ncu PATH",
        ) from error
    if not report.exists():
        raise NsysError(
            f"ncu ended with {done.returncode} and left no report",
            hint="its own words are above; counters need root or NVreg_RestrictProfilingToAdminUsers=0",
        )


def _read(path: Path, program: str) -> list[KernelCounters]:
    """Kernels of a report or of a CSV. A report is read by ncu itself where it is installed, else by the package."""
    from nsys_pipeline.ncu import read_csv, read_report
    from nsys_pipeline.ncu.command import import_argv

    if path.suffix != ".ncu-rep":
        try:
            return read_csv(path.read_text(encoding="utf-8", errors="replace"))
        except OSError as error:
            raise UsageError(f"`{path}` cannot be read: {error.strerror or error}") from error
    if not path.exists():
        raise UsageError(f"`{path}` does not exist")
    try:
        done = subprocess.run(
            import_argv(program, path), capture_output=True, text=True, encoding="utf-8", errors="replace", check=False
        )
    except OSError:
        return read_report(path)
    return read_csv(done.stdout) if '"ID"' in done.stdout else read_report(path)


def _show(
    measured: list[KernelCounters],
    kernels: list[dict[str, Any]],
    operators: list[dict[str, Any]],
    estimate: tuple[Any, ...],
    output_format: str,
    *,
    has_every_name: bool,
) -> None:
    from nsys_pipeline.ncu import beside_trace
    from nsys_pipeline.report.ncu import ncu_document
    from nsys_pipeline.report.terminal import render_document

    traced = {kernel["name"]: kernel for kernel in kernels}
    flops, minimum_bytes, busy_ns = estimate
    data = beside_trace(
        measured,
        traced,
        operators,
        flops=flops,
        minimum_bytes=minimum_bytes,
        busy_ns=busy_ns,
        has_every_name=has_every_name,
    )
    if output_format == "json":
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
    else:
        render_document(ncu_document(data), sys.stdout)
