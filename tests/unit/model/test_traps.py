"""The mistakes that FLOP and byte counts of language models usually have, each as a test."""

from __future__ import annotations

import attrs
import pytest

from nsys_pipeline.model import Conventions, Estimator, Model, estimate, estimate_totals, load_model
from nsys_pipeline.model.blocks import distinct_experts
from nsys_pipeline.records import Step
from tests.unit.model.configs import FULL, decode, llama, mixtral, model, op_flops, op_weight_bytes, prefill


def test_llama_3_8b_has_the_totals_that_torch_counts() -> None:
    m = load_model("llama-3-8b")
    assert estimate(m, Step.uniform(batch=1, q_tokens=2048), FULL).flops == 30_787_376_250_880
    assert estimate(m, Step.uniform(batch=1, q_tokens=1, kv_tokens=2048), FULL).flops == 16_083_582_976


def test_a_multiply_add_is_two_flops() -> None:
    assert op_flops(prefill(llama(), 10), "down") == 3 * 2 * 10 * 96 * 64


def test_exact_causal_attention_charges_half_the_square_and_the_diagonal() -> None:
    exact = op_flops(prefill(llama(), 10), "attention")
    assert exact == 3 * 4 * 8 * 8 * (10 * 11 // 2)
    assert op_flops(prefill(llama(), 10, conventions=Conventions(attention="full")), "attention") == 3 * 4 * 64 * 100


def test_full_attention_overcounts_long_prompts_as_documented() -> None:
    full = Conventions(attention="full")
    for name, ratio in (("llama-3-8b", 1.38), ("gemma-3-4b", 2.1)):
        m, step = load_model(name), Step.uniform(batch=1, q_tokens=32768)
        assert estimate(m, step, full).flops / estimate(m, step).flops == pytest.approx(ratio, abs=0.06)


def test_gqa_has_smaller_k_and_v() -> None:
    qkv = op_flops(decode(llama(), 5), "qkv")
    assert qkv == 3 * 2 * 64 * (64 + 2 * 2 * 8)


def test_head_dim_of_its_own_is_not_width_over_heads() -> None:
    config = llama(head_dim=32)
    assert op_flops(decode(config, 5), "qkv") == 3 * 2 * 64 * (8 + 2 + 2) * 32
    assert op_flops(decode(config, 5), "o") == 3 * 2 * 64 * 8 * 32


def test_a_gated_mlp_has_three_matrices_and_a_plain_one_two() -> None:
    gated, plain = decode(llama(), 5), decode(llama(model_type="arcee"), 5)
    assert op_flops(gated, "gate_up") == 2 * op_flops(plain, "up")
    assert op_flops(gated, "down") == op_flops(plain, "down")


def test_a_tied_table_is_stored_once_and_charged_as_the_head() -> None:
    tied, untied = model(llama(tie_word_embeddings=True)), model(llama())
    assert untied.params - tied.params == 100 * 64
    result = decode(llama(tie_word_embeddings=True), 5)
    assert op_weight_bytes(result, "lm_head") == 100 * 64 * 2
    assert op_weight_bytes(result, "embed") == 64 * 2  # one row per token


def test_an_untied_table_is_read_by_rows_only() -> None:
    result, m = decode(llama(), 5), model(llama())
    assert result.weight_bytes == 2 * (m.params - 100 * 64 + 64)


def test_the_head_runs_on_the_last_token_or_on_all() -> None:
    last, everything = prefill(llama(), 10), prefill(llama(), 10, conventions=Conventions(logits="all"))
    assert op_flops(last, "lm_head") == 2 * 64 * 100
    assert op_flops(everything, "lm_head") == 10 * 2 * 64 * 100


@pytest.mark.parametrize(("name", "more"), [("llama-3-8b", 0.07), ("gemma-3-4b", 0.19)])
def test_all_logits_cost_as_much_more_as_documented(name: str, more: float) -> None:
    m, step = load_model(name), Step.uniform(batch=1, q_tokens=2048)
    last, everything = (Conventions(attention="full", logits=logits) for logits in ("last", "all"))
    ratio = estimate(m, step, everything).flops / estimate(m, step, last).flops - 1
    assert ratio == pytest.approx(more, abs=0.005)


def test_router_flops_count() -> None:
    assert op_flops(prefill(mixtral(), 10), "router") == 3 * 2 * 10 * 64 * 8


def test_expert_weights_are_the_expected_distinct_experts() -> None:
    assert distinct_experts(8, 2, 1) == pytest.approx(2)
    assert distinct_experts(8, 2, 4) == pytest.approx(8 * (1 - 0.75**4))
    assert distinct_experts(8, 2, 10_000) == pytest.approx(8)
    one_expert = 2 * 96 * 64 * 2
    touched = op_weight_bytes(decode(mixtral(), 5, batch=4), "experts_gate_up")
    assert touched == 3 * round(8 * (1 - 0.75**4) * one_expert)


def test_expert_weights_are_those_that_were_counted() -> None:
    """A routed layer of Mixtral reads three matrices of 4,096 x 14,336 for each expert that some token chose."""
    estimator = Estimator(load_model("mixtral-8x7b"))
    uniform = Step.uniform(batch=4, q_tokens=1, kv_tokens=64)
    counted = {experts: attrs.evolve(uniform, experts=experts) for experts in (2.0, 2.5, 8.0, 99.0)}
    one = 32 * 3 * 4096 * 14336 * 2
    assert estimator.estimate(counted[2.5]).weight_bytes - estimator.estimate(counted[2.0]).weight_bytes == one // 2
    assert estimator.estimate(counted[8.0]).weight_bytes - estimator.estimate(counted[2.0]).weight_bytes == 6 * one
    # no fewer than one token runs, and no more than there are
    few = attrs.evolve(uniform, experts=1.0)
    assert estimator.estimate(few).weight_bytes == estimator.estimate(counted[2.0]).weight_bytes
    assert estimator.estimate(counted[99.0]).weight_bytes == estimator.estimate(counted[8.0]).weight_bytes
    # and nothing else changes
    assert {estimator.estimate(step).flops for step in (uniform, *counted.values())} == {
        estimator.estimate(uniform).flops
    }
    # the sums that are kept for equal token counts are not kept for other counts of experts
    steps = [uniform, *counted.values()]
    assert estimator.totals(steps) == [estimator.estimate(step).totals for step in steps]


def test_dense_experts_run_all_of_them() -> None:
    routed, dense = decode(mixtral(), 5), decode(mixtral(), 5, conventions=Conventions(experts="dense"))
    assert op_flops(dense, "experts_down") == 4 * op_flops(routed, "experts_down")
    assert op_weight_bytes(dense, "experts_down") == 4 * op_weight_bytes(routed, "experts_down")


def test_a_shared_expert_has_a_size_of_its_own() -> None:
    config = llama(
        model_type="qwen2_moe",
        num_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=80,
    )
    result = decode(config, 5)
    assert op_flops(result, "shared_down") == 3 * 2 * 80 * 64
    assert op_flops(result, "shared_gate") == 3 * 2 * 64


def test_leading_layers_of_deepseek_are_dense() -> None:
    m = load_model("deepseek-v3")
    labels = {op.layer: op.layers for op in estimate(m, Step.uniform(batch=1, q_tokens=1)).ops}
    assert (labels["layers.dense"], labels["layers.moe"]) == (3, 58)


def test_sliding_layers_keep_no_more_than_their_window() -> None:
    config = llama(model_type="mistral", sliding_window=4)
    long, short = decode(config, 1000), decode(config, 3)
    assert op_flops(long, "attention") == op_flops(short, "attention") == 3 * 4 * 64 * 4
    assert long.kv_read_bytes == 3 * 3 * 2 * 2 * 8 * 2  # three cached tokens; the fourth key is the new token's
    assert long.kv_write_bytes == 3 * 2 * 2 * 8 * 2


@pytest.mark.parametrize(("mla", "gigaflops"), [("cached", 83.5), ("absorbed", 108.1), ("reexpand", 4275)])
def test_deepseek_v3_decode_depends_on_what_the_cache_holds(mla: str, gigaflops: float) -> None:
    m = load_model("deepseek-v3")
    result = estimate(m, Step.uniform(batch=1, q_tokens=1, kv_tokens=2048), Conventions(mla=mla))
    assert result.flops / 1e9 == pytest.approx(gigaflops, abs=0.5 if mla == "reexpand" else 0.05)


def test_latents_are_what_deepseek_v3_caches() -> None:
    m, step = load_model("deepseek-v3"), Step.uniform(batch=1, q_tokens=1, kv_tokens=2048)
    assert estimate(m, step).kv_read_bytes == 61 * 2048 * (512 + 64) * 2
    assert estimate(m, step, Conventions(mla="cached")).kv_read_bytes == 61 * 2048 * 128 * (192 + 128) * 2


def test_absorbing_never_costs_a_prompt_more_than_expanding() -> None:
    m, step = load_model("deepseek-v3"), Step.uniform(batch=1, q_tokens=512)
    absorbed, cached = (estimate(m, step, Conventions(mla=mla)).flops for mla in ("absorbed", "cached"))
    assert absorbed == cached


def test_chunked_prefill_adds_up_to_the_whole_prompt() -> None:
    m = model(llama())
    whole = estimate(m, Step.uniform(batch=1, q_tokens=96, logits=0)).flops
    chunks = [estimate(m, Step.uniform(batch=1, q_tokens=32, kv_tokens=done, logits=0)).flops for done in (0, 32, 64)]
    assert sum(chunks) == whole


def test_a_ragged_batch_is_the_sum_of_its_sequences() -> None:
    m = model(llama())
    parts = [(7, 0), (1, 30), (1, 31), (4, 12)]
    ragged = estimate(m, Step.ragged([q for q, _ in parts], [kv for _, kv in parts]))
    alone = [estimate(m, Step.ragged([q], [kv])) for q, kv in parts]
    assert ragged.flops == sum(one.flops for one in alone)
    assert ragged.kv_read_bytes == sum(one.kv_read_bytes for one in alone)
    assert ragged.kv_write_bytes == sum(one.kv_write_bytes for one in alone)


@pytest.mark.parametrize("name", ["llama-3-8b", "deepseek-v3", "gemma-3-4b", "gpt-oss-20b", "qwen3-next-80b-a3b"])
def test_totals_of_many_steps_equal_their_estimates(name: str) -> None:
    m = load_model(name)
    steps = [Step.uniform(batch=2, q_tokens=1, kv_tokens=context) for context in (1, 100, 1023, 5000)]
    steps += [Step.ragged([3, 1], [0, 9], 2), Step.uniform(batch=2, q_tokens=64)]
    for step, totals in zip(steps, estimate_totals(m, steps), strict=True):
        assert totals == estimate(m, step).totals


def test_no_token_costs_nothing() -> None:
    result = estimate(model(mixtral()), Step.ragged([], [], 0))
    assert (result.flops, result.bytes) == (0, 0)


def test_deepseek_v3_takes_less_than_fifty_milliseconds() -> None:
    import time

    config = load_model("deepseek-v3").config
    started = time.perf_counter()
    estimate(Model.from_config(config), Step.uniform(batch=8, q_tokens=1, kv_tokens=4096)).flops  # noqa: B018
    assert time.perf_counter() - started < 0.05


def test_an_estimator_remembers_what_depends_on_the_token_count_alone() -> None:
    estimator = Estimator(model(llama()))
    first, second = (estimator.estimate(Step.uniform(batch=1, q_tokens=1, kv_tokens=kv)) for kv in (8, 9))
    assert first.flops < second.flops
    assert [op for op in first.ops if op.kind == "gemm"] == [op for op in second.ops if op.kind == "gemm"]
