"""Options and helpers that several verbs share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import attrs
import typer

from nsys_pipeline.errors import UsageError

if TYPE_CHECKING:
    from nsys_pipeline.inputs import AnalysisOptions
    from nsys_pipeline.trace import TraceOptions

# Headings of `--help`.
MODEL_PANEL = "Model and shape"
PEAKS_PANEL = "Hardware peaks"
_TRACE = "Trace and attribution"
_OUTPUT = "Output"

TraceArgument = Annotated[
    Path,
    typer.Argument(
        metavar="TRACE",
        help="Run directory, .sqlite (also .xz .gz .zst), .nsys-rep, Parquet folder or .json of torch.profiler.",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="MODEL", help="Preset, config.json, model directory or hub id.", rich_help_panel=MODEL_PANEL
    ),
]
ShapeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        metavar="BxP+N",
        help="Batch x prompt + new tokens of the requests: one for all, or one for each in order.",
        rich_help_panel=MODEL_PANEL,
    ),
]
BatchOption = Annotated[
    int | None, typer.Option("--batch", min=1, help="Sequences per request.", rich_help_panel=MODEL_PANEL)
]
PromptTokensOption = Annotated[
    int | None,
    typer.Option("--prompt-tokens", min=1, help="Prompt length of each sequence.", rich_help_panel=MODEL_PANEL),
]
NewTokensOption = Annotated[
    int | None, typer.Option("--new-tokens", min=0, help="Decode steps per request.", rich_help_panel=MODEL_PANEL)
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="Of activations and plain weights; default: the trace's, the config's.",
        rich_help_panel=MODEL_PANEL,
    ),
]
WeightDtypeOption = Annotated[
    str | None,
    typer.Option(
        "--weight-dtype",
        metavar="bf16|fp8|int8|int4|mxfp4|…",
        help="Of quantized weights; default: what the config says.",
        rich_help_panel=MODEL_PANEL,
    ),
]
KvDtypeOption = Annotated[
    str | None,
    typer.Option(
        "--kv-dtype",
        metavar="bf16|fp8|int8|…",
        help="Of the KV cache; default: what the config says, else that of activations.",
        rich_help_panel=MODEL_PANEL,
    ),
]
TpOption = Annotated[
    int | None,
    typer.Option("--tp", min=1, help="Tensor-parallel GPUs that share each pass.", rich_help_panel=MODEL_PANEL),
]
PpOption = Annotated[
    int | None,
    typer.Option("--pp", min=1, help="Pipeline stages that each pass crosses.", rich_help_panel=MODEL_PANEL),
]
EpOption = Annotated[
    int | None,
    typer.Option(
        "--ep",
        min=1,
        help="GPUs that routed experts are spread over. If more than --tp, they have batches of their own.",
        rich_help_panel=MODEL_PANEL,
    ),
]
DpOption = Annotated[
    int | None,
    typer.Option("--dp", min=1, help="Data-parallel ranks, each with a batch of its own.", rich_help_panel=MODEL_PANEL),
]
CpOption = Annotated[
    int | None,
    typer.Option(
        "--cp",
        min=1,
        help="Ranks that each sequence is split over; shapes and marks have a rank's own tokens.",
        rich_help_panel=MODEL_PANEL,
    ),
]
TrainOnlyOption = Annotated[
    str | None,
    typer.Option(
        "--train-only",
        metavar="REGEX",
        help="Weights that training updates, by name; default: all.",
        rich_help_panel=MODEL_PANEL,
    ),
]
LoraOption = Annotated[
    int | None,
    typer.Option(
        "--lora",
        min=1,
        metavar="RANK",
        help="Training updates adapters of this rank alone.",
        rich_help_panel=MODEL_PANEL,
    ),
]
MaxContextOption = Annotated[
    int | None,
    typer.Option(
        "--max-context",
        min=1,
        help="Longest sequence of the engine, where its ranges leave lengths open; default: the model's.",
        rich_help_panel=MODEL_PANEL,
    ),
]
ImagesOption = Annotated[
    int | None,
    typer.Option(
        "--images",
        min=0,
        help="Images of each request, in its prompt; default: as many as have sizes.",
        rich_help_panel=MODEL_PANEL,
    ),
]
ImagePatchesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--image-patches",
        metavar="HxW",
        help="Patches of an image or of one view, or its tokens in the tower: one for all, or one for each in order.",
        rich_help_panel=MODEL_PANEL,
    ),
]
ImageSizeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--image-size",
        metavar="HxW",
        help="Pixels of an image before its processor scales and cuts it: one for all, or one for each in order.",
        rich_help_panel=MODEL_PANEL,
    ),
]
AudioSecondsOption = Annotated[
    str | None,
    typer.Option(
        "--audio-seconds",
        metavar="S[,S…]",
        help="Seconds of each clip of sound of a request, in its prompt.",
        rich_help_panel=MODEL_PANEL,
    ),
]
ApproximateOption = Annotated[
    bool,
    typer.Option(
        "--approximate", help="Estimate unknown model types as 2 × active parameters.", rich_help_panel=MODEL_PANEL
    ),
]
PeakOption = Annotated[
    list[str] | None,
    typer.Option(
        "--peak", metavar="DTYPE=TFLOPS", help="Dense peak instead of the datasheet's.", rich_help_panel=PEAKS_PANEL
    ),
]
BandwidthOption = Annotated[
    str | None,
    typer.Option(
        "--bandwidth", metavar="GB/S", help="Memory bandwidth instead of the datasheet's.", rich_help_panel=PEAKS_PANEL
    ),
]
PhaseOption = Annotated[
    list[str] | None,
    typer.Option(
        "--phase",
        metavar="NAME=REGEX",
        help="Ranges whose `domain:text` matches are this phase; repeatable.",
        rich_help_panel=_TRACE,
    ),
]
RangeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--range",
        metavar="REGEX",
        help="Only ranges whose `domain:text` matches are phases, each called as its text; repeatable.",
        rich_help_panel=_TRACE,
    ),
]
NotPhaseOption = Annotated[
    list[str] | None,
    typer.Option(
        "--not-phase",
        metavar="REGEX",
        help="Ranges whose `domain:text` matches are no phase; repeatable.",
        rich_help_panel=_TRACE,
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", help="Leave work of threads without a phase unattributed.", rich_help_panel=_TRACE),
]
SkipOption = Annotated[
    int | None,
    typer.Option(
        "--skip",
        min=0,
        metavar="N",
        help="Cut the first N requests of each process away, or occurrences of each phase.",
        rich_help_panel=_TRACE,
    ),
]
StepsOption = Annotated[
    str | None,
    typer.Option(
        "--steps", metavar="A:B", help="Occurrences A to B-1 of each phase and process alone.", rich_help_panel=_TRACE
    ),
]
FromOption = Annotated[
    float | None,
    typer.Option("--from", metavar="SECONDS", help="What starts from then on alone.", rich_help_panel=_TRACE),
]
ToOption = Annotated[
    float | None,
    typer.Option("--to", "--until", metavar="SECONDS", help="What starts before then alone.", rich_help_panel=_TRACE),
]
UntilOption = Annotated[
    float | None,
    typer.Option("--until", metavar="SECONDS", help="What starts before then alone.", rich_help_panel=_TRACE),
]
KeepColdOption = Annotated[
    bool,
    typer.Option(
        "--keep-cold", help="Count cold occurrences; without, they are left out like warm-up.", rich_help_panel=_TRACE
    ),
]
GoodputOption = Annotated[
    str | None,
    typer.Option(
        "--goodput",
        metavar="ttft:MS,tpot:MS",
        help="Count requests of an engine within these limits; also e2el, all of a request's time.",
        rich_help_panel=_TRACE,
    ),
]
InferOption = Annotated[
    bool | None,
    typer.Option(
        "--infer/--no-infer",
        help="Infer phases from the launches; then ranges are no phases [if no range is a phase].",
        rich_help_panel=_TRACE,
    ),
]
CacheOption = Annotated[
    bool,
    typer.Option("--cache/--no-cache", help="Keep the prepared tables for the next run.", rich_help_panel=_TRACE),
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory-limit", metavar="SIZE", help="Memory to use; more spills to disk [1500MB].", rich_help_panel=_TRACE
    ),
]
UnpackOption = Annotated[
    str | None,
    typer.Option(
        "--unpack-limit",
        metavar="SIZE",
        help="What a packed trace may unpack to [100 times its size, at least 4GiB].",
        rich_help_panel=_TRACE,
    ),
]
NsysOption = Annotated[
    str | None, typer.Option("--nsys", help="The nsys that exports a .nsys-rep.", rich_help_panel=_TRACE)
]
OutputOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Write there, not to stdout.", rich_help_panel=_OUTPUT),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace an existing FILE.", rich_help_panel=_OUTPUT)]


@attrs.frozen(kw_only=True)
class AnalysisArguments:
    """What every verb that analyzes traces may be told; see `expanded`. A new option is one more field, used below."""

    model: ModelOption = None
    shape: ShapeOption = None
    batch: BatchOption = None
    prompt_tokens: PromptTokensOption = None
    new_tokens: NewTokensOption = None
    dtype: DtypeOption = None
    weight_dtype: WeightDtypeOption = None
    kv_dtype: KvDtypeOption = None
    tp: TpOption = None
    pp: PpOption = None
    ep: EpOption = None
    dp: DpOption = None
    cp: CpOption = None
    train_only: TrainOnlyOption = None
    lora: LoraOption = None
    max_context: MaxContextOption = None
    images: ImagesOption = None
    image_patches: ImagePatchesOption = None
    image_size: ImageSizeOption = None
    audio_seconds: AudioSecondsOption = None
    approximate: ApproximateOption = False
    peak: PeakOption = None
    bandwidth: BandwidthOption = None
    phase: PhaseOption = None
    not_phase: NotPhaseOption = None
    ranges: RangeOption = None
    strict: StrictOption = False
    infer: InferOption = None
    keep_cold: KeepColdOption = False
    goodput: GoodputOption = None
    skip: SkipOption = None
    steps: StepsOption = None
    from_s: FromOption = None
    to_s: ToOption = None
    cache: CacheOption = True
    memory_limit: MemoryOption = None
    unpack_limit: UnpackOption = None
    nsys: NsysOption = None

    def trace_options(self, on_progress: Any = None) -> TraceOptions:
        """How to open the trace. Raises UsageError for a malformed rule, or a window that holds nothing."""
        from nsys_pipeline.rules.phases import PhaseRule
        from nsys_pipeline.trace.options import DEFAULT_MEMORY_LIMIT, TraceOptions
        from nsys_pipeline.trace.window import Window

        return TraceOptions(
            phase_rules=(
                *(PhaseRule.excluding(text) for text in self.not_phase or ()),
                *(PhaseRule.from_option(text) for text in self.phase or ()),
                *(PhaseRule.of_ranges(text) for text in self.ranges or ()),
            ),
            is_strict=self.strict,
            window=Window.parse(skip=self.skip, steps=self.steps, from_s=self.from_s, to_s=self.to_s),
            infers=self.infer,
            use_cache=self.cache,
            memory_limit=self.memory_limit or DEFAULT_MEMORY_LIMIT,
            unpack_limit=self.unpack_limit,
            nsys=self.nsys,
            on_progress=on_progress,
        )

    def analysis_options(self, *, top: int = 5) -> AnalysisOptions:
        """What the analysis is told beside the trace. Raises UsageError for options that do not fit together."""
        from nsys_pipeline.hardware import parse_bandwidth, parse_peaks
        from nsys_pipeline.inputs import AnalysisOptions, GoodputLimits, ImageOptions, RequestShape

        shapes = tuple(RequestShape.parse(text) for text in self.shape or ())
        if self.batch is not None or self.prompt_tokens is not None or self.new_tokens is not None:
            if shapes:
                raise UsageError(
                    "`--shape` and `--batch/--prompt-tokens/--new-tokens` say the same thing", hint="use one of them"
                )
            if self.prompt_tokens is None:
                raise UsageError("the shape of a request needs `--prompt-tokens`")
            shapes = (RequestShape(self.batch or 1, self.prompt_tokens, self.new_tokens),)
        known = None
        if self.model:
            from nsys_pipeline.model import load_model

            known = load_model(self.model, approximate=self.approximate)
        return AnalysisOptions.told(
            model=known,
            shapes=shapes,
            dtype=self.dtype,
            weight_dtype=self.weight_dtype,
            kv_dtype=self.kv_dtype,
            tp=self.tp,
            pp=self.pp,
            ep=self.ep,
            dp=self.dp,
            cp=self.cp,
            train_only=self.train_only,
            lora_rank=self.lora,
            peaks=parse_peaks(self.peak or ()),
            bandwidth_bytes_per_s=parse_bandwidth(self.bandwidth) if self.bandwidth else None,
            max_context=self.max_context,
            images=ImageOptions(self.images, tuple(self.image_patches or ()), tuple(self.image_size or ())),
            audio_seconds=self.audio_seconds,
            top_kernels=top,
            keep_cold=self.keep_cold,
            goodput=GoodputLimits.parse(self.goodput) if self.goodput is not None else None,
        )


@contextmanager
def progress() -> Iterator[Any]:
    """A status line on stderr while a trace is read; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status("opening the trace") as status:
        yield status.update


@contextmanager
def output_file(path: Path | None, *, force: bool, binary: bool = False) -> Iterator[Any]:
    """The stream to write results to: stdout, or `path`, which appears only when it is whole.

    A device or a pipe at `path` is written to: a file in its place would break it for everybody.

    Raises UsageError where `path` exists and `force` is not set, or cannot be written.
    """
    if path is None:
        yield sys.stdout.buffer if binary else sys.stdout
        return
    path = check_output(path, force=force)
    is_special = is_device_or_pipe(path)
    partial = path if is_special else path.with_name(f".{path.name}.partial")
    # Names of files that are not UTF-8 are written as they are on a terminal: with escapes.
    encoding, errors = (None, None) if binary else ("utf-8", "backslashreplace")
    try:
        with partial.open("wb" if binary else "w", encoding=encoding, errors=errors) as file:
            yield file
        if not is_special:
            partial.replace(path)
    except OSError as error:
        raise UsageError(f"`{path}` cannot be written: {error.strerror or error}") from error
    finally:
        if not is_special:
            with suppress(OSError):  # a read-only file system says so of a file that is not there, too
                partial.unlink()


def dataset_at(path: Path) -> str | None:
    """Where the dataset of a fleet at `path` is, None for a trace. Raises UsageError for a URL of anything else."""
    from nsys_pipeline.fleet.query import is_dataset
    from nsys_pipeline.trace.identify import as_typed, is_remote

    url = as_typed(path)
    if is_dataset(url):
        return url
    if is_remote(url):
        raise UsageError(
            f"`{url}` is no dataset of a fleet", hint="llmperf fleet s3://BUCKET/RUNS --out DATASET makes one"
        )
    return None


def is_device_or_pipe(path: Path) -> bool:
    """Whether what is at `path` is neither a file nor a folder: it can be written to, and not be replaced."""
    return path.exists() and not (path.is_file() or path.is_dir())


def check_output(path: Path, *, force: bool) -> Path:
    """`path`, also where it was written as file:///….

    Raises UsageError where writing it would replace a file without `force`, or where it is a URL of another place.
    """
    from nsys_pipeline.trace.identify import local_path

    path = local_path(path, hint="write it here and copy it; `llmperf export` writes to buckets, too")
    if path.exists() and not force:
        raise UsageError(f"`{path}` exists", hint="choose another name, or pass --force to replace it")
    return path


def expanded(verb: Callable[..., None]) -> Callable[..., None]:
    """`verb` with options in place of each parameter that is a record: a class of attrs whose fields are options.

    `Annotated[Record, names]` has only the fields of these names, the others keep their defaults.
    """
    hints, parameters = get_type_hints(verb, include_extras=True), []
    records: dict[str, tuple[Any, list[str]]] = {}
    for parameter in signature(verb).parameters.values():
        kind, *names = get_args(hints[parameter.name]) or (hints[parameter.name],)
        if not attrs.has(kind):
            parameters.append(parameter.replace(annotation=hints[parameter.name]))
            continue
        of_field = get_type_hints(kind, include_extras=True)
        defaults = {field.name: field.default for field in attrs.fields(kind)}
        fields = [name for name in of_field if name in (names[0] if names else defaults)]
        records[parameter.name] = kind, fields
        parameters += [
            Parameter(name, Parameter.KEYWORD_ONLY, default=defaults[name], annotation=of_field[name])
            for name in fields
        ]

    given = Signature(parameters)

    def run(*arguments: Any, **options: Any) -> None:
        # Called from Python, too, with few of its options.
        bound = given.bind(*arguments, **options)
        bound.apply_defaults()
        typed = dict(bound.arguments)
        told = {name: kind(**{field: typed.pop(field) for field in fields}) for name, (kind, fields) in records.items()}
        verb(**typed, **told)

    run.__signature__ = given  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__doc__, run.__name__ = verb.__doc__, verb.__name__
    return run
