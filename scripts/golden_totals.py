"""What the scripts that rewrite FLOP goldens share: torch's count of a call, and files with one line for each model."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nsys_pipeline.model.verify import grouped_products

TESTS = Path(__file__).parent.parent / "tests" / "unit" / "model"


def quieten() -> None:
    """Keep warnings about random weights and small sizes off the terminal."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()


def read_configs(name: str) -> dict[str, Any]:
    """A file of small configs by the names of their models."""
    configs: dict[str, Any] = json.loads((TESTS / name).read_text(encoding="utf-8"))
    return configs


def counted(call: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[int, Any]:
    """FLOPs that torch counts in a call, and what it returns."""
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=grouped_products(torch)) as counter:
        result = call(*args, **kwargs)
    return counter.get_total_flops(), result


def flattened_patches(grids: Sequence[Sequence[int]], values: int, row: int | None = None) -> torch.Tensor:
    """Images of so many patches as rows of `row` patches, or as few as they fit: place from 1 and `values` of each."""
    patches = torch.zeros(len(grids), row or max(height * width for height, width in grids), 2 + values)
    for one, (height, width) in zip(patches, grids, strict=True):
        one[: height * width, 0] = torch.arange(height).repeat_interleave(width) + 1
        one[: height * width, 1] = torch.arange(width).repeat(height) + 1
    return patches


@contextlib.contextmanager
def place_for(name: str) -> Iterator[None]:
    """Where to build and run a model: without weights if its tower is of one size, which is large (Gemma 3n).

    Some towers are the package timm's, which the extra `verify` has not; their attention is products here.
    """
    if name.startswith(("fast_vlm", "gemma3n", "perception_lm")):
        importlib.import_module("timm.layers").set_fused_attn(False)
    if not name.startswith(("fast_vlm", "gemma3n")):
        yield
        return
    with torch.device("meta"):
        yield


def write_totals(target: Path, entries: Sequence[Mapping[str, Any]], **head: str) -> None:
    """Rewrite a golden file: what counted, `head`, and the models."""
    source = f"torch {torch.__version__.split('+')[0]} FlopCounterMode, transformers {transformers.__version__}"
    opened = json.dumps({"source": source, **head})[:-1]
    rows = ",\n  ".join(json.dumps(entry) for entry in entries)
    target.write_text(f'{opened}, "models": [\n  {rows}\n]}}\n', encoding="utf-8")
    print(f"{target.name}: {len(entries)} models", file=sys.stderr)
