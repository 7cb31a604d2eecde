"""`llmperf capture`: run a built-in workload, or any command, under nsys."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from nsys_pipeline.capture import REQUEST_RANGE, CapturePlan, CaptureResult, Finding, find_nsys, nsys_argv
from nsys_pipeline.capture import capture as run_capture
from nsys_pipeline.errors import UsageError
from nsys_pipeline.workload import Shape, WorkloadOptions

CONFIG_NAME = "config.json"
RESULT_NAME = "workload.json"
_BUILT_IN = "Built-in workload"
_RECORDING = "What nsys records"
_RUN = "The run"


def capture(
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
    new_tokens: Annotated[int, typer.Option(min=1, help="Decode steps per request.", rich_help_panel=_BUILT_IN)] = 32,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BxP+N", help="Batch x prompt + new tokens, e.g. 8x512+32; repeatable.", rich_help_panel=_BUILT_IN
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
        float | None, typer.Option(help="Seconds before recording starts.", rich_help_panel=_RECORDING)
    ] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds to record.", rich_help_panel=_RECORDING)] = None,
    capture_range: Annotated[
        str | None,
        typer.Option(help="profiler (cudaProfilerStart) or nvtx (a range).", rich_help_panel=_RECORDING),
    ] = None,
    nvtx_range: Annotated[
        str | None,
        typer.Option(help="Range that opens it: NAME@DOMAIN.", rich_help_panel=_RECORDING),
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
        float | None, typer.Option(help="Stop the workload after this many seconds.", rich_help_panel=_RUN)
    ] = None,
    nsys: Annotated[str | None, typer.Option(help="The nsys to use.", rich_help_panel=_RUN)] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the command and run nothing.", rich_help_panel=_RUN)
    ] = False,
    analyze: Annotated[
        bool, typer.Option("--analyze/--no-analyze", help="Analyze the trace afterwards.", rich_help_panel=_RUN)
    ] = True,
) -> None:
    """Run a built-in workload, or any command, under Nsight Systems, and analyze the trace."""
    workload = None
    files: dict[str, Any] = {}
    if model is not None and command:
        raise UsageError("a model and a command are two workloads", hint="give `--model` or `-- COMMAND`")
    if model is not None:
        workload, files = _built_in(
            model,
            weights=weights,
            shapes=tuple(_shape(text) for text in shape) if shape else (Shape(batch, prompt_tokens, new_tokens),),
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
            capture_range=capture_range,
            result=Path("{run_dir}") / RESULT_NAME,
        )
    argv = [sys.executable, "-m", "nsys_pipeline.workload", *workload.argv()] if workload else (command or [])
    plan = CapturePlan(
        command=argv,
        name=Path(model).stem if model else (Path(command[0]).name if command else "run"),
        traces=tuple(name for name in (*trace.split(","), *(["osrt"] if osrt else [])) if name),
        cuda_graph=_one_of("--cuda-graph", cuda_graph, ("node", "whole")),
        gpu_metrics="all" if gpu_metrics else None,
        delay_s=delay,
        duration_s=duration,
        capture_range=capture_range,
        trace_forks=trace_forks,
        nsys_args=tuple(nsys_arg or ()),
        environment=_import_path() if workload else {},
        keep_environment=keep_environment,
        timeout_s=timeout,
        nvtx_range=nvtx_range or REQUEST_RANGE,
    )
    found = find_nsys(nsys)
    if dry_run:
        directory = output or Path("runs") / plan.name
        sys.stdout.write(
            shlex.join(nsys_argv(found, plan, directory / "trace")).replace("{run_dir}", str(directory)) + "\n"
        )
        return
    with _Progress() as progress:
        result = run_capture(
            plan,
            nsys=found,
            output=output or Path("runs"),
            exact_output=output is not None,
            force=force,
            files=files,
            observer=progress,
        )
    _report(result)
    if analyze:
        # The last thing: the analysis prints the table, and the status of the workload is passed on after it.
        from nsys_pipeline.cli import analyze as analyze_verb

        analyze_verb.analyze(result.run_dir)
    if result.exit_status:
        raise typer.Exit(result.exit_status)


def _built_in(model: str, **settings: Any) -> tuple[WorkloadOptions, dict[str, Any]]:
    """Options of the built-in workload, and the model's config as a file of the run directory."""
    for name, choices in (
        ("weights", ("random", "pretrained")),
        ("sync", ("step", "request")),
        ("dtype", (None, "bfloat16", "float16", "float32")),
        ("capture_range", (None, "profiler", "nvtx")),
    ):
        _one_of(f"--{name.replace('_', '-')}", settings[name], choices)
    if settings["weights"] == "pretrained":
        return WorkloadOptions(model=model, **settings), {}
    config = _model_config(model)
    return WorkloadOptions(config=Path("{run_dir}") / CONFIG_NAME, **settings), {CONFIG_NAME: config}


def _model_config(reference: str) -> dict[str, Any]:
    path = Path(reference)
    if path.is_file():
        config: dict[str, Any] = json.loads(path.read_text())
        return config
    from nsys_pipeline.model import load_model  # type: ignore[attr-defined, unused-ignore]

    return dict(load_model(reference).config)


def _shape(text: str) -> Shape:
    try:
        return Shape.parse(text)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _one_of(option: str, value: Any, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        names = ", ".join(str(choice) for choice in choices if choice is not None)
        raise UsageError(f"`{option} {value}` is not one of {names}")
    return value


def _import_path() -> dict[str, str]:
    """Let the workload import this package even where it is not installed for the target's interpreter."""
    root = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{root}{os.pathsep}{inherited}" if inherited else root}


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


def _report(result: CaptureResult) -> None:
    for finding in result.findings:
        if finding.severity != "info":
            sys.stderr.write(_finding_text(finding))
    sys.stderr.write(f"run directory: {result.run_dir}\n")


def _finding_text(finding: Finding) -> str:
    hint = f"  hint: {finding.hint}\n" if finding.hint else ""
    return f"{finding.severity}: {finding.message}\n{hint}"
