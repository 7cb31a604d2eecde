"""A model as the estimator sees it: the config, and the architecture read from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import attrs

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.blocks import Attention, LatentAttention
from nsys_pipeline.model.dtypes import normalize_dtype
from nsys_pipeline.model.families import VERIFIED, build_architecture
from nsys_pipeline.model.fields import TEXT_CONFIGS
from nsys_pipeline.model.left_out import parts_around_text
from nsys_pipeline.model.modules import DECODER, Stacks
from nsys_pipeline.model.quantization import TOWERS, Quantization
from nsys_pipeline.model.quantization_configs import read_quantization
from nsys_pipeline.model.sparse_attention import SparseLatentAttention
from nsys_pipeline.records import MAX_BATCH

#: Charged where a config names no dtype; what nearly every published checkpoint is stored in.
ASSUMED_DTYPE = "bf16"


@attrs.define(slots=False, eq=False)
class Model:
    """A language (or vision, or encoder-decoder) model, described by its Hugging Face config.

    `approximate` is set for a model type that is not known, described by 2 · active parameters per token only.
    `beside`: what lies beside the config of a checkpoint and is not counted.
    """

    name: str
    config: Mapping[str, Any]
    architecture: Architecture
    approximate: bool = False
    beside: tuple[str, ...] = ()

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        name: str | None = None,
        *,
        approximate: bool = False,
        beside: Sequence[str] = (),
    ) -> Model:
        """Read a config dict. Raises ModelError for an unknown model type or missing or impossible fields.

        `approximate` accepts an unknown `model_type` and reads its config as a plain decoder's, for 2 · active
        parameters FLOPs per token; the estimate is then labelled approximate.
        """
        if not isinstance(config, Mapping):
            raise ModelError(f"a model config must be an object, not {type(config).__name__}")
        architecture, is_approximate = build_architecture(config, approximate=approximate)
        return cls(name or str(config.get("model_type")), config, architecture, is_approximate, tuple(beside))

    @property
    def model_type(self) -> str:
        return str(self.config.get("model_type", "unknown"))

    @cached_property
    def params(self) -> int:
        """Parameters, tied tables once."""
        return sum(stack.params for stack in self.architecture.stacks) + self.architecture.unused_params

    @cached_property
    def not_counted(self) -> tuple[str, ...]:
        """Parts of the model that no estimate has FLOPs, bytes or parameters of, such as `vision tower`.

        A phase that runs them does more than it is charged for: its utilization is a lower bound.
        """
        around = parts_around_text(self.config) if self.architecture.text_only else self.architecture.uncounted
        return (*around, *self.beside)

    def left_out(self, images: int = 0, clips: int = 0, unsized: Collection[str] = ()) -> tuple[str, ...]:
        """`not_counted`, and what has a reading but is estimated without: a tower or an encoder without input.

        `unsized`: "images" or "audio" that have no size in some pass.
        """
        inputs = (
            ("vision tower", self.architecture.vision, images, "images"),
            ("audio encoder", self.architecture.audio, clips, "audio"),
        )
        without = [
            part if not known else f"{part} of {kind} of unknown size"
            for part, reading, known, kind in inputs
            if reading and (not known or kind in unsized)
        ]
        return (*self.not_counted, *without)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what the checkpoint says of its weights and is not read; empty if nothing is left."""
        try:
            return self.quantization.notes
        except ModelError:  # whoever needs the formats raises it, or says them himself
            return ()

    @property
    def unread(self) -> tuple[str, ...]:
        """A sentence about fields of the config that no reading of this model type has; empty if there are none."""
        if not self.architecture.unread:
            return ()
        names = ", ".join(f"`{name}`" for name in self.architecture.unread)
        return (
            f"the config has {names}, which `{self.model_type}` has no use for in transformers: if the model that runs"
            " heeds it, FLOPs, bytes and parameters are those of another model",
        )

    @property
    def counted_as(self) -> tuple[str, ...]:
        """Sentences about what the config makes of the model that its type does not say, and what sizes do not say."""
        variant, caveat = self.architecture.variant, self.architecture.caveat
        said = f"counted as the config says, unusual for `{self.model_type}`: {variant}" if variant else ""
        return tuple(filter(None, (said, caveat)))

    @property
    def further_layers(self) -> int:
        """Layers of the checkpoint that predict further tokens; no estimate has them, nor their parameters."""
        keys = ("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers", "mtp_num_layers")
        found = [config.get(key) for config in self._configs for key in keys]
        return max((value for value in found if isinstance(value, int) and not isinstance(value, bool)), default=0)

    @property
    def has_experts(self) -> bool:
        """Whether a router chooses which weights a token meets."""
        return any(self.architecture.experts())

    @property
    def caches_latents(self) -> bool:
        """Whether the KV cache holds nothing but latents."""
        kinds = {type(block) for block in self.architecture.blocks() if isinstance(block, Attention | LatentAttention)}
        return bool(kinds) and all(issubclass(kind, LatentAttention) for kind in kinds)

    @property
    def has_latent_indexer(self) -> bool:
        """Whether an indexer picks the latents that a query attends to (DeepSeek-V3.2 and those like it)."""
        return any(isinstance(block, SparseLatentAttention) for block in self.architecture.blocks())

    @cached_property
    def active_params(self) -> int:
        """Parameters without the experts that a token does not use."""
        return self.params - sum(stack.idle_params for stack in self.architecture.stacks)

    @property
    def max_context(self) -> int | None:
        """Tokens of the longest sequence that the config allows, with stretched positions; None where it says none."""
        for config in self._configs:
            for key in ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "max_seq_len"):
                positions = config.get(key)
                if isinstance(positions, int) and not isinstance(positions, bool) and positions > 0:
                    return int(positions * _stretch(config.get("rope_scaling") or config.get("rope_parameters")))
        return None

    @property
    def _configs(self) -> tuple[Mapping[str, Any], ...]:
        """The config, and those of language models inside it."""
        nested = (self.config.get(key) for key in TEXT_CONFIGS)
        return (self.config, *(config for config in nested if isinstance(config, Mapping)))

    @cached_property
    def _config_dtype(self) -> str | None:
        for config in self._configs:
            value = config.get("dtype") or config.get("torch_dtype")
            if isinstance(value, str) and value != "auto":
                return normalize_dtype(value)
        return None

    @property
    def dtype(self) -> str:
        """Dtype of activations and unquantized weights (bf16, fp16, fp32, …)."""
        return self._config_dtype or ASSUMED_DTYPE

    @cached_property
    def state_dtype(self) -> str | None:
        """Dtype of recurrent states, if the config states one (`mamba_ssm_cache_dtype`); None if it does not."""
        for config in self._configs:
            value = config.get("mamba_ssm_cache_dtype") or config.get("mamba_ssm_dtype")
            if isinstance(value, str) and value != "auto":
                return normalize_dtype(value)
        return None

    @property
    def dtype_assumed(self) -> bool:
        """Whether the config names no dtype, so that `dtype` is an assumption to be told to the user."""
        return self._config_dtype is None

    @cached_property
    def quantization(self) -> Quantization:
        """Formats of the quantized weights. Raises ModelError for a quantization method that is not known."""
        told = (_stated_quantization(config) for config in self._configs)
        raw = next((one for one in told if one is not None), None)
        if not raw:
            return Quantization()
        if not isinstance(raw, Mapping):
            raise ModelError(
                f"config of model type `{self.model_type}`: `quantization_config` is {raw!r}, not an object"
            )
        if "expert_dtype" in self.config:
            raw = {"expert_dtype": self.config["expert_dtype"], **raw}
        experts = max((block.experts for block in self.architecture.experts()), default=1)
        decoder = self.architecture.decoder
        is_tied = decoder is not None and decoder.is_tied
        return read_quantization(raw, model_type=self.model_type, stacks=self.stacks, experts=experts, is_tied=is_tied)

    @cached_property
    def stacks(self) -> Stacks:
        """What the names of its modules depend on."""
        stacks = [stack for stack in self.architecture.stacks if stack.name not in TOWERS]
        names = tuple(stack.name for stack in stacks) or (DECODER,)
        depth = max((stack.depth for stack in stacks), default=1)
        return Stacks(depth, names, is_nested=any(key in self.config for key in TEXT_CONFIGS))

    @property
    def label(self) -> str:
        """How far the estimate can be trusted.

        ``verified``: the family's totals equal torch's count of transformers' code, in the golden tests. ``exact``:
        every product is counted in closed form, but nothing independent has counted it too, or by another convention
        (recurrences). ``approximate``: 2 · active parameters for a model type that is not known.
        """
        if self.approximate:
            return "approximate"
        return "verified" if self.model_type in VERIFIED and not self.architecture.variant else "exact"


def _stated_quantization(config: Mapping[str, Any]) -> Any:
    """What a config says of the formats of its weights, under the names that it goes by; None where it says nothing.

    MLX calls it `quantization` and repeats it as a `quantization_config` without a method. compressed-tensors began
    with `compression_config`.
    """
    stated = config.get("quantization_config")
    own = config.get("quantization")
    if isinstance(own, Mapping) and "bits" in own and not (isinstance(stated, Mapping) and "quant_method" in stated):
        return {"quant_method": "mlx", **own}
    return config.get("compression_config") if stated is None else stated


def _stretch(scaling: object) -> float:
    """How much further than its positions a model's rotary embedding may reach; 1 where nothing sensible is said."""
    factor = scaling.get("factor") if isinstance(scaling, Mapping) else None
    if not isinstance(factor, int | float) or isinstance(factor, bool):
        return 1.0
    return float(factor) if 1 <= factor <= MAX_BATCH else 1.0
