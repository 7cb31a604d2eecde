"""Configs that leave fields out, or say them twice, against the parameters of the model that transformers builds."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import Model
from tests.unit.model.configs import read_json

CONFIGS = {
    name: entry["config"]
    for file in ("tower_configs.json", "image_pass_configs.json", "audio_configs.json")
    for name, entry in read_json(file).items()
}
#: Parts of a model that llmperf names as not counted.
APART = {name: tuple(entry.get("without", ())) for name, entry in read_json("tower_configs.json").items()}
#: Nobody says it.
LEFT_OUT = object()


def changed(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """A config with other values of fields, or without them, by their paths."""
    config: dict[str, Any] = copy.deepcopy(CONFIGS[name])
    for path, value in changes.items():
        *parts, field = path.split(".")
        inside = config
        for part in parts:
            inside = inside[part]
        inside.pop(field, None)
        if value is not LEFT_OUT:
            inside[field] = value
    return config


def built(config: dict[str, Any], without: tuple[str, ...] = ()) -> int:
    """Parameters of transformers' model, which is built without memory."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from nsys_pipeline.model.verify import multimodal_class

    try:
        made = transformers.AutoConfig.for_model(**copy.deepcopy(config))
    except ValueError:
        pytest.skip("this transformers does not know the model type")
    with torch.device("meta"):
        module = multimodal_class(transformers, type(made)).from_config(made)
    return sum(value.numel() for name, value in module.named_parameters() if not name.startswith((*without, "~")))


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("instructblip", "qformer_config.encoder_hidden_size"),
        ("pp_formulanet", "text_config.vocab_size"),
        ("pp_formulanet", "text_config.decoder_layers"),
        ("pp_formulanet", "text_config.decoder_ffn_dim"),
        ("gemma4_unified", "vision_config"),
    ],
)
def test_what_is_left_out_is_what_transformers_takes(name: str, field: str) -> None:
    config = changed(name, {field: LEFT_OUT})
    assert Model.from_config(config).params == built(config)


def test_queries_see_tokens_as_wide_as_the_tower_makes_them() -> None:
    config = changed("instructblip", {"qformer_config.encoder_hidden_size": 96})
    assert Model.from_config(config).params == Model.from_config(CONFIGS["instructblip"]).params == built(config)


def test_no_layer_of_sam_may_be_without_a_window() -> None:
    config = changed("pp_formulanet", {"vision_config.global_attn_indexes": []})
    assert Model.from_config(config).params == built(config)


TIED = (
    "cosmos3_edge", "dots3_note", "gemma4_unified", "granite_docling", "hy_v4_vl", "instructblip", "kosmos-2.5",
    "muse_glimmer", "muse_spark", "unlimited_ocr",
)  # fmt: skip


@pytest.mark.parametrize("name", TIED)
def test_the_config_that_says_whether_the_head_is_the_table_is_the_one_that_transformers_asks(name: str) -> None:
    for outer, inner in ((LEFT_OUT, True), (LEFT_OUT, False), (True, False), (False, True)):
        config = changed(name, {"tie_word_embeddings": outer, "text_config.tie_word_embeddings": inner})
        assert Model.from_config(config).params == built(config, APART.get(name, ())), (outer, inner)


@pytest.mark.parametrize(
    ("name", "changes", "error"),
    [
        ("muse_spark", {"vision_config.num_attention_heads": 5}, "`vision_config.hidden_size` = 48 is not a multiple"),
        ("gemma4_unified", {"vision_config.output_proj_dims": 24}, "`vision_config.output_proj_dims` is not"),
        ("nemotron_h_omni_biased", {"audio_config.num_key_value_heads": 2}, "`audio_config.num_key_value_heads` must"),
    ],
)
def test_sizes_that_no_pass_can_run_with_are_refused(name: str, changes: dict[str, Any], error: str) -> None:
    with pytest.raises(ModelError, match=error):
        Model.from_config(changed(name, changes))
