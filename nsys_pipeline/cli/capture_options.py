"""The options of `llmperf capture`, and which of them fit together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer

from nsys_pipeline.errors import UsageError

# Said again here, where nothing heavy is imported, for `--help`; a test compares them with the profiles.
PROFILES = (
    "vllm-serve", "vllm-serve-0.12", "vllm", "sglang-serve", "trtllm-serve", "lmdeploy-serve", "tgi", "nim", "dynamo",
    "ray-serve",
)  # fmt: skip
_BUILT_IN = "Built-in workload"
_IMAGES = "Workload vlm"
TEXT, VLM = WORKLOADS = ("text", "vlm")
_RECORDING = "What nsys records"
_SERVER = "Servers"
_RUN = "The run"
NSYS, TORCH = BACKENDS = ("nsys", "torch")


@attrs.frozen(kw_only=True)
class CaptureOptions:
    """What was typed, option by option; `command` is what stands behind them."""

    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND …]", help="Run this instead of the built-in workload.")
    ] = None
    workload: Annotated[str, typer.Option(help="text, or vlm: images in, text out.", rich_help_panel=_BUILT_IN)] = TEXT
    model: Annotated[
        str | None,
        typer.Option(help="Preset name, config.json, model directory or hub id.", rich_help_panel=_BUILT_IN),
    ] = None
    weights: Annotated[
        str, typer.Option(help="random needs no download; pretrained loads them.", rich_help_panel=_BUILT_IN)
    ] = "random"
    batch: Annotated[int, typer.Option(min=1, help="Sequences per request.", rich_help_panel=_BUILT_IN)] = 1
    prompt_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Prompt length of each sequence [512; vlm: 32 beside the image, if no processor makes the prompt].",
            rich_help_panel=_BUILT_IN,
        ),
    ] = None
    new_tokens: Annotated[
        int,
        typer.Option(
            "--new-tokens", "--max-new-tokens", min=0, help="Decode steps per request.", rich_help_panel=_BUILT_IN
        ),
    ] = 32
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BxP[+N]", help="Batch x prompt + new tokens, e.g. 8x512+32; repeatable.", rich_help_panel=_BUILT_IN
        ),
    ] = None
    repeats: Annotated[int, typer.Option(min=1, help="Measured requests of each shape.", rich_help_panel=_BUILT_IN)] = 3
    warmup: Annotated[
        int, typer.Option(min=0, help="Requests of each shape that do not count.", rich_help_panel=_BUILT_IN)
    ] = 1
    dtype: Annotated[
        str | None,
        typer.Option(help="bfloat16, float16 or float32; default by device.", rich_help_panel=_BUILT_IN),
    ] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=_BUILT_IN)] = "auto"
    attn: Annotated[
        str,
        typer.Option(
            help="auto (sdpa, of models that have it), sdpa, eager, flash_attention_2, …", rich_help_panel=_BUILT_IN
        ),
    ] = "auto"
    compile_model: Annotated[
        bool, typer.Option("--compile", help="torch.compile the forward pass.", rich_help_panel=_BUILT_IN)
    ] = False
    cuda_graphs: Annotated[
        bool, typer.Option("--cuda-graphs", help="Replay decode as a CUDA graph.", rich_help_panel=_BUILT_IN)
    ] = False
    sample: Annotated[
        bool, typer.Option("--sample", help="Sample tokens instead of greedy.", rich_help_panel=_BUILT_IN)
    ] = False
    sync: Annotated[
        str, typer.Option(help="Host waits for the GPU after each step or request.", rich_help_panel=_BUILT_IN)
    ] = "step"
    layers: Annotated[
        bool, typer.Option("--layers", help="Mark every attention and MLP block.", rich_help_panel=_BUILT_IN)
    ] = False
    ops: Annotated[
        bool, typer.Option("--ops", help="Mark every operator with its shapes.", rich_help_panel=_BUILT_IN)
    ] = False
    nproc: Annotated[
        int, typer.Option(min=1, help="Processes on this machine, one for each GPU.", rich_help_panel=_BUILT_IN)
    ] = 1
    parallel: Annotated[str, typer.Option(help="With --nproc: data or tensor.", rich_help_panel=_BUILT_IN)] = "tensor"
    input_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Images: every file of this directory.", rich_help_panel=_IMAGES),
    ] = None
    images: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Images: a list of paths, one a line.", rich_help_panel=_IMAGES),
    ] = None
    synthetic_images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HxW",
            help="An image of random pixels of this height and width; repeatable.",
            rich_help_panel=_IMAGES,
        ),
    ] = None
    prompt: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What the processor gets beside each image.", rich_help_panel=_IMAGES),
    ] = None
    auto: Annotated[
        bool,
        typer.Option(
            "--auto",
            help="Mark passes of transformers models, steps of engines in COMMAND.",
            rich_help_panel=_RECORDING,
        ),
    ] = False
    backend: Annotated[
        str, typer.Option("--backend", help="nsys, or torch: torch.profiler.", rich_help_panel=_RECORDING)
    ] = NSYS
    rank_reports: Annotated[
        bool,
        typer.Option("--rank-reports", help="One report for each rank of torchrun.", rich_help_panel=_RECORDING),
    ] = False
    trace: Annotated[
        str, typer.Option(help="Comma-separated traces, as nsys names them.", rich_help_panel=_RECORDING)
    ] = "cuda,nvtx"
    cuda_graph: Annotated[
        str, typer.Option(help="node: kernels inside graphs; whole: less overhead.", rich_help_panel=_RECORDING)
    ] = "node"
    gpu_metrics: Annotated[
        bool, typer.Option("--gpu-metrics", help="Sample hardware counters.", rich_help_panel=_RECORDING)
    ] = False
    python: Annotated[
        bool, typer.Option("--python", help="Sample Python's stacks, 1000 times a second.", rich_help_panel=_RECORDING)
    ] = False
    osrt: Annotated[
        bool, typer.Option("--osrt", help="Trace operating system calls too.", rich_help_panel=_RECORDING)
    ] = False
    trace_forks: Annotated[
        bool, typer.Option("--trace-forks", help="Trace children that fork without exec.", rich_help_panel=_RECORDING)
    ] = False
    delay: Annotated[
        float | None, typer.Option(min=0, help="Seconds before recording starts.", rich_help_panel=_RECORDING)
    ] = None
    duration: Annotated[float | None, typer.Option(min=0.1, help="Seconds to record.", rich_help_panel=_RECORDING)] = (
        None
    )
    capture_range: Annotated[
        str | None,
        typer.Option(help="profiler (cudaProfilerStart), nvtx (a range) or none.", rich_help_panel=_RECORDING),
    ] = None
    nvtx_range: Annotated[
        str | None,
        typer.Option(help="Range that opens it: NAME@DOMAIN.", rich_help_panel=_RECORDING),
    ] = None
    profile: Annotated[
        str | None,
        typer.Option(help=f"COMMAND is a server: {', '.join(PROFILES)}.", rich_help_panel=_SERVER),
    ] = None
    load: Annotated[
        str | None,
        typer.Option(help="Record while this command runs, then stop the server.", rich_help_panel=_SERVER),
    ] = None
    url: Annotated[str | None, typer.Option(help="Address of the server.", rich_help_panel=_SERVER)] = None
    window: Annotated[
        str | None,
        typer.Option(
            metavar="N{s|steps|requests}", help="Record so much of the engine's work only.", rich_help_panel=_SERVER
        ),
    ] = None
    nsys_arg: Annotated[
        list[str] | None, typer.Option(help="Passed to nsys profile as it is; repeatable.", rich_help_panel=_RECORDING)
    ] = None
    keep_environment: Annotated[
        bool,
        typer.Option(
            "--keep-environment", help="Leave environment variables in the trace.", rich_help_panel=_RECORDING
        ),
    ] = False
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Run directory; default runs/NAME-TIME.", rich_help_panel=_RUN)
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Replace the run in that directory.", rich_help_panel=_RUN)] = (
        False
    )
    timeout: Annotated[
        float | None, typer.Option(min=0.1, help="Stop the workload after this many seconds.", rich_help_panel=_RUN)
    ] = None
    nsys: Annotated[str | None, typer.Option(help="The nsys to use.", rich_help_panel=_RUN)] = None
    baseline: Annotated[
        bool,
        typer.Option("--baseline", help="Run it once more without a profiler, and compare.", rich_help_panel=_BUILT_IN),
    ] = False
    baseline_seconds: Annotated[
        float | None,
        typer.Option(
            "--baseline-seconds", min=0.001, help="What COMMAND takes without a profiler, in all.", rich_help_panel=_RUN
        ),
    ] = None
    preflight: Annotated[
        bool,
        typer.Option("--preflight/--no-preflight", help="Try the command's nvtx package first.", rich_help_panel=_RUN),
    ] = True
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would run, for a shell.", rich_help_panel=_RUN)
    ] = False
    analyze: Annotated[
        bool, typer.Option("--analyze/--no-analyze", help="Analyze the trace afterwards.", rich_help_panel=_RUN)
    ] = True
    recover: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Finish the run of a capture that was killed.", rich_help_panel=_RUN),
    ] = None


def check(options: CaptureOptions, ctx: typer.Context) -> None:
    """Raise UsageError for options that would have no effect: nobody should measure what was not asked for.

    `ctx` says which of them were typed.
    """
    typed = _typed_options(ctx)
    has_model, has_command = options.model is not None, bool(options.command)
    _check_workload(options, typed)
    if options.recover is not None:
        _check_recovery(typed, has_command=has_command)
    if has_model and has_command:
        raise UsageError("a model and a command are two workloads", hint="give `--model` or `-- COMMAND`")
    ignored = [name for name, panel in typed.items() if panel == _BUILT_IN and name != "--model"]
    if ignored and not has_model:
        raise UsageError(
            f"{_listed(ignored)} {'belongs' if len(ignored) == 1 else 'belong'} to the built-in workload",
            hint="give it to COMMAND itself, after `--`" if has_command else "name a model with `--model`",
        )
    if "--baseline-seconds" in typed:
        _check_baseline(typed, has_model=has_model)
    if has_model and "--auto" in typed:
        raise UsageError("`--auto` is for `-- COMMAND`", hint="the built-in workload marks its own passes: drop it")
    if has_model and "--profile" in typed:
        raise UsageError("`--profile` is for a server's `-- COMMAND`", hint="drop it, or give the server's command")
    _check_backend(options, typed)
    same = [name for name in typed if name in ("--batch", "--prompt-tokens")]
    if "--shape" in typed and same:
        raise UsageError(f"`--shape` and {_listed(same)} say the same thing", hint="use one of them")
    if "--nvtx-range" in typed and options.capture_range != "nvtx":
        raise UsageError("`--nvtx-range` needs `--capture-range nvtx`", hint="say that this range is what is recorded")
    is_alone = options.nproc == 1
    if "--parallel" in typed and is_alone:
        raise UsageError("`--parallel` needs `--nproc`", hint="say how many processes share the work")
    if "--profile" in typed and "--rank-reports" in typed:
        raise UsageError("`--profile` and `--rank-reports` do not go together", hint="a server has one report: drop it")
    if has_model and "--rank-reports" in typed and is_alone:
        raise UsageError("`--rank-reports` needs `--nproc`", hint="one process makes one report")


def one_of(option: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """`value`, if it is one of `choices`, of which None is what nobody types. Raises UsageError."""
    if value not in choices:
        names = ", ".join(str(choice) for choice in choices if choice is not None)
        raise UsageError(f"`{option} {value}` is not one of {names}")
    return value


def _check_baseline(typed: dict[str, str | None], *, has_model: bool) -> None:
    """Raise UsageError where the whole command is not what is recorded."""
    if has_model:
        raise UsageError(
            "`--baseline-seconds` is for `-- COMMAND`", hint="`--baseline` runs the built-in workload twice"
        )
    partly = [name for name in typed if name in _PARTLY_RECORDED]
    if partly:
        raise UsageError(
            f"`--baseline-seconds` and {_listed(partly)} do not go together",
            hint="the time of the whole command is compared with what is recorded: drop one of them",
        )


_PARTLY_RECORDED = ("--delay", "--duration", "--capture-range", "--profile", "--window", "--timeout")


def _check_workload(options: CaptureOptions, typed: dict[str, str | None]) -> None:
    """Raise UsageError for options of another workload than the one that is asked for."""
    one_of("--workload", options.workload, WORKLOADS)
    if options.workload == TEXT:
        ignored = [name for name, panel in typed.items() if panel == _IMAGES]
        if ignored:
            raise UsageError(f"{_listed(ignored)} is for the workload `vlm`", hint="pass --workload vlm, too")
        return
    if options.model is None:
        raise UsageError("the workload `vlm` needs a model", hint="pass --model DIR or --model config.json")
    if ignored := [name for name in typed if name in _NOT_OF_IMAGES]:
        raise UsageError(f"{_listed(ignored)} is not for the workload `vlm`", hint="drop it")


_NOT_OF_IMAGES = ("--shape", "--compile", "--cuda-graphs", "--sample", "--nproc", "--parallel")


def _check_backend(options: CaptureOptions, typed: dict[str, str | None]) -> None:
    """Raise UsageError for what torch.profiler does not record, or options of nsys beside it."""
    one_of("--backend", options.backend, BACKENDS)
    if options.backend != TORCH:
        return
    if options.profile is not None:
        raise UsageError(
            "`--backend torch` records one program, and a server is several",
            hint="have the server use torch.profiler itself, and analyze the files that it writes",
        )
    of_nsys = [
        name for name, panel in typed.items()
        if (panel == _RECORDING and name not in ("--backend", "--auto")) or name in ("--nsys", "--preflight")
    ]  # fmt: skip
    if of_nsys:
        raise UsageError(
            f"{_listed(of_nsys)} {'is' if len(of_nsys) == 1 else 'are'} for nsys", hint="drop it, or `--backend torch`"
        )


def _check_recovery(typed: dict[str, str | None], *, has_command: bool) -> None:
    others = [name for name in typed if name not in ("--recover", "--nsys", "--analyze")]
    if others or has_command:
        raise UsageError(
            f"`--recover` records nothing: {_listed(others) if others else 'a command'} has no effect",
            hint="give the run directory alone, as in `llmperf capture --recover runs/NAME-TIME`",
        )


def _typed_options(ctx: typer.Context) -> dict[str, str | None]:
    """Options that stand on the command line, and the heading of each."""
    return {
        parameter.opts[0]: getattr(parameter, "rich_help_panel", None)
        for parameter in ctx.command.params
        if parameter.name and (source := ctx.get_parameter_source(parameter.name)) and source.name == "COMMANDLINE"
    }


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(f"`{name}`" for name in names[:-1]), f"`{names[-1]}`"]))
