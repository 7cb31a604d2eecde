"""`llmperf ncu`: the Nsight Compute profile of the kernels that matter in a phase."""

from __future__ import annotations

import json
import os
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
from nsys_pipeline.cli.messages import print_warning
from nsys_pipeline.errors import NsysError, QueryError, TraceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nsys_pipeline.ncu import Profile
    from nsys_pipeline.query.session import Session

_CHOICE = "Which kernels"
# How many names or problems a message has.
_NAMED = 3
_EXTENSION = ".ncu-rep"
# What an .ncu-rep begins with.
_REPORT = b"NVR\0"


_TOLD = (
    "model", "shape", "batch", "prompt_tokens", "new_tokens", "images", "image_patches", "image_size", "audio_seconds",
    "cache", "nsys",
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
    if read is not None and run:
        raise UsageError("--read and --run exclude each other", hint="--run reads the report that it makes")
    of_phase, rules = _phase_and_rules(phase or [])
    told = attrs.evolve(told, phase=rules)
    options = told.analysis_options()
    from nsys_pipeline.query.session import Session

    profile = None if read is None else _read(read, program)
    with progress() as on_progress:
        session = Session.open({"": trace}, told.trace_options(on_progress), options)
    if read is not None and profile is not None:
        with session:
            traced = _Traced.of(session, of_phase)
        _show(read, profile, traced, output_format)
        return
    with session:
        chosen = _kernels(session, of_phase, top)
        capability = _capability(session, chosen[0]["device_id"])
        beside = _Traced.of(session, of_phase) if run else None
    from nsys_pipeline.capture import shell_line
    from nsys_pipeline.cli.recorded import Workload
    from nsys_pipeline.ncu import Target, metrics_of, ncu_argv

    report = _as_ncu_names_it(report)
    target = Target.of(chosen, launches, is_every_kernel=top == 0)
    workload = Workload.of(trace, command)
    argv = ncu_argv(program, target, workload.command, report, metrics=metrics_of(capability))
    _tell_what_is_left_out(chosen, of_phase)
    if beside is None:
        sys.stdout.write(shell_line(argv, workload.environment) + "\n")
        return
    if report.exists() and not force:
        raise UsageError(f"`{report}` exists", hint="pass --force to replace it, or another name with -o")
    _run(argv, workload.environment, report)
    _show(report, _read(report, program), beside, output_format)


def _kernels(session: Session, phase: str, top: int) -> list[dict[str, Any]]:
    """Rows of the recipe ncu_kernels. Raises QueryError if there are none."""
    from nsys_pipeline.query.recipes import find_recipe

    recipe = find_recipe("ncu_kernels")
    kernels = list(islice(session.records(recipe.sql, recipe.arguments({"phase": phase, "top": top})), 100_000))
    if not kernels:
        raise QueryError(
            f"the trace has no kernel in a phase `{phase}`",
            hint="`llmperf analyze TRACE` lists its phases; graphs need `--cuda-graph node` to have kernels",
        )
    return kernels


def _capability(session: Session, device: int | None) -> str | None:
    """Compute capability of a GPU, or of all that worked if they are alike; None if it is not known."""
    query = (
        "SELECT DISTINCT compute_capability FROM devices WHERE has_work AND device_id = coalesce($device, device_id)"
    )
    with session.query(query, {"device": device}) as result:
        found: list[str | None] = [row[0] for row in result.rows(2)]
    return found[0] if len(found) == 1 else None


def _as_ncu_names_it(report: Path) -> Path:
    """The file that ncu writes: it appends its extension. Raises UsageError for names that ncu fills in."""
    if "%" in str(report):
        raise UsageError(
            f"`{report}` has a macro of ncu's (%p, %h, …): which file it becomes is not known here",
            hint="give -o a plain name",
        )
    return report if report.suffix == _EXTENSION else report.with_name(report.name + _EXTENSION)


def _tell_what_is_left_out(kernels: list[dict[str, Any]], phase: str) -> None:
    """Say which kernels of the occurrence are not profiled, why, and what they are of the phase's time."""
    left_out = [kernel for kernel in kernels if kernel["communicates"] and kernel["in_occurrence"]]
    if left_out:
        share = sum(kernel["time_ratio"] for kernel in left_out)
        count = sum(kernel["in_occurrence"] for kernel in left_out)
        names = ", ".join(f"`{kernel['name']}`" for kernel in left_out[:_NAMED])
        more = f" and {len(left_out) - _NAMED} more names" if len(left_out) > _NAMED else ""
        launches = "1 launch that communicates is" if count == 1 else f"{count:,} launches that communicate are"
        print_warning(
            f"{launches} not profiled, {share:.1%} of the kernel time of `{phase}`: {names}{more}. They wait for "
            "kernels of other ranks, and would wait forever while ncu runs kernels one at a time and repeats them.",
            severity="note",
        )
    if any(kernel["beside_count"] for kernel in left_out):
        print_warning(
            "they run on a stream of their own; ncu was seen to stop at the first kernel beside one (docs/counters.md)",
            "profile a phase without them, or the workload without communication: one rank, or DDP's `no_sync()`",
        )
    first = kernels[0]
    if first["rank_count"] > 1:
        waits = "The others wait for it in collectives: raise the job's timeout if it is short."
        if first["sharing_count"] == 1:
            which = f"one is profiled, the one on GPU {first['device_id']}. {waits}"
        elif first["device_id"] is None:
            which = "a rank of the trace has several GPUs: kernels of every rank that runs the range are profiled"
        else:
            which = (
                f"each calls its GPU {first['cuda_device']}, so that ncu cannot choose one: start ncu for one rank, "
                "by a script between the launcher and the workload (docs/counters.md)"
            )
        print_warning(f"the job has {first['rank_count']:,} ranks, and {which}", severity="note")


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

_OWN = (
    "SELECT name, count(*) FROM gpu_work WHERE kind = 'kernel' AND phase = $phase AND occurrence = $occurrence "
    "GROUP BY name"
)

_ELSEWHERE = (
    "SELECT name, sum(time_ns) / sum(count) AS mean_ns, "
    "coalesce(list(DISTINCT phase ORDER BY phase) FILTER (phase IS NOT NULL), []) AS phases "
    "FROM kernel_summary GROUP BY name"
)


@attrs.frozen
class _Traced:
    """What the trace says of an occurrence that ncu profiled, and of kernels elsewhere."""

    kernels: list[dict[str, Any]]
    operators: list[dict[str, Any]]
    elsewhere: dict[str, dict[str, Any]]
    estimate: tuple[Any, ...]

    @classmethod
    def of(cls, session: Session, phase: str) -> _Traced:
        kernels = _kernels(session, phase, top=0)
        profiled = {"phase": phase, "occurrence": kernels[0]["occurrence"]}
        with session.query(_ESTIMATE, profiled) as result:
            estimate = next(iter(result.rows(1)), (None, None, None))
        with session.query(_OWN, profiled) as result:
            own: dict[str, int] = dict(result.rows(1_000_000))
        for kernel in kernels:
            kernel["nested_count"] = kernel["in_occurrence"] - own.get(kernel["name"], 0)
        operators = list(islice(session.records(_OPERATORS, profiled), 1_000_000))
        elsewhere = {row["name"]: row for row in islice(session.records(_ELSEWHERE), 1_000_000)}
        return cls(kernels, operators, elsewhere, estimate)


def _run(argv: list[str], environment: dict[str, str], report: Path) -> None:
    try:
        done = subprocess.run(argv, env=os.environ | environment, stdout=sys.stderr, check=False)
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


def _read(path: Path, program: str) -> Profile:
    """Kernels of a report or of a CSV. A report is read by ncu itself where it is installed, else by the package."""
    from nsys_pipeline.ncu import read_csv, read_report
    from nsys_pipeline.ncu.command import import_argv

    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"`{path}` cannot be read: {error.strerror or error}") from error
    if path.suffix != _EXTENSION and not content.startswith(_REPORT):
        # A shell of Windows writes UTF-16.
        encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
        return _named(path, lambda: read_csv(content.decode(encoding, errors="replace")))
    try:
        done = subprocess.run(
            import_argv(program, path), capture_output=True, text=True, encoding="utf-8", errors="replace", check=False
        )
    except OSError:
        return read_report(path)
    return _named(path, lambda: read_csv(done.stdout)) if '"ID"' in done.stdout else read_report(path)


def _named(path: Path, read: Callable[[], Profile]) -> Profile:
    try:
        return read()
    except TraceError as error:
        raise TraceError(f"`{path}`: {error.message}", hint=error.hint) from error


def _show(path: Path, profile: Profile, traced: _Traced, output_format: str) -> None:
    from nsys_pipeline.ncu import beside_trace
    from nsys_pipeline.report.ncu import ncu_document
    from nsys_pipeline.report.terminal import render_document

    for problem in profile.problems[:_NAMED]:
        print_warning(f"`{path}`: {problem}")
    if len(profile.problems) > _NAMED:
        print_warning(f"`{path}`: {len(profile.problems) - _NAMED:,} more of that kind")
    device = traced.kernels[0]["device_id"]
    measured, other = profile.of_device(device)
    if other:
        kernels = "1 kernel" if other == 1 else f"{other:,} kernels"
        print_warning(f"`{path}`: {kernels} of other GPUs left out, the trace's ran on GPU {device}", severity="note")
    kernels_of_phase = {kernel["name"]: kernel for kernel in traced.kernels}
    known = kernels_of_phase.keys() | traced.elsewhere.keys()
    if not any(kernel.name in known for kernel in measured):
        raise QueryError(
            f"no kernel of `{path}` is in the trace",
            hint=f"is it a profile of another workload? Its first kernel is `{measured[0].name}`",
        )
    known_ns = sum(kernel.time_ns or 0 for kernel in measured if kernel.name in known)
    total_ns = sum(kernel.time_ns or 0 for kernel in measured)
    if 2 * known_ns < total_ns:
        print_warning(
            f"`{path}`: kernels with {1 - known_ns / total_ns:.0%} of its time are not in the trace",
            "is it a profile of another workload, or of another version of it?",
        )
    flops, minimum_bytes, busy_ns = traced.estimate
    data = beside_trace(
        measured,
        kernels_of_phase,
        traced.operators,
        flops=flops,
        minimum_bytes=minimum_bytes,
        busy_ns=busy_ns,
        elsewhere=traced.elsewhere,
        is_damaged=bool(profile.problems),
    )
    if output_format == "json":
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
    else:
        render_document(ncu_document(data), sys.stdout)
