"""Compare an estimate op by op with torch's FlopCounterMode on transformers' own code, on the meta device.

Needs the extra `verify` (torch, transformers). The only module of this room that imports them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Set
from typing import Any

import attrs

from nsys_pipeline.errors import ModelError, UsageError
from nsys_pipeline.model.blocks import Attention, LatentAttention
from nsys_pipeline.model.conventions import Conventions
from nsys_pipeline.model.estimator import Estimator
from nsys_pipeline.model.model import Model
from nsys_pipeline.model.ops import Op
from nsys_pipeline.model.recurrent import Recurrent
from nsys_pipeline.model.summary import Shape
from nsys_pipeline.records import Step

#: What FlopCounterMode counts is every key held (`full`) and what transformers runs (`executed`).
CONVENTIONS = Conventions(attention="full", count="executed")
#: Counted by another convention than transformers' fallback code: see "Linear attention" in docs/flops.md.
OTHER_CONVENTION = "recurrence"

#: Parameters up to which a model that cannot run without weights is run with random ones.
_SMALL = 50_000_000

#: Model types that run another type's code.
_SAME_CODE = {"kimi_k2": "deepseek_v3"}

#: Parameters of the text decoder in multimodal models, most of which put it into a module of its own.
_DECODER = re.compile(r"(^|\.)(language_model|text_model|lm_head)\.")
#: Parameters that are not the text decoder's, in those that do not.
_OTHER_TOWERS = re.compile(
    r"(^|\.)(visual|vision(?!_moe)\w*|resampler\w*|audio\w*|vqmodel|\w*projector|visual_embeddings_table|aligner|embed_(vision|audio)|embed_tokens_extend)\."
)
#: Parameters of parts that are named as not counted, beside a text decoder and a tower.
_UNCOUNTED = re.compile(r"(^|\.)(embed_audio|vqmodel|generation_\w+|talker|token2wav|code2wav)\.")
#: Parameters of what draws, where what makes tokens of an image is counted.
_DRAWS = re.compile(r"(^|\.)vqmodel\.decoder\.")
_UNHEARD = re.compile(r"(^|\.)audio_(tower|tokenizer)\.")
_RECURRENT = r"(linear_attn|ple|mamba|mamba_decoder|conv|short_conv)$"
_GROUPS: tuple[tuple[str, str], ...] = (
    (r"(^|\.)(lm_head|head|embed_out|proj_out|predictions\.decoder|decoder\.dense)$", "lm_head"),
    (r"\bindexer\b", "indexer"),
    (r"\bcompressor\.\w+_proj$", "compressor"),
    (r"(_hc|hc_head|^(\w+\.)*layers\.\d+)$", "streams"),
    (r"o_(a|b)_proj$", "o"),
    (r"(self_attn|attention)\.(gate_proj|g_proj)$", "attention_gate"),
    (r"q_a_proj$", "q_a"),
    (r"q_b_proj$", "q_b"),
    (r"kv_a_proj\w*$", "kv_a"),
    (r"kv_b_proj$", "kv_b"),
    (r"(cross_attn|EncDecAttention|encoder_attn)", "cross_attention"),
    (r"shared_expert_gate$", "shared_gate"),
    (r"(shared_expert|shared_experts|shared_mlp)\b", "shared"),
    (r"\bexperts$", "experts"),
    (r"(mlp|feed_forward|block_sparse_moe|moe)\.(gate|router|wg)(\.\w+)?$", "router"),
    (r"(attn|attention|self_attn|SelfAttention)\.(\w+\.)*(o_proj|out_proj|c_proj|dense|o|Wo)$", "o"),
    (r"(attn|attention|self_attn|SelfAttention)\.(\w+\.)*\w*(q|k|v|qkv|query|key|value|c_attn|Wqkv)(_\w+)?$", "qkv"),
    (r"(attn|attention|self_attn|SelfAttention|self)$", "attention"),
    (r"(down_proj|c_proj|fc2|fc_out|dense_4h_to_h|w2|wo|output\.dense|lin2|ffn\.down_proj)$", "down"),
    (r"(gate_proj|up_proj|gate_up_proj|c_fc|fc1|fc_in|dense_h_to_4h|w1|w3|wi\w*|intermediate\.dense|lin1)$", "gate_up"),
)
_NAMES: dict[str, str] = {
    "up": "gate_up",
    "q": "qkv",
    "experts_gate_up": "experts",
    "experts_up": "experts",
    "experts_down": "experts",
    "shared_gate_up": "shared",
    "shared_up": "shared",
    "shared_down": "shared",
    "cross_q": "cross_attention",
    "cross_kv": "cross_attention",
    "cross_o": "cross_attention",
    "conv1d": OTHER_CONVENTION,
    "kv_conv": OTHER_CONVENTION,
    "attention_conv": OTHER_CONVENTION,
    "mlp_conv": OTHER_CONVENTION,
    "shared_router": "router",
    "dt_proj": OTHER_CONVENTION,
    "x_proj_heads": OTHER_CONVENTION,
    "scan": OTHER_CONVENTION,
    "o_a": "o",
    "o_b": "o",
    "kv": "qkv",
    "attention_streams": "streams",
    "attention_streams_mix": "streams",
    "mlp_streams": "streams",
    "mlp_streams_mix": "streams",
    "final_streams": "streams",
    "index_compressor": "indexer",
    "index_qk": "indexer",
    "index_q": "indexer",
    "index_k": "indexer",
    "index_weights": "indexer",
    "index_scores": "indexer",
}
_RECURRENT_OPS = re.compile(r"^(in_proj\w*|x_proj|out_proj\w*|kda_\w+|lightning_\w+|rg_lru_gates)$")


@attrs.frozen
class Counted:
    """What torch counted in one pass: FLOPs by group of ops, and the model's stored parameters."""

    groups: Mapping[str, int]
    params: int

    @property
    def flops(self) -> int:
        return sum(self.groups.values())


def _libraries() -> tuple[Any, Any]:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise ModelError(
            "verifying needs torch and transformers", hint="pip install '.[verify]' in a checkout of llmperf"
        ) from error
    return torch, transformers


def _grouped_mm_flops(a_shape: Any, b_shape: Any, *_args: Any, **_kwargs: Any) -> int:
    """`aten._grouped_mm` has no formula in torch: 2 · rows · K · N, whatever the group sizes."""
    return int(2 * a_shape[0] * a_shape[1] * b_shape[-1])


def grouped_products(torch: Any) -> dict[Any, Callable[..., int]]:
    """Formulas for FlopCounterMode of what it counts as nothing: products of experts."""
    mapping = {torch.ops.aten._grouped_mm: _grouped_mm_flops}
    fallback = getattr(torch.ops, "transformers", None)
    if fallback is not None and hasattr(fallback, "grouped_mm_fallback"):
        mapping[fallback.grouped_mm_fallback] = _grouped_mm_flops
    return mapping


def _auto_class(transformers: Any, model: Model, config_class: type) -> Any:
    """The auto class that builds a model of this config."""
    if not (model.architecture.vision or model.architecture.audio or model.architecture.text_only):
        return transformers.AutoModelForCausalLM
    return multimodal_class(transformers, config_class)


def multimodal_class(transformers: Any, config_class: type) -> Any:
    """The auto class that builds a multimodal model of this config."""
    kinds = ("ImageTextToText", "MultimodalLM", "SpeechSeq2Seq", "Seq2SeqLM", "CausalLM")
    found = [getattr(transformers, f"AutoModelFor{kind}", None) for kind in kinds]
    known = [auto for auto in found if auto is not None and config_class in auto._model_mapping]
    return known[0] if known else found[0]


class MetaModel:
    """transformers' implementation of a config, without weights. Raises ModelError where there is none."""

    def __init__(self, model: Model) -> None:
        if model.architecture.decoder is None or model.architecture.encoder is not None or model.approximate:
            raise ModelError(f"`{model.name}` is no text decoder with an exact reading; verifying compares those")
        self._torch, transformers = _libraries()
        self._new_cache = transformers.DynamicCache
        self.model = model
        self._device = "meta"
        config = {k: v for k, v in model.config.items() if k not in ("quantization_config", "auto_map", "torch_dtype")}
        config["model_type"] = _SAME_CODE.get(model.model_type, model.model_type)
        transformers.logging.set_verbosity_error()
        try:
            hf_config = transformers.AutoConfig.for_model(**config)
            for part in {id(c): c for c in (hf_config, hf_config.get_text_config())}.values():
                # The ids of the inputs are all zero, and some code looks for padding in them.
                part.pad_token_id = 1
            auto = _auto_class(transformers, model, type(hf_config))
            with self._torch.device("meta"):
                self.module = self._build(auto, hf_config).eval()
            self._rebuild: Callable[[], Any] = lambda: (
                self._build(auto, hf_config, attention="eager").eval().requires_grad_(False)
            )
        except (ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
            raise ModelError(f"transformers cannot build model type `{model.model_type}`: {error}") from error

    def _build(self, auto: Any, config: Any, attention: str = "sdpa") -> Any:
        """With SDPA, which falls apart into two products on meta; some models (sinks, soft caps) have none."""
        try:
            return auto.from_config(config, dtype=self._torch.bfloat16, attn_implementation=attention)
        except ValueError:
            return auto.from_config(config, dtype=self._torch.bfloat16, attn_implementation="eager")

    @property
    def params(self) -> int:
        """Stored parameters, tied tables once; the decoder's where only the text decoder is described."""
        named = list(self.module.named_parameters())
        if self.model.architecture.text_only:
            inside = [(name, value) for name, value in named if _DECODER.search(name)]
            is_apart = any("lm_head" not in name for name, _ in inside)
            named = inside if is_apart else [(name, value) for name, value in named if not _OTHER_TOWERS.search(name)]
        elif self.model.architecture.uncounted:
            apart = _DRAWS if "image decoder" in self.model.architecture.uncounted else _UNCOUNTED
            named = [(name, value) for name, value in named if not apart.search(name)]
            if not self.model.architecture.audio:
                named = [(name, value) for name, value in named if not _UNHEARD.search(name)]
        return sum(parameter.numel() for _, parameter in named)

    @property
    def all_logits(self) -> bool:
        """Whether the implementation runs its LM head on every position, whatever it is asked for."""
        return "logits_to_keep" not in inspect.signature(self.module.forward).parameters

    def count(self, step: Step) -> Counted:
        """FLOPs of one pass. `step` must be uniform; its cached tokens are first run as a prompt of their own."""
        torch = self._torch
        from torch.utils.flop_counter import FlopCounterMode

        q, cached = step.q_tokens[0], step.kv_tokens[0]
        if set(step.q_tokens) != {q} or set(step.kv_tokens) != {cached}:
            raise UsageError("verifying needs sequences of one length")
        keep = -(-step.logits // step.batch)
        mapping = grouped_products(torch)

        def run() -> Any:
            with torch.no_grad():
                past = self._past(step.batch, cached) if cached else {}
                with FlopCounterMode(display=False, depth=None, custom_mapping=mapping) as counter:
                    self._run(step.batch, q, past, keep)
            return counter

        try:
            counter = self._with_weights_if_it_must(run)
        except (RuntimeError, ValueError, AttributeError, NotImplementedError) as error:
            raise ModelError(f"transformers cannot run `{self.model.name}` without weights: {error}") from error
        return Counted(_grouped(counter.get_flop_counts(), recurrent_layers(self.model)), self.params)

    def _with_weights_if_it_must(self, run: Callable[[], Any]) -> Any:
        """Run on the meta device; a small model whose code looks at values (loops over experts) on the CPU."""
        try:
            return run()
        except (RuntimeError, NotImplementedError):
            if self._device != "meta" or self.params > _SMALL:
                raise
        self._device, self.module = "cpu", self._rebuild()
        return run()

    def _past(self, batch: int, tokens: int) -> dict[str, Any]:
        """The cache after a prompt; where the output has none (RecurrentGemma), one that is given and filled."""
        found = _cache(self._run(batch, tokens, {}, 1))
        taken = inspect.signature(self.module.forward).parameters
        name = next((name for name in ("cache", "past_key_values") if name in taken), None)
        if found or name is None:
            return found
        given = {name: self._new_cache(config=self.module.config)}
        self._run(batch, tokens, given, 1)
        return given

    def _run(self, batch: int, tokens: int, past: Mapping[str, Any], keep: int) -> Any:
        ids = self._torch.zeros(batch, tokens, dtype=self._torch.long, device=self._device)
        options = {} if self.all_logits else {"logits_to_keep": keep}
        return self.module(input_ids=ids, use_cache=True, **past, **options)


def _cache(output: Any) -> dict[str, Any]:
    """What a pass left behind for the next one, by the name that `forward` takes it under."""
    # The first since transformers 5.24, which still answers to the next two.
    for name in ("cache", "past_key_values", "cache_params", "state"):
        value = getattr(output, name, None)
        if value is not None:
            return {name: value}
    return {}


def recurrent_layers(model: Model) -> set[int]:
    """Layers whose only mixer is recurrent, in case its module is named like attention."""
    decoder = model.architecture.decoder
    mixers = (Recurrent, Attention, LatentAttention)
    return {
        index
        for group in (decoder.layers if decoder else ())
        if [type(block) for block in group.blocks if isinstance(block, mixers)] == [Recurrent]
        for index in group.ids
    }


def _grouped(counts: Mapping[str, Mapping[Any, int]], recurrent_layers: Set[int]) -> dict[str, int]:
    """FLOPs by group from FlopCounterMode's totals per module, of which each includes its children's."""
    totals = {path: sum(ops.values()) for path, ops in counts.items() if path != "Global"}
    own = dict(totals)
    for path, total in totals.items():
        parent = path
        while "." in parent:
            parent = parent.rsplit(".", 1)[0]
            if parent in own:
                own[parent] -= total
                break
    groups: dict[str, int] = {}
    for path, flops in own.items():
        if flops:
            name = _group_of(path, recurrent_layers)
            groups[name] = groups.get(name, 0) + flops
    missing = sum(counts["Global"].values()) - sum(groups.values())
    if missing:
        groups["outside modules"] = missing
    return groups


def _group_of(path: str, recurrent_layers: Set[int]) -> str:
    if _is_recurrent(path, recurrent_layers):
        # dt_proj is applied by its weight, outside its module.
        plain = re.search(
            r"(proj\w*|(forget_gate|self_attn)\.\w+|output_gate|linear_(x|y|out)|rg_lru)$", path
        ) and not path.endswith("dt_proj")
        return "recurrent_projections" if plain and not path.endswith("conv1d") else OTHER_CONVENTION
    if re.search(r"(conv1d|[._]sconv|_convolution)$", path):
        return OTHER_CONVENTION
    for pattern, name in _GROUPS:
        if re.search(pattern, path):
            return name
    return path.rsplit(".", 1)[-1]


def _is_recurrent(path: str, recurrent_layers: Set[int]) -> bool:
    """Whether a module is part of a recurrent block: by its layer, or by its name where a layer has attention too."""
    layer = re.search(r"\.layers\.(\d+)\.(\w+)", path)
    if layer is None:
        return False
    return bool(re.match(_RECURRENT, layer[2])) or (
        int(layer[1]) in recurrent_layers and bool(re.match(r"(self_attn|mixer|attention|temporal_block)$", layer[2]))
    )


def _estimated_group(op: Op) -> str:
    if _RECURRENT_OPS.match(op.name):
        return "recurrent_projections"
    return _NAMES.get(op.name, op.name)


def compare_step(meta: MetaModel, step: Step) -> dict[str, tuple[int, int]]:
    """(estimated, counted) FLOPs per group of ops of one pass, with `attention` = full and `count` = executed.

    Groups that only one side knows are folded with whatever else differs into ``rest``, so that a module's unusual name
    is no difference.
    """
    if meta.all_logits:
        step = attrs.evolve(step, logits=step.new_tokens)
    estimate = Estimator(meta.model, CONVENTIONS).estimate(step)
    groups: dict[str, int] = {}
    for op in estimate.ops:
        if op.flops_executed:
            name = _estimated_group(op)
            groups[name] = groups.get(name, 0) + op.total_flops_executed
    counted = meta.count(step).groups
    rows = {name: (groups.get(name, 0), counted.get(name, 0)) for name in sorted({*groups, *counted})}
    odd = {name for name, (ours, theirs) in rows.items() if ours != theirs and name != OTHER_CONVENTION}
    if odd and any(rows[name][0] == 0 or rows[name][1] == 0 for name in odd):
        rest = (sum(rows[name][0] for name in odd), sum(rows[name][1] for name in odd))
        rows = {name: row for name, row in rows.items() if name not in odd} | {"rest": rest}
    return rows


def compare(model: Model, shape: Shape, *, logits: str = "last") -> list[dict[str, Any]]:
    """Rows ``phase``, ``op``, ``estimated``, ``counted``, ``exact`` of prefill and decode, by group of ops.

    `exact` is false where another convention is documented (recurrent layers): there a difference is no error. Raises
    ModelError where torch or transformers is missing or cannot build or run the model; UsageError for ragged batches.
    """
    meta = MetaModel(model)
    rows: list[dict[str, Any]] = []
    prompt = Step.ragged(shape.prompt_tokens, shape.cached_tokens)
    if logits == "all":
        prompt = attrs.evolve(prompt, logits=prompt.new_tokens)
    # What is cached is run as a prompt of its own.
    decode = attrs.evolve(Step.ragged((1,) * shape.batch, shape.context), prompts=shape.context)
    prompt = attrs.evolve(prompt, prompts=shape.cached_tokens if any(shape.cached_tokens) else ())
    for phase, step in (("prefill", prompt), ("decode", decode)):
        for name, (estimated, counted) in compare_step(meta, step).items():
            rows.append(
                {
                    "phase": phase,
                    "op": name,
                    "estimated": estimated,
                    "counted": counted,
                    "exact": name != OTHER_CONVENTION,
                }
            )
    rows.append(
        {"phase": "model", "op": "parameters", "estimated": model.params, "counted": meta.params, "exact": True}
    )
    return rows
