"""Read the `quantization_config` of a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import attrs

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import quantization as q
from nsys_pipeline.model.dtypes import BITS
from nsys_pipeline.model.fields import Fields

#: What modules of each role are called in checkpoints; `{i}` is a layer.
_MODULES: dict[str, tuple[str, ...]] = {
    q.ATTENTION: tuple(
        f"model.layers.{{i}}.{block}.{name}"
        for block in ("self_attn", "linear_attn")
        for name in (("q_proj", "k_proj", "v_proj", "o_proj") if block == "self_attn" else ("in_proj_qkvz", "out_proj"))
    ),
    q.EXPERT: tuple(f"model.layers.{{i}}.mlp.experts.0.{name}" for name in ("gate_proj", "up_proj", "down_proj")),
    q.MLP: tuple(f"model.layers.{{i}}.mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj")),
}
#: What kernels of GPTQ unpack (transformers' GPTQConfig).
_INT_BITS = (2, 3, 4, 8)
_IGNORE_LISTS = ("modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules", "llm_int8_skip_modules")


def _fp8(f: Fields) -> q.Format:
    block = f.items("weight_block_size")
    if block is None:
        return q.Format("fp8", 8, (0, 0), 32, compute="fp8")
    return q.Format("fp8", 8, _block(f, "weight_block_size", block), 32, compute="fp8")


def _block(f: Fields, name: str, block: list[Any]) -> tuple[int, int]:
    if len(block) != 2:
        raise f.wrong(name, f"is {block!r}, not rows and columns")
    return f.checked(name, block[0]), f.checked(name, block[1])


def _grouped_int(f: Fields) -> q.Format:
    """GPTQ and AWQ: fp16 scale and packed zero point per group of inputs; group_size -1 is the whole row."""
    bits = f.integer("bits", "w_bit", default=4)
    if bits not in _INT_BITS:
        raise f.wrong("bits", f"is {bits}; GPTQ, AWQ and AutoRound store {', '.join(map(str, _INT_BITS))}")
    group = f.integer("group_size", "q_group_size", default=128, minimum=-1)
    if group == 0:
        raise f.wrong("group_size", "is 0; it must be positive, or -1 for the whole row")
    return q.Format(f"int{bits}", bits, (1, max(group, 0)), 16, bits)


def _bitsandbytes(f: Fields) -> q.Format:
    """LLM.int8(): fp32 scale per output row. 4-bit: one fp32 scale per 64 weights (QLoRA, arXiv 2305.14314)."""
    if f.flag("load_in_4bit", "_load_in_4bit"):
        double = f.flag("bnb_4bit_use_double_quant")
        return q.Format(f.text("bnb_4bit_quant_type", default="fp4"), 4, (1, 64), 8 if double else 32)
    if f.flag("load_in_8bit", "_load_in_8bit"):
        return q.Format("int8", 8, (1, 0), 32, compute="int8")
    raise f.wrong("load_in_8bit", "and `load_in_4bit` are both false; one of them says how the weights are stored")


def _bitnet(_f: Fields) -> q.Format:
    """Ternary weights, four to a byte, with one scale (BitNet b1.58, arXiv 2402.17764); unpacked before the product."""
    return q.Format("ternary", 2, (0, 0), 16)


def _modelopt(f: Fields) -> q.Format:
    """NVIDIA's TensorRT Model Optimizer."""
    algorithm = f.text("quant_algo").upper()
    known = {
        "FP8": q.Format("fp8", 8, (0, 0), 32, compute="fp8"),
        "NVFP4": q.named_format("nvfp4"),
    }
    if algorithm not in known:
        raise f.wrong("quant_algo", f"is {algorithm!r}; known: {', '.join(known)}")
    return known[algorithm]


def _group_format(f: Fields) -> q.Format:
    """One group of compressed-tensors."""
    if f.get("weights") is None:
        raise f.missing("weights")
    weights = f.sub("weights", model_type=f.model_type)
    bits, is_float = weights.integer("num_bits", default=8), weights.text("type", default="int") == "float"
    if bits > 16:
        raise weights.wrong("num_bits", f"is {bits}; weights have at most 16")
    strategy = weights.text("strategy", default="channel")
    block = (1, 0)
    if strategy in ("group", "tensor_group"):
        block = (1, weights.integer("group_size"))
    elif strategy == "tensor":
        block = (0, 0)
    elif strategy == "block":
        block = _block(weights, "block_structure", weights.items("block_structure") or [])
    elif strategy != "channel":
        raise weights.wrong("strategy", f"is {strategy!r}; known: tensor, channel, group, tensor_group, block")
    scales = weights.text("scale_dtype", default="")
    eight = strategy == "tensor_group" or "int8" in scales or "float8" in scales
    zero_bits = 0 if weights.flag("symmetric", default=True) else bits
    name = ("fp" if is_float else "int") + str(bits)
    return q.Format(name, bits, block, 8 if eight else 16, zero_bits, _compute(f))


def _compute(f: Fields) -> str | None:
    """The dtype that both operands of the product have; None where activations are not quantized."""
    if f.get("input_activations") is None:
        return None
    inputs = f.sub("input_activations", model_type=f.model_type)
    bits = inputs.integer("num_bits", default=16)
    name = ("fp" if inputs.text("type", default="int") == "float" else "int") + str(bits)
    return name if bits < 16 and name in BITS else None


class _Patterns:
    """Entries of a list of modules: names of modules or of what they are in, globs, and `re:` regular expressions."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._names: set[str] = set()
        self._globs: list[str] = []
        self._regexes: list[re.Pattern[str]] = []
        for entry in entries:
            if entry.startswith("re:"):
                self._regexes.append(re.compile(entry.removeprefix("re:")))
            elif "*" in entry:
                self._globs += [entry, f"{entry}.*", f"*.{entry}"]
            else:
                self._names.add(entry)

    def __bool__(self) -> bool:
        return bool(self._names or self._globs or self._regexes)

    def match(self, module: str) -> bool:
        """Whether an entry means `module` or something that it is in."""
        parts = module.split(".")
        return (
            any(
                ".".join(parts[start:end]) in self._names
                for start in range(len(parts))
                for end in range(start + 1, len(parts) + 1)
            )
            or any(regex.match(module) for regex in self._regexes)
            or any(fnmatchcase(module, glob) for glob in self._globs)
        )


def _modules(role: str, depth: int) -> list[list[str]]:
    """For each kind of module of a role its names in all layers."""
    return [[name.format(i=layer) for layer in range(depth)] for name in _MODULES[role]]


def _covers(patterns: _Patterns, role: str, depth: int) -> bool:
    """Whether the entries mean some kind of module of the role in more than half of the layers.

    Quantization is kept by role, not by layer: a few first or last layers that are left out do not count, a list that
    spells out all layers does. Of projections that are fused in the estimate, all must be meant.
    """
    if not patterns:
        return False
    meant = [2 * sum(map(patterns.match, modules)) > len(modules) for modules in _modules(role, depth)]
    if role == q.ATTENTION:
        return all(meant[:4]) or all(meant[4:])
    return all(meant)


def _strings(f: Fields, *names: str) -> list[str]:
    """Names of modules under any of the fields. Raises ModelError for what is none, or no regular expression."""
    found: list[str] = []
    for name in names:
        value = f.get(name)
        if value is None:
            continue
        entries = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, str) for entry in entries):
            raise f.wrong(name, f"is {value!r}, not a list of module names")
        for entry in entries:
            try:
                re.compile(entry.removeprefix("re:") if entry.startswith("re:") else "")
            except re.error as error:
                raise f.wrong(name, f"holds {entry!r}, which is no regular expression: {error}") from error
        found += entries
    return found


def _compressed_tensors(f: Fields, depth: int) -> dict[str, q.Format]:
    """The format of each role: that of the first group whose targets mean its modules."""
    groups = f.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise f.wrong("config_groups", "of compressed-tensors names no group")
    formats: dict[str, q.Format] = {}
    for name in groups:
        where = f.sub("config_groups", model_type=f.model_type).sub(str(name), model_type=f.model_type)
        fmt, targets = _group_format(where), _strings(where, "targets") or ["Linear"]
        for role in _MODULES:
            if role not in formats and ("Linear" in targets or _covers(_Patterns(targets), role, depth)):
                formats[role] = fmt
    return formats


_EVERYWHERE: dict[str, Callable[[Fields], q.Format]] = {
    "fp8": _fp8,
    "fbgemm_fp8": lambda _: q.Format("fp8", 8, (1, 0), 32, compute="fp8"),
    "gptq": _grouped_int,
    "awq": _grouped_int,
    "auto-round": _grouped_int,
    "bitsandbytes": _bitsandbytes,
    "bitnet": _bitnet,
    "modelopt": _modelopt,
    "modelopt_fp4": _modelopt,
}


def read_quantization(raw: Mapping[str, Any], *, model_type: str = "", depth: int = 1) -> q.Quantization:
    """The formats of a `quantization_config`, by role of the weight. `depth` is the number of layers.

    Raises ModelError for a method that is not known, and names the field that cannot be.
    """
    f = Fields(raw, model_type or "unknown", "quantization_config")
    method = f.text("quant_method", default="").lower()
    if method == "mxfp4":
        # gpt-oss: only the experts are MXFP4 (arXiv 2508.10925, 2.1).
        return q.Quantization({q.EXPERT: q.named_format("mxfp4")})
    if method == "compressed-tensors":
        formats = _compressed_tensors(f, depth)
    elif method in _EVERYWHERE:
        fmt = _EVERYWHERE[method](f)
        formats = dict.fromkeys(_MODULES, fmt)
        if method == "fp8" and f.text("expert_dtype", default="fp8") == "fp4":
            # DeepSeek-V4: an 8-bit scale per 32 inputs, as in MXFP4; activations are in fp8, and so is the product.
            formats[q.EXPERT] = attrs.evolve(q.named_format("mxfp4"), compute="fp8")
        if method == "gptq" and f.flag("lm_head"):
            formats[q.HEAD] = fmt
    else:
        raise ModelError(
            f"quantization method `{method}` is not known",
            hint=f"known: mxfp4, compressed-tensors, {', '.join(_EVERYWHERE)}; "
            "or pass --weight-dtype to say how the weights are stored",
        )
    ignored = _Patterns(_strings(f, *_IGNORE_LISTS))
    return q.Quantization(
        {role: fmt for role, fmt in formats.items() if role == q.HEAD or not _covers(ignored, role, depth)}
    )
