"""Encoders, encoder-decoders, recurrent layers and vision towers, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from nsys_pipeline.errors import ModelError, UsageError
from nsys_pipeline.model import Conventions, Estimator, Model, estimate, load_model
from nsys_pipeline.model.masks import image_pairs
from nsys_pipeline.model.recurrent import Recurrent
from nsys_pipeline.model.summary import Shape, summarize
from nsys_pipeline.records import Step
from tests.unit.model.configs import FULL, decode, model, op_flops, prefill, read_json

SMALL = read_json("small_configs.json")
T5 = {
    "model_type": "t5", "d_model": 64, "d_kv": 8, "d_ff": 96, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 4,
    "vocab_size": 100, "torch_dtype": "bfloat16",
}  # fmt: skip
MAMBA2 = {
    "model_type": "mamba2", "hidden_size": 64, "state_size": 16, "num_heads": 8, "head_dim": 16, "n_groups": 2,
    "num_hidden_layers": 3, "vocab_size": 100, "torch_dtype": "bfloat16",
}  # fmt: skip


def test_cross_attention_projects_the_encoders_tokens_once() -> None:
    m = model(T5)
    first = estimate(m, Step.uniform(batch=1, q_tokens=1), encoder_tokens=[20])
    later = estimate(m, Step.uniform(batch=1, q_tokens=1, kv_tokens=1), encoder_tokens=[20])
    assert op_flops(first, "cross_kv") == 2 * 2 * 20 * 64 * 2 * 32
    assert op_flops(later, "cross_kv") == 0
    cross = 2 * 20 * 2 * 32 * 2  # two layers, K and V of 32 values in bf16
    assert later.kv_read_bytes == cross + 2 * 1 * 2 * 32 * 2
    assert first.kv_write_bytes == cross + 2 * 1 * 2 * 32 * 2


def test_the_encoder_runs_only_in_the_first_pass() -> None:
    m = model(T5)
    later = estimate(m, Step.uniform(batch=1, q_tokens=1, kv_tokens=1), encoder_tokens=[20])
    assert not [op for op in later.ops if op.layer.startswith("encoder")]


def test_t5_needs_to_know_its_encoders_tokens_but_whisper_has_1500() -> None:
    with pytest.raises(ModelError, match="encoder tokens is not known"):
        estimate(model(T5), Step.uniform(batch=1, q_tokens=1))
    whisper = load_model("whisper-large-v3")
    result = estimate(whisper, Step.uniform(batch=2, q_tokens=4))
    assert op_flops(result, "conv2") == 2 * 2 * 1500 * 3 * 1280 * 1280
    assert op_flops(result, "conv1") == 2 * 2 * 3000 * 3 * 128 * 1280


def test_published_parameter_counts() -> None:
    # model cards and papers, where they give the number to the last digit or transformers' count is well known
    for name, params in {
        "bert-base": 109_514_298,
        "t5-base": 222_903_552,
        "whisper-large-v3": 1_543_490_560,
        "vit-base": 86_389_248 + 768,  # and a pooler
        "deepseek-v2-lite": 15_706_484_224,
        "gpt2": 124_439_808,
        "llama-3-8b": 8_030_261_248,
        "mixtral-8x7b": 46_702_792_704,
        "qwen1.5-moe-a2.7b": 14_315_784_192,
        "gemma-2-9b": 9_241_705_984,
        "llava-1.5-7b": 7_063_427_072,
    }.items():
        m = load_model(name)
        assert m.params == pytest.approx(params, rel=0.008), name


def test_an_encoder_sees_in_both_directions_and_caches_nothing() -> None:
    result = prefill(dict(load_model("bert-base").config), 100)
    assert op_flops(result, "attention") == 12 * 4 * 768 * 100 * 100
    assert (result.kv_read_bytes, result.kv_write_bytes) == (0, 0)


def test_a_recurrent_layer_costs_every_token_the_same() -> None:
    assert decode(MAMBA2, 10).flops == decode(MAMBA2, 100_000).flops
    inner, groups = 128, 2 * 2 * 16
    per_token = 2 * 64 * (2 * inner + groups + 8) + 2 * 4 * (inner + groups) + 4 * inner * 16 + 2 * inner * 64
    assert decode(MAMBA2, 10).flops == 3 * per_token + 2 * 64 * 100


def test_a_recurrent_layer_reads_and_writes_its_state_once_per_pass() -> None:
    state = 3 * (128 * 16 * 4 + 3 * (128 + 64) * 2)  # the last inputs of the convolution in bf16
    assert decode(MAMBA2, 10).kv_read_bytes == decode(MAMBA2, 99).kv_read_bytes == state
    assert prefill(MAMBA2, 10).kv_read_bytes == 0
    assert prefill(MAMBA2, 10).kv_write_bytes == state


@pytest.mark.parametrize(
    ("fields", "size"),
    [({}, 4), ({"mamba_ssm_cache_dtype": "bfloat16"}, 2), ({"mamba_ssm_dtype": "float32"}, 4),
     ({"mamba_ssm_cache_dtype": "auto"}, 4)],
)  # fmt: skip
def test_the_config_alone_decides_the_dtype_of_states(fields: dict[str, str], size: int) -> None:
    for conventions in (Conventions(), Conventions(kv_dtype="fp8")):
        result = decode({**MAMBA2, **fields}, 10, conventions=conventions)
        assert result.kv_read_bytes == 3 * (128 * 16 * size + 3 * (128 + 64) * 2)


RECURRENT = [
    "bailing_hybrid", "bamba", "falcon_h1", "granitemoehybrid", "jamba", "kimi_linear", "minimax", "nemotron_h",
    "olmo_hybrid", "qwen3_5_text", "qwen3_next", "zamba", "zamba2",
]  # fmt: skip


@pytest.mark.parametrize("name", RECURRENT)
def test_states_are_as_large_as_transformers_holds_them(name: str) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers", minversion="5.0")
    config = {**SMALL[name], "dtype": "bfloat16"}
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(**config), dtype=torch.bfloat16, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        cache = model(torch.ones(2, 5, dtype=torch.int64), use_cache=True).past_key_values
    held = [getattr(layer, "recurrent_states", None) for layer in cache.layers]
    held += list(getattr(cache, "linear_cache", ()))
    sizes = sum(one.numel() * one.element_size() for states in held for one in tensors(states))

    described = Model.from_config(config)
    estimator = Estimator(described)
    scan = sum(op.layers * op.kv_write_bytes for op in estimator.estimate(Step.uniform(batch=2, q_tokens=5)).ops
               if op.kind == "scan")  # fmt: skip
    stacks = [part for stack in described.architecture.stacks for part in stack.parts()]
    inputs = sum(
        2 * max(1, len(ids)) * block.conv_channels * (block.conv_kernel - 1) * 2
        for _, ids, blocks in stacks for block in blocks if isinstance(block, Recurrent)
    )  # fmt: skip
    assert sizes == scan - inputs


def tensors(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [one for part in value.values() for one in tensors(part)]
    if isinstance(value, list | tuple):
        return [one for part in value for one in tensors(part)]
    return [value] if hasattr(value, "numel") else []


def test_nemotron_h_moves_more_than_bf16_states() -> None:
    hybrid = {
        "model_type": "nemotron_h", "hidden_size": 4096, "intermediate_size": 21504, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131072, "mamba_num_heads": 128, "mamba_head_dim": 64,
        "ssm_state_size": 128, "n_groups": 8, "conv_kernel": 4, "num_hidden_layers": 52, "torch_dtype": "bfloat16",
        "hybrid_override_pattern": "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-", "tie_word_embeddings": False,
    }  # fmt: skip
    right = decode(hybrid, 1024, batch=256)
    half = decode({**hybrid, "mamba_ssm_cache_dtype": "bfloat16"}, 1024, batch=256)
    assert half.bytes / right.bytes == pytest.approx(0.64, abs=0.01)


@pytest.mark.parametrize("window", [4096, 100])
def test_an_image_of_gemma_3_sees_itself_in_both_directions(window: int) -> None:
    text = {**SMALL["gemma3"]["text_config"], "sliding_window": window}
    estimator = Estimator(model({**SMALL["gemma3"], "text_config": text, "mm_tokens_per_image": 256}))
    step = Step.uniform(batch=1, q_tokens=300)

    def pairs(window: int | None) -> int:
        image = range(20, 276)
        return sum(
            (k <= q and (window is None or k > q - window)) or (q in image and k in image)
            for q in range(300) for k in range(300)
        )  # fmt: skip

    assert pairs(None) == 77_790
    seen = sum(
        op.layers * op.flops_model
        for op in estimator.estimate(step, vision_tokens=[64]).ops
        if op.kind == "attention" and op.layer.startswith("layers")
    )
    windows = [window] * 3  # every sixth layer would see everything
    assert seen == sum(4 * 8 * 16 * pairs(one) for one in windows)
    short = Step.uniform(batch=1, q_tokens=255)
    assert estimator.estimate(short, vision_tokens=[64]).flops > estimator.estimate(short).flops
    with pytest.raises(UsageError, match="256 tokens, but the prompts have 255"):
        summarize(estimator.model, Shape(prompt_tokens=(255,), cached_tokens=(0,), context=(255,), images=((8, 8),)))


@pytest.mark.parametrize(("tokens", "window"), [(1, None), (7, None), (7, 3), (7, 7), (7, 100), (64, 5)])
def test_pairs_that_an_image_adds(tokens: int, window: int | None) -> None:
    seen = {(q, k) for q in range(tokens) for k in range(tokens) if k <= q and (window is None or k > q - window)}
    assert image_pairs(tokens, window) == tokens**2 - len(seen)


def test_qwen3_next_has_a_full_layer_in_four() -> None:
    ops = estimate(load_model("qwen3-next-80b-a3b"), Step.uniform(batch=1, q_tokens=1)).ops
    assert {op.layer: op.layers for op in ops if op.layers > 1} == {"layers.linear.moe": 36, "layers.full.moe": 12}


def test_the_vision_tower_runs_for_images_only() -> None:
    estimator = Estimator(load_model("llava-1.5-7b"))
    text = estimator.estimate(Step.uniform(batch=1, q_tokens=600))
    image = estimator.estimate(Step.uniform(batch=1, q_tokens=600), vision_tokens=[577])
    clip = 24 * (8 * 577 * 1024**2 + 4 * 577**2 * 1024 + 4 * 577 * 1024 * 4096) + 2 * 576 * 3 * 14 * 14 * 1024
    projector = 2 * 576 * (1024 * 4096 + 4096 * 4096)
    assert image.flops - text.flops == clip + projector


def test_deepseek_ocr_compresses_sixteen_fold() -> None:
    m = load_model("deepseek-ocr")
    assert m.architecture.vision_tokens == 4096
    ops = Estimator(m).estimate(Step.uniform(batch=1, q_tokens=300), vision_tokens=[4096]).ops
    clip = next(op for op in ops if op.layer == "vision.clip" and op.name == "qkv")
    assert (clip.layers, clip.m) == (24, 257)
    projector = next(op for op in ops if op.name == "projector")
    assert (projector.m, projector.k, projector.n) == (256, 2048, 1280)


def test_sams_padded_windows_are_executed_but_not_required() -> None:
    config = {
        "model_type": "sam_vision_model", "hidden_size": 48, "output_channels": 16, "num_hidden_layers": 2,
        "num_attention_heads": 4, "image_size": 128, "patch_size": 16, "window_size": 3, "global_attn_indexes": [1],
    }  # fmt: skip
    from tests.unit.model.configs import FULL

    required, executed = prefill(config, 64, logits=0), prefill(config, 64, conventions=FULL, logits=0)
    # eight patches a side make windows of 3, 3 and 2, padded to 9 patches a side
    assert op_flops(executed, "o") - op_flops(required, "o") == 2 * (81 - 64) * 48 * 48
    squares = (3 * 3 + 3 * 3 + 2 * 2) ** 2
    assert op_flops(required, "attention") == 4 * 48 * (squares + 22 * 8) + 4 * 48 * (64 * 64 + 64 * 8)


TOWER = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
TEXTS = {**TOWER, "vocab_size": 100, "max_position_embeddings": 16}
IMAGES = {**TOWER, "image_size": 28, "patch_size": 7}


@pytest.mark.parametrize(("name", "extra"), [("clip", 2 * 40 * 64 + 1), ("siglip", 2)])
def test_two_towers_are_the_sum_of_both(name: str, extra: int) -> None:
    text, images = (
        {**tower, "model_type": f"{name}_{kind}_model"} for tower, kind in ((TEXTS, "text"), (IMAGES, "vision"))
    )
    both = model({"model_type": name, "text_config": TEXTS, "vision_config": IMAGES, "projection_dim": 40})
    assert both.params == model(text).params + model(images).params + extra
    tokens = both.architecture.vision_tokens
    assert tokens is not None
    assert tokens == model(images).architecture.encoder_tokens
    step = Step.uniform(batch=3, q_tokens=16, logits=0)
    apart = estimate(model(text), step).flops
    apart += estimate(model(images), Step.uniform(batch=2, q_tokens=tokens, logits=0)).flops
    projections = 2 * (3 + 2) * 40 * 64 if name == "clip" else 0
    assert estimate(both, step, vision_tokens=[tokens] * 2).flops == apart + projections
    assert estimate(both, step).flops == estimate(model(text), step).flops + (projections and 2 * 3 * 40 * 64)
    assert both.label == "exact"


def test_debertas_projections_of_positions_run_once_and_its_scores_for_every_token() -> None:
    config = {
        **TEXTS, "model_type": "deberta-v2", "relative_attention": True, "position_buckets": 8, "share_att_key": True,
        "pos_att_type": "p2c|c2p",
    }  # fmt: skip
    result = prefill(config, 10, batch=3)
    assert op_flops(result, "position_qk") == 2 * (2 * 16 * 2 * 64 * 64)
    assert op_flops(result, "position_scores") == 2 * (2 * 30 * 16 * 64 * 2)
    own = model({**config, "share_att_key": False}).params - model(config).params
    assert own == 2 * 2 * (64 * 64 + 64)
    with pytest.raises(ModelError, match="`pos_att_type` is 'p2p'; known kinds are c2p and p2c"):
        model({**config, "pos_att_type": "p2p"})
    with pytest.raises(ModelError, match="`attention_head_size` = 8 times 4 heads is not hidden_size = 64"):
        model({**config, "attention_head_size": 8})
    with pytest.raises(ModelError, match="ESMFold is not supported"):
        model({**TEXTS, "model_type": "esm", "is_folding_model": True})


SWITCH = {**T5, "model_type": "switch_transformers", "num_experts": 4, "num_sparse_encoder_layers": 1}


def test_switchs_experts_stand_in_every_nth_layer() -> None:
    m = model({**SWITCH, "num_sparse_decoder_layers": 2})
    result = estimate(m, Step.uniform(batch=1, q_tokens=1), encoder_tokens=[20])
    # One of three layers of the encoder, both of the decoder.
    assert op_flops(result, "experts_up") == 2 * (20 + 2 * 1) * 64 * 96
    assert op_flops(result, "up") == 2 * (2 * 20) * 64 * 96
    # As transformers does it, none is one: the second layer.
    none = estimate(
        model({**SWITCH, "num_sparse_encoder_layers": 0}), Step.uniform(batch=1, q_tokens=1), encoder_tokens=[20]
    )
    assert [op.layer_ids for op in none.ops if op.name == "experts_up" and op.layer == "encoder.layers.moe"] == [(1,)]
    # And more than there are is none: 3, the default, of two decoder layers.
    assert not [op for op in none.ops if op.name == "experts_up" and op.layer.startswith("layers")]


GEMMA = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100,
    "num_key_value_heads": 2, "head_dim": 12, "sliding_window": 4,
}  # fmt: skip


def test_t5gemmas_windows_reach_both_ways_in_the_encoder() -> None:
    m = model({"model_type": "t5gemma", "encoder": GEMMA, "decoder": GEMMA})
    result = estimate(m, Step.uniform(batch=1, q_tokens=1, kv_tokens=10), encoder_tokens=[20])
    # A layer with a window of 4 and one without, over 11 keys.
    assert op_flops(result, "attention") == 4 * 4 * 12 * (4 + 11)
    first = estimate(m, Step.uniform(batch=1, q_tokens=1), encoder_tokens=[20])
    # In the window: each token itself and 4 on either side, less at the ends.
    near = 20 + 2 * (19 + 18 + 17 + 16)
    assert op_flops(first, "attention") == 4 * 4 * 12 * (near + 20 * 20 + 1 + 1)
    with pytest.raises(ModelError, match="encoder alone is not supported"):
        model({"model_type": "t5gemma", "encoder": GEMMA, "decoder": GEMMA, "is_encoder_decoder": False})


BART = {
    "model_type": "bart", "d_model": 64, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 96, "decoder_ffn_dim": 80, "vocab_size": 100,
    "max_position_embeddings": 64,
}  # fmt: skip


def test_of_florence_2_the_language_model_is_read() -> None:
    # What torch counts for it, 16 tokens into the encoder and 3 into the decoder, twice, with all logits.
    florence = model({"model_type": "florence2", "text_config": BART, "vision_config": {}})
    step = Step.uniform(batch=2, q_tokens=3, logits=6)
    assert estimate(florence, step, FULL, encoder_tokens=[16, 16]).flops == 6_922_752
    assert florence.params == model(BART).params == 205_936
    assert florence.architecture.text_only
    with pytest.raises(ModelError, match="only Bart is supported"):
        model({"model_type": "florence2", "text_config": {**BART, "model_type": "t5"}})


def test_untied_tables_are_stored_apart() -> None:
    tied, untied = (model({**BART, "tie_word_embeddings": value}) for value in (True, False))
    # As transformers has it: the shared table, those of both stacks, and the head.
    assert untied.params - tied.params == 3 * 100 * 64
    masked = {**TEXTS, "model_type": "bert", "architectures": ["BertForMaskedLM"]}
    apart = model({**masked, "tie_word_embeddings": False}).params - model(masked).params
    assert apart == 100 * 64 + 100


@pytest.mark.parametrize(
    ("model_type", "name", "params"),
    [("bert", "BertForSequenceClassification", 82_051), ("bert", "BertForTokenClassification", 77_891),
     ("gte", "GteForSequenceClassification", 94_019), ("electra", "ElectraForTokenClassification", 96_899),
     ("deberta-v2", "DebertaV2ForSequenceClassification", 81_923),
     ("eurobert", "EuroBertForTokenClassification", 88_835),
     ("modernbert", "ModernBertForSequenceClassification", 92_995),
     ("modernbert", "ModernBertForTokenClassification", 92_995)],
)  # fmt: skip
def test_heads_of_encoders_that_classify(model_type: str, name: str, params: int) -> None:
    """What torch counts for three labels."""
    sizes = {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
        "vocab_size": 100, "max_position_embeddings": 64,
    }  # fmt: skip
    labels = {"id2label": {"0": "a", "1": "b", "2": "c"}}
    assert model({**sizes, **labels, "model_type": model_type, "architectures": [name]}).params == params


SMALL_BERT: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 100,
    "max_position_embeddings": 64, "embedding_size": 32,
}  # fmt: skip


@pytest.mark.parametrize(
    ("model_type", "name", "params", "flops"),
    [
        ("bert", "BertLMHeadModel", 23_684, 1_449_984),
        ("bert", "BertForPreTraining", 24_806, 1_454_336),
        ("bert", "BertForNextSentencePrediction", 23_586, 1_184_000),
        ("bert", "BertForMultipleChoice", 23_553, 1_183_872),
        ("roberta", "RobertaForCausalLM", 23_684, 1_449_984),
        ("electra", "ElectraForCausalLM", 23_684, 1_449_984),
        ("electra", "ElectraForMultipleChoice", 23_553, 1_183_872),
        ("mpnet", "MPNetForMultipleChoice", 23_553, 1_183_872),
        ("deberta-v2", "DebertaV2ForMultipleChoice", 23_489, 1_183_872),
        ("modernbert", "ModernBertForMultipleChoice", 24_929, 1_446_016),
        ("distilbert", "DistilBertForMaskedLM", 23_620, 1_449_984),
        ("distilbert", "DistilBertForSequenceClassification", 23_522, 1_184_000),
        ("distilbert", "DistilBertForTokenClassification", 22_466, 1_183_744),
        ("distilbert", "DistilBertForQuestionAnswering", 22_466, 1_183_744),
        ("distilbert", "DistilBertForMultipleChoice", 23_489, 1_183_872),
    ],
)
def test_heads_of_encoders_cost_what_torch_counts(model_type: str, name: str, params: int, flops: int) -> None:
    """Two texts of 16 tokens; torch counts all pairs of a causal mask, too."""
    config = {**SMALL_BERT, "model_type": model_type, "architectures": [name]}
    step = Step.uniform(batch=2, q_tokens=16, logits=32)

    for one in (config, config | {"is_decoder": True}):
        assert model(one).params == params
        assert estimate(model(one), step, FULL).flops == flops
    writes = model(config | {"is_decoder": True}).architecture.decoder is not None
    assert writes == name.endswith(("LMHeadModel", "ForCausalLM"))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"architectures": ["BertForEntityLinking"]}, "`architectures`"),
        (
            {"architectures": ["BertLMHeadModel"], "is_decoder": True, "add_cross_attention": True},
            "`add_cross_attention`",
        ),
        ({"model_type": "gpt2", "architectures": ["GPT2DoubleHeadsModel"]}, "`architectures`"),
    ],
)
def test_heads_that_are_not_known_are_said(changed: dict[str, Any], told: str) -> None:
    (said,) = model(SMALL_BERT | {"model_type": "bert", "n_positions": 64} | changed).unread
    assert told in said


SMALL_T5: dict[str, Any] = {
    "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4, "vocab_size": 100,
    "feed_forward_proj": "gated-gelu", "id2label": {"0": "a", "1": "b", "2": "c"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("model_type", "name", "params"),
    [
        ("t5", "T5EncoderModel", 88_768),
        ("umt5", "UMT5EncoderModel", 88_896),
        ("t5", "T5ForTokenClassification", 88_963),
    ],
)
def test_the_encoder_of_an_encoder_decoder_alone(model_type: str, name: str, params: int) -> None:
    """What torch counts of parameters: as sentence encoders and image generators have it, no decoder runs."""
    alone = model({**SMALL_T5, "model_type": model_type, "architectures": [name]})
    layers = 2 * (2 * 20 * (4 * 64 * 64 + 3 * 64 * 128) + 4 * 64 * 20 * 20)
    head = 2 * 20 * 64 * 3 if "Classification" in name else 0

    assert alone.params == params
    assert estimate(alone, Step.uniform(batch=1, q_tokens=20)).flops == layers + head
    assert alone.architecture.decoder is None


@pytest.mark.parametrize("name", ["BartForSequenceClassification", "BartForQuestionAnswering"])
def test_classes_that_run_both_stacks_otherwise_are_said(name: str) -> None:
    assert "`architectures`" in model({**BART, "architectures": [name]}).unread[0]
    assert not model({**BART, "architectures": ["BartModel"]}).unread
    whisper = load_model("whisper-large-v3").config
    assert model({**whisper, "architectures": ["WhisperForAudioClassification"]}).unread
