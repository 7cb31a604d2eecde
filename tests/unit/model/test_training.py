"""Training FLOPs against torch's count of transformers' code, forward and backward, and by hand."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nsys_pipeline.errors import UsageError
from nsys_pipeline.model import Conventions, Model, estimate, load_model
from nsys_pipeline.model.training import Training, adamw_bytes, training_flops
from nsys_pipeline.records import Step
from nsys_pipeline.workload.trained import trained_fields
from tests.cli.run import run
from tests.unit.model.configs import llama, mixtral, model, read_json
from tests.unit.model.test_formats import deepseek

SMALL = read_json("small_configs.json")
#: Every key that the eager implementation multiplies, as torch counts.
EXECUTED = Conventions(attention="full", count="executed")
BATCH, TOKENS = 2, 9
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None,
    reason="needs torch and transformers (extra `verify`)",
)
#: Dense, windowed (and tied), experts, latents, norms on heads.
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": llama(),
    "gemma2": {**SMALL["gemma2"], "sliding_window": 4},
    "mixtral": mixtral(),
    "deepseek_v3": deepseek(),
    "qwen3": SMALL["qwen3"],
}
#: Queries, keys and values in one module, gate and up in another.
FUSED = {"phi3": SMALL["phi3"]}


def counted(
    config: dict[str, Any],
    *,
    shape: tuple[int, int] = (BATCH, TOKENS),
    train_only: str | None = None,
    is_checkpointed: bool = False,
    prepare: Callable[[Any], None] | None = None,
) -> tuple[int, int]:
    """FLOPs of forward and backward by FlopCounterMode, eager attention on the CPU: SDPA there counts none."""
    import torch
    import transformers
    from torch.utils.flop_counter import FlopCounterMode

    def grouped(a_shape: Any, b_shape: Any, *_args: Any, **_kwargs: Any) -> int:
        return int(2 * a_shape[0] * a_shape[1] * b_shape[-1])

    mapping = {torch.ops.aten._grouped_mm: grouped}
    fallback = getattr(torch.ops, "transformers", None)
    if fallback is not None and hasattr(fallback, "grouped_mm_fallback"):
        mapping[fallback.grouped_mm_fallback] = grouped
    transformers.logging.set_verbosity_error()
    fields = {key: value for key, value in config.items() if key != "torch_dtype"}
    hf_config = transformers.AutoConfig.for_model(**fields)
    hf_config.pad_token_id = 1
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = transformers.AutoModelForCausalLM.from_config(
            hf_config, dtype=torch.float32, attn_implementation="eager"
        ).train()
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(train_only is None or bool(re.search(train_only, name)))
        if prepare is not None:
            prepare(module)
        if is_checkpointed:
            module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
            if train_only is not None or prepare is not None:
                module.enable_input_require_grads()
        ids = torch.zeros(*shape, dtype=torch.long)
        with FlopCounterMode(display=False, custom_mapping=mapping) as forward:
            output = module(input_ids=ids, use_cache=False)
        with FlopCounterMode(display=False, custom_mapping=mapping) as backward:
            output.logits.sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()


def estimated(config: dict[str, Any], *, shape: tuple[int, int] = (BATCH, TOKENS), **options: Any) -> Training:
    return training_flops(model(config), Step.uniform(batch=shape[0], q_tokens=shape[1]), EXECUTED, **options)


@needs_torch
@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_that_trains_everything_equals_torchs_count(name: str) -> None:
    forward, backward = counted(CONFIGS[name])
    result = estimated(CONFIGS[name])
    assert (result.forward, result.backward, result.recomputed) == (forward, backward, 0)
    assert result.backward == 2 * result.forward
    _, with_recomputed = counted(CONFIGS[name], is_checkpointed=True)
    again = estimated(CONFIGS[name], checkpointing="full")
    assert again.backward + again.recomputed == with_recomputed
    assert again.step == forward + with_recomputed


FROZEN = [
    ("llama", "q_proj"), ("llama", r"k_proj|v_proj"), ("llama", r"layers\.1\.mlp"), ("llama", "norm"),
    ("llama", "embed_tokens"), ("llama", "lm_head"), ("llama", r"layers\.2\.self_attn\.o_proj"),
    ("llama", r"layers\.0\.post_attention_layernorm"), ("llama", r"up_proj\.weight$"),
    ("gemma2", "embed_tokens"), ("gemma2", "down_proj"),
    ("mixtral", "v_proj"), ("mixtral", "experts"), ("mixtral", r"layers\.1\..*gate\."),
    ("deepseek_v3", "kv_b_proj"), ("deepseek_v3", "q_a_proj"), ("deepseek_v3", "shared_experts"),
    ("deepseek_v3", r"layers\.0\.mlp\.gate_proj"),
    ("qwen3", "q_norm"), ("qwen3", "o_proj"),
    # `embed_out` is the head of other models.
    ("llama", "embed"),
]  # fmt: skip


@needs_torch
@pytest.mark.parametrize(("name", "train_only"), FROZEN)
def test_frozen_weights_save_what_torch_saves(name: str, train_only: str) -> None:
    result = estimated(CONFIGS[name], train_only=train_only)
    assert (result.forward, result.backward) == counted(CONFIGS[name], train_only=train_only)
    assert result.backward < 2 * result.forward


@needs_torch
@pytest.mark.parametrize(
    ("name", "train_only"),
    [
        # Entries of 128 tokens, which no sequence has: nothing reads what they are made of.
        ("deepseek_v4+sliding", "embed"),
        # The norm of a layer is behind the point at which its streams are collapsed.
        ("deepseek_v4", r"layers\.0\..*(norm)"),
        # A gate on the output of attention, and streams that the MLP collapses.
        ("hy_v4", "gate_proj|up_proj"),
        # Keys and values of another layer; streams that a layer predicts and corrects.
        ("gemma4_text+shared", "v_proj"), ("gemma3n_text", "q_proj|k_proj"),
        # `shared_experts` are experts of other models.
        ("flint", "experts"),
        # An MLP in parallel with the attention reads nothing that comes of it: one norm for both, or one for each.
        ("cohere2_moe", r"self_attn\.\w_proj"), ("phi", r"self_attn\."), ("gptj", r"attn\."),
        ("gpt_neox", r"query_key_value"), ("gpt_neox", r"input_layernorm"), ("gpt_neox", r"post_attention_layernorm"),
    ],
)  # fmt: skip
def test_gradients_go_where_torch_sends_them(name: str, train_only: str) -> None:
    shape = (3, 13)
    result = estimated(SMALL[name], shape=shape, train_only=train_only)
    assert (result.forward, result.backward) == counted(SMALL[name], shape=shape, train_only=train_only)


@needs_torch
def test_torch_counts_more_for_depthwise_convolutions() -> None:
    # given convolutions over 3 positions of 64 channels, in four of six layers
    shape, config = (3, 13), SMALL["lfm2"]
    convolutions = config["num_hidden_layers"] - len(config["full_attn_idxs"])
    charged, padded = (convolutions * 2 * 3 * 3 * 64 * positions for positions in (13, 13 + 2))
    result = estimated(config, shape=shape)
    forward, backward = counted(config, shape=shape)
    assert result.forward - charged + padded == forward
    assert result.backward - 2 * charged + (64 + 1) * padded == backward


@needs_torch
def test_reentrant_checkpointing_loses_gradients_of_shared_keys_and_values() -> None:
    # given a windowed and a full layer that reuse K and V: 8 heads of 16 and 24 values
    shape = (3, 13)
    result = estimated(SMALL["gemma4_text+shared"], shape=shape, checkpointing="full")
    _, backward = counted(SMALL["gemma4_text+shared"], shape=shape, is_checkpointed=True)
    assert result.backward + result.recomputed - backward == 2 * 2 * 3 * 8 * 13 * 13 * (16 + 24)


@needs_torch
@pytest.mark.parametrize("train_only", ["q_proj", r"layers\.1\.mlp"])
def test_checkpointing_passes_gradients_down_to_the_embeddings(train_only: str) -> None:
    result = estimated(CONFIGS["llama"], train_only=train_only, checkpointing="full")
    _, backward = counted(CONFIGS["llama"], train_only=train_only, is_checkpointed=True)
    assert result.backward + result.recomputed == backward


def with_adapters(
    rank: int,
    targets: tuple[str, ...] | None = None,
    *,
    names: tuple[str, str] = ("down", "up"),
    below: str = "layers",
) -> Callable[[Any], None]:
    """Put a LoRA adapter beside linear layers of the blocks but routers, all or `targets`; freeze the rest.

    `names`: of its two products; the layer itself is `base_layer`, as PEFT has it. `below`: a word in the path of
    the layers.
    """

    def prepare(module: Any) -> None:
        import torch

        class Adapted(torch.nn.Module):  # type: ignore[misc]
            def __init__(self, base: Any) -> None:
                super().__init__()
                self.base_layer = base
                self.add_module(names[0], torch.nn.Linear(base.in_features, rank, bias=False))
                self.add_module(names[1], torch.nn.Linear(rank, base.out_features, bias=False))

            def forward(self, x: Any) -> Any:
                down, up = (getattr(self, name) for name in names)
                return self.base_layer(x) + up(down(x))

        module.requires_grad_(False)
        for parent, name, linear in list(linears(module, below)):
            if targets is None or name in targets:
                setattr(parent, name, Adapted(linear))

    return prepare


def linears(module: Any, below: str) -> Iterator[tuple[Any, str, Any]]:
    import torch

    for path, parent in module.named_modules():
        for name, child in parent.named_children():
            if type(child) is torch.nn.Linear and below in f"{path}.{name}" and name != "gate":
                yield parent, name, child


@needs_torch
@pytest.mark.parametrize("name", ["llama", "mixtral", "deepseek_v3"])
@pytest.mark.parametrize("is_checkpointed", [False, True])
def test_adapters_cost_what_torch_counts(name: str, is_checkpointed: bool) -> None:
    forward, backward = counted(CONFIGS[name], prepare=with_adapters(4), is_checkpointed=is_checkpointed)
    result = estimated(CONFIGS[name], lora_rank=4, checkpointing="full" if is_checkpointed else "none")
    assert (result.forward, result.backward + result.recomputed) == (forward, backward)


@needs_torch
@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("llama", ("q_proj", "v_proj")),
        ("llama", ("down_proj",)),
        ("mixtral", ("k_proj", "o_proj")),
        ("qwen3", ("up_proj",)),
        ("phi3", ("qkv_proj",)),
        ("phi3", ("gate_up_proj",)),
    ],
)
def test_adapters_of_some_modules_cost_what_torch_counts(name: str, targets: tuple[str, ...]) -> None:
    config = {**CONFIGS, **FUSED}[name]
    forward, backward = counted(config, prepare=with_adapters(4, targets))
    result = estimated(config, lora_rank=4, lora_on=rf"({'|'.join(targets)})\.weight$")
    assert (result.forward, result.backward) == (forward, backward)


def unloaded(config: dict[str, Any]) -> Any:
    """The model of `config` in transformers, without memory for its weights."""
    import torch
    import transformers

    fields = {key: value for key, value in config.items() if key != "torch_dtype"}
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**fields))


@needs_torch
@pytest.mark.parametrize(
    ("name", "beside"), [("llama", "lm_head"), ("llama", r"embed_tokens|lm_head"), ("qwen3", r"layers\.1\..*up_proj")]
)
def test_weights_that_are_trained_with_adapters_count(name: str, beside: str) -> None:
    """PEFT's `modules_to_save`, whose copies go by names of their own."""

    def prepare(module: Any) -> None:
        with_adapters(4, ("q_proj",), names=("lora_A", "lora_B"))(module)
        for weight, parameter in module.named_parameters():
            parameter.requires_grad_(parameter.requires_grad or bool(re.search(beside, weight)))

    forward, backward = counted(CONFIGS[name], prepare=prepare)
    module = unloaded(CONFIGS[name])
    prepare(module)
    said = trained_fields(module)
    result = estimated(CONFIGS[name], **said)
    assert (result.forward, result.backward) == (forward, backward)
    named = {
        weight.replace("lm_head.", "lm_head.modules_to_save.default."): parameter
        for weight, parameter in module.named_parameters()
    }
    module.named_parameters = named.items
    assert trained_fields(module) == said


@needs_torch
@pytest.mark.parametrize(("name", "train_only"), FROZEN)
def test_a_program_says_itself_which_weights_it_trains(name: str, train_only: str) -> None:
    module = unloaded(CONFIGS[name])
    for weight, parameter in module.named_parameters():
        parameter.requires_grad_(bool(re.search(train_only, weight)))
    said = trained_fields(module)
    assert estimated(CONFIGS[name], **said) == estimated(CONFIGS[name], train_only=train_only)
    # Marks are texts of NVTX.
    assert len(said["train_only"]) < 200


@needs_torch
@pytest.mark.parametrize(("name", "targets"), [("llama", ("q_proj", "v_proj")), ("llama", None), ("mixtral", None)])
def test_a_program_says_itself_where_its_adapters_are(name: str, targets: tuple[str, ...] | None) -> None:
    module = unloaded(CONFIGS[name])
    with_adapters(8, targets, names=("lora_A", "lora_B"))(module)
    expected: dict[str, Any] = {} if targets is None else {"lora_on": "|".join(targets)}
    said = trained_fields(module)
    assert said["lora_rank"] == 8
    assert estimated(CONFIGS[name], **said) == estimated(CONFIGS[name], lora_rank=8, **expected)


@needs_torch
@pytest.mark.parametrize("part", ["vision_tower", "multi_modal_projector"])
def test_what_is_trained_beside_the_decoder_means_none_of_its_weights(part: str) -> None:
    import torch
    import transformers

    config = read_json("tower_configs.json")["llava"]["config"]
    with torch.device("meta"):
        module = transformers.AutoModelForImageTextToText.from_config(transformers.AutoConfig.for_model(**config))
    for weight, parameter in module.named_parameters():
        parameter.requires_grad_(part in weight)
    assert estimated(config, **trained_fields(module)).backward == 0


@needs_torch
def test_a_program_that_trains_all_or_nothing_says_nothing() -> None:
    module = unloaded(CONFIGS["llama"])
    assert trained_fields(module) == {}
    assert trained_fields(module.requires_grad_(False)) == {}


def test_the_step_of_a_published_model_by_hand() -> None:
    # Llama-3-8B, 2 x 2048 tokens: 2 FLOPs per weight of layers and head and token, and causal attention.
    tokens, weights, pairs = 4096, 32 * 218_103_808 + 525_336_576, 2 * 2048 * 2049 // 2
    forward = 2 * tokens * weights + 4 * 32 * 128 * 32 * pairs
    result = training_flops(load_model("llama-3-8b"), Step.uniform(batch=2, q_tokens=2048), checkpointing="full")
    assert result.forward == forward
    assert result.backward == 2 * forward
    assert result.recomputed == forward - 2 * tokens * 525_336_576
    assert (result.required, result.step) == (3 * forward, 3 * forward + result.recomputed)
    assert {phase: sum(flops.values()) for phase, flops in result.by_phase().items()} == {
        "forward": forward, "backward": 2 * forward, "optimizer": 0, "step": 3 * forward,
    }  # fmt: skip


def test_trained_parameters() -> None:
    m, step = load_model("llama-3-8b"), Step.uniform(batch=1, q_tokens=8)
    assert training_flops(m, step).trained_params == m.params
    assert training_flops(m, step, lora_rank=16).trained_params == 41_943_040  # what PEFT prints for all-linear
    assert training_flops(m, step, train_only="q_proj").trained_params == 32 * 4096 * 4096
    assert training_flops(m, step, train_only="k_proj").trained_params == 32 * 4096 * 1024
    assert training_flops(m, step, train_only="norm").trained_params == 65 * 4096
    assert training_flops(m, step, train_only="embed_tokens|lm_head").trained_params == 2 * 128256 * 4096
    experts = training_flops(load_model("mixtral-8x7b"), step, train_only="experts").trained_params
    assert experts == 32 * 8 * 3 * 4096 * 14336


@pytest.mark.parametrize(
    ("name", "train_only"),
    [
        ("nemotron", "embed"), ("qwen2_moe", "experts"), ("qwen3_next", "experts"), ("llama4_text", "shared"),
        ("granitemoehybrid", "down_proj"), ("phi3", "qkv"), ("laguna", "gate_proj"), ("gpt_neox", "embed"),
        ("lfm2_moe", "up_proj"), ("deepseek_v4", r"compressor\.kv_proj"), ("falcon", "dense_4h"), ("minimax", "expert"),
    ],
)  # fmt: skip
@needs_torch
def test_an_expression_means_what_it_means_in_transformers(name: str, train_only: str) -> None:
    named = unloaded(SMALL[name]).named_parameters()
    weights = sum(value.numel() for key, value in named if re.search(train_only, key) and value.ndim > 1)
    described = Model.from_config(SMALL[name])
    found = training_flops(described, Step.uniform(batch=1, q_tokens=4), train_only=train_only).trained_params
    assert found == weights


def test_the_optimizer_moves_what_it_keeps_for_each_weight() -> None:
    assert adamw_bytes(10, "bf16") == 10 * 2 * (4 + 3)
    assert adamw_bytes(10, "fp32") == 10 * 4 * 7
    # Mixed precision: gradient, both moments and the fp32 copy are read; both moments, the weight and the copy written.
    mixed = adamw_bytes(10, "bf16", gradient="bf16", moment="fp32", master="fp32")
    assert mixed == 10 * (2 + 4 + 4 + 4 + 4 + 4 + 2 + 4)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_decoder_trains_at_twice_its_forward(name: str) -> None:
    described = Model.from_config(SMALL[name])
    if described.architecture.decoder is None or described.architecture.encoder is not None:
        return
    # As many tokens as an entry of DeepSeek-V4 has.
    step = Step.uniform(batch=1, q_tokens=130, logits=130)
    result = training_flops(described, step)
    forward = estimate(described, step, Conventions(logits="all"))
    choices = sum(
        op.total_flops_model for op in forward.ops if op.name.startswith("index_") and op.kind in ("gemm", "attention")
    )
    assert result.forward == forward.flops
    assert result.backward == 2 * (forward.flops - choices)
    assert result.recomputed == 0
    assert dict(result.forward_by_dtype) == forward.flops_by_dtype


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_only": "nonesuch"}, "finds no weight"),
        ({"train_only": "("}, "no regular expression"),
        ({"train_only": "q_proj", "lora_rank": 4}, "not both"),
        ({"checkpointing": "some"}, "`some` is not known"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        training_flops(model(llama()), Step.uniform(batch=1, q_tokens=4), **options)


def test_a_tied_head_goes_by_the_name_of_the_table() -> None:
    tied = llama(tie_word_embeddings=True)
    with pytest.raises(UsageError, match="finds no weight"):
        estimated(tied, train_only="lm_head")
    assert estimated(tied, train_only="embed_tokens").trained_params == 100 * 64


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    code, out, err = run(capsys, "flops", *argv, "--format", "json")
    assert (code, err) == (0, "")
    data: dict[str, Any] = json.loads(out)
    return data


def test_the_command_prints_forward_backward_recomputed_and_step(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ("llama-3-8b", "--train", "--batch", "2", "--prompt-tokens", "2048", "--checkpointing", "full")
    data = answer(capsys, *argv)
    train = {part: numbers.get("flops") for part, numbers in data["train"].items()}
    assert train["backward"] == 2 * train["forward"]
    assert train["step"] == train["forward"] + train["backward"] + train["recomputed"]
    assert data["train"]["step"]["required_flops"] == 3 * train["forward"]
    assert data["train"]["optimizer"]["bytes"] == 14 * data["params"]
    assert sum(op["flops"] for op in data["ops"]) == train["forward"]
    code, text, _ = run(capsys, "flops", *argv)
    assert code == 0
    assert "checkpointing full; trained: all" in " ".join(text.split())
    assert math.isclose(train["recomputed"] / train["forward"], 0.932, abs_tol=5e-4)
    assert "0.932" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--train", "--context", "5"), "--context is about inference"),
        (("--train", "--gpu", "H100 SXM"), "--gpu is about inference"),
        (("--checkpointing", "full"), "--checkpointing is about training"),
        (("--lora", "8"), "--lora is about training"),
    ],
)
def test_options_of_the_other_question_are_refused(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], message: str
) -> None:
    code, out, err = run(capsys, "flops", "llama-3-8b", "--prompt-tokens", "8", *argv)
    assert (code, out) == (2, "")
    assert message in err
