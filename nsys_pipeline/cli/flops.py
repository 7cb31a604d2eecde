"""`llmperf flops`: what one prefill and one decode step must compute and move."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from nsys_pipeline.cli.common import (
    MODEL_PANEL,
    PEAKS_PANEL,
    AudioSecondsOption,
    BandwidthOption,
    DpOption,
    DtypeOption,
    ImagePatchesOption,
    ImageSizeOption,
    ImagesOption,
    KvDtypeOption,
    PeakOption,
    TpOption,
    WeightDtypeOption,
)
from nsys_pipeline.errors import CheckError, HardwareError, UsageError
from nsys_pipeline.hardware import (
    Gpu,
    describe_known,
    find_gpu,
    gpus_like,
    gpus_named,
    parse_bandwidth,
    parse_peaks,
    with_overrides,
)
from nsys_pipeline.model import Conventions, Model, load_model
from nsys_pipeline.model.images import read_images
from nsys_pipeline.model.sound import read_audio
from nsys_pipeline.model.summary import Shape, Summary, spread, summarize, summary_json, training_json
from nsys_pipeline.records import MAX_BATCH, MAX_TOKENS

_COUNTING = "How to count"
_TRAINING = "Training"


def flops(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Preset, config.json, model directory or hub id.")],
    *,
    batch: Annotated[int | None, typer.Option(min=1, help="Sequences; default 1, or as many as are listed.")] = None,
    prompt_tokens: Annotated[
        str | None, typer.Option(metavar="P[,P…]", help="Prompt length; a list gives each sequence its own.")
    ] = None,
    context: Annotated[
        str | None, typer.Option(metavar="C[,C…]", help="Cached tokens of the decode step; default: the prompt.")
    ] = None,
    cached_tokens: Annotated[
        str, typer.Option(metavar="N[,N…]", help="Tokens cached before the prompt (chunked prefill, prefix cache).")
    ] = "0",
    encoder_tokens: Annotated[
        str | None, typer.Option(metavar="N[,N…]", help="Encoder positions of an encoder-decoder model.")
    ] = None,
    images: ImagesOption = None,
    image_patches: ImagePatchesOption = None,
    image_size: ImageSizeOption = None,
    audio_seconds: AudioSecondsOption = None,
    attention: Annotated[
        str, typer.Option(metavar="exact|half|full", help="Keys charged to a query.", rich_help_panel=_COUNTING)
    ] = "exact",
    count: Annotated[
        str,
        typer.Option(metavar="model|executed", help="Required FLOPs, or those run.", rich_help_panel=_COUNTING),
    ] = "model",
    mla: Annotated[
        str | None,
        typer.Option(metavar="absorbed|cached|reexpand", help="Latent attention.", rich_help_panel=_COUNTING),
    ] = None,
    experts: Annotated[
        str | None,
        typer.Option(metavar="routed|dense", help="Experts that run for a token.", rich_help_panel=_COUNTING),
    ] = None,
    logits: Annotated[
        str, typer.Option(metavar="last|all", help="Positions with an LM head.", rich_help_panel=_COUNTING)
    ] = "last",
    approximate: Annotated[
        bool, typer.Option("--approximate", help="Accept an unknown model type.", rich_help_panel=_COUNTING)
    ] = False,
    dtype: DtypeOption = None,
    weight_dtype: WeightDtypeOption = None,
    kv_dtype: KvDtypeOption = None,
    tp: TpOption = None,
    pp: Annotated[int, typer.Option(help="Pipeline stages.", rich_help_panel=MODEL_PANEL)] = 1,
    ep: Annotated[int, typer.Option(help="Expert-parallel GPUs.", rich_help_panel=MODEL_PANEL)] = 1,
    dp: DpOption = None,
    gpu: Annotated[
        str | None, typer.Option(help="Add speed-of-light times on this GPU.", rich_help_panel=PEAKS_PANEL)
    ] = None,
    peak: PeakOption = None,
    bandwidth: BandwidthOption = None,
    allow_network: Annotated[
        bool, typer.Option("--allow-network", help="Download the config of a hub id that is not cached.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare op by op with torch's FlopCounterMode (extra: verify).")
    ] = False,
    train: Annotated[
        bool,
        typer.Option(
            "--train", help="A training step over the prompts instead, with all logits.", rich_help_panel=_TRAINING
        ),
    ] = False,
    checkpointing: Annotated[
        str,
        typer.Option(
            metavar="none|full", help="Layers whose forward runs again in the backward.", rich_help_panel=_TRAINING
        ),
    ] = "none",
    train_only: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX", help="Weights that are updated, by name; default: all.", rich_help_panel=_TRAINING
        ),
    ] = None,
    lora: Annotated[
        int | None,
        typer.Option(min=1, metavar="RANK", help="Update adapters of this rank alone.", rich_help_panel=_TRAINING),
    ] = None,
    output_format: Annotated[str, typer.Option("--format", metavar="table|json", help="Output.")] = "table",
) -> None:
    """Say what one prefill and one decode step of MODEL must compute and move, from its config alone.

    FLOPs are for the whole batch. Bytes are minimum bytes: weights touched, KV read and KV written.
    """
    if output_format not in ("table", "json"):
        raise UsageError(f"`{output_format}` is not an output format", hint="choose one of: table, json")
    conventions = Conventions(
        attention=attention,
        count=count,
        mla=mla,
        experts=experts,
        logits=logits,
        dtype=dtype,
        weight=weight_dtype,
        kv_dtype=kv_dtype,
        tp=tp or 1,
        pp=pp,
        ep=ep,
    )
    loaded = load_model(model, allow_network=allow_network, approximate=approximate)
    _refuse_mixed(
        train,
        {
            "--checkpointing": checkpointing != "none",
            "--train-only": train_only is not None,
            "--lora": lora is not None,
            "--dp": dp is not None,
        },
        {
            "--context": context is not None, "--cached-tokens": cached_tokens != "0",
            "--images": any((images, image_patches, image_size)), "--audio-seconds": audio_seconds is not None,
            "--kv-dtype": kv_dtype is not None, "--gpu": gpu is not None, "--peak": bool(peak),
            "--bandwidth": bandwidth is not None, "--verify": verify,
        },
    )  # fmt: skip
    _refuse_cache(loaded, {"--context": context is not None, "--cached-tokens": cached_tokens != "0"})
    shape = _shape(
        loaded,
        batch=batch,
        prompt_tokens=prompt_tokens,
        context=context,
        cached_tokens=cached_tokens,
        encoder_tokens=encoder_tokens,
        images=images,
        image_patches=image_patches or (),
        image_sizes=image_size or (),
        audio_seconds=audio_seconds,
    )
    if loaded.dtype_assumed and dtype is None:
        sys.stderr.write(f"warning: the config names no dtype; {loaded.dtype} is assumed\n\nhint: pass --dtype\n")
    if loaded.approximate:
        sys.stderr.write(f"warning: model type `{loaded.model_type}` is not known; numbers are approximate\n")
    if train:
        data = training_json(
            loaded, shape, conventions, checkpointing=checkpointing, train_only=train_only, lora_rank=lora, dp=dp or 1
        )
        _refuse_unused(loaded, conventions, data["convention"])
        _print(data, output_format)
        return
    summary = summarize(loaded, shape, conventions, gpu=_gpu(gpu, peak or [], bandwidth))
    data = summary_json(summary)
    _refuse_unused(loaded, conventions, data["convention"])
    _tell_missing_peaks(summary)
    rows = None
    if verify:
        from nsys_pipeline.model.verify import compare

        rows = compare(loaded, shape, logits=logits)
        data["verify"] = rows
    _print(data, output_format, rows)
    if rows and any(row["exact"] and row["estimated"] != row["counted"] for row in rows):
        raise CheckError(f"the estimate of `{loaded.name}` differs from torch's count")


def _print(data: dict[str, Any], output_format: str, verify: list[dict[str, Any]] | None = None) -> None:
    if output_format == "json":
        json.dump(data, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    from nsys_pipeline.report.flops import flops_document, training_document
    from nsys_pipeline.report.terminal import render_document

    document = training_document(data) if "train" in data else flops_document(data, verify=verify)
    render_document(document, sys.stdout)


def _refuse_mixed(train: bool, of_training: Mapping[str, bool], of_inference: Mapping[str, bool]) -> None:
    """Raise UsageError for options that say nothing about what is asked for."""
    for option, is_given in (of_inference if train else of_training).items():
        if is_given:
            raise UsageError(
                f"{option} is about inference; it does not apply to --train"
                if train
                else f"{option} is about training",
                hint=None if train else "pass --train, too",
            )


def _refuse_unused(model: Model, given: Conventions, used: dict[str, Any]) -> None:
    """Raise UsageError for an option about a part that the model does not have."""
    experts = f"`{model.name}` has no routed experts"
    for option, value, applies, reason in (
        ("--mla", given.mla, used["mla"], f"`{model.name}` has no latent attention"),
        ("--experts", given.experts, used["experts"], experts),
        ("--ep", given.ep > 1, used["experts"], experts),
    ):
        if value and not applies:
            raise UsageError(f"{reason}; {option} does not apply")


def _refuse_cache(model: Model, given: Mapping[str, bool]) -> None:
    """Raise UsageError for the options that are `given` about a KV cache, if the model is an encoder and has none."""
    for option, is_given in given.items():
        if is_given and model.architecture.decoder is None:
            raise UsageError(f"`{model.name}` is an encoder and has no KV cache; {option} does not apply")


def _tell_missing_peaks(summary: Summary) -> None:
    """Say on stderr which rate a speed-of-light time is missing, where there is none."""
    gpu = summary.gpu
    if gpu is None:
        return
    estimates = [estimate for estimate in (summary.prefill, summary.decode) if estimate]
    missing = dict.fromkeys(what for estimate in estimates for what in estimate.missing_peaks(gpu))
    if missing:
        rates = [what if what == "bandwidth" else f"{what} peak" for what in missing]
        options = ["--bandwidth GB/S" if what == "bandwidth" else f"--peak {what}=TFLOPS" for what in missing]
        given = getattr(gpu, "name", "custom")
        name = "the GPU" if given == "custom" else f"`{given}`"
        sys.stderr.write(f"warning: no SOL time: no {' and no '.join(rates)} is known for {name}\n\n")
        sys.stderr.write(f"hint: pass {' and '.join(options)}\n")


def _numbers(option: str, text: str) -> list[int]:
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{option} `{text}` is not a number or a list of numbers") from error
    if any(value < 0 for value in values):
        raise UsageError(f"{option} `{text}` holds a negative number")
    if max(values) > MAX_TOKENS:
        raise UsageError(f"{option} {max(values):,} is past what llmperf estimates: at most {MAX_TOKENS:,} tokens")
    if len(values) > MAX_BATCH:
        raise UsageError(f"{option} lists {len(values):,} sequences: at most {MAX_BATCH:,}")
    return values


def _within(option: str, number: int) -> int:
    if number > MAX_BATCH:
        raise UsageError(f"{option} {number:,} is past what llmperf estimates: at most {MAX_BATCH:,}")
    return number


def _shape(
    model: Model,
    *,
    batch: int | None,
    prompt_tokens: str | None,
    context: str | None,
    cached_tokens: str,
    encoder_tokens: str | None,
    images: int | None,
    image_patches: Sequence[str],
    image_sizes: Sequence[str],
    audio_seconds: str | None,
) -> Shape:
    """Read the options that describe the batch; what an encoder-decoder's prompt is depends on its encoder."""
    arch = model.architecture
    fixed = arch.encoder_tokens
    if prompt_tokens is None:
        if arch.decoder is not None or fixed is None:
            raise UsageError("how long is the prompt?", hint="pass --prompt-tokens")
        prompt = [fixed]
    else:
        prompt = _numbers("--prompt-tokens", prompt_tokens)
    if 0 in prompt:
        raise UsageError("--prompt-tokens must be at least 1")
    size = _within("--batch", batch or len(prompt))
    prompts = spread(prompt, size, "--prompt-tokens")
    contexts = spread(_numbers("--context", context), size, "--context") if context is not None else prompts
    encoder: tuple[int, ...] | None = None
    if arch.encoder is not None and arch.decoder is not None:
        if encoder_tokens is not None:
            encoder = spread(_numbers("--encoder-tokens", encoder_tokens), size, "--encoder-tokens")
        elif fixed is not None:
            encoder = (fixed,) * size
        else:
            # The prompt of a text encoder-decoder goes to the encoder; the decoder starts with one token.
            encoder, prompts = prompts, (1,) * size
    elif encoder_tokens is not None:
        raise UsageError(f"`{model.name}` is no encoder-decoder model; --encoder-tokens does not apply")
    return Shape(
        prompt_tokens=prompts,
        cached_tokens=spread(_numbers("--cached-tokens", cached_tokens), size, "--cached-tokens"),
        context=contexts,
        encoder_tokens=encoder,
        images=read_images(model, count=images, patches=image_patches, sizes=image_sizes),
        audio=read_audio(model, audio_seconds),
    )


def _gpu(name: str | None, peaks: list[str], bandwidth: str | None) -> Gpu | None:
    rates = parse_peaks(peaks)
    bytes_per_s = parse_bandwidth(bandwidth) if bandwidth else None
    found = find_gpu(name) if name else None
    if name and found is None and not rates:
        near, several = gpus_like(name), len(gpus_named(name)) > 1
        message = f"`{name}` may be several GPUs" if several else f"no peaks are known for `{name}`"
        names = ("choose one of: " if several else "did you mean: ") if near else "known GPUs: "
        raise HardwareError(message, hint=f"{names}{describe_known(near or None)}; or pass --peak")
    return with_overrides(found, name or "custom", rates, bytes_per_s)
