"""Plain decoders, which are rows of decoders.toml: its head explains the keys."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.families.common import (
    Builder,
    DecoderSpec,
    Dims,
    Verified,
    dense_ffn,
    every,
    read_dims,
    read_window,
    sliding,
    uniform,
)
from nsys_pipeline.model.fields import Fields

KEYS = frozenset(
    {
        "family", "about", "types", "unchecked", "qkv_bias", "o_bias", "mlp_bias", "head_bias", "multi_head", "norm",
        "norms", "norms_if", "embedding_norm", "qk_norm", "qk_norm_if", "sinks", "plain_mlp", "hidden", "window",
        "full_each", "full_first", "full_field", "parallel",
    }
)  # fmt: skip
"""Every key that a row may have."""

_QK_NORMS: Mapping[str, Callable[[Dims], int]] = {
    "head": lambda dims: dims.qk_norm_per_head,
    "head_shift": lambda dims: 2 * dims.qk_norm_per_head,
    "full": lambda dims: dims.qk_norm_full,
}


def read_decoders() -> list[dict[str, Any]]:
    """The rows of decoders.toml, as they stand there."""
    text = Path(__file__).with_name("decoders.toml").read_text(encoding="utf-8")
    return list(tomllib.loads(text)["decoder"])


def decoder(row: Mapping[str, Any], f: Fields) -> Architecture:
    """The decoder that `row` describes with the sizes of this config."""
    dims = read_dims(f, kv_heads=f.dim("num_attention_heads") if row.get("multi_head") else None)
    hidden = row.get("hidden")
    return DecoderSpec(
        dims=dims,
        q_bias=_is_on(f, row.get("qkv_bias")),
        o_bias=_is_on(f, row.get("o_bias")),
        head_bias=_is_on(f, row.get("head_bias")),
        norm=row.get("norm", "rms"),
        norms=next((n for name, n in row.get("norms_if", {}).items() if f.flag(name)), row.get("norms", 2)),
        embedding_norm=row.get("embedding_norm", False),
        qk_norm=_QK_NORMS[row["qk_norm"]](dims) if "qk_norm" in row and _is_on(f, row.get("qk_norm_if", True)) else 0,
        sinks=row.get("sinks", False),
        is_parallel=_is_on(f, row.get("parallel")),
        windows=_windows(row, f, dims.depth),
        ffn=dense_ffn(
            f,
            dims.width,
            gated=not row.get("plain_mlp"),
            bias=_is_on(f, row.get("mlp_bias")),
            hidden=hidden and (("field" in hidden and f.opt_int(hidden["field"])) or hidden["times"] * dims.width),
        ),
        tied=f.flag("tie_word_embeddings"),
    ).build(row["family"])


def _is_on(f: Fields, switch: bool | str | None) -> bool:
    """A switch of decoders.toml: true, or the name of a field, with ` = true` behind it where an absent one is on."""
    if not isinstance(switch, str):
        return bool(switch)
    name, _, default = switch.partition(" = ")
    return f.flag(name, default=default == "true")


def _windows(row: Mapping[str, Any], f: Fields, depth: int) -> list[int | None] | None:
    """The window of each layer, None where it sees everything."""
    if row.get("window") == "every":
        return uniform(depth, read_window(f))
    each = row.get("full_each")
    if each is None:
        return None
    if row.get("full_field"):
        return sliding(f, depth, every(f, depth, each))
    shift = 0 if row.get("full_first") else 1
    return sliding(f, depth, lambda index: (index + shift) % each != 0)


def _builders(row: Mapping[str, Any]) -> dict[str, Builder]:
    build = functools.partial(decoder, row)
    return {**dict.fromkeys(row.get("types", ()), Verified(build)), **dict.fromkeys(row.get("unchecked", ()), build)}


PLAIN: dict[str, Builder] = {name: build for row in read_decoders() for name, build in _builders(row).items()}
