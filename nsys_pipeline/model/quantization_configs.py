"""Read the `quantization_config` of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import quantization as q


def _fp8(raw: Mapping[str, Any]) -> q.Format:
    block = raw.get("weight_block_size")
    if block:
        return q.Format("fp8", 8, (int(block[0]), int(block[1])), 32, compute="fp8")
    return q.Format("fp8", 8, (0, 0), 32, compute="fp8")


def _grouped_int(raw: Mapping[str, Any]) -> q.Format:
    """GPTQ and AWQ: fp16 scale and packed zero point per group of inputs; group_size -1 is the whole row."""
    bits = int(raw.get("bits", raw.get("w_bit", 4)))
    group = int(raw.get("group_size", raw.get("q_group_size", 128)))
    return q.Format(f"int{bits}", bits, (1, max(group, 0)), 16, bits)


def _bitsandbytes(raw: Mapping[str, Any]) -> q.Format:
    """LLM.int8(): fp32 scale per output row. 4-bit: one fp32 scale per 64 weights (QLoRA, arXiv 2305.14314)."""
    if raw.get("load_in_4bit") or raw.get("_load_in_4bit"):
        double = bool(raw.get("bnb_4bit_use_double_quant"))
        return q.Format(str(raw.get("bnb_4bit_quant_type", "fp4")), 4, (1, 64), 8 if double else 32)
    return q.Format("int8", 8, (1, 0), 32, compute="int8")


def _compressed_tensors(raw: Mapping[str, Any]) -> q.Format:
    groups = raw.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise ModelError("`quantization_config` of compressed-tensors has no `config_groups`")
    group = next(iter(groups.values()))
    weights, inputs = group.get("weights") or {}, group.get("input_activations")
    bits, kind = int(weights.get("num_bits", 8)), str(weights.get("type", "int"))
    strategy = weights.get("strategy")
    size = int(weights.get("group_size") or 0)
    blocks = {"tensor": (0, 0), "channel": (1, 0), "group": (1, size), "tensor_group": (1, size)}
    block = weights.get("block_structure")
    shape = (int(block[0]), int(block[1])) if strategy == "block" and block else blocks.get(str(strategy), (1, 0))
    name = ("fp" if kind == "float" else "int") + str(bits)
    scale_bits = 8 if strategy == "tensor_group" else 16
    zero_bits = 0 if weights.get("symmetric", True) else bits
    computes = bool(inputs) and int((inputs or {}).get("num_bits", 16)) == bits
    return q.Format(name, bits, shape, scale_bits, zero_bits, name if computes else None)


def _skipped(raw: Mapping[str, Any]) -> set[str]:
    """Roles that the checkpoint leaves unquantized, from its lists of modules not to convert."""
    names: list[str] = []
    for key in ("modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules", "llm_int8_skip_modules"):
        value = raw.get(key)
        if isinstance(value, list):
            names += [str(item) for item in value]
    roles = set()
    for role, marks in {
        q.ATTENTION: ("self_attn", "attention"),
        q.EXPERT: ("experts",),
        q.MLP: ("mlp",),
    }.items():
        # A module is skipped in every layer only when the entry names the module itself, not a part of it or one layer.
        if any(name.rstrip("*.").split(".")[-1] in marks and not _names_one_layer(name) for name in names):
            roles.add(role)
    return roles


def _names_one_layer(name: str) -> bool:
    return any(part.isdigit() for part in name.split("."))


def read_quantization(raw: Mapping[str, Any]) -> q.Quantization:
    """The formats of a `quantization_config`, by role of the weight."""
    method = str(raw.get("quant_method", "")).lower()
    if method == "mxfp4":
        # gpt-oss: only the experts are MXFP4 (arXiv 2508.10925, 2.1).
        return q.Quantization({q.EXPERT: q.named_format("mxfp4")})
    readers = {
        "fp8": _fp8,
        "fbgemm_fp8": lambda _: q.Format("fp8", 8, (1, 0), 32, compute="fp8"),
        "gptq": _grouped_int,
        "awq": _grouped_int,
        "bitsandbytes": _bitsandbytes,
        "compressed-tensors": _compressed_tensors,
    }
    if method not in readers:
        raise ModelError(
            f"quantization method `{method}` is not known",
            hint=f"known: mxfp4, {', '.join(readers)}; or pass --weight-dtype to say how the weights are stored",
        )
    fmt = readers[method](raw)
    skipped = _skipped(raw)
    return q.Quantization({role: fmt for role in (q.ATTENTION, q.MLP, q.EXPERT) if role not in skipped})
