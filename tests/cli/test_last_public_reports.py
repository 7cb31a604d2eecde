"""More of what test_public_reports.py has: twelve reports, chosen before llmperf was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from tests.cli.run import MS, Cli, run
from tests.cli.test_public_reports import ALL_REDUCE, LLAMA, codes, lm_head, marked, pairs, phase, projections
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import TraceBuilder

US = 1_000
MIXTRAL = LLAMA | {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
EIGHT = '{"b":8,"q":2048,"kv":0,"logits":16384}'
GATHER = "ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
SCATTER = "ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
SEND = "ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)"


def message(report: dict[str, Any], code: str) -> str:
    return " ".join(str(one["message"]) for one in report["findings"] if one["code"] == code)


def trained(
    trace: TraceBuilder,
    model: dict[str, Any] | None = None,
    *,
    rank: int = 0,
    step: str = "",
    talk: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    **marks: object,
) -> None:
    """Two steps of 320 ms on a rank's GPU; `step`: mark of the forward; `talk`: what four layers of a phase send."""
    main = trace.gpu(rank).process(100 + rank).thread()
    if model is not None:
        mark = {"v": 1, "model": model, "rank": rank} | marks
        main.mark(0, f"llmperf.run {json.dumps(mark)}", domain="llmperf")
    at = MS
    for part, length in [("forward", 100), ("backward", 200), ("optimizer", 20)] * 2:
        end = at + length * MS
        main.push(at, end, part).launch(at + 2, gpu=(at + MS, end - 18 * MS), device=rank, name="nvjet_hsh_128x256")
        if part == "forward" and step:
            main.mark(at + 1, f"llmperf.step {step}", domain="llmperf")
        for number, name in enumerate(talk.get(part, ()) * 4):
            sent = end - (17 - number) * MS
            main.launch(at + 3 + number, gpu=(sent, sent + MS - 5), device=rank, name=name)
        at = end


# -- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("recorded", "tp"), [(8, 8), (1, 8), (8, None)])
def test_flops_of_a_tensor_parallel_gpt_are_shared_by_its_ranks(recorded: int, tp: int | None, cli: Cli) -> None:
    """GPT of two layers, 8 GPUs, 8 sequences of 2,048 tokens in 0.32 s; the trace has all ranks, one, or no degree."""
    width, tokens, vocabulary = 6144, 8 * 2048, 50_304
    config = {
        "model_type": "gpt2", "n_embd": width, "n_layer": 2, "n_head": 48, "n_positions": 2048,
        "vocab_size": vocabulary, "torch_dtype": "float16",
    }  # fmt: skip
    trace = TraceBuilder()
    for rank in range(recorded):
        reduced = {"forward": (ALL_REDUCE,), "backward": (ALL_REDUCE,)}
        marks = {"world": 8, "tp": 8} if tp else {}
        trained(trace, config if tp else None, rank=rank, talk=reduced, step=EIGHT if tp else "", **marks)

    report = cli.analyze(trace, *(() if tp else ("--model", cli.config(config), "--shape", "8x2048")))

    if tp is None:
        assert "parallel_degree_unknown" in codes(report)
        assert (report["training"]["flops"], report["training"]["mfu_busy"]) == (None, None)
        return
    layer = 2 * tokens * 12 * width**2 + 8 * 4 * width * pairs(2048)
    of_a_gpu = 3 * (2 * layer + 2 * tokens * width * vocabulary) / 8
    assert report["training"]["flops"] == 2 * recorded * of_a_gpu
    assert report["training"]["mfu_wall"] == pytest.approx(of_a_gpu / 0.32 / 989.4e12)
    assert report["training"]["tokens_per_s_per_gpu"] == pytest.approx(tokens / 8 / 0.32)
    assert ("ranks_missing" in codes(report)) == (recorded == 1)


@pytest.mark.parametrize("chosen", [1, 2, 4])
def test_a_token_trains_as_many_experts_as_it_chooses(chosen: int, cli: Cli) -> None:
    printed = cli.flops(MIXTRAL | {"num_experts_per_tok": chosen}, "--prompt-tokens", 100, "--train")

    # Queries, keys, values, output, router, and three matrices of each expert that a token chooses.
    layer = 512 * 64 * (8 + 2 * 2) + 512 * 512 + 512 * 8 + chosen * 3 * 512 * 1024
    forward = 4 * (2 * 100 * layer + 4 * 512 * pairs(100)) + 100 * lm_head(MIXTRAL)
    assert printed["train"]["step"]["flops"] == 3 * forward


@pytest.mark.parametrize(
    ("way", "is_told"),
    [("ring", True), ("ring", False), ("flex", True), ("fsdp", False)],
)
def test_tokens_of_split_sequences_count_once(way: str, is_told: bool, cli: Cli) -> None:
    """Two pairs of ranks: each pair has a sequence of 2,048 tokens, each rank half of it.

    Keys and values go round, or are gathered, as torch has it for flex attention, beside the weights of FSDP.
    FSDP alone is neither.
    """
    ways: dict[str, dict[str, tuple[str, ...]]] = {
        "ring": {"forward": (SEND,), "backward": (SEND,)},
        "flex": {"forward": (GATHER,) * 3, "backward": (GATHER, SCATTER, SCATTER, SCATTER)},
        "fsdp": {"forward": (GATHER,), "backward": (GATHER, SCATTER)},
    }
    trace = TraceBuilder()
    for rank in range(4):
        trained(trace, rank=rank, talk=ways[way])
    model = ("--model", cli.config(LLAMA), "--shape", "1x1024")

    report = cli.analyze(trace, *model, *(("--dp", 2, "--cp", 2) if is_told else ()))

    assert ("context_parallel_unknown" in codes(report)) == (not is_told and way != "fsdp")
    if is_told:
        sequence = projections(LLAMA, 2048) + 4 * 4 * 512 * pairs(2048) + 2048 * lm_head(LLAMA)
        assert report["training"]["tokens"] == 2 * 2 * 2048
        assert report["training"]["flops"] == 2 * 2 * 3 * sequence
        assert report["training"]["tokens_per_s_per_gpu"] == pytest.approx(1024 / 0.32)
    elif way != "fsdp":
        assert (report["training"]["tokens"], report["training"]["flops"]) == (None, None)


def test_wrappers_have_no_gpu_time_of_their_own(cli: Cli) -> None:
    """A softmax with a cast inside: 300 and 100 µs on the GPU, under three wrappers and two annotations."""
    trace = KinetoTrace()
    nested = [("softmax", 10, 60), ("to", 11, 30), ("_to_copy", 12, 29), ("copy_", 13, 28), ("_softmax", 31, 59)]
    for step in range(4):
        at = step * MS
        trace.annotation("decode", at, at + 900 * US)
        trace.annotation("auto_dtype", at + 5 * US, at + 800 * US)
        for name, start, end in nested:
            trace.op(f"aten::{name}", at + start * US, at + end * US, [[16, 8, 512, 512]])
        trace.launch(at + 14 * US, gpu=(at + 100 * US, at + 200 * US), name="elementwise_kernel")
        trace.launch(at + 33 * US, gpu=(at + 200 * US, at + 500 * US), name="softmax_warp_forward")
        trace.event("gpu_user_annotation", "decode", at + 100 * US, at + 500 * US, 0, 7)
        trace.event("gpu_user_annotation", "auto_dtype", at + 100 * US, at + 500 * US, 0, 7)

    report = cli.analyze(trace)

    own = {one["operator"]: one["gpu_self_ns"] for one in report["torch_operators"]}
    whole = {one["operator"]: one["gpu_time_ns"] for one in report["torch_operators"]}
    assert {name: time for name, time in own.items() if time} == {
        "aten::_softmax": 1200 * US, "aten::copy_": 400 * US,
    }  # fmt: skip
    assert (whole["aten::softmax"], whole["aten::to"]) == (1600 * US, 400 * US)
    assert sum(own.values()) == report["totals"]["kernel_time_ns"] == phase(report, "decode")["gpu_busy_ns"]


@pytest.mark.parametrize(
    ("options", "dtype", "peak"),
    [((), "bf16", 989.4), (("--peak", "bf16=1979"), "bf16", 1979), (("--peak", "bf16=1979"), "fp16", 989.4)],
)
def test_the_peak_that_is_asked_for_is_the_one_that_is_used(
    options: tuple[str, ...], dtype: str, peak: float, cli: Cli
) -> None:
    """The last: the peak of another dtype than the model's was asked for, and the line says which one was used."""
    config = LLAMA | {"torch_dtype": "bfloat16" if dtype == "bf16" else "float16"}
    trace = TraceBuilder()
    trained(trace, config, step='{"b":1,"q":4096,"kv":0,"logits":4096}')

    report = cli.analyze(trace, *options)
    _, out, _ = run(cli.capsys, "analyze", cli.folder / "trace.sqlite", "--no-cache", *options)
    rows, _ = cli.sql(trace, "SELECT mfu_wall FROM training_summary", *options)

    flops = 3 * (projections(LLAMA, 4096) + 4 * 4 * 512 * pairs(4096) + 4096 * lm_head(LLAMA))
    assert report["training"]["mfu_wall"] == pytest.approx(flops / 0.32 / (peak * 1e12))
    assert rows[0]["mfu_wall"] == pytest.approx(report["training"]["mfu_wall"])
    assert f"{peak:,.1f} TFLOP/s {dtype}" in out


# -- inference -------------------------------------------------------------------------------------------------------


def test_experts_of_like_prompts_are_no_uniform_choice(cli: Cli) -> None:
    """16 like sequences on two ranks. All choose the same two of eight experts, which are those of rank 0."""
    trace = TraceBuilder().gpu(0).gpu(1)
    mains = [trace.process(100 + rank).thread() for rank in (0, 1)]
    for step in range(6):
        at = step * 20 * MS
        for rank, main in enumerate(mains):
            main.push(at, at + 20 * MS, "decode")
            main.mark(at + 1, f'llmperf.step {{"b":16,"q":1,"kv":{64 + step},"logits":16}}', domain="llmperf")
            for layer in range(4):
                start = at + (1 + 4 * layer) * MS
                work = 2 * MS if rank == 0 else MS // 2
                main.launch(start, gpu=(start + 1, start + work), name="fused_moe_kernel", device=rank)
                end = start + (2 * MS if rank == 0 else MS // 2)
                main.launch(start + 9, gpu=(end, start + 3 * MS), name=ALL_REDUCE, device=rank)
    marked(trace, MIXTRAL, world=2, tp=2, ep=2)

    report = cli.analyze(trace)
    _, out, _ = run(cli.capsys, "analyze", cli.folder / "trace.sqlite", "--no-cache")

    # 8 of 8 experts are charged, as 16 unlike tokens would read; two of eight were.
    assert report["model"]["routing"] == "uniform"
    assert "weights of as many experts as uniform routing would choose" in " ".join(out.split())
    assert "uneven_experts" in codes(report)


@pytest.mark.parametrize("ranks", [("--ep", 8), ("--tp", 8, "--ep", 8), ("--tp", 8, "--ep", 4)])
def test_a_gpu_reads_its_share_of_the_experts(ranks: tuple[object, ...], cli: Cli) -> None:
    """Kimi K2 in 16 bits, a batch that meets all 384 experts: 2,029 GB of experts are 254 GB on each of eight GPUs."""
    config = {
        "model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18_432, "moe_intermediate_size": 2048,
        "num_hidden_layers": 61, "num_attention_heads": 64, "num_key_value_heads": 64, "q_lora_rank": 1536,
        "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "n_routed_experts": 384, "num_experts_per_tok": 8, "n_shared_experts": 1, "first_k_dense_replace": 1,
        "vocab_size": 163_840, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "n_group": 1, "topk_group": 1,
    }  # fmt: skip
    printed = cli.flops(config, "--batch", 1024, "--prompt-tokens", 128, *ranks)
    decode = printed["decode"]

    experts = 60 * 384 * 3 * 7168 * 2048 * 2
    counted = sum(
        one["weight_bytes"] for one in printed["ops"] if one["phase"] == "decode" and one["name"].startswith("experts_")
    )
    assert counted == pytest.approx(experts, rel=1e-6)
    # What is not an expert is whole on each GPU, or shared by all if --tp says so.
    shared = 8 if "--tp" in ranks else 1
    assert decode["gpu_bytes"] == pytest.approx(experts / 8 + (decode["bytes"] - experts) / shared, rel=1e-6)


def test_padding_before_a_short_prompt_is_none_of_its_tokens(cli: Cli) -> None:
    """Prompts of 3, 7 and 5 tokens that transformers runs as three of 7, and a step behind them."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    prompt, step = (
        '{"q":[3,7,5],"kv":0,"logits":3,"padded":[7,0,3]}',
        '{"q":1,"kv":[3,7,5],"b":3,"logits":3,"padded":[1,7,3]}',
    )
    for number, (name, mark) in enumerate([("prefill", prompt), ("decode", step)]):
        at = number * 10 * MS
        main.push(at, at + 10 * MS, name, domain="llmperf").launch(at + MS, gpu=(at + 2 * MS, at + 8 * MS))
        main.mark(at + 1, f"llmperf.step {mark}", domain="llmperf")
    marked(trace, LLAMA, source="auto")

    report = cli.analyze(trace)

    attention = 4 * 4 * 512
    prefill, decode = phase(report, "prefill"), phase(report, "decode")
    assert (prefill["tokens"], decode["tokens"]) == (15, 3)
    seen = pairs(3) + pairs(7) + pairs(5)
    assert prefill["flops"] == projections(LLAMA, 15) + attention * seen + 3 * lm_head(LLAMA)
    assert decode["flops"] == projections(LLAMA, 3) + attention * (4 + 8 + 6) + 3 * lm_head(LLAMA)
    assert "(6 of 21)" in message(report, "padding")


@pytest.mark.parametrize("annotated", [True, False])
def test_kernels_of_a_thread_without_cpu_events_are_not_lost(annotated: bool, cli: Cli) -> None:
    """vLLM's steps on a thread of Ray: of it the trace has launches alone, and annotations, if any, on another."""
    trace = KinetoTrace()
    trace.meta("thread_name", 4711, 77, name="thread 77 (python)")
    for step in range(6):
        at = step * MS
        if annotated:
            text = "execute_context_0(0)_generation_8(8)" if step else "execute_context_1(64)_generation_0(0)"
            trace.annotation(text, at, at + 900 * US)
        for number, name in enumerate(["nvjet_tst_64x8", "flash_fwd_splitkv_kernel", "reduce_kernel"]):
            start = at + (100 + 200 * number) * US
            trace.launch(at + (14 + 20 * number) * US, gpu=(start, start + 150 * US), name=name, tid=77)

    report = cli.analyze(trace)

    if annotated:
        assert (phase(report, "prefill")["gpu_busy_ns"], phase(report, "decode")["gpu_busy_ns"]) == (
            450 * US,
            2250 * US,
        )
        assert message(report, "other_thread").startswith("15 operations of decode were launched by threads")
    else:
        assert report["unattributed"]["reasons"] == {"no_range": {"count": 18, "time_ns": 2700 * US}}
        assert "no_nvtx" in codes(report)
    assert report["totals"]["kernel_time_ns"] == 2700 * US


@pytest.mark.parametrize(
    ("width", "depth", "attention_heads", "groups", "heads", "cache_mib"),
    [(5120, 64, 24, 4, 48, 16_384), (2048, 40, 16, 2, 32, 5120)],
)
def test_layers_with_a_state_have_no_cache_that_grows(
    width: int, depth: int, attention_heads: int, groups: int, heads: int, cache_mib: int, cli: Cli
) -> None:
    """Qwen3.6-27B, and the attention of 35B-A3B: 16 of 64 layers, and 10 of 40, cache 262,144 tokens."""
    config = {
        "model_type": "qwen3_5_text", "hidden_size": width, "num_hidden_layers": depth, "intermediate_size": 17_408,
        "num_attention_heads": attention_heads, "num_key_value_heads": groups, "head_dim": 256,
        "full_attention_interval": 4,
        "linear_num_key_heads": 16, "linear_num_value_heads": heads, "linear_key_head_dim": 128,
        "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "vocab_size": 248_320, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }  # fmt: skip
    decode = cli.flops(config, "--prompt-tokens", 262_144)["decode"]

    # A state is float32; what a convolution keeps of three tokens is in the model's 16 bits.
    state = depth * 3 // 4 * (heads * 128 * 128 * 4 + 3 * (2 * 16 + heads) * 128 * 2)
    assert decode["kv_read_bytes"] == cache_mib * 2**20 + state
