"""What other people's tools got wrong, as public reports tell it: the smallest input of each kind, answered by hand.

docs/public-reports.md has the link and the verdict of each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.hardware import find_gpu
from nsys_pipeline.model import load_model
from tests.cli.run import MS, Cli, run
from tests.support.kineto import KinetoTrace, Raw
from tests.support.trace_builder import TraceBuilder

TESTS = Path(__file__)
DOCUMENT = TESTS.resolve().parents[2] / "docs" / "public-reports.md"
LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 1000, "max_position_embeddings": 4096,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"


def decode_of_torch() -> KinetoTrace:
    """A decode step of 90 µs with a kernel of 25."""
    trace = KinetoTrace()
    trace.annotation("decode", 0, 90_000)
    trace.launch(10_000, gpu=(20_000, 45_000))
    return trace


def phase(report: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [one for one in report["phases"] if one["name"] == name]
    return dict(found)


def codes(report: dict[str, Any]) -> set[str]:
    return {one["code"] for one in report["findings"]}


def test_every_report_has_its_row_and_every_row_its_test() -> None:
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| [")]
    named = [row.rpartition("`test_")[2].partition("`")[0] for row in rows]
    tests = {
        line[len("def test_") :].partition("(")[0]
        for file in TESTS.parent.glob("test_*public_reports.py")
        for line in file.read_text().splitlines()
        if line.startswith("def test_")
    }

    assert len(rows) >= 12
    assert set(named) == tests - {"every_report_has_its_row_and_every_row_its_test"}
    assert len({row.partition("](")[2].partition(")")[0] for row in rows}) == len(rows)


# -- FLOPs and bytes -------------------------------------------------------------------------------------------------


def projections(config: dict[str, Any], tokens: int) -> int:
    """FLOPs of the products of all layers of a dense model: queries, keys, values, output, and three of the MLP."""
    width, heads, groups = config["hidden_size"], config["num_attention_heads"], config["num_key_value_heads"]
    head = config.get("head_dim") or width // heads
    attention = width * head * (heads + 2 * groups) + heads * head * width
    return int(2 * tokens * config["num_hidden_layers"] * (attention + 3 * width * config["intermediate_size"]))


def all_layers(config: dict[str, Any], tokens: int, seen: int) -> int:
    """FLOPs of all layers of a dense model whose heads are as wide as the model; `seen`: pairs of a query and a key."""
    return projections(config, tokens) + 4 * int(config["num_hidden_layers"]) * seen * int(config["hidden_size"])


def lm_head(config: Mapping[str, Any]) -> int:
    """FLOPs of the only position whose logits a prefill needs."""
    return int(2 * config["hidden_size"] * config["vocab_size"])


def pairs(tokens: int, window: int | None = None) -> int:
    """Pairs of a query and a key that causal attention computes."""
    return sum(min(position + 1, window or tokens) for position in range(tokens))


def test_sliding_windows_and_grouped_queries(cli: Cli) -> None:
    layers = ["sliding_attention"] * 3 + ["full_attention"]
    config = LLAMA | {"model_type": "olmo3", "sliding_window": 64, "layer_types": layers}

    attention = 4 * 8 * 64 * (3 * pairs(256, 64) + pairs(256))

    assert cli.prefill(config, "--prompt-tokens", 256) == projections(config, 256) + attention + lm_head(config)


def test_a_width_of_the_mlp_that_is_not_four_times_the_model(cli: Cli) -> None:
    config = LLAMA | {"intermediate_size": 1376}

    attention = 4 * 4 * 8 * 64 * pairs(100)

    assert cli.prefill(config, "--prompt-tokens", 100) == projections(config, 100) + attention + lm_head(config)


def test_heads_that_are_wider_than_the_model(cli: Cli) -> None:
    tokens = 196_608
    config = load_model("qwen3-235b-a22b").config
    width, layers, heads, head = 4096, 94, 64, 128
    products = width * head * (heads + 2 * 4) + heads * head * width + 128 * width + 8 * 3 * width * 1536

    flops = layers * (2 * tokens * products + 4 * heads * head * (tokens * (tokens + 1) // 2)) + lm_head(config)

    assert cli.prefill("qwen3-235b-a22b", "--prompt-tokens", tokens) == flops


def test_a_table_of_embeddings_is_no_product(cli: Cli) -> None:
    tied = cli.flops(LLAMA | {"tie_word_embeddings": True}, "--prompt-tokens", 100)
    untied = cli.flops(LLAMA, "--prompt-tokens", 100)

    assert tied["prefill"]["flops"] == untied["prefill"]["flops"]
    assert untied["params"] - tied["params"] == 512 * 1000


def test_experts_have_a_width_of_their_own(cli: Cli) -> None:
    tokens, width, heads, layers = 100, 2048, 16, 27
    latent = width * heads * 192 + width * (512 + 64) + 512 * heads * (128 + 128) + heads * 128 * width
    attention = 2 * heads * (192 + 128) * pairs(tokens)
    dense, experts = 3 * width * 10_944, width * 64 + 3 * width * 1408 * (6 + 2)

    flops = layers * (2 * tokens * latent + attention) + 2 * tokens * (dense + 26 * experts) + 2 * width * 102_400

    assert cli.prefill("deepseek-v2-lite", "--prompt-tokens", tokens) == flops


def test_gates_of_attention_and_layers_with_a_state(cli: Cli) -> None:
    flops = {
        (one["layer"], one["name"]): one["flops"]
        for one in cli.flops("qwen3-next-80b-a3b", "--prompt-tokens", 100)["ops"]
        if one["phase"] == "prefill"
    }

    # Queries and their gates, 16 heads of 256 each; keys and values of 2.
    assert flops["layers.full.moe", "qkv"] == 12 * 2 * 100 * 2048 * (2 * 16 + 2 * 2) * 256
    # Queries and keys of 16 heads, values and gates of 32, all of 128.
    assert flops["layers.linear.moe", "in_proj_qkvz"] == 36 * 2 * 100 * 2048 * (2 * 16 + 2 * 32) * 128


def test_attention_in_chunks(cli: Cli) -> None:
    tokens, width, heads, groups, head = 16_384, 5120, 40, 8, 128
    products = width * head * (heads + 2 * groups) + heads * head * width + 16 * width + 2 * 3 * width * 8192
    # Every fourth of 48 layers attends to all; the others inside two chunks of 8,192.
    attention = 4 * heads * head * (36 * 2 * (8192 * 8193 // 2) + 12 * (tokens * (tokens + 1) // 2))

    flops = 48 * 2 * tokens * products + attention + 2 * width * 202_048

    assert cli.prefill("llama-4-scout", "--prompt-tokens", tokens) == flops


def test_chunks_of_a_prompt_attend_to_what_is_cached(cli: Cli) -> None:
    whole = cli.prefill(LLAMA, "--prompt-tokens", 1024)

    chunks = [cli.prefill(LLAMA, "--prompt-tokens", 256, "--cached-tokens", cached) for cached in (0, 256, 512, 768)]

    assert sum(chunks) == whole + 3 * lm_head(LLAMA)
    assert chunks == sorted(chunks)
    assert len(set(chunks)) == 4


def test_sequences_of_other_lengths_are_not_padded(cli: Cli) -> None:
    both = cli.prefill(LLAMA, "--prompt-tokens", "100,300")

    assert both == cli.prefill(LLAMA, "--prompt-tokens", 100) + cli.prefill(LLAMA, "--prompt-tokens", 300)
    assert both < cli.prefill(LLAMA, "--batch", 2, "--prompt-tokens", 300)


def test_frozen_weights_have_no_gradients(cli: Cli) -> None:
    full = cli.flops("llama-3-70b", "--prompt-tokens", 4096, "--train")["train"]["step"]["flops"]
    adapters = cli.flops("llama-3-70b", "--prompt-tokens", 4096, "--train", "--lora", 16)["train"]["step"]["flops"]

    # Two thirds, and what attention and the adapters add.
    assert 2 / 3 < adapters / full < 0.7


def test_experts_that_a_small_batch_reads(cli: Cli) -> None:
    experts = [
        one
        for one in cli.flops("mixtral-8x7b", "--batch", 3, "--prompt-tokens", 16)["ops"]
        if one["phase"] == "decode" and one["name"] in ("experts_gate_up", "experts_down")
    ]

    # Two of eight for each of three tokens: 4.625 experts on average, not 6 and not 8.
    expected = 8 * (1 - (1 - 2 / 8) ** 3) * 3 * 4096 * 14_336 * 2 * 32
    assert sum(one["weight_bytes"] for one in experts) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "bf16"),
    [("NVIDIA H100 80GB HBM3", 989.4), ("NVIDIA H100 PCIe", 756), ("NVIDIA H100 NVL", 835.5), ("NVIDIA H200", 989.5)],
)
def test_peaks_are_without_sparsity(name: str, bf16: float) -> None:
    gpu = find_gpu(name)

    assert gpu is not None
    assert gpu.peaks_flops_per_s["bf16"] == bf16 * 1e12


# -- what a trace says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bf16"), [("NVIDIA B300 SXM6 AC", 2250e12), ("NVIDIA A100-SXM4-40GB", 312e12), ("NVIDIA XA100", None)]
)
def test_a_newer_gpu_has_not_the_peak_of_an_older_one(name: str, bf16: float | None) -> None:
    found = find_gpu(name)

    assert (found and found.peaks_flops_per_s["bf16"]) == bf16


def test_packed_sequences_do_not_attend_to_each_other(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 50 * MS, "forward").launch(MS, gpu=(5 * MS, 9 * MS))
    main.mark(1, 'llmperf.step {"q":[100,200,212],"kv":[0,0,0],"logits":512}', domain="llmperf")
    marked(trace, LLAMA)

    attention = 4 * 4 * 8 * 64 * sum(pairs(tokens) for tokens in (100, 200, 212))

    assert phase(cli.analyze(trace), "forward")["flops"] == projections(LLAMA, 512) + attention + 512 * lm_head(LLAMA)


def test_products_in_fp8_beside_those_in_16_bits(cli: Cli) -> None:
    quantization = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    gpu = find_gpu("NVIDIA H100 80GB HBM3")
    assert gpu
    fp8, bf16 = gpu.peaks_flops_per_s["fp8"], gpu.peaks_flops_per_s["bf16"]

    found = cli.flops(LLAMA | {"quantization_config": quantization}, "--prompt-tokens", 4096, "--gpu", "H100 SXM")

    attention = 4 * 4 * 8 * 64 * pairs(4096)
    seconds = projections(LLAMA, 4096) / fp8 + (attention + lm_head(LLAMA)) / bf16
    # The table of embeddings and the head are bound by memory. All in one dtype would be a quarter more, or less.
    assert found["prefill"]["sol_ns"] == pytest.approx(seconds * 1e9, rel=0.02)


def test_layers_that_predict_further_tokens_are_told(cli: Cli) -> None:
    config = load_model("deepseek-v3").config
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for start, name in ((0, "forward"), (50, "backward")):
        main.push(start * MS, (start + 49) * MS, name).launch(
            (start + 1) * MS, gpu=((start + 2) * MS, (start + 40) * MS)
        )
        main.mark(start * MS + 1, 'llmperf.step {"b":1,"q":16,"kv":0,"logits":16}', domain="llmperf")
    marked(trace, dict(config), tp=64, world=64)

    (note,) = cli.flops("deepseek-v3", "--train", "--prompt-tokens", 16)["convention"]["notes"]

    assert note.startswith("1 layer(s) that predict further tokens are not counted")
    assert "further_layers_not_counted" in codes(cli.analyze(trace))
    assert cli.flops(LLAMA, "--prompt-tokens", 16)["convention"]["notes"] == []


def test_recomputation_leaves_the_head_out(cli: Cli) -> None:
    train = cli.flops(LLAMA, "--train", "--prompt-tokens", 100, "--checkpointing", "full")["train"]
    layers = all_layers(LLAMA, 100, pairs(100))

    assert train["forward"]["flops"] == layers + 100 * lm_head(LLAMA)
    assert train["backward"]["flops"] == 2 * train["forward"]["flops"]
    assert train["recomputed"]["flops"] == layers


def marked(trace: TraceBuilder, model: dict[str, Any], **fields: object) -> None:
    """A run mark in a process of its own."""
    trace.process(900).thread().mark(
        0, f"llmperf.run {json.dumps({'v': 1, 'model': model} | fields)}", domain="llmperf"
    )


def test_mixed_precision_is_of_another_peak(cli: Cli) -> None:
    def trace(dtype: str) -> TraceBuilder:
        made = TraceBuilder().gpu()
        main = made.process().thread().push(0, 200 * MS, "forward")
        main.mark(1, 'llmperf.step {"b":1,"q":512,"kv":0,"logits":512}', domain="llmperf")
        for number in range(28):
            at = MS * (number + 1)
            main.launch(at, gpu=(5 * at, 5 * at + 4 * MS), name=f"ampere_{dtype}_s16816gemm_{dtype}_128x64_ldg8_f2f_tn")
        marked(made, LLAMA | {"torch_dtype": "float32"})
        return made

    report = cli.analyze(trace("bf16"))

    # Below 100 %, so that nothing but the names of the kernels gives it away.
    assert 0 < phase(report, "forward")["mfu_busy"] < 1
    (found,) = [one for one in report["findings"] if one["code"] == "products_of_another_dtype"]
    assert (found["severity"], found["phase"], found["at_stake_ns"]) == ("error", "forward", 28 * 4 * MS)
    assert "16-bit kernels, but the estimate assumes fp32" in found["message"]
    _, err = cli.sql(trace("bf16"), "SELECT mfu_busy FROM phase_summary")
    assert "16-bit kernels" in err
    assert "products_of_another_dtype" not in codes(cli.analyze(trace("bf16"), "--dtype", "bf16"))


def test_overlapping_streams_are_busy_once(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 100 * MS, "forward")
    main.launch(MS, gpu=(10 * MS, 90 * MS)).launch(2 * MS, gpu=(30 * MS, 95 * MS), stream=8, name=ALL_REDUCE)

    forward = phase(cli.analyze(trace), "forward")

    assert (forward["kernel_time_ns"], forward["gpu_busy_ns"]) == (145 * MS, 85 * MS)
    assert forward["budget"]["compute_ns"] == 80 * MS


def test_durations_that_overlap_in_a_stream_are_busy_once(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 2_000 * MS, "decode").launch(MS, gpu=(5 * MS, 1_605 * MS))
    main.launch(2 * MS, gpu=(15 * MS, 20 * MS)).launch(3 * MS, gpu=(20 * MS, 20 * MS))

    report = cli.analyze(trace)

    decode = phase(report, "decode")
    assert (decode["kernel_count"], decode["gpu_busy_ns"]) == (3, 1_600 * MS)
    assert "kernels_inside_kernels" in codes(report)


def test_start_end_ranges_are_phases(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().start_end(0, 50 * MS, "prefill").start_end(60 * MS, 80 * MS, "decode")
    main.launch(MS, gpu=(2 * MS, 40 * MS)).launch(61 * MS, gpu=(62 * MS, 70 * MS)).launch(
        55 * MS, gpu=(56 * MS, 57 * MS)
    )

    report = cli.analyze(trace)

    assert [(one["name"], one["kernel_time_ns"]) for one in report["phases"]] == [
        ("prefill", 38 * MS),
        ("decode", 8 * MS),
    ]
    assert report["unattributed"]["kernel_count"] == 1
    assert "crossed_phases" not in codes(report)


def test_start_end_ranges_that_cross_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().start_end(0, 50 * MS, "prefill").start_end(30 * MS, 80 * MS, "decode")
    main.launch(MS, gpu=(2 * MS, 10 * MS)).launch(40 * MS, gpu=(41 * MS, 45 * MS)).launch(
        60 * MS, gpu=(62 * MS, 70 * MS)
    )

    report = cli.analyze(trace)

    (found,) = [one for one in report["findings"] if one["code"] == "crossed_phases"]
    assert (found["phase"], found["at_stake_ns"]) == ("prefill", 20 * MS)


def test_one_call_that_launches_on_two_gpus(cli: Cli) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    main = trace.process().thread().push(0, 50 * MS, "forward")
    call = main.call(MS, api="cudaLaunchCooperativeKernelMultiDevice_v9000")
    main.process.kernel((2 * MS, 10 * MS), correlation=call).kernel((3 * MS, 20 * MS), correlation=call, device=1)

    forward = phase(cli.analyze(trace), "forward")

    assert (forward["kernel_count"], forward["gpu_busy_ns"]) == (2, 25 * MS)
    assert [one["gpu_busy_ns"] for one in forward["devices"]] == [8 * MS, 17 * MS]


def test_times_of_the_gpu_before_those_of_the_host(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 50 * MS, "prefill").launch(MS, gpu=(-5 * MS, -MS)).launch(
        2 * MS, gpu=(3 * MS, 9 * MS)
    )

    report = cli.analyze(trace)

    # Nothing is lost, and what compares the clocks is said to be off.
    prefill = phase(report, "prefill")
    assert (prefill["kernel_count"], prefill["kernel_time_ns"]) == (2, 10 * MS)
    (found,) = [one for one in report["findings"] if one["code"] == "clocks_differ"]
    assert found["message"].startswith("1 GPU operations start before the call that launched them, by up to 6.0 ms")


def test_kernels_of_a_graph_without_its_call(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    process = trace.process()
    process.thread().push(0, 50 * MS, "decode").launch(MS, gpu=(2 * MS, 3 * MS))
    process.kernel((4 * MS, 9 * MS), correlation=777, name="node", graphNodeId=1 << 32)

    report = cli.analyze(trace)

    assert phase(report, "decode")["kernel_count"] == 1
    assert report["unattributed"]["reasons"] == {"no_api_call": {"count": 1, "time_ns": 5 * MS}}


def test_waiting_is_no_transfer(cli: Cli) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank, start in enumerate((1, 10)):
        main = trace.process(100 + rank).thread()
        main.mark(0, f'llmperf.run {{"v":1,"rank":{rank},"world":2}}', domain="llmperf")
        main.push(0, 50 * MS, "forward")
        main.launch(MS // 2, gpu=(start * MS, 11 * MS), name=ALL_REDUCE, device=rank)

    report = cli.analyze(trace)

    budget = phase(report, "forward")["budget"]
    assert (budget["wait_ns"], budget["transfer_ns"], budget["compute_ns"]) == (9 * MS, 2 * MS, 0)
    assert "late_rank" in codes(report)


def test_names_of_communication(cli: Cli) -> None:
    names = [
        ALL_REDUCE, "ncclKernel_AllReduce_RING_LL_Sum_half(ncclWork)", "ncclAllReduceRingLLKernel_sum_f32(ncclColl)",
        "ncclSymkDevKernel_AllReduce_RSxLDMC_AGxSTMC_sum_bf16(ncclSymkDevWorkArgs4K)",
        "void vllm::cross_device_reduce_1stage<__nv_bfloat16, 2>(vllm::RankData*, vllm::RankSignals)",
        "void flashinfer::trtllm_allreduce_fusion::allreduce_fusion_kernel_oneshot_lamport<P>(P)",
        "multimem_all_reduce_kernel",
    ]  # fmt: skip

    assert cli.families(names) == [{"family": "communication", "n": len(names)}]


def test_tokens_of_speculative_decoding_are_not_steps(cli: Cli) -> None:
    def trace(tokens: int) -> TraceBuilder:
        made = TraceBuilder().gpu()
        main = made.process().thread().push(0, 600 * MS, "request").push(0, 50 * MS, "prefill")
        main.launch(MS, gpu=(2 * MS, 9 * MS))
        for number in range(1, 5):
            at = 100 * MS * number
            main.push(at, at + 50 * MS, "decode").launch(at + MS, gpu=(at + 2 * MS, at + 9 * MS))
            main.mark(
                at + 1,
                f'llmperf.step {{"b":1,"q":{tokens},"kv":{16 + 3 * number},"logits":{tokens}}}',
                domain="llmperf",
            )
        return made

    plain, guessed = (cli.analyze(trace(tokens))["requests"] for tokens in (1, 4))

    assert [one["tpot_p50_ns"] for one in plain] == [100 * MS]
    # Three of four guesses may have been right, or none.
    assert [one["tpot_p50_ns"] for one in guessed] == [None]


@pytest.mark.parametrize("name", ["NVIDIA A100-SXM4-80GB MIG 3g.40gb", "NVIDIA A100-SXM4-80GB"])
def test_a_slice_is_no_whole_gpu(name: str, cli: Cli) -> None:
    trace = TraceBuilder().gpu(name=name, sm_count=42, compute=(8, 0))
    trace.process().thread().push(0, 50 * MS, "prefill").launch(MS, gpu=(5 * MS, 9 * MS))

    report = cli.analyze(trace, "--model", "tiny-llama", "--shape", "1x16+0")

    assert phase(report, "prefill")["mfu_busy"] is None
    assert "partial_gpu" in codes(report)


def test_launches_without_kernels_are_no_idle_gpu(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 50 * MS, "prefill")
    main.call(MS)
    main.call(2 * MS, api="cudaLaunchKernelExC_v11060")

    (found,) = [one for one in cli.analyze(trace)["findings"] if one["code"] == "kernels_missing"]

    assert found["severity"] == "error"
    assert found["message"].startswith("2 kernel launches")


def test_ranges_with_equal_ends_have_no_negative_time(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 50 * MS, "step").push(0, 50 * MS, "forward").push(0, 50 * MS, "layer")
    main.launch(MS, gpu=(5 * MS, 9 * MS))

    rows, _ = cli.sql(trace, "SELECT phase, wall_ns FROM phases ORDER BY phase")

    assert rows == [{"phase": "forward", "wall_ns": 50 * MS}]


def test_ranks_with_batches_of_their_own_are_not_one_gpu(cli: Cli) -> None:
    def trace(ranks: int) -> TraceBuilder:
        made = TraceBuilder()
        for rank in range(ranks):
            made.gpu(rank)
            main = made.process(100 + rank).thread()
            run_mark = {"v": 1, "model": LLAMA, "rank": rank, "world": ranks, "tp": 1}
            main.mark(0, f"llmperf.run {json.dumps(run_mark)}", domain="llmperf")
            main.push(1, 50 * MS, "forward").launch(MS, gpu=(5 * MS, 9 * MS), device=rank)
            main.mark(2, 'llmperf.step {"b":1,"q":512,"kv":0,"logits":512}', domain="llmperf")
        return made

    one, four = (phase(cli.analyze(trace(ranks)), "forward") for ranks in (1, 4))

    assert four["flops"] == 4 * one["flops"]
    assert four["mfu_busy"] == pytest.approx(one["mfu_busy"])


def training(ranks: int = 1, micro_batches: int = 1, **marks: object) -> TraceBuilder:
    """Two steps of 512 tokens for each micro-batch, whose ranges follow each other without a gap."""
    trace = TraceBuilder()
    for rank in range(ranks):
        trace.gpu(rank)
        main = trace.process(100 + rank).thread()
        run_mark = {"v": 1, "model": LLAMA, "rank": rank, "world": ranks} | marks
        main.mark(0, f"llmperf.run {json.dumps(run_mark)}", domain="llmperf")
        at = MS
        for _ in range(2):
            for name in ["forward", "backward"] * micro_batches + ["optimizer"]:
                main.push(at, at + 10 * MS, name).launch(at + 2, gpu=(at + MS, at + 4 * MS), device=rank)
                if name == "forward":
                    main.mark(at + 1, 'llmperf.step {"b":1,"q":512,"kv":0,"logits":512}', domain="llmperf")
                at += 10 * MS
    return trace


def test_micro_batches_of_a_step_add_up(cli: Cli) -> None:
    one, three = (cli.analyze(training(micro_batches=number))["training"] for number in (1, 3))

    assert (one["steps"], one["micro_batches"], one["tokens"]) == (2, 2, 1024)
    assert (three["steps"], three["micro_batches"], three["tokens"]) == (2, 6, 3072)
    attention = 4 * 4 * 8 * 64 * pairs(512)
    assert one["flops"] == 2 * 3 * (projections(LLAMA, 512) + attention + 512 * lm_head(LLAMA))
    assert three["flops"] == 3 * one["flops"]


def test_tokens_of_ranks_that_share_a_pass_count_once(cli: Cli) -> None:
    shared, own = (cli.analyze(training(ranks=2, tp=tp))["training"] for tp in (2, 1))

    assert (shared["tokens"], own["tokens"]) == (1024, 2048)
    assert (shared["flops"], own["flops"]) == (own["flops"] / 2, shared["flops"] * 2)
    assert shared["tokens_per_s_per_gpu"] == pytest.approx(own["tokens_per_s_per_gpu"] / 2)


def test_an_idle_stream_beside_a_busy_one_is_no_idle_gpu(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 60 * MS, "decode").launch(10, gpu=(MS, 2 * MS))
    main.launch(20, gpu=(MS, 55 * MS), stream=8).launch(30, gpu=(51 * MS, 52 * MS))

    rows, _ = cli.sql(trace, "SELECT gpu_idle_ns, idle_gap_count FROM phases")

    assert rows == [{"gpu_idle_ns": 0, "idle_gap_count": 0}]
    assert phase(cli.analyze(trace), "decode")["budget"]["compute_ns"] == 54 * MS


def test_copying_is_no_idle_time(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 52 * MS, "decode").launch(10, gpu=(MS, 2 * MS))
    main.memcpy(20, gpu=(2 * MS, 40 * MS)).launch(30, gpu=(40 * MS, 52 * MS))

    decode = phase(cli.analyze(trace), "decode")

    assert (decode["budget"]["copy_ns"], decode["budget"]["compute_ns"]) == (38 * MS, 13 * MS)
    assert sum(decode["budget"][name] for name in ("launch_ns", "latency_ns", "sync_ns", "api_ns", "host_ns")) == MS


def test_the_kernels_of_a_graph_have_one_launch(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 60 * MS, "decode")
    main.graph_launch(MS, nodes=[(3 * MS + 1000 * node, 3 * MS + 1000 * node + 900) for node in range(400)])

    rows, _ = cli.sql(trace, "SELECT kernel_count, launch_call_count, api_time_ns FROM phases")

    assert rows == [{"kernel_count": 400, "launch_call_count": 1, "api_time_ns": 2}]


def test_communication_that_is_half_hidden_is_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank in range(2):
        main = trace.process(100 + rank).thread()
        main.mark(0, f'llmperf.run {{"v":1,"rank":{rank},"world":2}}', domain="llmperf")
        main.push(0, 30 * MS, "backward").launch(10, gpu=(MS, 11 * MS), name="gemm", device=rank)
        main.launch(20, gpu=(7 * MS, 17 * MS), stream=9, name=ALL_REDUCE, device=rank)

    report = cli.analyze(trace)

    assert phase(report, "backward")["budget"]["transfer_ns"] == 2 * 6 * MS
    (found,) = [one for one in report["findings"] if one["code"] == "exposed_communication"]
    assert found["at_stake_ns"] == 2 * 6 * MS


def test_ranks_of_which_no_kernel_was_recorded(cli: Cli) -> None:
    trace = TraceBuilder()
    for rank in range(3):
        trace.gpu(rank)
        main = trace.process(100 + rank).thread().push(0, 60 * MS, "decode")
        for at in range(MS, 10 * MS, MS):
            if rank == 0:
                main.launch(at, gpu=(at + 100, at + MS // 2))
            else:
                main.call(at)

    found = [one["message"] for one in cli.analyze(trace)["findings"] if one["code"] == "phases_without_work"]

    assert [message.partition(" (")[0] for message in found] == ["process 101", "process 102"]
    assert all(message.endswith("its GPU times are not 0, but unknown") for message in found)


def test_a_prompt_in_chunks_ends_with_the_last_of_them(cli: Cli) -> None:
    def trace(*passes: tuple[str, int]) -> TraceBuilder:
        made = TraceBuilder().gpu()
        main, at = made.process().thread().push(0, 200 * MS, "request"), MS
        for name, length in passes:
            main.push(at, at + length * MS, name).launch(at + 5, gpu=(at + 100, at + MS))
            at += length * MS
        return made

    report = cli.analyze(trace(("prefill", 20), ("prefill", 30), ("decode", 5), ("decode", 5)))

    assert [(one["ttft_p50_ns"], one["tpot_p50_ns"]) for one in report["requests"]] == [(51 * MS, 5 * MS)]


def test_prefills_between_decode_steps_are_no_time_per_token(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main, at = trace.process().thread().push(0, 200 * MS, "request"), MS
    for name, length in (("prefill", 20), ("decode", 5), ("decode", 5)) * 2:
        main.push(at, at + length * MS, name).launch(at + 5, gpu=(at + 100, at + MS))
        at += length * MS

    report = cli.analyze(trace)

    assert [(one["ttft_p50_ns"], one["tpot_p50_ns"]) for one in report["requests"]] == [(21 * MS, None)]
    assert "several_prompts" in codes(report)


# -- times that cannot be, and edges -----------------------------------------------------------------------------------


def test_kernels_without_times_are_in_no_span(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(100 * MS, 200 * MS, "decode")
    main.launch(101 * MS, gpu=(102 * MS, 110 * MS)).launch(111 * MS, gpu=(0, 0))
    main.push(201 * MS, 210 * MS, "prefill").launch(202 * MS, gpu=(0, 0))

    report = cli.analyze(trace)

    decode, prefill = phase(report, "decode"), phase(report, "prefill")
    assert (decode["kernel_count"], decode["gpu_busy_ns"], decode["gpu_span_ns"]) == (2, 8 * MS, 8 * MS)
    assert (decode["idle_gap_ns"], prefill["kernel_count"], prefill["gpu_span_ns"]) == (0, 1, 0)
    (found,) = [one for one in report["findings"] if one["code"] == "untimed_work"]
    assert found["message"].startswith("2 GPU operations were recorded without their times")


def test_kernels_at_the_start_of_the_epoch_are_in_no_span(cli: Cli) -> None:
    trace = decode_of_torch()
    trace.call("cudaLaunchKernel", 50_000, 52_000, 2)
    trace.kernel("gemm", 0, 0, 2)
    trace.events[-1] |= {"ts": Raw("0"), "dur": Raw("0")}

    report = cli.analyze(trace)

    decode = phase(report, "decode")
    assert (decode["kernel_count"], decode["gpu_span_ns"], decode["idle_gap_ns"]) == (2, 25_000, 0)
    assert report["trace"]["duration_ns"] == 90_000
    assert "untimed_work" in codes(report)


def test_an_end_that_is_years_away_is_told(cli: Cli) -> None:
    def trace(end: int) -> KinetoTrace:
        made = decode_of_torch()
        made.launch(50_000, gpu=(60_000, end))
        made.launch(60_000, gpu=(70_000, 75_000))
        return made

    report = cli.analyze(trace(3_600_000 * MS))

    (found,) = [one for one in report["findings"] if one["code"] == "kernels_inside_kernels"]
    assert found["at_stake_ns"] == 3_600_000 * MS - 70_000
    path = trace(7_450_000_000_000_000_000).write(cli.folder / "centuries.json")
    code, out, err = run(cli.capsys, "analyze", path, "--no-cache")
    assert (code, out) == (1, "")
    assert "holds values that no trace of torch.profiler has: Out of Range" in err
    assert "hint: record it again" in err


def test_an_end_before_the_start_fails_a_check(cli: Cli) -> None:
    trace = decode_of_torch()
    trace.launch(50_000, gpu=(60_000, 55_000))

    code, _, err = run(cli.capsys, "analyze", trace.write(cli.folder / "trace.json"), "--no-cache")

    assert code == 1
    assert "work.ends_after_start" in err


def test_kernels_of_less_than_a_microsecond(cli: Cli) -> None:
    trace = KinetoTrace()
    trace.annotation("decode", 0, 90_000)
    trace.launch(10_000, gpu=(20_700, 20_900))
    trace.launch(12_000, gpu=(20_950, 21_050))

    decode = phase(cli.analyze(trace), "decode")

    assert (decode["kernel_time_ns"], decode["gpu_busy_ns"], decode["gpu_span_ns"]) == (300, 300, 350)


def test_annotations_on_the_gpu_are_no_work(cli: Cli) -> None:
    trace = decode_of_torch()
    trace.event("gpu_user_annotation", "decode", 20_000, 45_000, 0, 7)

    decode = phase(cli.analyze(trace), "decode")

    assert (decode["kernel_count"], decode["kernel_time_ns"]) == (1, 25_000)


def test_waiting_for_a_stream_is_no_work(cli: Cli) -> None:
    trace = decode_of_torch()
    trace.event("cuda_sync", "Stream Sync", 20_000, 80_000, 0, 7, stream=7, correlation=9)

    decode = phase(cli.analyze(trace), "decode")

    assert (decode["kernel_count"], decode["gpu_busy_ns"]) == (1, 25_000)


def test_clocks_above_31_bits_are_not_negative(cli: Cli) -> None:
    trace = TraceBuilder().gpu(clock_hz=2_520_000_000)
    trace.process().thread().push(0, 50 * MS, "prefill").launch(MS, gpu=(2 * MS, 40 * MS))
    trace.row("TARGET_INFO_GPU_METRICS", typeId=256, metricId=0, metricName="GPC Clock Frequency [MHz]")
    for at in range(-2, 50):
        trace.row("GPU_METRICS", timestamp=at * MS, typeId=256, metricId=0, value=2_500_000_000 - (1 << 32))

    (row,), _ = cli.sql(trace, "SELECT sm_clock_hz FROM phase_counters")

    assert row["sm_clock_hz"] == 2.5e9
    assert "clocks_below_boost" not in codes(cli.analyze(trace))


def test_ranges_that_are_never_popped_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in (0, 10 * MS, 20 * MS):
        main.push(at, None, f"decode_{at}").launch(at + MS, gpu=(at + 2 * MS, at + 5 * MS))

    report = cli.analyze(trace)

    assert {"unclosed_ranges", "loops"} <= codes(report)
    assert phase(report, "decode")["kernel_count"] + report["unattributed"]["kernel_count"] == 3


def test_whole_graphs_and_their_calls_count_once(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 50 * MS, "decode")
    main.graph_launch(MS, gpu=(2 * MS, 12 * MS)).graph_launch(20 * MS, gpu=(21 * MS, 30 * MS))
    main.launch(32 * MS, gpu=(33 * MS, 34 * MS))

    report = cli.analyze(trace)

    decode = phase(report, "decode")
    assert (decode["kernel_count"], decode["graph_launch_count"], decode["gpu_busy_ns"]) == (1, 2, 20 * MS)
    assert "whole_graphs" in codes(report)


def test_files_of_ranks_with_clocks_of_their_own(cli: Cli) -> None:
    for rank in range(2):
        trace = KinetoTrace(distributedInfo={"rank": rank, "world_size": 2})
        del trace.head["baseTimeNanoseconds"]
        for step in range(4):
            at = rank * 1_000 * MS + step * 200_000
            trace.annotation("decode", at, at + 90_000)
            trace.launch(at + 10_000, gpu=(at + 20_000, at + 45_000))
            trace.launch(at + 12_000, gpu=(at + 50_000, at + 60_000), name=ALL_REDUCE)
        trace.write(cli.folder / f"rank{rank}.trace.json")

    code, out, _ = run(cli.capsys, "analyze", cli.folder, "--format", "json", "--no-cache")

    decode = phase(json.loads(out), "decode")
    assert (code, decode["kernel_count"], decode["gpu_busy_ns"]) == (0, 16, 280_000)
    # Spans are of each GPU, and waiting is not what two clocks differ by.
    assert (decode["idle_gap_ns"], decode["budget"]["wait_ns"]) == (2 * 4 * 5_000, 0)


def test_what_starts_as_warm_up_ends_is_measured(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 50 * MS, "warmup").push(0, 50 * MS, "prefill")
    main.launch(MS, gpu=(2 * MS, 40 * MS)).push(50 * MS, 100 * MS, "request").push(50 * MS, 70 * MS, "prefill")
    main.launch(51 * MS, gpu=(52 * MS, 60 * MS))
    main.push(70 * MS, 100 * MS, "decode").launch(71 * MS, gpu=(72 * MS, 90 * MS))
    # Of no request: it starts as that one ends.
    main.push(100 * MS, 120 * MS, "decode").launch(101 * MS, gpu=(102 * MS, 110 * MS))

    rows, _ = cli.sql(trace, "SELECT phase, is_warmup, request_id IS NULL AS alone FROM phases ORDER BY start_ns")
    requests, _ = cli.sql(trace, "SELECT is_warmup, decode_steps, ttft_ns, tpot_ns FROM requests")

    assert [tuple(row.values()) for row in rows] == [
        ("prefill", True, True), ("prefill", False, False), ("decode", False, False), ("decode", False, True)
    ]  # fmt: skip
    assert [tuple(row.values()) for row in requests] == [(False, 1, 20 * MS, 30 * MS)]
    # Nor is that warm-up kept in a part of the trace for the sake of what follows it.
    names = [one["name"] for one in cli.analyze(trace, "--steps", "0:1")["phases"]]
    assert names == ["prefill", "decode"]


def test_warm_up_that_ends_as_a_phase_starts_is_a_phase(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 50 * MS, "warmup").launch(MS, gpu=(2 * MS, 40 * MS))
    main.push(50 * MS, 100 * MS, "prefill").launch(51 * MS, gpu=(52 * MS, 90 * MS))

    report = cli.analyze(trace)

    assert phase(report, "warmup")["kernel_count"] == 1
    assert phase(report, "prefill")["warmup_occurrences"] == 0
    assert report["unattributed"]["kernel_count"] == 0


# -- more models -------------------------------------------------------------------------------------------------------

GEMMA4: dict[str, Any] = {
    "model_type": "gemma4_text", "hidden_size": 256, "intermediate_size": 768, "moe_intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "global_head_dim": 64,
    "num_global_key_value_heads": 2, "vocab_size": 1000, "enable_moe_block": True, "num_experts": 8, "top_k_experts": 2,
    "layer_types": ["full_attention", "full_attention"], "tie_word_embeddings": True, "torch_dtype": "bfloat16",
    "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0, "attention_k_eq_v": False,
    "use_double_wide_mlp": False,
}  # fmt: skip
LATENT: dict[str, Any] = {
    "model_type": "deepseek_v3", "hidden_size": 256, "intermediate_size": 512, "moe_intermediate_size": 64,
    "num_hidden_layers": 2, "first_k_dense_replace": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
    "q_lora_rank": None, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 24,
    "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2, "vocab_size": 1000,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
GPT_OSS: dict[str, Any] = {
    "model_type": "gpt_oss", "hidden_size": 256, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 1000, "num_local_experts": 8,
    "num_experts_per_tok": 2, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"],
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
NEMOTRON: dict[str, Any] = {
    "model_type": "nemotron_h", "hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 2,
    "hybrid_override_pattern": "*E", "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
    "vocab_size": 1000, "mamba_num_heads": 8, "mamba_head_dim": 32, "ssm_state_size": 16, "n_groups": 2,
    "conv_kernel": 4, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
    "moe_shared_expert_intermediate_size": 128, "n_shared_experts": 1, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}  # fmt: skip
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


def ops(printed: dict[str, Any], name: str, phase_name: str = "prefill") -> int:
    """FLOPs of the operations of one name."""
    return sum(one["flops"] for one in printed["ops"] if (one["phase"], one["name"]) == (phase_name, name))


def test_the_mlp_beside_the_experts_has_the_dense_width(cli: Cli) -> None:
    per_layer = 256 * 512 + 256 * 256 + 3 * 256 * 768 + 256 * 8 + 2 * 3 * 256 * 128

    prefill = cli.prefill(GEMMA4, "--prompt-tokens", 64)

    assert prefill == 2 * 64 * 2 * per_layer + 4 * 2 * 4 * 64 * pairs(64) + lm_head(GEMMA4)


def test_values_of_another_width_than_keys(cli: Cli) -> None:
    printed = cli.flops(LATENT, "--prompt-tokens", 64)

    assert ops(printed, "attention") == 2 * (48 + 24) * 4 * 2 * pairs(64)


def test_keys_and_values_of_heads_that_the_config_widens(cli: Cli) -> None:
    printed = cli.flops("qwen3-4b", "--prompt-tokens", 1000)

    assert printed["prefill"]["kv_write_bytes"] == 1000 * 2 * 36 * 8 * 128 * 2


def test_the_cache_of_an_indexer_is_counted(cli: Cli) -> None:
    indexer = {"q_lora_rank": 96, "index_n_heads": 4, "index_head_dim": 32, "index_topk": 16}

    printed = cli.flops(LATENT | indexer | {"model_type": "deepseek_v32"}, "--prompt-tokens", 64)

    assert printed["prefill"]["kv_write_bytes"] == 64 * 2 * 2 * (64 + 16 + 32)


def test_windows_of_every_other_layer(cli: Cli) -> None:
    printed = cli.flops(GPT_OSS, "--prompt-tokens", 64)

    assert ops(printed, "attention") == 4 * 4 * 64 * (pairs(64, 16) + pairs(64))


def test_a_window_bounds_what_a_decode_step_reads(cli: Cli) -> None:
    printed = cli.flops(GPT_OSS, "--prompt-tokens", 64)

    # The new token is one of the 16.
    assert printed["decode"]["kv_read_bytes"] == (15 + 64) * 2 * 2 * 64 * 2


def test_experts_of_a_hybrid_are_counted(cli: Cli) -> None:
    # Two matrices in each expert; two routed ones of width 64 and a shared one of 128.
    weights = 256 * 512 + 256 * 256 + 256 * 8 + 2 * 2 * 256 * 64 + 2 * 256 * 128

    prefill = cli.prefill(NEMOTRON, "--prompt-tokens", 64)

    assert prefill == 2 * 64 * weights + 4 * 4 * 64 * pairs(64) + lm_head(NEMOTRON)


def test_tied_tables_are_stored_once_and_multiplied(cli: Cli) -> None:
    tied, untied = (
        cli.flops(LLAMA | {"tie_word_embeddings": is_tied}, "--prompt-tokens", 64) for is_tied in (True, False)
    )

    assert untied["params"] - tied["params"] == 1000 * 512
    assert untied["prefill"]["flops"] == tied["prefill"]["flops"]


def test_windows_of_a_vision_tower_are_in_pixels(cli: Cli) -> None:
    printed = cli.flops(QWEN_VL, "--prompt-tokens", 100, "--images", 1, "--image-patches", "16x16")

    # 112 pixels are 8 patches of 14: windows of 64 patches in one layer, all 256 in the other.
    tower = 4 * 4 * 32 * (256 * 64 + 256 * 256)
    assert ops(printed, "attention") == tower + 2 * 4 * 4 * 64 * pairs(100)


def test_training_steps_without_the_tower_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 50 * MS, "forward").launch(MS, gpu=(2 * MS, 40 * MS))
    main.mark(1, 'llmperf.step {"b":1,"q":100,"kv":0,"logits":100}', domain="llmperf")
    marked(trace, QWEN_VL)

    assert "parts_not_counted" in codes(cli.analyze(trace))


def test_a_sequence_that_is_split_over_ranks(cli: Cli) -> None:
    def trace(*before: int) -> TraceBuilder:
        made = TraceBuilder().gpu(0).gpu(1)
        for rank, kv in enumerate(before):
            main = made.process(100 + rank).thread().push(0, 50 * MS, "forward")
            main.mark(1, f'llmperf.step {{"b":1,"q":512,"kv":{kv},"logits":512}}', domain="llmperf")
            main.launch(MS, gpu=(2 * MS, 40 * MS), device=rank)
        marked(made, LLAMA, world_size=2)
        return made

    rest = projections(LLAMA, 1024) + 1024 * lm_head(LLAMA)
    halves, whole = (phase(cli.analyze(trace(0, kv)), "forward")["flops"] for kv in (0, 512))

    assert halves == rest + 4 * 4 * 8 * 64 * 2 * pairs(512)
    assert whole == rest + 4 * 4 * 8 * 64 * pairs(1024)


def test_keys_of_an_encoder_are_projected_once(cli: Cli) -> None:
    config = {
        "model_type": "t5", "d_model": 128, "d_ff": 256, "d_kv": 32, "num_layers": 2, "num_decoder_layers": 2,
        "num_heads": 4, "vocab_size": 1000, "feed_forward_proj": "relu", "torch_dtype": "bfloat16",
    }  # fmt: skip

    printed = cli.flops(config, "--prompt-tokens", 64)

    assert ops(printed, "cross_kv") == 2 * 64 * 2 * 128 * 128 * 2
    assert ops(printed, "cross_kv", "decode") == 0
    assert ops(printed, "cross_attention", "decode") == 4 * 64 * 128 * 2
