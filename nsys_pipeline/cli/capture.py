"""`llmperf capture`: run a built-in workload, or any command, under nsys."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nsys_pipeline.errors import LlmperfError, ModelError, UsageError
from nsys_pipeline.text import printable

if TYPE_CHECKING:
    from nsys_pipeline.capture import CapturePlan, CaptureResult, Finding
    from nsys_pipeline.capture.servers import ServerDriver
    from nsys_pipeline.nsys import Nsys
    from nsys_pipeline.workload.options import WorkloadOptions

CONFIG_NAME = "config.json"
RESULT_NAME = "workload.json"
_ANALYSIS_PACKAGES = ("duckdb", "adbc_driver_sqlite", "adbc_driver_manager", "jinja2", "polars", "rich")
# Said again here, where nothing heavy is imported, for `--help`; a test compares them with the profiles.
_PROFILES = (
    "vllm-serve", "vllm-serve-0.12", "vllm", "sglang-serve", "trtllm-serve", "lmdeploy-serve", "tgi", "nim", "dynamo",
    "ray-serve",
)  # fmt: skip
# What the report of the analysis says itself.
_REPORTED_BY_ANALYSIS = ("no-gpu-work", "no-nvtx", "no-phases")
_SHOWN_LINES = 6
_BUILT_IN = "Built-in workload"
_RECORDING = "What nsys records"
_SERVER = "Servers"
_RUN = "The run"


def capture(
    ctx: typer.Context,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND …]", help="Run this instead of the built-in workload.")
    ] = None,
    *,
    model: Annotated[
        str | None,
        typer.Option(help="Preset name, config.json, model directory or hub id.", rich_help_panel=_BUILT_IN),
    ] = None,
    weights: Annotated[
        str, typer.Option(help="random needs no download; pretrained loads them.", rich_help_panel=_BUILT_IN)
    ] = "random",
    batch: Annotated[int, typer.Option(min=1, help="Sequences per request.", rich_help_panel=_BUILT_IN)] = 1,
    prompt_tokens: Annotated[
        int, typer.Option(min=1, help="Prompt length of each sequence.", rich_help_panel=_BUILT_IN)
    ] = 512,
    new_tokens: Annotated[int, typer.Option(min=0, help="Decode steps per request.", rich_help_panel=_BUILT_IN)] = 32,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BxP[+N]", help="Batch x prompt + new tokens, e.g. 8x512+32; repeatable.", rich_help_panel=_BUILT_IN
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Measured requests of each shape.", rich_help_panel=_BUILT_IN)
    ] = 3,
    warmup: Annotated[
        int, typer.Option(min=0, help="Requests of each shape that do not count.", rich_help_panel=_BUILT_IN)
    ] = 1,
    dtype: Annotated[
        str | None,
        typer.Option(help="bfloat16, float16 or float32; default by device.", rich_help_panel=_BUILT_IN),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=_BUILT_IN)] = "auto",
    attn: Annotated[str, typer.Option(help="sdpa, eager, flash_attention_2, …", rich_help_panel=_BUILT_IN)] = "sdpa",
    compile_model: Annotated[
        bool, typer.Option("--compile", help="torch.compile the forward pass.", rich_help_panel=_BUILT_IN)
    ] = False,
    cuda_graphs: Annotated[
        bool, typer.Option("--cuda-graphs", help="Replay decode as a CUDA graph.", rich_help_panel=_BUILT_IN)
    ] = False,
    sample: Annotated[
        bool, typer.Option("--sample", help="Sample tokens instead of greedy.", rich_help_panel=_BUILT_IN)
    ] = False,
    sync: Annotated[
        str, typer.Option(help="Host waits for the GPU after each step or request.", rich_help_panel=_BUILT_IN)
    ] = "step",
    layers: Annotated[
        bool, typer.Option("--layers", help="Mark every attention and MLP block.", rich_help_panel=_BUILT_IN)
    ] = False,
    ops: Annotated[
        bool, typer.Option("--ops", help="Mark every operator with its shapes.", rich_help_panel=_BUILT_IN)
    ] = False,
    nproc: Annotated[
        int, typer.Option(min=1, help="Processes on this machine, one for each GPU.", rich_help_panel=_BUILT_IN)
    ] = 1,
    parallel: Annotated[str, typer.Option(help="With --nproc: data or tensor.", rich_help_panel=_BUILT_IN)] = "tensor",
    auto: Annotated[
        bool,
        typer.Option(
            "--auto",
            help="Mark passes of transformers models, steps of engines in COMMAND.",
            rich_help_panel=_RECORDING,
        ),
    ] = False,
    rank_reports: Annotated[
        bool,
        typer.Option("--rank-reports", help="One report for each rank of torchrun.", rich_help_panel=_RECORDING),
    ] = False,
    trace: Annotated[
        str, typer.Option(help="Comma-separated traces, as nsys names them.", rich_help_panel=_RECORDING)
    ] = "cuda,nvtx",
    cuda_graph: Annotated[
        str, typer.Option(help="node: kernels inside graphs; whole: less overhead.", rich_help_panel=_RECORDING)
    ] = "node",
    gpu_metrics: Annotated[
        bool, typer.Option("--gpu-metrics", help="Sample hardware counters.", rich_help_panel=_RECORDING)
    ] = False,
    osrt: Annotated[
        bool, typer.Option("--osrt", help="Trace operating system calls too.", rich_help_panel=_RECORDING)
    ] = False,
    trace_forks: Annotated[
        bool, typer.Option("--trace-forks", help="Trace children that fork without exec.", rich_help_panel=_RECORDING)
    ] = False,
    delay: Annotated[
        float | None, typer.Option(min=0, help="Seconds before recording starts.", rich_help_panel=_RECORDING)
    ] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds to record.", rich_help_panel=_RECORDING)
    ] = None,
    capture_range: Annotated[
        str | None,
        typer.Option(help="profiler (cudaProfilerStart), nvtx (a range) or none.", rich_help_panel=_RECORDING),
    ] = None,
    nvtx_range: Annotated[
        str | None,
        typer.Option(help="Range that opens it: NAME@DOMAIN.", rich_help_panel=_RECORDING),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help=f"COMMAND is a server: {', '.join(_PROFILES)}.", rich_help_panel=_SERVER),
    ] = None,
    load: Annotated[
        str | None,
        typer.Option(help="Record while this command runs, then stop the server.", rich_help_panel=_SERVER),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Address of the server.", rich_help_panel=_SERVER)] = None,
    window: Annotated[
        str | None,
        typer.Option(
            metavar="N{s|steps|requests}", help="Record so much of the engine's work only.", rich_help_panel=_SERVER
        ),
    ] = None,
    nsys_arg: Annotated[
        list[str] | None, typer.Option(help="Passed to nsys profile as it is; repeatable.", rich_help_panel=_RECORDING)
    ] = None,
    keep_environment: Annotated[
        bool,
        typer.Option(
            "--keep-environment", help="Leave environment variables in the trace.", rich_help_panel=_RECORDING
        ),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Run directory; default runs/NAME-TIME.", rich_help_panel=_RUN)
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the run in that directory.", rich_help_panel=_RUN)
    ] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0.1, help="Stop the workload after this many seconds.", rich_help_panel=_RUN)
    ] = None,
    nsys: Annotated[str | None, typer.Option(help="The nsys to use.", rich_help_panel=_RUN)] = None,
    preflight: Annotated[
        bool,
        typer.Option("--preflight/--no-preflight", help="Try the command's nvtx package first.", rich_help_panel=_RUN),
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would run, for a shell.", rich_help_panel=_RUN)
    ] = False,
    analyze: Annotated[
        bool, typer.Option("--analyze/--no-analyze", help="Analyze the trace afterwards.", rich_help_panel=_RUN)
    ] = True,
) -> None:
    """Run a built-in workload, or any command, under Nsight Systems, and analyze the trace."""
    from nsys_pipeline.capture import REQUEST_RANGE, CapturePlan, command_lines, run_path
    from nsys_pipeline.capture import capture as run_capture
    from nsys_pipeline.capture.session import terminations_as_interrupts
    from nsys_pipeline.nsys import find_nsys
    from nsys_pipeline.workload.options import Shape

    workload: WorkloadOptions | None = None
    files: dict[str, Any] = {}
    _check_workload(ctx, has_model=model is not None, has_command=bool(command))
    recorded = None if capture_range == "none" else capture_range
    # A server's steps are marked as transformers' passes are.
    auto = auto or profile is not None
    if model is not None:
        workload, files = _built_in(
            model,
            weights=weights,
            shapes=tuple(_shape(text, new_tokens) for text in shape or ())
            or (Shape(batch, prompt_tokens, new_tokens),),
            repeats=repeats,
            warmup=warmup,
            dtype=dtype,
            device=device,
            attn=attn,
            compile=compile_model,
            cuda_graphs=cuda_graphs,
            sample=sample,
            sync=sync,
            layers=layers,
            ops=ops,
            parallel=_one_of("--parallel", parallel, ("data", "tensor")) if nproc > 1 else None,
            capture_range=recorded,
            result=Path("{run_dir}") / RESULT_NAME,
        )
    argv = [*_python(nproc), "-m", "nsys_pipeline.workload", *workload.argv()] if workload else (command or [])
    plan = CapturePlan(
        command=argv,
        name=_run_name(model) if model else (Path(command[0]).name if command else "run"),
        traces=tuple(name for name in (*trace.split(","), *(["osrt"] if osrt else [])) if name),
        cuda_graph=_one_of("--cuda-graph", cuda_graph, ("node", "whole")),
        gpu_metrics="all" if gpu_metrics else None,
        delay_s=delay,
        duration_s=duration,
        capture_range=None if profile else recorded,
        trace_forks=trace_forks,
        rank_reports=rank_reports,
        auto=auto,
        nsys_args=tuple(nsys_arg or ()),
        environment=_environment(built_in=workload is not None, auto=auto),
        keep_environment=keep_environment,
        timeout_s=timeout,
        nvtx_range=nvtx_range or REQUEST_RANGE,
    )
    plan, driver = _server(plan, profile, capture_range=capture_range, load=load, url=url, window=window)
    found = find_nsys(nsys)
    if dry_run:
        directory = run_path(output or Path("runs"), plan.name, exact=output is not None)
        sys.stdout.writelines(f"{line}\n" for line in command_lines(found, plan, directory, files))
        return
    if workload:
        _need_workload_packages()
    if command and preflight:
        _warn_of_lost_ranges(found, plan)
    with terminations_as_interrupts(), _Progress() as progress:
        result = run_capture(
            plan,
            nsys=found,
            output=output or Path("runs"),
            exact_output=output is not None,
            force=force,
            files=files,
            results=[RESULT_NAME] if workload else [],
            server=driver,
            attempts=3 if workload else 1,
            observer=progress,
        )
    analyze = analyze and bool(not result.exit_status or result.phases or result.counts["kernels"])
    # With `--auto` the capture knows better than the analysis why there are no ranges.
    reported = tuple(code for code in _REPORTED_BY_ANALYSIS if not (auto and code == "no-nvtx"))
    _tell(result, left_out=reported if analyze else ())
    if analyze:
        _analyze(result)
    if result.exit_status:
        raise typer.Exit(result.exit_status)


def _server(
    plan: CapturePlan,
    profile: str | None,
    *,
    capture_range: str | None,
    load: str | None,
    url: str | None,
    window: str | None,
) -> tuple[CapturePlan, ServerDriver | None]:
    """Apply the recipe of a server to the plan."""
    from nsys_pipeline.capture.profiles import plan_server, server_profile
    from nsys_pipeline.capture.servers import ServerDriver

    if profile is None:
        if load is not None or url is not None or window is not None:
            raise UsageError("`--load`, `--url` and `--window` belong to a server", hint="name it with `--profile`")
        return plan, None
    recipe = server_profile(profile)
    has_server = bool(recipe.url or load)
    arm_file = Path(tempfile.mkdtemp(prefix="llmperf-")) / "armed" if window and has_server else None
    planned = plan_server(plan, recipe, capture_range=capture_range, window=_window(window, capture_range, arm_file))
    if not has_server:
        return planned, None
    is_started = planned.capture_range is None
    loads = tuple(shlex.split(load or ""))
    return planned, ServerDriver(recipe, url=url, is_started=is_started, arm_file=arm_file, load=loads)


def _window(text: str | None, capture_range: str | None, arm_file: Path | None) -> str | None:
    """What tells the engine's marks when to record."""
    from nsys_pipeline.workload.engines.window import parse_window

    if text is None:
        return None
    if capture_range == "none":
        raise UsageError("`--window` and `--capture-range none` are two ways to say when to record: use one")
    try:
        parse_window(text)
    except ValueError as error:
        raise UsageError(str(error), hint="write 30s, 200steps or 50requests") from error
    return text if arm_file is None else f"{text}:{arm_file}"


def _warn_of_lost_ranges(nsys: Nsys, plan: CapturePlan) -> None:
    from nsys_pipeline.capture.preflight import check_command

    warning = check_command(nsys, plan.command)
    if warning:
        sys.stderr.write(f"warning: {warning}\n")


def _analyze(result: CaptureResult) -> None:
    """Keep the report of each new trace with the run, and print it.

    The machine that captures may lack what the analysis needs.
    """
    from nsys_pipeline.cli import analyze as verb

    try:
        for index, trace in enumerate(result.traces):
            sys.stdout.write("\n" if index else "")
            # Into the cache, so that printing it costs little; and what is wrong with a trace is told once.
            with contextlib.suppress(LlmperfError):
                kept = verb.keep_reports(trace)
                sys.stderr.write(f"report: {kept[-1]}\n")
            verb.analyze(trace)
    except ModuleNotFoundError as error:
        if error.name not in _ANALYSIS_PACKAGES:
            raise
        sys.stderr.write(f"note: not analyzed, {error.name} is not installed: `llmperf analyze {result.run_dir}`\n")
    except LlmperfError:
        # The workload's own status is the more useful one; its failure has been told already.
        if not result.exit_status:
            raise


def _need_workload_packages() -> None:
    """Say what is missing before nsys runs for nothing."""
    import importlib.util

    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the built-in workload needs {' and '.join(missing)}, which this Python does not have",
            hint="pip install '.[workload]' in a checkout of llmperf, or capture a command of yours: `-- COMMAND`",
        )


def _run_name(model: str) -> str:
    """Name of run and model: the file's, or its folder's for a `config.json`; else the end of preset, folder or id."""
    path = Path(model)
    if path.suffix != ".json":
        return path.resolve().name if path.is_dir() else path.name
    return path.stem if path.stem != "config" else path.resolve().parent.name


def _check_workload(ctx: typer.Context, *, has_model: bool, has_command: bool) -> None:
    """Raise UsageError for options that would have no effect: nobody should measure what was not asked for."""
    typed = _typed_options(ctx)
    if has_model and has_command:
        raise UsageError("a model and a command are two workloads", hint="give `--model` or `-- COMMAND`")
    ignored = [name for name, panel in typed.items() if panel == _BUILT_IN and name != "--model"]
    if ignored and not has_model:
        raise UsageError(
            f"{_listed(ignored)} {'belongs' if len(ignored) == 1 else 'belong'} to the built-in workload",
            hint="give it to COMMAND itself, after `--`" if has_command else "name a model with `--model`",
        )
    if has_model and "--auto" in typed:
        raise UsageError("`--auto` is for `-- COMMAND`", hint="the built-in workload marks its own passes: drop it")
    if has_model and "--profile" in typed:
        raise UsageError("`--profile` is for a server's `-- COMMAND`", hint="drop it, or give the server's command")
    same = [name for name in typed if name in ("--batch", "--prompt-tokens")]
    if "--shape" in typed and same:
        raise UsageError(f"`--shape` and {_listed(same)} say the same thing", hint="use one of them")
    if "--nvtx-range" in typed and ctx.params.get("capture_range") != "nvtx":
        raise UsageError("`--nvtx-range` needs `--capture-range nvtx`", hint="say that this range is what is recorded")
    is_alone = ctx.params.get("nproc", 1) == 1
    if "--parallel" in typed and is_alone:
        raise UsageError("`--parallel` needs `--nproc`", hint="say how many processes share the work")
    if "--profile" in typed and "--rank-reports" in typed:
        raise UsageError("`--profile` and `--rank-reports` do not go together", hint="a server has one report: drop it")
    if has_model and "--rank-reports" in typed and is_alone:
        raise UsageError("`--rank-reports` needs `--nproc`", hint="one process makes one report")


def _typed_options(ctx: typer.Context) -> dict[str, str | None]:
    """Options that stand on the command line, and the heading of each."""
    return {
        parameter.opts[0]: getattr(parameter, "rich_help_panel", None)
        for parameter in ctx.command.params
        if parameter.name and (source := ctx.get_parameter_source(parameter.name)) and source.name == "COMMANDLINE"
    }


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(f"`{name}`" for name in names[:-1]), f"`{names[-1]}`"]))


def _built_in(model: str, **settings: Any) -> tuple[WorkloadOptions, dict[str, Any]]:
    """Options of the built-in workload, and the model's config as a file of the run directory."""
    from nsys_pipeline.model.load import load_config
    from nsys_pipeline.workload.options import WorkloadOptions

    for name, choices in (
        ("weights", ("random", "pretrained")),
        ("sync", ("step", "request")),
        ("dtype", (None, "bfloat16", "float16", "float32")),
        ("capture_range", (None, "profiler", "nvtx")),
    ):
        _one_of(f"--{name.replace('_', '-')}", settings[name], choices)
    settings["name"] = _run_name(model)
    if settings["weights"] == "pretrained":
        # Without a config at hand, transformers finds out: it may download one.
        try:
            _, config = load_config(model)
        except ModelError:
            config = {}
        _check_model(settings["name"], config)
        if Path(model).expanduser().is_file():
            raise UsageError(
                f"`{model}` is a config and holds no weights",
                hint="pass the directory of a checkpoint or a hub id, or drop `--weights pretrained`",
            )
        return WorkloadOptions(model=model, **settings), {}
    _, config = load_config(model)
    _check_model(settings["name"], config)
    return WorkloadOptions(config=Path("{run_dir}") / CONFIG_NAME, **settings), {CONFIG_NAME: dict(config)}


def _check_model(name: str, config: Mapping[str, Any]) -> None:
    """Raise before nsys is started what is wrong with the config; of a type not known here, transformers judges."""
    from nsys_pipeline.model import Model, known_model_types
    from nsys_pipeline.model.fields import MissingFieldError

    if config.get("is_encoder_decoder"):
        raise UsageError(
            f"`{name}` is an encoder-decoder, and the built-in workload runs decoders alone",
            hint="capture a program of yours that runs it: `llmperf capture --auto -- COMMAND`",
        )
    if config.get("model_type") in known_model_types():
        # Random weights are not quantized, and transformers has defaults for what is missing.
        with contextlib.suppress(MissingFieldError):
            Model.from_config({key: value for key, value in config.items() if key != "quantization_config"}, name)


def _shape(text: str, new_tokens: int) -> Any:
    from nsys_pipeline.workload.options import Shape

    try:
        return Shape.parse(text, new_tokens=new_tokens)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _one_of(option: str, value: Any, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        names = ", ".join(str(choice) for choice in choices if choice is not None)
        raise UsageError(f"`{option} {value}` is not one of {names}")
    return value


def _python(nproc: int) -> list[str]:
    if nproc == 1:
        return [sys.executable]
    # The launcher itself goes under nsys, so that every rank is in one report.
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={nproc}"]


def _environment(*, built_in: bool, auto: bool) -> dict[str, str]:
    """Let the target find this package, or the markers that start with every Python process."""
    package = Path(__file__).resolve().parents[1]
    if built_in:
        return _import_path(package.parent)
    return _import_path(package / "workload" / "inject") if auto else {}


def _import_path(first: Path) -> dict[str, str]:
    inherited = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{first}{os.pathsep}{inherited}" if inherited else str(first)}


class _Progress:
    """The state of the capture on stderr: one live line in a terminal, one line for each stage elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        self._status = self._console.status("starting") if self._console.is_terminal else None
        self._stage, self._line, self._started = "starting", "", time.monotonic()

    def __enter__(self) -> _Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def stage(self, text: str) -> None:
        """Say that a new stage begins."""
        self._stage, self._line = text, ""
        if self._status is None:
            sys.stderr.write(f"{text}\n")
        else:
            self._show()

    def output(self, line: str) -> None:
        """Show the last line that the workload printed."""
        self._line = line.strip()
        self._show()

    def _show(self) -> None:
        if self._status is not None:
            from rich.text import Text

            elapsed = time.monotonic() - self._started
            text = Text(f"{self._stage} ({elapsed:.0f} s)  {self._line}", no_wrap=True, overflow="ellipsis")
            self._status.update(text)


def _tell(result: CaptureResult, *, left_out: tuple[str, ...]) -> None:
    for finding in sorted(result.findings, key=lambda finding: finding.severity != "error"):
        if finding.severity != "info" and finding.code not in left_out:
            sys.stderr.write(_finding_text(finding))
        if finding.code in ("workload-failed", "timeout", "interrupted"):
            sys.stderr.writelines(f"  | {printable(line)}\n" for line in _last_lines(result.run_dir / "workload.log"))
    sys.stderr.write(f"run directory: {result.run_dir}\n")


def _last_lines(log: Path) -> list[str]:
    from nsys_pipeline.capture.torchrun import last_words

    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in last_words(lines) if line.strip()][-_SHOWN_LINES:]


def _finding_text(finding: Finding) -> str:
    hint = f"  hint: {printable(finding.hint)}\n" if finding.hint else ""
    return f"{finding.severity}: {printable(finding.message)}\n{hint}"
