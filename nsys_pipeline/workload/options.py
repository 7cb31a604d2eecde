"""What the built-in workload runs: requests of given shapes on one model. Parsed without torch."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import attrs

from nsys_pipeline.errors import UsageError
from nsys_pipeline.records import MAX_BATCH, MAX_TOKENS

DTYPES = ("bfloat16", "float16", "float32")
SYNC_MODES = ("step", "request")


@attrs.frozen
class Shape:
    """One kind of request: `batch` sequences of `prompt_tokens`, then `new_tokens` decode steps, which may be none."""

    batch: int
    prompt_tokens: int
    new_tokens: int

    def __str__(self) -> str:
        return f"{self.batch}x{self.prompt_tokens}+{self.new_tokens}"

    @classmethod
    def parse(cls, text: str, *, new_tokens: int | None = None) -> Shape:
        """Read `BATCHxPROMPT+NEW`, as in `8x512+32`; or `BATCHxPROMPT` where `new_tokens` says the rest.

        Raises ValueError for anything else, where a batch or a prompt is empty, and for sizes that no request has.
        """
        match = re.fullmatch(r"(\d{1,18})x(\d{1,18})(?:\+(\d{1,18}))?", text.strip())
        new = match and (int(match[3]) if match[3] else new_tokens)
        if match is None or new is None or 0 in (int(match[1]), int(match[2])):
            raise ValueError(f"`{text}` is no shape: write BATCHxPROMPT+NEW, as in 8x512+32")
        shape = cls(int(match[1]), int(match[2]), new)
        if shape.batch > MAX_BATCH or max(shape.prompt_tokens, new) > MAX_TOKENS:
            raise ValueError(f"`{text}` is no shape: at most {MAX_BATCH:,} sequences and {MAX_TOKENS:,} tokens of each")
        return shape


@attrs.frozen(kw_only=True)
class WorkloadOptions:
    """Options of `python -m nsys_pipeline.workload`; `argv` writes them back as a command line."""

    config: Path | None = None
    model: str | None = None
    name: str | None = None
    weights: str = "random"
    shapes: tuple[Shape, ...]
    repeats: int = 3
    warmup: int = 1
    dtype: str | None = None
    device: str = "auto"
    attn: str = "auto"
    compile: bool = False
    cuda_graphs: bool = False
    sample: bool = False
    sync: str = "step"
    layers: bool = False
    ops: bool = False
    capture_range: str | None = None
    parallel: str | None = None
    seed: int = 0
    result: Path | None = None

    @property
    def reference(self) -> str:
        """The model as the user named it: a directory, hub id or config file."""
        return self.model or str(self.config)

    def argv(self) -> list[str]:
        """Arguments that `parse` reads back into the same options."""
        arguments: list[str] = []
        for field in attrs.fields(WorkloadOptions):
            value, flag = getattr(self, field.name), "--" + field.name.replace("_", "-")
            if field.name == "shapes":
                arguments += [part for shape in self.shapes for part in ("--shape", str(shape))]
            elif value is True:
                arguments.append(flag)
            elif value is not None and value is not False and value != field.default:
                arguments += [flag, str(value)]
        return arguments

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> WorkloadOptions:
        """Read a command line; prints usage and exits with status 2 when it makes no sense."""
        parser = argparse.ArgumentParser(
            prog="python -m nsys_pipeline.workload", description="Run generation requests with markers, for a profiler."
        )
        model = parser.add_mutually_exclusive_group(required=True)
        model.add_argument("--config", type=Path, help="config.json of a causal LM; weights are random")
        model.add_argument("--model", help="directory or hub id of a causal LM")
        parser.add_argument("--name", help="what the report calls the model")
        parser.add_argument("--weights", choices=("random", "pretrained"), default="random")
        parser.add_argument("--shape", dest="shapes", type=Shape.parse, action="append", required=True)
        parser.add_argument("--repeats", type=int, default=3, help="measured requests of each shape")
        parser.add_argument("--warmup", type=int, default=1, help="requests of each shape that do not count")
        parser.add_argument("--dtype", choices=DTYPES, help="default: bfloat16 on a GPU, float32 on the CPU")
        parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
        parser.add_argument("--attn", default="auto", help="attention implementation as transformers names it")
        parser.add_argument("--compile", action="store_true", help="torch.compile the forward pass")
        parser.add_argument("--cuda-graphs", action="store_true", help="replay decode as a CUDA graph (static cache)")
        parser.add_argument("--sample", action="store_true", help="sample tokens instead of taking the likeliest")
        parser.add_argument("--sync", choices=SYNC_MODES, default="step", help="when the host waits for the GPU")
        parser.add_argument("--layers", action="store_true", help="a range around each attention and MLP block")
        parser.add_argument("--ops", action="store_true", help="a range with shapes around each operator")
        parser.add_argument("--capture-range", choices=("profiler", "nvtx"), help="record measured requests only")
        parser.add_argument("--parallel", choices=("data", "tensor"), help="how torchrun's ranks share the work")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--result", type=Path, help="write the measured times here as JSON")
        options = vars(parser.parse_args(arguments))
        for name, least in (("repeats", 1), ("warmup", 0)):
            if options[name] < least:
                parser.error(f"--{name} must be at least {least}")
        return cls(**options | {"shapes": tuple(options["shapes"])})


def check_without_gpu(*, cuda_graphs: bool = False, capture_range: str | None = None, nvtx_ops: bool = False) -> None:
    """Raise UsageError for what a run without a GPU cannot do. `nvtx_ops`: a range around every operator."""
    if cuda_graphs:
        raise UsageError("`--cuda-graphs` needs a GPU", hint="drop it, or run on a machine with one")
    if capture_range == "profiler":
        raise UsageError("`--capture-range profiler` needs a GPU", hint="use `--capture-range nvtx`")
    if nvtx_ops:
        raise UsageError(
            "`--ops` needs a GPU: torch marks its operators through CUDA", hint="use `--layers`, or `--backend torch`"
        )
