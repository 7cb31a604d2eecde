"""More of what test_public_reports.py has: plain captures of popular frameworks, and configs of popular models."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.run import MS, Cli
from tests.cli.test_public_reports import LLAMA, codes, marked, phase
from tests.support.trace_builder import TraceBuilder

# -- captures ----------------------------------------------------------------------------------------------------------


def test_kernels_that_nsys_lost_on_the_way_are_told(cli: Cli) -> None:
    """Eight decode steps of six launches; from the fourth on the trace has the calls, but no kernels."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(8):
        at = step * 20 * MS
        main.push(at, at + 18 * MS, "decode")
        for launch in range(at + MS, at + 13 * MS, 2 * MS):
            if step < 3:
                main.launch(launch, gpu=(launch + MS, launch + 2 * MS))
            else:
                main.call(launch)

    report = cli.analyze(trace)

    (found,) = [one for one in report["findings"] if one["code"] == "nsys_lost_work"]
    assert found["message"].startswith(
        "30 of 48 calls that launch kernels have none in the trace, the first 60 ms after"
    )


def test_batches_of_both_kinds_are_a_phase(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for number, name in enumerate(["prefill_batch", "mixed_batch", "decode_batch", "decode_batch", "mixed_batch"]):
        at = number * 20 * MS
        main.push(at, at + MS, "scheduler_step")
        main.push(at + MS, at + 15 * MS, name).launch(at + 2 * MS, gpu=(at + 3 * MS, at + 14 * MS))
        main.push(at + 15 * MS, at + 18 * MS, "sampling").launch(at + 15 * MS + 1, gpu=(at + 16 * MS, at + 17 * MS))

    rows, _ = cli.sql(trace, "SELECT phase, count(*) AS n FROM gpu_work GROUP BY phase ORDER BY phase")

    assert rows == [
        {"phase": "decode", "n": 2}, {"phase": "mixed", "n": 2}, {"phase": "prefill", "n": 1}, {"phase": None, "n": 5},
    ]  # fmt: skip


def test_a_backward_that_runs_on_a_thread_of_autograd(cli: Cli) -> None:
    """The range is on the main thread, the launches are on another one, which has no range."""
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, autograd = process.thread(), process.thread(tid=101)
    for at in range(0, 200 * MS, 50 * MS):
        main.push(at, at + 10 * MS, "forward path").launch(at + 1, gpu=(at + MS, at + 10 * MS))
        main.push(at + 10 * MS, at + 35 * MS, "backward path")
        autograd.launch(at + 11 * MS, gpu=(at + 12 * MS, at + 34 * MS))

    rows, _ = cli.sql(trace, "SELECT phase, gpu_busy_ns FROM phase_summary ORDER BY phase")

    assert rows == [{"phase": "backward", "gpu_busy_ns": 4 * 22 * MS}, {"phase": "forward", "gpu_busy_ns": 4 * 9 * MS}]


def test_the_warm_up_of_a_pipeline_is_no_warm_up(cli: Cli) -> None:
    """Megatron names the parts of a pipeline's schedule by its functions, inside the range of each step."""
    schedule = "megatron.core.pipeline_parallel.schedules.forward_backward_pipelining_with_interleaving"
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(4):
        at = step * 100 * MS
        main.push(at, at + 95 * MS, f"training_step_{step}")
        main.push(at + 1, at + 90 * MS, "megatron.bridge.training.train.train_step")
        for number, part in enumerate(["warmup", "steady", "cooldown"]):
            start = at + (1 + 25 * number) * MS
            main.push(start, start + 25 * MS, f"{schedule}.{part}")
            main.launch(start + MS, gpu=(start + 2 * MS, start + 22 * MS))

    found = phase(cli.analyze(trace), "step")

    assert (found["occurrences"], found["warmup_occurrences"]) == (4, 0)
    assert (found["kernel_count"], found["wall_ns"], found["gpu_busy_ns"]) == (12, 380 * MS, 240 * MS)


def test_ranges_of_libraries_are_no_iterations(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 30 * MS, 10 * MS):
        main.launch(at, gpu=(at + MS, at + 9 * MS))
    for number, name in enumerate(["cub::DeviceRadixSort", "cub::DeviceReduce::Sum", "cub::DeviceSelect::Flagged"]):
        at = (30 + 10 * number) * MS
        main.push(at, at + 10 * MS, name, domain="CCCL").launch(at + MS, gpu=(at + 2 * MS, at + 9 * MS))

    report = cli.analyze(trace)

    assert [one["name"] for one in report["phases"]] == []
    assert "no_phases" in codes(report)


def test_the_wait_before_a_graph_is_launch_latency(cli: Cli) -> None:
    """A decode step that is a CUDA graph, whose first kernel starts 2 ms after the call has returned."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 80 * MS, 20 * MS):
        main.push(at, at + MS, "replay_prepare")
        main.push(at + MS, at + 2 * MS, "replay")
        main.graph_launch(at + 2 * MS - 2, nodes=[(at + n * MS, at + (n + 1) * MS) for n in range(4, 16)])
        main.call(at + 2 * MS, until=at + 17 * MS, api="cudaStreamSynchronize_v3020")

    rows, _ = cli.sql(
        trace,
        "SELECT class, sum(time_ns)::BIGINT AS ns FROM time_budget GROUP BY class HAVING sum(time_ns) > 100",
        "--phase", "decode=^replay$",
    )  # fmt: skip

    assert {row["class"]: row["ns"] for row in rows} == {
        "compute": 4 * 12 * MS, "host": pytest.approx(4 * MS, abs=100), "latency": pytest.approx(8 * MS, abs=100),
    }  # fmt: skip


def test_products_faster_than_the_hardware_have_no_utilization(cli: Cli) -> None:
    """16 products of 5 µs are a step of a model whose weights alone take 2 ms to read."""
    model = LLAMA | {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
    }
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 120 * MS, 20 * MS):
        main.push(at, at + 18 * MS, "decode", domain="llmperf")
        main.mark(at + 1, 'llmperf.step {"b":32,"q":1,"kv":1024,"logits":32}', domain="llmperf")
        for start in range(at + MS, at + 17 * MS, MS):
            main.launch(start, gpu=(start + 50, start + 5050), name="ampere_fp16_s16816gemm")
    marked(trace, model)

    report = cli.analyze(trace, code=1)

    found = phase(report, "decode")
    assert (found["mfu_busy"], found["mbu_busy"]) == (None, None)
    assert "impossible_utilization" in codes(report)


# -- configs -----------------------------------------------------------------------------------------------------------

GLM_5: dict[str, Any] = {
    "model_type": "glm_moe_dsa", "hidden_size": 6144, "num_hidden_layers": 4, "num_attention_heads": 64,
    "num_key_value_heads": 64, "head_dim": 192, "qk_nope_head_dim": 192, "qk_rope_head_dim": 64, "v_head_dim": 256,
    "kv_lora_rank": 512, "q_lora_rank": 2048, "intermediate_size": 12288, "moe_intermediate_size": 2048,
    "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 3,
    "index_head_dim": 128, "index_n_heads": 32, "index_topk": 2048, "vocab_size": 154880, "dtype": "bfloat16",
}  # fmt: skip
QWEN_3_5: dict[str, Any] = {
    "model_type": "qwen3_5_text", "attn_output_gate": True, "dtype": "bfloat16", "full_attention_interval": 4,
    "head_dim": 256, "hidden_size": 5120, "intermediate_size": 17408, "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 48, "linear_value_head_dim": 128,
    "num_attention_heads": 24, "num_hidden_layers": 64, "num_key_value_heads": 4, "vocab_size": 248320,
    "tie_word_embeddings": False,
}  # fmt: skip


def test_the_rotary_part_of_a_latent_is_not_the_head_size(cli: Cli) -> None:
    """GLM-5's config has a `head_dim` of 192 beside a `qk_rope_head_dim` of 64, and checkpoints have the latter."""
    ops = cli.flops(GLM_5, "--prompt-tokens", 16)["ops"]

    sizes = {op["name"]: (op["n"], op["k"]) for op in ops if op["phase"] == "prefill" and op["name"] in ("kv_a", "q_b")}
    assert sizes == {"kv_a": (512 + 64, 6144), "q_b": (64 * (192 + 64), 2048)}


@pytest.mark.parametrize(
    ("config", "context", "kv_bytes"),
    [
        # Gemma 3 27B: 10 layers keep all keys, 52 the last 1024.
        (
            {
                "model_type": "gemma3_text", "head_dim": 128, "hidden_size": 5376, "intermediate_size": 21504,
                "num_attention_heads": 32, "num_hidden_layers": 62, "num_key_value_heads": 16, "sliding_window": 1024,
                "vocab_size": 262208, "dtype": "bfloat16",
            },
            131_072,
            2 * 2 * 16 * 128 * (10 * 131_072 + 52 * 1023),
        ),
        # Qwen3.5 27B: 16 layers keep keys; 48 a float32 state, and three columns of their convolution.
        (
            QWEN_3_5,
            262_144,
            2 * 2 * 4 * 256 * 16 * 262_144 + 48 * (4 * 48 * 128 * 128 + 2 * 3 * (2 * 16 + 48) * 128),
        ),
    ],
)  # fmt: skip
def test_the_cache_is_that_of_the_layers_that_keep_one(
    config: dict[str, Any], context: int, kv_bytes: int, cli: Cli
) -> None:
    assert cli.flops(config, "--prompt-tokens", context)["decode"]["kv_read_bytes"] == kv_bytes


@pytest.mark.parametrize(("gate", "told"), [(True, False), (False, True)])
def test_a_gate_that_the_model_has_anyway_is_no_news(gate: bool, told: bool, cli: Cli) -> None:
    found = cli.flops(QWEN_3_5 | {"attn_output_gate": gate}, "--prompt-tokens", 16)

    (queries,) = {op["n"] for op in found["ops"] if op["phase"] == "prefill" and op["name"] in ("qkv", "q")}
    assert queries == 24 * 256 * 2 + 2 * 4 * 256
    assert any("attn_output_gate" in note for note in found["convention"]["notes"]) == told


@pytest.mark.parametrize(
    ("config", "kv_bytes"),
    [
        ({"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257}, 301_989_888),
        (
            {
                "model_type": "gpt_bigcode", "n_layer": 24, "n_embd": 2048, "n_head": 16, "n_inner": 8192,
                "vocab_size": 49280, "multi_query": True,
            },
            100_663_296,
        ),
    ],
)  # fmt: skip
def test_older_names_of_fields_size_the_cache(config: dict[str, Any], kv_bytes: int, cli: Cli) -> None:
    found = cli.flops(config | {"n_positions": 8192, "dtype": "float16"}, "--prompt-tokens", 8192)

    assert found["prefill"]["kv_write_bytes"] == kv_bytes


@pytest.mark.parametrize(("step", "experts"), [(1, 16), (2, 128)])
def test_experts_in_each_layer_or_in_every_other_one(step: int, experts: int, cli: Cli) -> None:
    """Llama 4 Scout and Maverick: one routed and one shared expert of 8192; dense layers are 16384 wide."""
    config = {
        "model_type": "llama4_text", "attention_chunk_size": 8192, "head_dim": 128, "hidden_size": 5120,
        "interleave_moe_layer_step": step, "intermediate_size": 8192, "intermediate_size_mlp": 16384,
        "num_attention_heads": 40, "num_experts_per_tok": 1, "num_hidden_layers": 48, "num_key_value_heads": 8,
        "num_local_experts": experts, "vocab_size": 202048, "tie_word_embeddings": False, "dtype": "bfloat16",
    }  # fmt: skip
    width, head, tokens, sparse = 5120, 128, 256, 48 // step
    products = (
        48 * (width * head * (40 + 2 * 8) + 40 * head * width)
        + sparse * (width * experts + 2 * 3 * width * 8192)
        + (48 - sparse) * 3 * width * 16384
        + width * 202048
    )

    flops = 2 * tokens * products + 4 * 48 * 40 * head * tokens * (tokens + 1) // 2

    assert cli.prefill(config, "--prompt-tokens", tokens, "--logits", "all") == flops
