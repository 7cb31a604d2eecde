"""From the options of `llmperf capture` to what is run."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from nsys_pipeline import markers
from nsys_pipeline.capture import REQUEST_RANGE, CapturePlan
from nsys_pipeline.cli.capture_options import TORCH, VLM, CaptureOptions, one_of
from nsys_pipeline.errors import ModelError, UsageError

if TYPE_CHECKING:
    from nsys_pipeline.capture.servers import ServerDriver
    from nsys_pipeline.model import Model
    from nsys_pipeline.workload.options import WorkloadOptions
    from nsys_pipeline.workload.vlm.request import ProfileRequest

CONFIG_NAME = "config.json"
RESULT_NAME = "workload.json"
REQUEST_NAME = "request.json"
TEXT_MODULE, VLM_MODULE = "nsys_pipeline.workload", "nsys_pipeline.workload.vlm"
"""The built-in workloads, as Python runs them."""
DEFAULT_PROMPT = 512
"""Tokens of a prompt of the built-in text workload."""


@attrs.frozen(kw_only=True)
class CaptureJob:
    """A capture to be made: the plan of nsys, files that the run directory gets first, and what drives a server."""

    plan: CapturePlan
    files: Mapping[str, Any]
    driver: ServerDriver | None
    is_built_in: bool


def planned(options: CaptureOptions) -> CaptureJob:
    """What `options` ask for. Raises UsageError and ModelError for what cannot be run."""
    built_in, files, told = _built_in_command(options)
    # A server's steps are marked as transformers' passes are.
    auto = options.auto or options.profile is not None
    command = built_in or tuple(options.command or ())
    plan = CapturePlan(
        command=command,
        name=_name(options),
        traces=tuple(name for name in (*options.trace.split(","), *(["osrt"] if options.osrt else [])) if name),
        cuda_graph=one_of("--cuda-graph", options.cuda_graph, ("node", "whole")),
        gpu_metrics="all" if options.gpu_metrics else None,
        samples_python=options.python,
        delay_s=options.delay,
        duration_s=options.duration,
        capture_range=None if options.profile else _recorded(options),
        trace_forks=options.trace_forks,
        rank_reports=options.rank_reports,
        auto=auto,
        nsys_args=tuple(options.nsys_arg or ()),
        environment=_environment(options, built_in=bool(built_in), auto=auto),
        keep_environment=options.keep_environment,
        timeout_s=options.timeout,
        nvtx_range=options.nvtx_range or REQUEST_RANGE,
        metadata=told,
    )
    plan, driver = _server(plan, options)
    return CaptureJob(plan=plan, files=files, driver=driver, is_built_in=bool(built_in))


def _built_in_command(options: CaptureOptions) -> tuple[tuple[str, ...], dict[str, Any], dict[str, Any]]:
    """Command of the built-in workload, files that the run directory gets, and what run.json says about it."""
    if options.model is None:
        return (), {}, {}
    _check_device(options)
    if options.workload == VLM:
        request = _profile_request(options).to_json()
        run_dir = Path("{run_dir}")
        arguments = (str(run_dir / REQUEST_NAME), "--result", str(run_dir / RESULT_NAME))
        command = (*_python(1), "-m", VLM_MODULE, *arguments)
        return command, {REQUEST_NAME: request}, {"request": request}
    workload, files = _built_in(options)
    return (*_python(options.nproc), "-m", TEXT_MODULE, *workload.argv()), files, {}


def _check_device(options: CaptureOptions) -> None:
    """Raise UsageError before nsys is started for what the CPU cannot do."""
    from nsys_pipeline.workload.options import check_without_gpu

    if options.device == "cpu":
        nvtx_ops = options.ops and options.backend != TORCH
        check_without_gpu(cuda_graphs=options.cuda_graphs, capture_range=_recorded(options), nvtx_ops=nvtx_ops)


def _profile_request(options: CaptureOptions) -> ProfileRequest:
    """What the workload `vlm` is to run. Raises UsageError and ModelError for what is wrong with it."""
    from nsys_pipeline.model.load import find_checkpoint
    from nsys_pipeline.workload.vlm import request as vlm

    path, config = find_checkpoint(str(options.model))
    _check_sees(_name(options), _check_model(_name(options), config, runs_two_stacks=True))
    if options.weights == "pretrained" and path.is_file():
        raise UsageError(
            f"`{options.model}` is a config and holds no weights",
            hint="pass the directory of a checkpoint, or drop `--weights pretrained`",
        )
    return vlm.ProfileRequest(
        model_path=str(path),
        name=_name(options),
        weights=options.weights,
        input_dir=_absolute(options.input_dir),
        image_list=_absolute(options.images),
        synthetic_images=tuple(options.synthetic_images or ()),
        prompt=vlm.DEFAULT_PROMPT if options.prompt is None else options.prompt,
        prompt_tokens=options.prompt_tokens or vlm.DEFAULT_PROMPT_TOKENS,
        batch=options.batch,
        max_new_tokens=options.new_tokens,
        repeats=options.repeats,
        warmup=options.warmup,
        device=options.device,
        dtype=options.dtype,
        attn=options.attn,
        sync=options.sync,
        layers=options.layers,
        ops=options.ops,
        capture_range=_recorded(options),
    )


def _absolute(path: Path | None) -> str | None:
    """The path wherever the workload runs; what is not there is said before nsys starts."""
    if path is None:
        return None
    if not path.expanduser().exists():
        raise UsageError(f"no such file or directory: `{path}`")
    return str(path.expanduser().resolve())


def _recorded(options: CaptureOptions) -> str | None:
    return None if options.capture_range == "none" else options.capture_range


def _name(options: CaptureOptions) -> str:
    if options.model is not None:
        return _run_name(options.model)
    return Path(options.command[0]).name if options.command else "run"


def _server(plan: CapturePlan, options: CaptureOptions) -> tuple[CapturePlan, ServerDriver | None]:
    """Apply the recipe of a server to the plan."""
    from nsys_pipeline.capture.profiles import plan_server, server_profile
    from nsys_pipeline.capture.servers import ServerDriver

    load, url, window = options.load, options.url, options.window
    if options.profile is None:
        if load is not None or url is not None or window is not None:
            raise UsageError("`--load`, `--url` and `--window` belong to a server", hint="name it with `--profile`")
        return plan, None
    recipe = server_profile(options.profile)
    has_server = bool(recipe.url or load)
    checked = _window(window, options.capture_range)
    # Made when the load begins, and removed at the end; the name is nobody else's.
    arm_file = Path(tempfile.gettempdir()) / f"llmperf-armed-{uuid.uuid4().hex}" if checked and has_server else None
    told = checked and (f"{checked}:{arm_file}" if arm_file else checked)
    planned = plan_server(plan, recipe, capture_range=options.capture_range, window=told)
    if not has_server:
        return planned, None
    is_started = planned.capture_range is None
    try:
        loads = tuple(shlex.split(load or ""))
    except ValueError as error:
        raise UsageError(f"`--load {load}` cannot be read as a command line: {error}") from None
    if load is not None and not loads:
        raise UsageError("`--load` names no program", hint="drop it to run a load yourself, or give it a command")
    url = url or recipe.url_of(plan.command)
    return planned, ServerDriver(recipe, url=url, is_started=is_started, arm_file=arm_file, load=loads)


def _window(text: str | None, capture_range: str | None) -> str | None:
    """`--window`, checked."""
    from nsys_pipeline.workload.engines.window import parse_window

    if text is None:
        return None
    if capture_range == "none":
        raise UsageError("`--window` and `--capture-range none` are two ways to say when to record: use one")
    try:
        parse_window(text)
    except ValueError as error:
        raise UsageError(str(error), hint="write 30s, 200steps or 50requests") from error
    return text


def _run_name(model: str) -> str:
    """Name of run and model: the file's, or its folder's for a `config.json`; else the end of preset, folder or id."""
    path = Path(model)
    if path.suffix != ".json":
        return path.resolve().name if path.is_dir() else path.name
    return path.stem if path.stem != "config" else path.resolve().parent.name


def _built_in(options: CaptureOptions) -> tuple[WorkloadOptions, dict[str, Any]]:
    """Options of the built-in workload, and the model's config as a file of the run directory."""
    from nsys_pipeline.model.load import load_config
    from nsys_pipeline.workload.options import Shape, WorkloadOptions

    model, name = str(options.model), _name(options)
    shapes = tuple(_shape(text, options.new_tokens) for text in options.shape or ())
    settings: dict[str, Any] = {
        "name": name,
        "weights": one_of("--weights", options.weights, ("random", "pretrained")),
        "shapes": shapes or (Shape(options.batch, options.prompt_tokens or DEFAULT_PROMPT, options.new_tokens),),
        "repeats": options.repeats,
        "warmup": options.warmup,
        "dtype": one_of("--dtype", options.dtype, (None, "bfloat16", "float16", "float32")),
        "device": options.device,
        "attn": options.attn,
        "compile": options.compile_model,
        "cuda_graphs": options.cuda_graphs,
        "sample": options.sample,
        "sync": one_of("--sync", options.sync, ("step", "request")),
        "layers": options.layers,
        "ops": options.ops,
        "parallel": one_of("--parallel", options.parallel, ("data", "tensor")) if options.nproc > 1 else None,
        "capture_range": one_of("--capture-range", _recorded(options), (None, "profiler", "nvtx")),
        "result": Path("{run_dir}") / RESULT_NAME,
    }
    if options.weights == "pretrained":
        # Without a config at hand, transformers finds out: it may download one.
        try:
            _, config = load_config(model)
        except ModelError:
            config = {}
        _check_model(name, config)
        if Path(model).expanduser().is_file():
            raise UsageError(
                f"`{model}` is a config and holds no weights",
                hint="pass the directory of a checkpoint or a hub id, or drop `--weights pretrained`",
            )
        return WorkloadOptions(model=model, **settings), {}
    _, config = load_config(model)
    _check_model(name, config)
    return WorkloadOptions(config=Path("{run_dir}") / CONFIG_NAME, **settings), {CONFIG_NAME: dict(config)}


def _check_model(name: str, config: Mapping[str, Any], *, runs_two_stacks: bool = False) -> Model | None:
    """The model, if its type is known here; of others, transformers judges.

    Raises before nsys is started what is wrong with the config.
    """
    from nsys_pipeline.model import Model, known_model_types
    from nsys_pipeline.model.fields import MissingFieldError

    if config.get("is_encoder_decoder") and not runs_two_stacks:
        raise UsageError(
            f"`{name}` is an encoder-decoder, and the built-in workload runs decoders alone",
            hint="capture a program of yours that runs it: `llmperf capture --auto -- COMMAND`",
        )
    if config.get("model_type") in known_model_types():
        # Random weights are not quantized, and transformers has defaults for what is missing.
        with contextlib.suppress(MissingFieldError):
            return Model.from_config(
                {key: value for key, value in config.items() if key != "quantization_config"}, name
            )
    return None


def _check_sees(name: str, model: Model | None) -> None:
    """Raise UsageError for a model of which it is known that it takes no images."""
    if model is None or model.not_counted:
        return
    architecture = model.architecture
    if architecture.vision is None and architecture.encoder is None and not architecture.appends_images:
        raise UsageError(
            f"`{name}` takes no images, and the workload `vlm` is images in, text out",
            hint="drop `--workload vlm`, or name a vision-language model",
        )


def _shape(text: str, new_tokens: int) -> Any:
    from nsys_pipeline.workload.options import Shape

    try:
        return Shape.parse(text, new_tokens=new_tokens)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _python(nproc: int) -> list[str]:
    if nproc == 1:
        return [sys.executable]
    # The launcher itself goes under nsys, so that every rank is in one report.
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={nproc}"]


def _environment(options: CaptureOptions, *, built_in: bool, auto: bool) -> dict[str, str]:
    """Let the target find this package, or what starts with every Python process: markers, or torch.profiler."""
    if built_in:
        return import_path(auto=False)
    records_itself = options.backend == TORCH
    told = {markers.TORCH_RECORD_VARIABLE: markers.RECORD_WITH_MARKS if auto else markers.RECORD_PLAIN}
    injected = import_path(auto=True) if auto or records_itself else {}
    return {**injected, **(told if records_itself else {})}


def import_path(*, auto: bool) -> dict[str, str]:
    """Where Python finds this package; with `auto`, what starts with every Python process."""
    package = Path(__file__).resolve().parents[1]
    first = package / "workload" / "inject" if auto else package.parent
    inherited = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{first}{os.pathsep}{inherited}" if inherited else str(first)}
