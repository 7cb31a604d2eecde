"""More of what test_public_reports.py has: fused losses, reference models, work that the host does."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.run import MS, Cli, run
from tests.cli.test_public_reports import LLAMA, all_layers, codes, lm_head, marked, pairs, phase
from tests.support.trace_builder import ThreadBuilder, TraceBuilder

US = 1000
STEP = 'llmperf.step {"b":1,"q":64,"kv":0,"logits":64}'


def test_passes_of_a_reference_model_are_in_the_time_of_a_step(cli: Cli) -> None:
    """Steps of 80 ms: a reference model without gradients runs before the policy, or after it; three ranks."""
    trace = TraceBuilder().gpu(0).gpu(1).gpu(2)
    marked(trace, LLAMA)
    passes = (["prefill", "forward"], ["forward", "prefill"], ["gpt2.prefill", "forward"])
    for rank, parts in enumerate(passes):
        main = trace.process(100 + rank).thread()
        for step in range(5):
            for number, part in enumerate([*parts, "backward", "optimizer"]):
                at = (80 * step + 20 * number) * MS
                main.push(at, at + 20 * MS, part, domain="llmperf")
                main.launch(at + MS, gpu=(at + 2 * MS, at + 20 * MS), device=rank)
                if part == "forward":
                    main.mark(at + 1, STEP, domain="llmperf")

    rows, err = cli.sql(
        trace,
        "SELECT sum(wall_ns) AS wall, sum(gpu_busy_ns) AS busy, sum(tokens) AS n "
        "FROM training_steps GROUP BY process_id",
    )

    assert rows == 3 * [{"wall": 5 * 80 * MS, "busy": 5 * 72 * MS, "n": 5 * 64}]
    # `forwards_without_backward`
    assert re.findall(r"without a backward \((\d+) in all\).* in the phase (\S+) are the model's", err) == [
        ("10", "prefill"), ("5", "gpt2.prefill"),
    ]  # fmt: skip


def test_a_fused_loss_computes_gradients_of_the_head_in_the_forward(cli: Cli) -> None:
    """Liger's: logits, loss and both gradients, of one chunk or of four; behind it the forward has no other product."""
    trace = TraceBuilder().gpu(0).gpu(1)
    marked(trace, LLAMA)

    def launch(thread: ThreadBuilder, start: int, names: list[str], gpu: int) -> None:
        for number, name in enumerate(names):
            at = start + number * 100 * US
            thread.launch(at + US, gpu=(at + 2 * US, at + 90 * US), name=name, device=gpu)

    layers, gradients = ["gemm"] * 16, ["dgrad_gemm", "wgrad_gemm"]
    for gpu, chunks in enumerate((1, 4)):
        process = trace.process(100 + gpu)
        main, autograd = process.thread(), process.thread(tid=201 + gpu)
        head = ["gemm", "liger_cross_entropy_kernel", *gradients] * chunks
        for at in range(0, 40 * MS, 10 * MS):
            main.push(at, at + 4 * MS, "forward", domain="llmperf").mark(at + 1, STEP, domain="llmperf")
            launch(main, at, [*layers, *head], gpu)
            main.push(at + 4 * MS, at + 8 * MS, "backward", domain="llmperf")
            launch(autograd, at + 4 * MS, gradients * 16, gpu)

    report = cli.analyze(trace)

    rest = all_layers(LLAMA, 64, pairs(64))
    assert phase(report, "forward")["flops"] == 8 * (rest + 3 * 64 * lm_head(LLAMA))
    assert phase(report, "backward")["flops"] == 8 * 2 * rest
    assert report["training"]["flops"] == 8 * 3 * (rest + 64 * lm_head(LLAMA))
    assert "weights_frozen" not in codes(report)


def test_copies_of_a_model_on_two_gpus_share_a_backward(cli: Cli) -> None:
    """`DataParallel`: each step has a thread for each GPU, which runs the forward of half of the batch."""
    trace = TraceBuilder().gpu(0).gpu(1)
    process = trace.process()
    main = process.thread()
    marked(trace, LLAMA)
    for step in range(5):
        at = step * 100 * MS
        for gpu in range(2):
            thread = process.thread(tid=200 + 2 * step + gpu).push(at + gpu, at + 20 * MS, "forward", domain="llmperf")
            thread.mark(at + gpu + 1, STEP, domain="llmperf")
            thread.launch(at + MS, gpu=(at + 2 * MS, at + 20 * MS), device=gpu)
            process.thread(tid=101 + gpu).launch(at + 21 * MS, gpu=(at + 22 * MS, at + 60 * MS), device=gpu)
        main.push(at + 20 * MS, at + 60 * MS, "backward", domain="llmperf")
        main.push(at + 60 * MS, at + 100 * MS, "optimizer", domain="llmperf")
        main.launch(at + 61 * MS, gpu=(at + 62 * MS, at + 100 * MS))

    report = cli.analyze(trace)

    flops = all_layers(LLAMA, 64, pairs(64)) + 64 * lm_head(LLAMA)
    assert phase(report, "forward")["flops"] == 5 * 2 * flops
    assert phase(report, "backward")["flops"] == 5 * 2 * 2 * flops
    training = report["training"]
    assert (training["steps"], training["tokens"], training["device_count"]) == (5, 5 * 2 * 64, 2)
    assert (training["flops"], training["wall_ns"]) == (5 * 2 * 3 * flops, 500 * MS)
    assert not codes(report) & {"forwards_without_backward", "open_at_once"}


MOE = LLAMA | {
    "model_type": "qwen3_moe", "num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 128,
    "head_dim": 64, "norm_topk_prob": True,
}  # fmt: skip


def test_experts_that_the_host_computes_are_told(cli: Cli) -> None:
    """llama.cpp: what is not of experts runs on the GPU, whose results go to the host and back.

    Not where nothing goes there (prefill), nor where the experts' weights are copied to the GPU (mixed).
    """
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    marked(trace, MOE)
    for step in range(12):
        name, copied = (("decode", 2048), ("prefill", 0), ("mixed", 4 * 3 * 512 * 128 * 2))[step % 3]
        at = step * 20 * MS
        main.push(at, at + 19 * MS, name, domain="llmperf")
        main.mark(at + 1, 'llmperf.step {"b":1,"q":1,"kv":512,"logits":1}', domain="llmperf")
        for layer in range(4):
            start = at + (4 * layer + 1) * MS
            for number, kernel in enumerate(["mul_mat_vec_q"] * 4 + ["flash_attn_ext_vec", "mul_mat_vec_q"]):
                main.launch(
                    start + number * US, gpu=(start + number * 20 * US, start + (number + 1) * 20 * US), name=kernel
                )
            if copied:
                main.memcpy(start + MS, gpu=(start + MS, start + MS + US), kind=2, size_bytes=2048)
                main.memcpy(start + 3 * MS, gpu=(start + 3 * MS, start + 3 * MS + US), kind=1, size_bytes=copied)
        main.launch(at + 18 * MS, gpu=(at + 18 * MS, at + 18 * MS + US), name="mul_mat_vec_q")

    rows, _ = cli.sql(trace, "SELECT phase FROM findings WHERE code = 'experts_on_the_host'")

    assert rows == [{"phase": "decode"}]


def test_a_prefix_that_is_trained_is_cached_before_the_first_token(cli: Cli) -> None:
    """Prefix tuning: keys and values of 16 virtual tokens stand in the cache of each forward of 64."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    marked(trace, LLAMA)
    for at in range(0, 100 * MS, 20 * MS):
        main.push(at, at + 5 * MS, "forward", domain="llmperf")
        main.mark(at + 1, 'llmperf.step {"b":1,"q":64,"kv":16,"logits":64}', domain="llmperf")
        main.launch(at + MS, gpu=(at + MS, at + 5 * MS))
        main.push(at + 5 * MS, at + 15 * MS, "backward", domain="llmperf")
        main.launch(at + 6 * MS, gpu=(at + 6 * MS, at + 15 * MS))

    report = cli.analyze(trace)

    forward = all_layers(LLAMA, 64, pairs(64) + 64 * 16) + 64 * lm_head(LLAMA)
    assert phase(report, "forward")["flops"] == 5 * forward
    assert (report["training"]["flops"], report["training"]["tokens"]) == (5 * 3 * forward, 5 * 64)


def test_recordings_of_a_capture_range_that_repeats_are_no_ranks(cli: Cli) -> None:
    """`--capture-range-end=repeat:2` leaves run.1 and run.2 of one process, recorded one after the other."""
    folder = cli.folder / "runs"
    folder.mkdir()
    for number in (1, 2):
        trace = TraceBuilder().gpu().session(80 * MS)
        trace.row("TARGET_INFO_SESSION_START_TIME", utcEpochNs=1_750_000_000_000_000_000 + number * 60_000 * MS)
        main = trace.process(777).thread()
        for at in range(0, 80 * MS, 20 * MS):
            main.push(at, at + 18 * MS, "decode").launch(at + MS, gpu=(at + 2 * MS, at + 16 * MS + number))
        trace.write(folder / f"run.{number}.sqlite")

    code, out, err = run(cli.capsys, "analyze", folder, "--format", "json", "--no-cache")

    report = json.loads(out)
    assert (code, len(report["trace"]["devices"])) == (0, 1), err
    assert {one["process_id"] for one in report["ranks"]} == {777}
    assert {device for one in report["ranks"] for device in one["device_ids"]} == {0}
    # the minute between the two is nobody's
    assert phase(report, "decode")["wall_ns"] == 8 * 18 * MS
    assert sum(report["windows_ns"].values()) == 8 * 18 * MS


def test_communication_on_the_stream_of_the_products_is_no_compute(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 100 * MS, 20 * MS):
        main.push(at, at + 20 * MS, "forward")
        for start in range(at, at + 20 * MS, 5 * MS):
            main.launch(start, gpu=(start + MS, start + 3 * MS), name="sm90_xmma_gemm_bf16")
            main.launch(start + US, gpu=(start + 3 * MS, start + 5 * MS), name="ncclDevKernel_AllGather_RING_LL")

    report = cli.analyze(trace)

    budget = phase(report, "forward")["budget"]
    assert (budget["compute_ns"], budget["transfer_ns"] + budget["wait_ns"]) == (5 * 4 * 2 * MS, 5 * 4 * 2 * MS)
    assert "exposed_communication" in codes(report)


def test_processes_that_share_a_gpu_are_told(cli: Cli) -> None:
    """Two replicas of an engine under MPS: the GPU works for both at once."""
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA)
    for pid in (100, 200):
        main = trace.process(pid).thread()
        for at in range(0, 100 * MS, 20 * MS):
            main.push(at, at + 19 * MS, "decode", domain="llmperf")
            main.mark(at + 1, 'llmperf.step {"b":8,"q":1,"kv":512,"logits":8}', domain="llmperf")
            main.launch(at + MS, gpu=(at + 2 * MS, at + 18 * MS))

    report = cli.analyze(trace)

    found = phase(report, "decode")
    assert (found["tokens"], found["wall_ns"], found["gpu_busy_ns"]) == (2 * 5 * 8, 2 * 5 * 19 * MS, 5 * 16 * MS)
    assert "open_at_once" in codes(report)


def test_layers_that_are_two_and_experts_that_compute_nothing(cli: Cli) -> None:
    """LongCat-Flash: no `num_hidden_layers` in the config; each of `num_layers` has attention and a dense MLP twice."""
    config = {
        "model_type": "longcat_flash", "hidden_size": 512, "num_layers": 3, "num_attention_heads": 8,
        "vocab_size": 1000, "q_lora_rank": 96, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16,
        "v_head_dim": 32, "ffn_hidden_size": 1024, "expert_ffn_hidden_size": 128, "n_routed_experts": 16,
        "zero_expert_num": 8, "zero_expert_type": "identity", "moe_topk": 4, "torch_dtype": "bfloat16",
    }  # fmt: skip
    tokens = 96

    latent = 512 * 96 + 96 * 8 * 48 + 512 * (64 + 16) + 64 * 8 * (32 + 32) + 8 * 32 * 512
    # of four experts that a token chooses 16 / 24 compute
    experts = 512 * 24 + 3 * 512 * 128 * 4 * 16 // 24
    layer = tokens * 2 * (2 * latent + 2 * 3 * 512 * 1024 + experts) + 2 * 2 * pairs(tokens) * 8 * (48 + 32)
    assert cli.prefill(config, "--prompt-tokens", tokens) == pytest.approx(3 * layer + 2 * 512 * 1000, rel=1e-4)


def test_layers_of_attention_and_mamba_side_by_side(cli: Cli) -> None:
    """Falcon-H1: each layer has both, so each has keys, values and a state."""
    config = {
        "model_type": "falcon_h1", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3,
        "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "mamba_n_heads": 12, "mamba_d_head": 32,
        "mamba_d_ssm": 384, "mamba_d_state": 64, "mamba_d_conv": 4, "mamba_n_groups": 1, "vocab_size": 1000,
        "torch_dtype": "bfloat16",
    }  # fmt: skip
    tokens, channels = 100, 384 + 2 * 64

    mamba = 256 * (384 + channels + 12) + channels * 4 + 384 * 256
    attention = 256 * 64 * (8 + 2 * 2) + 8 * 64 * 256
    layer = tokens * 2 * (mamba + attention + 3 * 256 * 512) + tokens * 4 * 384 * 64 + 4 * pairs(tokens) * 8 * 64
    printed = cli.flops(config, "--prompt-tokens", tokens)
    assert printed["prefill"]["flops"] == 3 * layer + 2 * 256 * 1000
    state = 384 * 64 * 4 + channels * 3 * 2
    assert printed["prefill"]["kv_write_bytes"] == 3 * (tokens * 2 * 2 * 64 * 2 + state)


@pytest.mark.parametrize("group", [16, 32])
def test_groups_of_nvfp4_have_the_length_that_the_config_says(group: int, cli: Cli) -> None:
    quantized = {"quant_method": "modelopt", "quant_algo": "W4A16_NVFP4", "group_size": group, "ignore": ["lm_head"]}

    printed = cli.flops(LLAMA | {"quantization_config": quantized}, "--prompt-tokens", 1)

    (down,) = [op for op in printed["ops"] if (op["phase"], op["name"]) == ("decode", "down")]
    assert down["weight_bytes"] == 4 * 512 * 1024 * (4 + 8 / group) / 8


def test_layers_that_quantization_skips_by_number_are_16_bits(cli: Cli) -> None:
    quantized = {"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {r"-:.*\.(?:[1-3])\..*": {}}}

    printed = cli.flops(LLAMA | {"quantization_config": quantized}, "--prompt-tokens", 1)

    of_down = [op["weight_bytes"] for op in printed["ops"] if (op["phase"], op["name"]) == ("decode", "down")]
    assert sum(of_down) == 512 * 1024 * (3 * 2 + (4 + (16 + 4) / 128) / 8)


def test_weights_that_are_packed_in_pairs_are_two_parameters(cli: Cli) -> None:
    quantized = {
        "quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
    }  # fmt: skip

    printed = cli.flops(LLAMA | {"quantization_config": quantized}, "--prompt-tokens", 1)

    assert printed["params"] == cli.flops(LLAMA, "--prompt-tokens", 1)["params"]
    (down,) = [op for op in printed["ops"] if (op["phase"], op["name"]) == ("decode", "down")]
    assert down["weight_bytes"] == pytest.approx(4 * 512 * 1024 * (4 + 8 / 64 + 32 / (64 * 256)) / 8, rel=1e-3)


def test_short_convolutions_cache_their_window_alone(cli: Cli) -> None:
    """LFM2: one of four layers has keys and values; the others keep the last two inputs of a convolution of three."""
    config = {
        "model_type": "lfm2", "hidden_size": 256, "block_dim": 256, "block_ff_dim": 640, "block_multiple_of": 256,
        "block_auto_adjust_ff_dim": True, "block_ffn_dim_multiplier": 1.0, "conv_L_cache": 3, "num_hidden_layers": 4,
        "num_attention_heads": 8, "num_key_value_heads": 2, "full_attn_idxs": [2], "vocab_size": 1000,
        "torch_dtype": "bfloat16",
    }  # fmt: skip

    printed = cli.flops(config, "--prompt-tokens", 100)

    assert printed["prefill"]["kv_write_bytes"] == 100 * 2 * 2 * 32 * 2 + 3 * 256 * 2 * 2


def test_layers_with_a_delta_state_have_no_latents(cli: Cli) -> None:
    """Kimi Linear: `linear_attn_config` counts layers from 1; the fourth of four has latents, the others a state."""
    config = {
        "model_type": "kimi_linear", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 72, "kv_lora_rank": 64, "q_lora_rank": None,
        "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "first_k_dense_replace": 1,
        "moe_layer_freq": 1, "num_experts": 8, "num_experts_per_token": 2, "num_shared_experts": 1,
        "moe_intermediate_size": 64, "vocab_size": 1000, "torch_dtype": "bfloat16",
        "linear_attn_config": {
            "full_attn_layers": [4], "kda_layers": [1, 2, 3], "head_dim": 32, "num_heads": 4,
            "short_conv_kernel_size": 4,
        },
    }  # fmt: skip

    printed = cli.flops(config, "--prompt-tokens", 100)

    state = 4 * 32 * 32 * 4 + 3 * 4 * 32 * 3 * 2
    assert printed["prefill"]["kv_write_bytes"] == 100 * (64 + 16) * 2 + 3 * state
