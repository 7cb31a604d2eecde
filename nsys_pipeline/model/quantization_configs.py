"""Read the `quantization_config` of a checkpoint: which weights are stored how, and what of it is not read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import quantization as q
from nsys_pipeline.model.dtypes import BITS
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.modules import Patterns, Stacks, unknown_entries

_LINEARS = (q.ATTENTION, q.EXPERT, q.MLP)
#: What kernels of GPTQ unpack (transformers' GPTQConfig).
_INT_BITS = (2, 3, 4, 8)
#: Lists of what stays as it is, under the names that the methods give them.
_IGNORE_LISTS = (
    "modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules", "exclude", "llm_int8_skip_modules",
    "skip_modules",
)  # fmt: skip
#: Fields that change neither bytes nor dtypes.
_HARMLESS = re.compile(
    r"_file|json_export_config|quant_method|version|desc_act|sym|static_groups|true_sequential|damp_.*|act_group_aware|model_name_or_path|mse|"
    r"model_file_base_name|checkpoint_format|is_marlin_format|pack_dtype|pack_method|meta|quantizer|backend|use_.*|"
    r"max_input_length|exllama_config|cache_block_outputs|dataset|tokenizer|batch_size|pad_token_id|fuse_.*|do_fuse|"
    r"modules_to_fuse|zero_point|activation_scheme|fmt|scale_fmt|format|quantization_status|global_compression_ratio|"
    r"producer|iters|nsamples|seqlen|lr|minmax_lr|enable_.*|low_.*_mem_usage|autoround_version|packing_format|amp|"
    r"gradient_accumulate_steps|train_bs|scale_dtype|super_.*|bnb_4bit_compute_dtype|bnb_4bit_quant_storage|"
    r"llm_int8_threshold|llm_int8_has_fp16_weight|llm_int8_enable_fp32_cpu_offload|_?load_in_[48]bit|export|"
    r"algo_config|softmax_quant_spec|quant_mode|layer_type_quant_config|transform_config|activation_scale_ub|"
    r"dequantize|offload.*|lm_head|quant_lm_head|linear_class|autobitlinear_.*|rms_norm_eps|weights?_scaling.*|"
    r"has_zero_point|pre_quant_scale|smoothquant_val|untie_embedding_weights|act_dynamic|act_group_size|act_sym|"
    r"tp_plan|supported_types|not_use_best_mse|disable_.*|seed|sampler|scale_method"
)


class _Top(Fields):
    """The whole `quantization_config`, which remembers which of its fields were read."""

    def __init__(self, data: Mapping[str, Any], model_type: str, where: str = "") -> None:
        super().__init__(data, model_type, where)
        self.read: set[str] = set()

    def _lookup(self, names: tuple[str, ...], *, class_default: bool = True) -> Any:
        self.read |= set(names)
        return super()._lookup(names, class_default=class_default)

    def sub(self, *names: str, model_type: str) -> Fields:
        self.read |= set(names)
        return super().sub(*names, model_type=model_type)

    @property
    def unread(self) -> list[str]:
        """Fields that nobody looked at and that may mean something."""
        return sorted(
            name
            for name, value in self.data.items()
            if name not in self.read and value not in (None, False, [], {}) and not _HARMLESS.fullmatch(name)
        )


@attrs.define
class _Reading:
    """What a method's reader fills in."""

    stacks: Stacks
    by_role: dict[str, q.Format] = attrs.field(factory=dict)
    rules: list[q.Rule] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    remarks: list[str] = attrs.field(factory=list)
    is_tied: bool = False

    def linears(self, fmt: q.Format) -> None:
        """All linear layers of the blocks are stored in `fmt`."""
        self.by_role = dict.fromkeys(_LINEARS, fmt)

    def patterns(self, entries: Iterable[str], *, searches: bool = False) -> Patterns:
        return Patterns(tuple(entries), self.stacks, searches)

    def rule(self, entries: Iterable[str], fmt: q.Format | None, *, searches: bool = False) -> None:
        """The modules of a list are stored in `fmt`, unless an earlier rule means them."""
        self.rules.append(q.Rule(self.patterns(entries, searches=searches), fmt))


def _block(f: Fields, name: str, block: list[Any]) -> tuple[int, int]:
    if len(block) != 2:
        raise f.wrong(name, f"is {block!r}, not rows and columns")
    return f.checked(name, block[0]), f.checked(name, block[1])


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
            _check_regex(f, name, entry)
        found += entries
    return found


def _check_regex(f: Fields, name: str, entry: str) -> None:
    try:
        re.compile(entry.removeprefix("re:") if entry.startswith("re:") else "")
    except re.error as error:
        raise f.wrong(name, f"holds {entry!r}, which is no regular expression: {error}") from error


def _objects(f: Fields, name: str) -> dict[str, Mapping[str, Any]]:
    """An object of objects, keyed by what they are about; empty where the field is absent."""
    value = f.get(name)
    if not value:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(one, Mapping) for one in value.values()):
        raise f.wrong(name, f"is {str(value)[:60]!r}, not an object of objects")
    return {str(key): one for key, one in value.items()}


def _fp8(f: Fields, out: _Reading) -> None:
    block = f.items("weight_block_size")
    size = (0, 0) if block is None else _block(f, "weight_block_size", block)
    out.linears(q.Format("fp8", 8, size, 32, compute="fp8"))
    if f.text("expert_dtype", default="fp8") == "fp4":
        # DeepSeek-V4: an 8-bit scale per 32 inputs, as in MXFP4; activations are in fp8, and so is the product.
        out.by_role[q.EXPERT] = attrs.evolve(q.named_format("mxfp4"), compute="fp8")


def _fp8_rows(_f: Fields, out: _Reading) -> None:
    out.linears(q.Format("fp8", 8, (1, 0), 32, compute="fp8"))


def _mxfp4(_f: Fields, out: _Reading) -> None:
    """gpt-oss: only the experts are MXFP4 (arXiv 2508.10925, 2.1)."""
    out.by_role = {q.EXPERT: q.named_format("mxfp4")}


def _grouped_int(f: Fields, *, above: Fields | None = None) -> q.Format:
    """GPTQ and AWQ: fp16 scale and packed zero point per group of inputs; group_size -1 is the whole row.

    What `f` does not say, the config `above` it does.
    """
    bits = f.integer("bits", "w_bit", default=above.integer("bits", "w_bit", default=4) if above else 4)
    if bits not in _INT_BITS:
        raise f.wrong("bits", f"is {bits}; GPTQ, AWQ and AutoRound store {', '.join(map(str, _INT_BITS))}")
    usual = above.integer("group_size", "q_group_size", default=128, minimum=-1) if above else 128
    group = f.integer("group_size", "q_group_size", default=usual, minimum=-1)
    if group == 0:
        raise f.wrong("group_size", "is 0; it must be positive, or -1 for the whole row")
    return q.Format(f"int{bits}", bits, (1, max(group, 0)), 16, bits)


def _awq(f: Fields, out: _Reading) -> None:
    out.linears(_grouped_int(f))


def _gptq(f: Fields, out: _Reading) -> None:
    """GPTQModel: `dynamic` maps expressions to settings; `-:` before one leaves its modules alone."""
    fmt = _grouped_int(f)
    has_head = f.flag("lm_head")
    for pattern, settings in _objects(f, "dynamic").items():
        where = Fields(settings, f.model_type, f"quantization_config.dynamic.{pattern}")
        entry = f"re:{re.sub('^[+-]:', '', pattern)}"
        if pattern == "lm_head" and not has_head:
            continue
        out.rule([entry], None if pattern.startswith("-:") else _grouped_int(where, above=f))
    if has_head:
        out.rule(["lm_head"], fmt)
    inside = f.items("modules_in_block_to_quantize")
    if inside is None:
        out.linears(fmt)
        return
    names = [name for entry in inside for name in (entry if isinstance(entry, list) else [entry])]
    if not all(isinstance(name, str) for name in names):
        raise f.wrong("modules_in_block_to_quantize", f"is {inside!r}, not a list of module names")
    out.rule(names, fmt)


def _auto_round(f: Fields, out: _Reading) -> None:
    """AutoRound: `extra_config` maps names or expressions to settings; 16 bits and more are not quantized."""
    fmt = _rounded(f, f)
    for name, settings in _objects(f, "extra_config").items():
        where = Fields(settings, f.model_type, f"quantization_config.extra_config.{name}")
        plain_name = re.fullmatch(r"[\w.-]+", name)
        entry = name if plain_name else f"re:{name}"
        bits = where.integer("bits", default=f.integer("bits", default=4))
        out.rule([entry], None if bits >= 16 else _rounded(where, f), searches=True)
    blocks = f.get("block_name_to_quantize", "to_quant_block_names")
    names = blocks.split(",") if isinstance(blocks, str) else _flat(blocks)
    if names:
        out.rule([name.strip() for name in names], fmt)
    else:
        out.linears(fmt)


def _flat(value: object) -> list[str]:
    if isinstance(value, list):
        return [name for one in value for name in _flat(one)]
    return [value] if isinstance(value, str) else []


def _rounded(f: Fields, above: Fields) -> q.Format:
    kind = f.text("data_type", default=above.text("data_type", default="int"))
    if kind.startswith("mx_fp"):
        bits = f.integer("bits", default=above.integer("bits", default=4))
        fmt = q.Format(f"mxfp{bits}", bits, (1, 32), 8)
    elif kind.startswith("nv_fp"):
        fmt = attrs.evolve(q.named_format("nvfp4"), compute=None)
    elif kind.startswith("fp"):
        fmt = q.Format("fp8", 8, (1, 0), 32)
    else:
        fmt = _grouped_int(f, above=above)
    activations = f.integer("act_bits", default=above.integer("act_bits", default=16))
    name = ("int" if kind.startswith("int") else "fp") + str(activations)
    return attrs.evolve(fmt, compute=name) if activations < 16 and name in BITS else fmt


def _bitsandbytes(f: Fields, out: _Reading) -> None:
    """LLM.int8(): fp32 scale per output row. 4-bit: one fp32 scale per 64 weights (QLoRA, arXiv 2305.14314)."""
    if f.flag("load_in_4bit", "_load_in_4bit"):
        double = f.flag("bnb_4bit_use_double_quant")
        name = f.text("bnb_4bit_quant_type", default="fp4")
        out.linears(q.Format(name, 4, (1, 64), 8 if double else 32))
    elif f.flag("load_in_8bit", "_load_in_8bit"):
        out.linears(q.Format("int8", 8, (1, 0), 32, compute="int8"))
    else:
        raise f.wrong("load_in_8bit", "and `load_in_4bit` are both false; one of them says how the weights are stored")


def _bitnet(_f: Fields, out: _Reading) -> None:
    """Ternary weights, four to a byte, with one scale (BitNet b1.58, arXiv 2402.17764); unpacked before the product."""
    out.linears(q.Format("ternary", 2, (0, 0), 16))


#: NVIDIA's Model Optimizer: what its names of algorithms mean. Blocks of four-bit formats are read from `group_size`.
_MODELOPT: dict[str, q.Format] = {
    "FP8": q.Format("fp8", 8, (0, 0), 32, compute="fp8"),
    "FP8_PER_CHANNEL_PER_TOKEN": q.Format("fp8", 8, (1, 0), 32, compute="fp8"),
    "FP8_PB_WO": q.named_format("fp8"),
    "FP8_BLOCK_SCALES": q.named_format("fp8"),
    "MXFP8": q.Format("mxfp8", 8, (1, 32), 8, compute="fp8"),
    "NVFP4": q.named_format("nvfp4"),
    "NVFP4_AWQ": q.named_format("nvfp4"),
    "NVFP4_SVDQUANT": q.named_format("nvfp4"),
    "W4A16_NVFP4": attrs.evolve(q.named_format("nvfp4"), compute=None),
    "W4A8_NVFP4_FP8": attrs.evolve(q.named_format("nvfp4"), compute="fp8"),
    "MXFP4": q.named_format("mxfp4"),
    "W4A16_MXFP4": q.named_format("mxfp4"),
    "W4A8_MXFP4_FP8": attrs.evolve(q.named_format("mxfp4"), compute="fp8"),
    "W4A16_AWQ": q.Format("int4", 4, (1, 128), 16),
    "INT4_AWQ": q.Format("int4", 4, (1, 128), 16),
    "W4A8_AWQ": q.Format("int4", 4, (1, 128), 16, compute="fp8"),
    "W8A8_SQ_PER_CHANNEL": q.Format("int8", 8, (1, 0), 32, compute="int8"),
    "W8A16": q.Format("int8", 8, (1, 0), 16),
}


def _modelopt(f: Fields, out: _Reading) -> None:
    """NVIDIA's Model Optimizer; `MIXED_PRECISION` names the algorithm of each module."""
    algorithm = f.text("quant_algo").upper()
    if algorithm == "MIXED_PRECISION":
        if not f.has("quantized_layers"):
            raise f.missing("quantized_layers")
        for name, settings in _objects(f, "quantized_layers").items():
            where = Fields(settings, f.model_type, f"quantization_config.quantized_layers.{name}")
            out.rule([name], _modelopt_format(where, where.text("quant_algo").upper()))
        return
    f.get("config_groups")  # says the same once more
    out.linears(_modelopt_format(f, algorithm))


def _modelopt_format(f: Fields, algorithm: str) -> q.Format:
    if algorithm not in _MODELOPT:
        raise f.wrong("quant_algo", f"is {algorithm!r}; known: {', '.join(_MODELOPT)}, MIXED_PRECISION")
    fmt = _MODELOPT[algorithm]
    if fmt.name in ("int4", "nvfp4", "mxfp4"):
        return attrs.evolve(fmt, block=(1, f.integer("group_size", default=fmt.block[1])))
    return fmt


def _group_format(f: Fields) -> q.Format | None:
    """One group of compressed-tensors; None where it quantizes no weights."""
    if f.get("weights") is None:
        if f.get("input_activations") is None and f.get("output_activations") is None:
            raise f.missing("weights")
        return None
    weights = f.sub("weights", model_type=f.model_type)
    bits, is_float = weights.integer("num_bits", default=8), weights.text("type", default="int") == "float"
    if bits > 16:
        raise weights.wrong("num_bits", f"is {bits}; weights have at most 16")
    # As compressed-tensors itself fills it in.
    filled_in = (
        "group"
        if weights.opt_int("group_size", minimum=-1)
        else "tensor"
        if weights.get("group_size") is None
        else "channel"
    )
    strategy = weights.text("strategy", default=filled_in)
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
    eight = strategy == "tensor_group" or any(name in scales for name in ("int8", "float8"))
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


def _compressed_tensors(f: Fields, out: _Reading) -> None:
    """Each group has targets: names of modules, expressions, or a class: `Linear` is all linear layers of the blocks.

    A name goes before a class, as in compressed-tensors itself.
    """
    groups = f.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise f.wrong("config_groups", "of compressed-tensors names no group")
    for name in groups:
        where = f.sub("config_groups", model_type=f.model_type).sub(str(name), model_type=f.model_type)
        fmt, targets = _group_format(where), _strings(where, "targets") or ["Linear"]
        names = [target for target in targets if not re.fullmatch(r"[A-Z]\w*", target)]
        if names:
            out.rule(names, fmt)
        if "Linear" in targets and fmt is not None:
            for role in _LINEARS:
                out.by_role.setdefault(role, fmt)
        if "Embedding" in targets:
            out.rule(["embed_tokens"], fmt)
        others = [one for one in targets if one not in names and one not in ("Linear", "Embedding", "Attention")]
        if others:
            out.notes.append(f"targets of `{name}` that are classes of modules: {', '.join(others)}")
    sparsity = f.get("sparsity_config")
    if isinstance(sparsity, Mapping) and sparsity.get("format", "dense") != "dense":
        out.notes.append("`sparsity_config`: bytes are those of weights without sparsity")
    if f.text("format", default="") == "marlin-24":
        out.notes.append("format marlin-24: bytes are those of weights without sparsity")


#: torchao: its names of techniques (`quant_type`), as strings and as classes of configs.
_TORCHAO: dict[str, q.Format] = {
    "int4weightonly": q.Format("int4", 4, (1, 128), 16, 16),
    "int8weightonly": q.Format("int8", 8, (1, 0), 16),
    "int8dynamicactivationint8weight": q.Format("int8", 8, (1, 0), 16, compute="int8"),
    "int8dynamicactivationint4weight": q.Format("int4", 4, (1, 32), 32, 32, compute="int8"),
    "int8dynamicactivationintxweight": q.Format("int4", 4, (1, 32), 32, 32, compute="int8"),
    "float8weightonly": q.Format("fp8", 8, (1, 0), 32),
    "float8dynamicactivationfloat8weight": q.Format("fp8", 8, (1, 0), 32, compute="fp8"),
    "float8staticactivationfloat8weight": q.Format("fp8", 8, (0, 0), 32, compute="fp8"),
    "float8dynamicactivationint4weight": q.Format("int4", 4, (1, 128), 16, 16, compute="fp8"),
    "nvfp4inference": q.named_format("nvfp4"),
    "nvfp4dynamicactivationnvfp4weight": q.named_format("nvfp4"),
    "nvfp4weightonly": attrs.evolve(q.named_format("nvfp4"), compute=None),
    "mxfp4weightonly": q.named_format("mxfp4"),
}


def _torchao(f: Fields, out: _Reading) -> None:
    """torchao: one technique for all linear layers, or one for each module by its full name."""
    kind = f.get("quant_type")
    if isinstance(kind, str):
        settings = f.get("quant_type_kwargs", default={})
        out.linears(_torchao_format(f, {"_type": kind, "_data": settings}))
    elif isinstance(kind, Mapping) and len(kind) == 1:
        (config,) = kind.values()
        config = {"_type": config} if isinstance(config, str) else config
        data = config.get("_data") if isinstance(config, Mapping) else None
        by_name = (data.get("module_fqn_to_config") or data.get("fqn_to_config")) if isinstance(data, Mapping) else None
        if isinstance(by_name, Mapping):
            for name, one in by_name.items():
                fmt = None if one is None else _torchao_format(f, one)
                if name == "_default":
                    if fmt is not None:
                        out.linears(fmt)
                else:
                    out.rule([str(name)], fmt)
        else:
            out.linears(_torchao_format(f, config))
    else:
        raise f.wrong("quant_type", f"is {str(kind)[:60]!r}, neither a name nor a config of torchao")
    if f.flag("include_input_output_embeddings") and q.MLP in out.by_role:
        out.rule(["lm_head", "embed_tokens"], out.by_role[q.MLP])


def _torchao_format(f: Fields, config: Any) -> q.Format:
    if not isinstance(config, Mapping) or not isinstance(config.get("_type"), str):
        raise f.wrong("quant_type", f"holds {str(config)[:60]!r}, which is no config of torchao")
    name = re.sub(r"config$|_", "", config["_type"].lower())
    fmt = _TORCHAO.get(name)
    data = config.get("_data")
    data = data if isinstance(data, Mapping) else {}
    if fmt is None:
        raise f.wrong("quant_type", f"is {config['_type']!r}; known: {', '.join(_TORCHAO)}")
    if isinstance(data.get("weight_dtype"), Mapping):
        bits = re.search(r"\d+", str(data["weight_dtype"].get("_data", "")))
        fmt = attrs.evolve(fmt, name=f"int{bits[0]}", bits=int(bits[0])) if bits and "intx" in name else fmt
    group = data.get("group_size")
    if group is not None and fmt.block[1]:
        return attrs.evolve(fmt, block=(1, f.checked("group_size", group)))
    return fmt


def _quark(f: Fields, out: _Reading) -> None:
    """AMD Quark: one config for all layers, others by glob; what is in `exclude` stays as it is."""
    for pattern, settings in _objects(f, "layer_quant_config").items():
        where = Fields(settings, f.model_type, f"quantization_config.layer_quant_config.{pattern}")
        out.rule([pattern], _quark_format(where))
    default = f.sub("global_quant_config", model_type=f.model_type)
    if not default.data:
        raise f.missing("global_quant_config")
    fmt = _quark_format(default)
    if fmt is not None:
        out.linears(fmt)


def _quark_format(f: Fields) -> q.Format | None:
    """Format of the weights; None where they stay as they are."""
    weights = f.get("weight")
    if weights is None:
        return None
    if isinstance(weights, list):
        # Two steps, as in fp8 from int4: the first is what is stored.
        weights = weights[0] if weights else {}
    w = Fields(weights if isinstance(weights, Mapping) else {}, f.model_type, "quantization_config…weight")
    match = re.fullmatch(r"(u?int|fp|mxfp|bfp)(\d+)(_\w+)?", w.text("dtype").lower())
    if not match or int(match[2]) not in (4, 6, 8, 16):
        raise w.wrong("dtype", f"is {w.text('dtype')!r}; known: fp8_e4m3, fp4, fp6, int8, int4")
    bits = int(match[2])
    if bits >= 16:
        return None
    scheme = w.text("qscheme", default="per_group" if w.has("group_size") else "per_tensor")
    block = {"per_tensor": (0, 0), "per_channel": (1, 0)}.get(scheme)
    if scheme == "per_block":
        block = _block(w, "block_size", w.items("block_size") or [])
    if block is None:
        block = (1, w.integer("group_size", default=32))
    scales = w.text("scale_format", default="") + w.text("scale_type", default="")
    eight = "e8m0" in scales or match[1] == "mxfp"
    is_float = "int" not in match[1]
    name = ("mxfp" if eight and is_float and block[1] == 32 else "fp" if is_float else "int") + str(bits)
    zero = 0 if w.flag("symmetric", default=True) or is_float else bits
    inputs = f.get("input_tensors")
    inputs = inputs[0] if isinstance(inputs, list) and inputs else inputs
    compute = None
    if isinstance(inputs, Mapping):
        found = re.fullmatch(r"(u?int|fp|mxfp)(\d+)(_\w+)?", str(inputs.get("dtype", "")).lower())
        key = ("int" if found and "int" in found[1] else "fp") + (found[2] if found else "16")
        compute = key if found and key in BITS and int(found[2]) < 16 else None
    return q.Format(name, bits, block, 8 if eight else 32 if bits == 8 else 16, zero, compute)


def _hqq(f: Fields, out: _Reading) -> None:
    """HQQ: fp16 scale and zero point per group; the config of all layers, or one for each kind of module."""
    config = f.sub("quant_config", model_type=f.model_type)
    if config.has("weight_quant_params"):
        out.linears(_hqq_format(config))
        return
    for name in config.data:
        out.rule([str(name)], _hqq_format(config.sub(str(name), model_type=f.model_type)))


def _hqq_format(f: Fields) -> q.Format:
    weights = f.sub("weight_quant_params", model_type=f.model_type) if f.has("weight_quant_params") else f
    bits = weights.integer("nbits", default=4)
    if bits not in (1, 2, 3, 4, 8):
        raise weights.wrong("nbits", f"is {bits}; HQQ stores 1, 2, 3, 4, 8")
    return q.Format(f"int{bits}", bits, (1, weights.opt_int("group_size", minimum=-1) or 0), 16, 16)


def _by_dtype(f: Fields, out: _Reading) -> None:
    """Quanto and EETQ: `weights` names the dtype, with a scale per output row."""
    name = f.text("weights", default="int8")
    known = {"int8": 8, "float8": 8, "int4": 4, "int2": 2}
    if name not in known:
        raise f.wrong("weights", f"is {name!r}; known: {', '.join(known)}")
    group = 128 if known[name] < 8 else 0
    activations = {"int8": "int8", "float8": "fp8"}.get(f.text("activations", default=""))
    out.linears(
        q.Format(name.replace("float", "fp"), known[name], (1, group), 16, known[name] if group else 0, activations)
    )


def _int8(_f: Fields, out: _Reading) -> None:
    out.linears(q.named_format("int8"))


def _mxfp8(_f: Fields, out: _Reading) -> None:
    out.linears(_MODELOPT["MXFP8"])


#: Modes of MLX that are formats of their own.
_MLX: dict[str, q.Format] = {
    "mxfp4": q.named_format("mxfp4"),
    "mxfp8": q.Format("mxfp8", 8, (1, 32), 8),
    "nvfp4": attrs.evolve(q.named_format("nvfp4"), compute=None),
}


def _mlx(f: Fields, out: _Reading) -> None:
    """MLX quantizes whatever has a matrix, tables too: a 16-bit scale and bias per group. Modules may differ by name.

    `false` leaves a module as it is. All products run in the dtype of the activations.
    """
    fmt = _mlx_format(f, f)
    for name in f.data:
        settings = f.get(name)
        if isinstance(settings, Mapping):
            where = Fields(settings, f.model_type, f"quantization.{name}")
            out.rule([name], _mlx_format(where, f))
        elif settings is False:
            out.rule([name], None)
    # A table that is the head, too, is in whatever the table is.
    out.by_role = dict.fromkeys((*_LINEARS, q.ROUTER, q.EMBEDDING, *(() if out.is_tied else (q.HEAD,))), fmt)


def _mlx_format(f: Fields, above: Fields) -> q.Format:
    mode = f.text("mode", default=above.text("mode", default="affine"))
    if mode in _MLX:
        return _MLX[mode]
    if mode != "affine":
        raise f.wrong("mode", f"is {mode!r}; known: affine, {', '.join(_MLX)}")
    bits = f.integer("bits", default=above.integer("bits", default=4))
    group = f.integer("group_size", default=above.integer("group_size", default=64))
    return q.Format(f"int{bits}", bits, (1, group), 16, 16)


_METHODS: dict[str, Callable[[Fields, _Reading], None]] = {
    "fp8": _fp8,
    "fbgemm_fp8": _fp8_rows,
    "ptpc_fp8": _fp8_rows,
    "w8a8_fp8": _fp8_rows,
    "w8a8_int8": _int8,
    "mxfp4": _mxfp4,
    "mxfp8": _mxfp8,
    "compressed-tensors": _compressed_tensors,
    "gptq": _gptq,
    "awq": _awq,
    "auto-round": _auto_round,
    "bitsandbytes": _bitsandbytes,
    "bitnet": _bitnet,
    "modelopt": _modelopt,
    "torchao": _torchao,
    "quark": _quark,
    "hqq": _hqq,
    "quanto": _by_dtype,
    "eetq": _by_dtype,
    "mlx": _mlx,
}
#: Methods that transformers applies to modules that are linear layers, and to nothing else.
_LINEAR_LAYERS_ALONE = ("bitsandbytes", "hqq", "quanto", "eetq", "torchao")
#: Other spellings of a method.
_ALIASES = {
    "compressed_tensors": "compressed-tensors", "autoround": "auto-round", "auto_round": "auto-round",
    "intel/auto-round": "auto-round", "inc": "auto-round", "gptq_marlin": "gptq", "marlin": "gptq", "gptqmodel": "gptq",
    "awq_marlin": "awq", "modelopt_fp4": "modelopt", "modelopt_mixed": "modelopt", "modelopt_fp8": "modelopt",
    "bnb": "bitsandbytes", "gpt_oss_mxfp4": "mxfp4",
}  # fmt: skip


def _method(f: Fields) -> str:
    """The name of the method. Files of the first GPTQ and AWQ tools do not name it: their fields do."""
    method = f.text("quant_method", default="").lower()
    if not method and (f.has("quant_algo") or f.has("kv_cache_quant_algo")):
        return "modelopt"
    if not method and f.has("global_quant_config"):
        return "quark"
    if not method and f.has("w_bit", "q_group_size"):
        return "awq"
    if not method and f.has("bits"):
        return "gptq"
    return _ALIASES.get(method, method)


def read_quantization(
    raw: Mapping[str, Any],
    *,
    model_type: str = "",
    stacks: Stacks | None = None,
    experts: int = 1,
    is_tied: bool = False,
) -> q.Quantization:
    """The formats of a `quantization_config`, or of one of the files beside config.json that hold the same.

    `stacks`: what the model consists of; `experts`: of a layer that has any; `is_tied`: whether head and embeddings
    are one matrix. Raises ModelError for a method that is not known, and names the field that cannot be.
    """
    for key in ("quantization", "quant_config"):  # hf_quant_config.json; older configs of Quark
        inner = raw.get(key)
        if isinstance(inner, Mapping) and (key == "quantization" or "global_quant_config" in inner):
            raw = {**{name: value for name, value in raw.items() if name not in (key, "producer")}, **inner}
    f = _Top(raw, model_type or "unknown", str(raw.get("_file", "quantization_config")))
    method = _method(f)
    if method not in _METHODS:
        raise ModelError(
            f"quantization method `{method}` is not known" + (f" (`{raw['_file']}`)" if "_file" in raw else ""),
            hint=f"known: {', '.join(_METHODS)}; or pass --weight-dtype to say how the weights are stored",
        )
    out = _Reading(stacks or Stacks(), is_tied=is_tied)
    ignored = out.patterns(_strings(f, *_IGNORE_LISTS))
    if ignored:
        out.rules.append(q.Rule(ignored, None))
    has_weights = not (method == "modelopt" and f.get("quant_algo") is None and f.has("kv_cache_quant_algo"))
    if has_weights:
        _METHODS[method](f, out)
    kv_dtype = _kv_dtype(f, out)
    experts_of = out.by_role.get(q.EXPERT)
    if method in _LINEAR_LAYERS_ALONE and experts > 1 and experts_of is not None and not _names_experts(out.rules):
        out.remarks.append(
            f"transformers 5 has all experts of a layer in one tensor, which {method} leaves in the model's dtype; they"
            f" are counted as {experts_of.name}: if transformers 5 ran, bytes are several times too low (add `experts`"
            " to the config's list of modules that stay as they are)"
        )
    return q.Quantization(
        by_role=out.by_role,
        rules=tuple(out.rules),
        kv_dtype=kv_dtype,
        notes=tuple(_notes(f, out, experts)),
        experts=experts,
        is_tied=is_tied and not raw.get("untie_embedding_weights"),
    )


def _kv_dtype(f: Fields, out: _Reading) -> str | None:
    """The dtype of the KV cache, from the three places that say it; None where none does."""
    algorithm = f.get("kv_cache_quant_algo")
    scheme = f.get("kv_cache_scheme")
    quark = f.get("kv_cache_quant_config")
    found = ""
    if isinstance(scheme, Mapping):
        found = ("fp" if scheme.get("type", "float") == "float" else "int") + str(scheme.get("num_bits", 16))
    elif isinstance(scheme, str):
        found = scheme.lower()
    elif isinstance(algorithm, str):
        found = algorithm.lower()
    elif isinstance(quark, Mapping) and quark:
        first = next(iter(quark.values()))
        outputs = first.get("output_tensors") if isinstance(first, Mapping) else None
        found = str(outputs.get("dtype", "")).split("_")[0] if isinstance(outputs, Mapping) else ""
    if not found or found in ("none", "auto", "fp16", "bf16", "float16", "bfloat16"):
        return None
    for name, dtype in (
        ("fp8", "fp8"), ("int8", "int8"), ("nvfp4", "nvfp4"), ("mxfp4", "mxfp4"), ("fp4", "nvfp4"), ("int4", "int4"),
    ):  # fmt: skip
        if name in found:
            return dtype
    out.notes.append(f"the format of the KV cache, {found!r}: it is counted in the dtype of activations")
    return None


def _notes(f: _Top, out: _Reading, experts: int) -> list[str]:
    """Sentences about what stands in the config and is not read."""
    notes = [f"`quantization_config` is read without {note}" for note in out.notes] + out.remarks
    if f.unread:
        names = ", ".join(f"`{name}`" for name in f.unread)
        notes.append(f"`quantization_config`: {names} not read; weights that it is about may be counted wrongly")
    for rule in out.rules:
        if unknown := unknown_entries(rule.patterns):
            more = f" and {len(unknown) - 3:,} more" if len(unknown) > 3 else ""
            notes.append(
                f"`quantization_config` names modules that are not known: {', '.join(unknown[:3])}{more}; "
                "weights that they hold may be counted in another format"
            )
    if _some_experts(out.rules, experts):
        notes.append("`quantization_config` names some experts of a layer and not others: all count as one of them")
    return list(dict.fromkeys(notes))


def _names_experts(rules: Iterable[q.Rule]) -> bool:
    return any(re.search(r"\bexperts\b", entry) for rule in rules for entry in rule.patterns.entries)


def _some_experts(rules: Iterable[q.Rule], experts: int) -> bool:
    """Whether experts of one layer differ: a list names all that are stored alike, or has an entry for each."""
    named: dict[q.Format | None, Counter[str]] = {}
    for rule in rules:
        named.setdefault(rule.format, Counter()).update(
            re.sub(r"experts\.\d+", "experts", entry)
            for entry in rule.patterns.entries
            if re.search(r"\bexperts\.\d+", entry)
        )
    return any(count < experts for counts in named.values() for count in counts.values())
