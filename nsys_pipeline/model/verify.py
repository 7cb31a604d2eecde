"""Compare an estimate op by op with torch's FlopCounterMode on transformers' own code, on the meta device.

Needs the extra `verify` (torch, transformers). The only module of this room that imports them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from nsys_pipeline.errors import ModelError, UsageError
from nsys_pipeline.model.conventions import Conventions
from nsys_pipeline.model.estimate import Estimator
from nsys_pipeline.model.model import Model
from nsys_pipeline.model.ops import Op
from nsys_pipeline.model.summary import Shape
from nsys_pipeline.records import Step

#: What FlopCounterMode counts is every key held (`full`) and what transformers runs (`executed`).
CONVENTIONS = Conventions(attention="full", count="executed")
#: Counted by another convention than transformers' fallback code: see "Linear attention" in docs/flops.md.
OTHER_CONVENTION = "recurrence"

_RECURRENT = r"(linear_attn|mamba|mixer|\bconv\b|short_conv|forget_gate)"
_GROUPS: tuple[tuple[str, str], ...] = (
    (r"(^|\.)(lm_head|embed_out|proj_out|predictions\.decoder|decoder\.dense)$", "lm_head"),
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
    "scan": OTHER_CONVENTION,
}
_RECURRENT_OPS = re.compile(r"^(in_proj\w*|x_proj|dt_proj|out_proj|kda_\w+|lightning_\w+)$")
_KNOWN = {name for _, name in _GROUPS} | {"recurrent_projections", OTHER_CONVENTION}


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
        raise ModelError("verifying needs torch and transformers", hint="install nsys-pipeline[verify]") from error
    return torch, transformers


def _grouped_mm_flops(a_shape: Any, b_shape: Any, *_args: Any, **_kwargs: Any) -> int:
    """`aten._grouped_mm` has no formula in torch: 2 · rows · K · N, whatever the group sizes."""
    return int(2 * a_shape[0] * a_shape[1] * b_shape[-1])


class MetaModel:
    """transformers' implementation of a config, without weights. Raises ModelError where there is none."""

    def __init__(self, model: Model) -> None:
        self._torch, transformers = _libraries()
        self.model = model
        config = {k: v for k, v in model.config.items() if k not in ("quantization_config", "auto_map", "torch_dtype")}
        transformers.logging.set_verbosity_error()
        try:
            hf_config = transformers.AutoConfig.for_model(**config)
            auto = self._auto_class(transformers, hf_config)
            with self._torch.device("meta"):
                # gpt-oss has attention sinks, which SDPA lacks.
                options = {} if model.model_type == "gpt_oss" else {"attn_implementation": "sdpa"}
                self.module = auto.from_config(hf_config, dtype=self._torch.bfloat16, **options).eval()
        except (ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
            raise ModelError(f"transformers cannot build model type `{model.model_type}`: {error}") from error

    @staticmethod
    def _auto_class(transformers: Any, config: Any) -> Any:
        for name in ("CausalLM", "ImageTextToText", "Seq2SeqLM"):
            auto = getattr(transformers, f"AutoModelFor{name}")
            if type(config) in auto._model_mapping:
                return auto
        raise ModelError(f"`{config.model_type}` is no text decoder; verifying compares those")

    @property
    def params(self) -> int:
        """Stored parameters; tied tables once."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def count(self, step: Step) -> Counted:
        """FLOPs of one pass. `step` must be uniform; its cached tokens are first run as a prompt of their own."""
        torch = self._torch
        from torch.utils.flop_counter import FlopCounterMode

        q, cached = step.q_tokens[0], step.kv_tokens[0]
        if set(step.q_tokens) != {q} or set(step.kv_tokens) != {cached}:
            raise UsageError("verifying needs sequences of one length")
        keep = -(-step.logits // step.batch)
        mapping = {torch.ops.aten._grouped_mm: _grouped_mm_flops}
        fallback = getattr(torch.ops, "transformers", None)
        if fallback is not None and hasattr(fallback, "grouped_mm_fallback"):
            mapping[fallback.grouped_mm_fallback] = _grouped_mm_flops
        try:
            with torch.no_grad():
                past = self._run(step.batch, cached, None, 1).past_key_values if cached else None
                with FlopCounterMode(display=False, depth=None, custom_mapping=mapping) as counter:
                    self._run(step.batch, q, past, keep)
        except (RuntimeError, AttributeError, NotImplementedError) as error:
            raise ModelError(f"transformers cannot run `{self.model.name}` without weights: {error}") from error
        return Counted(_grouped(counter.get_flop_counts()), self.params)

    def _run(self, batch: int, tokens: int, past: Any, keep: int) -> Any:
        ids = self._torch.zeros(batch, tokens, dtype=self._torch.long, device="meta")
        return self.module(input_ids=ids, past_key_values=past, use_cache=True, logits_to_keep=keep)


def _grouped(counts: Mapping[str, Mapping[Any, int]]) -> dict[str, int]:
    """FLOPs by group from FlopCounterMode's totals per module, of which each includes its children's."""
    totals = {path: sum(ops.values()) for path, ops in counts.items() if path != "Global"}
    groups: dict[str, int] = {}
    for path, total in totals.items():
        children = sum(
            value for other, value in totals.items() if other.startswith(path + ".") and _is_child(other, path, totals)
        )
        own = total - children
        if own:
            name = _group_of(path)
            groups[name] = groups.get(name, 0) + own
    missing = sum(counts["Global"].values()) - sum(groups.values())
    if missing:
        groups["outside modules"] = missing
    return groups


def _is_child(other: str, path: str, totals: Mapping[str, int]) -> bool:
    """Whether no counted module lies between the two."""
    parts = other[len(path) + 1 :].split(".")
    return not any(f"{path}.{'.'.join(parts[:index])}" in totals for index in range(1, len(parts)))


def _group_of(path: str) -> str:
    recurrent = re.search(_RECURRENT, path)
    if recurrent and not re.search(r"mixer\.(q|k|v|o)_proj$|mixer\.(experts|gate|shared)|(up|down)_proj$", path):
        tail = path[recurrent.end() :]
        return "recurrent_projections" if tail and not tail.endswith("conv1d") and "." in tail else OTHER_CONVENTION
    for pattern, name in _GROUPS:
        if re.search(pattern, path):
            return name
    return path.rsplit(".", 1)[-1]


def _estimated_group(op: Op) -> str:
    if _RECURRENT_OPS.match(op.name):
        return "recurrent_projections"
    return _NAMES.get(op.name, op.name)


def compare_step(meta: MetaModel, step: Step) -> dict[str, tuple[int, int]]:
    """(estimated, counted) FLOPs per group of ops of one pass, with `attention` = full and `count` = executed.

    Groups that only one side knows are folded with whatever else differs into ``rest``, so that a module's unusual name
    is no difference.
    """
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
    for phase, step in (("prefill", prompt), ("decode", Step.ragged((1,) * shape.batch, shape.context))):
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
