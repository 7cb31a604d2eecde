"""Rewrite tests/unit/model/golden_image_passes.json: what torch counts in whole passes of models whose images are not
only tokens of a decoder's prompt: a prefill with images, tower included, and the decode step after it.

Each model of image_pass_configs.json is built by transformers with random weights on the CPU, with eager attention.
Never llmperf's estimate. Needs the extra `verify`. Usage: python scripts/golden_image_passes.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPooling
from transformers.models.udop.modeling_udop import BaseModelOutputWithAttentionMask

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nsys_pipeline.model.verify import multimodal_class
from scripts.golden_totals import TESTS, counted, flattened_patches, quieten, read_configs, write_totals

Case = Mapping[str, Any]


def ids(case: Case, tokens: int | None = None) -> Any:
    """Tokens of each sequence: those of the decoder's prompt unless told."""
    return torch.ones(case["batch"], case["prompt"] if tokens is None else tokens, dtype=torch.long)


def idefics(config: Any, case: Case) -> tuple[dict[str, Any], Callable[[Any], dict[str, Any]]]:
    """As many images of one size for each sequence; each token sees all of them."""
    ((height, width),) = {tuple(grid) for grid in case["images"]}
    each, patch = len(case["images"]) // case["batch"], config.vision_config.patch_size
    mask = torch.ones(case["batch"], case["prompt"], each, dtype=torch.long)
    pixels = torch.zeros(case["batch"], each, 3, height * patch, width * patch)
    inputs = {"input_ids": ids(case), "pixel_values": pixels, "image_attention_mask": mask}
    return inputs | {"interpolate_pos_encoding": True}, lambda out: {
        "input_ids": ids(case, 1),
        "cache": out.cache,
        "image_attention_mask": mask[:, -1:],
        "image_encoder_embeddings": out.image_outputs.last_hidden_state,
    }


def pix2struct(config: Any, case: Case) -> tuple[dict[str, Any], Callable[[Any], dict[str, Any]]]:
    """An image for each sequence; `row`: patches that each is filled up to."""
    patches = flattened_patches(case["images"], config.vision_config.patch_embed_hidden_size, case.get("row"))
    mask = (patches.sum(dim=-1) != 0).float()
    inputs = {"flattened_patches": patches, "attention_mask": mask, "decoder_input_ids": ids(case)}
    return inputs, lambda out: {
        "encoder_outputs": BaseModelOutput(last_hidden_state=out.encoder_last_hidden_state),
        "attention_mask": mask,
        "decoder_input_ids": ids(case, 1),
        "cache": out.cache,
    }


def kosmos2_5(config: Any, case: Case) -> tuple[dict[str, Any], Callable[[Any], dict[str, Any]]]:
    """An image for each sequence, whose tokens are part of the prompt."""
    patches = flattened_patches(case["images"], config.vision_config.patch_embed_hidden_size, case.get("row"))
    places = torch.zeros(case["batch"], case["prompt"])
    places[:, 1 : 1 + config.latent_query_num] = 1
    inputs = {"input_ids": ids(case), "flattened_patches": patches, "image_embeds_position_mask": places}
    return inputs, lambda out: {"input_ids": ids(case, 1), "cache": out.cache}


def t5gemma2(config: Any, case: Case) -> tuple[dict[str, Any], Callable[[Any], dict[str, Any]]]:
    """As many images for each sequence, whose tokens are part of what the encoder reads."""
    vision, images = config.encoder.vision_config, case["images"]
    tokens = ids(case, case["encoder"])
    tokens[:, 1 : 1 + len(images) // case["batch"] * config.encoder.mm_tokens_per_image] = config.image_token_index
    seen = {"pixel_values": torch.zeros(len(images), 3, vision.image_size, vision.image_size)} if images else {}
    return {"input_ids": tokens, "decoder_input_ids": ids(case), **seen}, lambda out: {
        "encoder_outputs": BaseModelOutput(last_hidden_state=out.encoder_last_hidden_state),
        "decoder_input_ids": ids(case, 1),
        "cache": out.cache,
    }


def udop(config: Any, case: Case) -> tuple[dict[str, Any], Callable[[Any], dict[str, Any]]]:
    """A page for each sequence, or none, behind the text that the encoder reads."""
    images, text = len(case["images"]), ids(case, case["encoder"])
    inputs = {"input_ids": text, "decoder_input_ids": ids(case), "bbox": torch.rand(*text.shape, 4)}
    if images:
        inputs["pixel_values"] = torch.zeros(images, 3, config.image_size, config.image_size)
    encoded = BaseModelOutputWithAttentionMask
    return inputs, lambda out: {
        "encoder_outputs": encoded(last_hidden_state=out.encoder_last_hidden_state),
        "decoder_input_ids": ids(case, 1),
        "cache": out.cache,
    }


def pp_formulanet(config: Any, case: Case) -> tuple[dict[str, Any], Callable[[Any], dict[str, Any]]]:
    """A picture for each sequence, of the only size that there is."""
    vision = config.vision_config
    side = vision.image_size
    # Two convolutions of stride 2.
    left = -(-(side // vision.patch_size) // 4)
    encoded = torch.zeros(case["batch"], left**2, vision.decoder_hidden_size)
    inputs = {"pixel_values": torch.zeros(case["batch"], 3, side, side), "decoder_input_ids": ids(case)}
    return inputs, lambda out: {
        "encoder_outputs": BaseModelOutputWithPooling(
            last_hidden_state=out.encoder_last_hidden_state, pooler_output=encoded
        ),
        "decoder_input_ids": ids(case, 1),
        "cache": out.cache,
    }


#: Inputs of a prefill, and those of the decode step after it, of what the prefill gave.
INPUTS: dict[str, Callable[[Any, Case], tuple[dict[str, Any], Callable[[Any], dict[str, Any]]]]] = {
    "idefics": idefics,
    "pix2struct": pix2struct,
    "kosmos-2.5": kosmos2_5,
    "t5gemma2": t5gemma2,
    "udop": udop,
    "pp_formulanet": pp_formulanet,
}


def main() -> None:
    """Count every case of every model."""
    quieten()
    entries = []
    for name, entry in read_configs("image_pass_configs.json").items():
        config = transformers.AutoConfig.for_model(**entry["config"])
        auto = multimodal_class(transformers, type(config))
        module = auto.from_config(config, attn_implementation="eager").eval().requires_grad_(False)
        flops = []
        for case in entry["cases"]:
            first, later = INPUTS[config.model_type](config, case)
            prefill, out = counted(module, **first, use_cache=True)
            flops.append([prefill, counted(module, **later(out), use_cache=True)[0]])
        params = sum(value.numel() for value in module.parameters())
        entries.append({"model": name, "params": params, "flops": flops})
        print(f"{name}: {flops}", file=sys.stderr)
    write_totals(TESTS / "golden_image_passes.json", entries)


if __name__ == "__main__":
    main()
