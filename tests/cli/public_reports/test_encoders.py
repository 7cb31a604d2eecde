"""Encoders: towers of images and sound, the cache of cross-attention, encoders of text, rerankers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nsys_pipeline.workload.describe import config_fields, with_class
from tests.cli.public_reports.common import (
    LLAMA,
    codes,
    lm_head,
    marked,
    messages,
    one_pass,
    ops,
    pairs,
    phase,
    projections,
)
from tests.cli.run import MS, Cli
from tests.support.trace_builder import TraceBuilder

QWEN_VL: dict[str, Any] = {
    "model_type": "qwen2_5_vl", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vision_config": {
        "model_type": "qwen2_5_vl", "depth": 2, "hidden_size": 128, "intermediate_size": 256, "num_heads": 4,
        "in_channels": 3, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
        "fullatt_block_indexes": [1], "out_hidden_size": 256,
    },
}  # fmt: skip
WHISPER: dict[str, Any] = {
    "model_type": "whisper", "d_model": 64, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "vocab_size": 1000,
    "num_mel_bins": 80, "max_source_positions": 1500, "max_target_positions": 448, "torch_dtype": "float16",
}  # fmt: skip
SMALL_BERT: dict[str, Any] = {
    "model_type": "bert", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "vocab_size": 500, "max_position_embeddings": 512, "torch_dtype": "float32",
}  # fmt: skip
BERT: dict[str, Any] = {
    "model_type": "bert", "architectures": ["BertLMHeadModel"], "hidden_size": 768, "intermediate_size": 3072,
    "num_hidden_layers": 12, "num_attention_heads": 12, "vocab_size": 30522, "max_position_embeddings": 512,
    "torch_dtype": "float32",
}  # fmt: skip


def test_windows_of_a_vision_tower_are_in_pixels(cli: Cli) -> None:
    printed = cli.flops(QWEN_VL, "--prompt-tokens", 100, "--images", 1, "--image-patches", "16x16")

    # 112 pixels are 8 patches of 14: windows of 64 patches in one layer, all 256 in the other.
    tower = 4 * 4 * 32 * (256 * 64 + 256 * 256)
    assert ops(printed, "attention") == tower + 2 * 4 * 4 * 64 * pairs(100)


def test_the_merger_of_a_tower_runs_on_merged_patches(cli: Cli) -> None:
    config = LLAMA | {
        "model_type": "qwen2_5_vl", "rope_scaling": {"type": "mrope", "mrope_section": [8, 12, 12]},
        "image_token_id": 5, "vision_config": {
            "depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4, "out_hidden_size": 512,
            "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
            "fullatt_block_indexes": [1], "in_channels": 3,
        },
    }  # fmt: skip

    printed = cli.flops(config, "--prompt-tokens", 64, "--images", 1, "--image-patches", "8x8")

    merger = [one["flops"] for one in printed["ops"] if one["name"] in ("merger_1", "merger_2")]
    assert merger == [2 * 16 * (4 * 64) * (4 * 64), 2 * 16 * (4 * 64) * 512]


def test_layers_that_see_images_are_counted_or_told(cli: Cli) -> None:
    """Of a text, Mllama runs the layers that do not attend to images; in a trace, a tower without sizes is told."""
    text = {name: value for name, value in LLAMA.items() if name != "model_type"}
    text |= {"model_type": "mllama_text_model", "num_hidden_layers": 5, "cross_attention_layers": [3]}
    vision = {
        "model_type": "mllama_vision_model", "hidden_size": 128, "intermediate_size": 512, "attention_heads": 4,
        "num_hidden_layers": 3, "num_global_layers": 2, "image_size": 56, "patch_size": 14, "max_num_tiles": 4,
        "vision_output_dim": 384, "intermediate_layers_indices": [0, 1], "supported_aspect_ratios": [[1, 1], [1, 2]],
    }  # fmt: skip
    config = {"model_type": "mllama", "text_config": text, "vision_config": vision, "torch_dtype": "bfloat16"}

    read = cli.prefill(config, "--prompt-tokens", 100)
    seen = cli.flops(config, "--prompt-tokens", 100, "--image-size", "56x56")
    trace = TraceBuilder().gpu()
    marked(trace, config)
    main = trace.process().thread().push(0, 10 * MS, "prefill", domain="llmperf")
    main.mark(1, 'llmperf.step {"b":1,"q":100,"kv":0,"logits":1}', domain="llmperf")
    main.launch(2, gpu=(MS, 9 * MS), name="gemm")

    # Four layers of 512 with a head on one position.
    assert read == projections(LLAMA, 100) + 4 * 4 * 512 * pairs(100) + lm_head(LLAMA)
    # A tile has 16 patches and a class token; each of five layers of the tower has 12 products of 128 x 128 a token.
    tower = {one["name"]: one["flops"] for one in seen["ops"] if one["layer"] == "vision.layers"}
    assert sum(tower[name] for name in ("qkv", "o", "up", "down")) == 3 * 2 * 17 * 12 * 128 * 128
    assert "parts_not_counted" in codes(cli.analyze(trace))


def test_training_steps_without_the_tower_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 50 * MS, "forward").launch(MS, gpu=(2 * MS, 40 * MS))
    main.mark(1, 'llmperf.step {"b":1,"q":100,"kv":0,"logits":100}', domain="llmperf")
    marked(trace, QWEN_VL)

    assert "parts_not_counted" in codes(cli.analyze(trace))


def test_keys_of_an_encoder_are_projected_once(cli: Cli) -> None:
    config = {
        "model_type": "t5", "d_model": 128, "d_ff": 256, "d_kv": 32, "num_layers": 2, "num_decoder_layers": 2,
        "num_heads": 4, "vocab_size": 1000, "feed_forward_proj": "relu", "torch_dtype": "bfloat16",
    }  # fmt: skip

    printed = cli.flops(config, "--prompt-tokens", 64)

    assert ops(printed, "cross_kv") == 2 * 64 * 2 * 128 * 128 * 2
    assert ops(printed, "cross_kv", "decode") == 0
    assert ops(printed, "cross_attention", "decode") == 4 * 64 * 128 * 2


def test_the_cache_of_an_encoder_has_its_positions(cli: Cli) -> None:
    """1,500 positions, not 1,024, in three layers of the decoder; a decode step after four tokens reads those, too."""
    trace = TraceBuilder().gpu()
    marked(trace, WHISPER)
    main = trace.process().thread()
    for number, (name, tokens, cached) in enumerate((("prefill", 4, 0), ("decode", 1, 4))):
        at = 20 * MS * number
        main.push(at, at + 19 * MS, name, domain="llmperf").launch(at + 2, gpu=(at + MS, at + 18 * MS))
        main.mark(at + 1, f'llmperf.step {{"b":1,"q":{tokens},"kv":{cached},"logits":1}}', domain="llmperf")

    query = (
        "SELECT phase, sum(layers * kv_read_bytes) AS read, sum(layers * kv_write_bytes) AS written FROM ops GROUP BY 1"
    )
    rows, _ = cli.sql(trace, query)

    own = 3 * 2 * 64 * 2
    assert {row["phase"]: (row["read"], row["written"]) for row in rows} == {
        "prefill": (0, own * (1500 + 4)), "decode": (own * (1500 + 4), own),
    }  # fmt: skip


@pytest.mark.parametrize("is_decoder", [False, True])
def test_an_encoder_that_writes_has_its_head_and_its_mask(is_decoder: bool, cli: Cli) -> None:
    """12 texts of 384 tokens, step after step; without `is_decoder` tokens see those after them, too."""
    model = BERT | ({"is_decoder": True} if is_decoder else {})
    tokens, seen = 12 * 384, 12 * (pairs(384) if is_decoder else 384**2)
    layers = 12 * (2 * tokens * 12 * 768**2 + 4 * seen * 768)
    forward = layers + 2 * tokens * (768**2 + 768 * 30522)
    tables = (30522 + 512 + 2) * 768 + 2 * 768
    layer = 12 * 768**2 + (4 + 4 + 1) * 768 + 4 * 768

    printed = cli.flops(model, "--train", "--batch", 12, "--prompt-tokens", 384)

    assert printed["train"]["forward"]["flops"] == forward
    assert printed["params"] == tables + 12 * layer + 768**2 + 3 * 768 + 30522
    trace = TraceBuilder().gpu()
    marked(trace, model)
    main, at = trace.process().thread(), 0
    for _ in range(4):
        at = one_pass(main, at, "forward", 20, '{"b":12,"q":384,"kv":0,"logits":4608}')
        main.push(at, at + 40 * MS, "backward", domain="llmperf").launch(at + MS, gpu=(at + 2 * MS, at + 39 * MS))
        at += 40 * MS
    assert cli.analyze(trace)["training"]["flops"] == 4 * 3 * forward
    if is_decoder:
        prompt = cli.flops(model, "--prompt-tokens", 100)
        # The head, with the layer before it, runs on the last token; then 101 keys are seen.
        assert ops(prompt, "transform") == 2 * 768**2
        assert ops(prompt, "attention", "decode") == 12 * 4 * 768 * 101
        assert prompt["decode"]["kv_read_bytes"] == 12 * 2 * 768 * 100 * 4


@pytest.mark.parametrize(
    ("of_texts", "of_tokens"), [(["XLMRobertaModel"], 0), (["XLMRobertaForSequenceClassification"], 0),
                                (["XLMRobertaForTokenClassification"], 3)],
)  # fmt: skip
def test_pairs_of_a_reranker_are_counted_with_its_head(of_texts: list[str], of_tokens: int, cli: Cli) -> None:
    """A query of 10 tokens before documents of 20 and 30: 70 tokens in all; the head sorts each pair, or each token."""
    config = {
        "model_type": "xlm-roberta", "architectures": of_texts, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 1000, "max_position_embeddings": 514,
        "type_vocab_size": 1, "id2label": dict.fromkeys("abc"[: of_tokens or 1]), "torch_dtype": "float16",
    }  # fmt: skip
    layers = 2 * (2 * 70 * (4 * 64 * 64 + 2 * 64 * 128) + 4 * 64 * (30**2 + 40**2))
    pooler = 2 * 2 * 64 * 64
    head = {"XLMRobertaModel": pooler, "XLMRobertaForSequenceClassification": pooler + 2 * 2 * 64}

    assert cli.prefill(config, "--prompt-tokens", "30,40") == layers + head.get(of_texts[0], 2 * 70 * 64 * of_tokens)


def test_padding_of_questions_and_the_head_of_a_class_that_the_config_does_not_name(cli: Cli) -> None:
    """MLPerf's BERT: the config is made in the program, and batches are as wide as their longest text."""

    class Config:
        def to_json_string(self, *, use_diff: bool) -> str:
            assert not use_diff
            return json.dumps(SMALL_BERT | {"architectures": None, "id2label": {"0": "a", "1": "b"}})

    answering = type("BertForQuestionAnswering", (), {"__module__": "transformers.models.bert.modeling_bert"})
    batches = [(150, 40), (384, 96), (120, 120), (60, 384)]
    trace = TraceBuilder().gpu()
    marked(trace, with_class(config_fields(Config(), is_quantized=False), answering()))
    at, main = MS, trace.process().thread()
    for pair in batches:
        mark = {"q": list(pair), "kv": 0, "logits": 0, "padded": [max(pair), 0, 0]}
        at = one_pass(main, at, "forward", 10, json.dumps(mark))

    report = cli.analyze(trace)

    lengths = [length for pair in batches for length in pair]
    layers = 2 * (2 * sum(lengths) * (4 * 64**2 + 2 * 64 * 128) + 4 * 64 * sum(length**2 for length in lengths))
    forward = phase(report, "forward")
    assert (forward["tokens"], forward["flops"]) == (1_354, layers + 2 * sum(lengths) * 64 * 2)
    assert "(722 of 2,076)" in messages(report, "padding")
    tables = (500 + 512 + 2 + 1 + 1) * 64
    layer = 4 * (64**2 + 64) + 2 * 64 * 128 + 128 + 64 + 4 * 64
    assert report["model"]["params"] == tables + 2 * layer + 2 * (64 + 1) == 132_098
