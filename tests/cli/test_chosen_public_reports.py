"""More of what test_public_reports.py has: the first reports that a search for each subject brings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.run import MS, Cli
from tests.cli.test_fresh_public_reports import LARGE
from tests.cli.test_public_reports import LLAMA, codes, marked, ops, pairs, phase
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import ThreadBuilder, TraceBuilder

US = 1000


def one_pass(main: ThreadBuilder, at: int, name: str, length: int, step: str) -> int:
    """A pass of `length` ms with one kernel; when it ends."""
    end = at + length * MS
    main.push(at, end, name, domain="llmperf").launch(at + MS, gpu=(at + 2 * MS, end - MS))
    main.mark(at + 1, f"llmperf.step {step}", domain="llmperf")
    return end


# -- FLOPs and bytes of models -----------------------------------------------------------------------------------------


def test_layers_with_a_window_cache_each_token_until_it_is_full(cli: Cli) -> None:
    """gpt-oss-120b: a token has 73,728 bytes in all 36 layers, of which 18 keep 128 tokens."""
    gpt_oss = {
        "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 36,
        "num_local_experts": 128, "num_experts_per_tok": 4, "num_attention_heads": 64, "num_key_value_heads": 8,
        "head_dim": 64, "sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * 18,
        "vocab_size": 201088, "torch_dtype": "bfloat16",
    }  # fmt: skip
    layer = 2 * 8 * 64 * 2

    first, later = (cli.flops(gpt_oss, "--prompt-tokens", tokens) for tokens in (1, 8192))

    assert first["prefill"]["kv_write_bytes"] == first["decode"]["kv_read_bytes"] == 36 * layer == 73_728
    # The new token is one of the 128.
    assert later["decode"]["kv_read_bytes"] == 18 * layer * (127 + 8192)


def test_a_hybrid_of_experts_is_not_as_large_as_its_parameters(cli: Cli) -> None:
    """Qwen3.5-35B-A3B: 8 of 256 experts and a shared one, 30 of 40 layers with a state; 8,192 tokens of text."""
    text = {
        "model_type": "qwen3_5_moe_text", "hidden_size": 2048, "num_hidden_layers": 40, "num_attention_heads": 16,
        "num_key_value_heads": 2, "head_dim": 256, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
        "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "num_experts": 256,
        "num_experts_per_tok": 8, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512,
        "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 10, "vocab_size": 248320,
        "tie_word_embeddings": False, "dtype": "bfloat16",
    }  # fmt: skip
    # Weights that a token meets: 16 and 32 heads of 128, the latter twice; a gate and a decay for each of 32.
    with_state = 2048 * (2 * 2048 + 2 * 4096 + 2 * 32) + 4 * 8192 + 4096 * 2048
    # Queries with their gate, keys, values; heads of 256.
    attending = 2048 * (2 * 4096 + 2 * 512) + 4096 * 2048
    experts = 2048 * 256 + 9 * 3 * 2048 * 512 + 2048
    weights = 30 * with_state + 10 * attending + 40 * experts + 2048 * 248320
    scores = 10 * 4 * 16 * 256 * pairs(8192)
    # A state of 128 × 128 in each head is read, corrected and read again.
    states = 30 * 8192 * 6 * 32 * 128 * 128

    train = cli.flops(text, "--train", "--prompt-tokens", 8192)["train"]

    assert train["forward"]["flops"] == 2 * 8192 * weights + scores + states
    assert train["backward"]["flops"] == 2 * train["forward"]["flops"]


def test_attention_that_runs_again_is_in_no_model_flops(cli: Cli) -> None:
    """72·B·L·s·h² + 12·B·L·s²·h + 6·B·s·h·V; 4·B·L·s²·h more run, which no formula can know of."""
    gpt = {
        "model_type": "gpt2", "n_embd": 512, "n_layer": 6, "n_head": 8, "n_positions": 1024, "vocab_size": 1000,
        "torch_dtype": "bfloat16",
    }  # fmt: skip
    batch, length, layers, width = 2, 512, 6, 512
    products = 72 * batch * layers * length * width**2 + 6 * batch * length * width * 1000
    attention = 12 * batch * layers * length**2 * width
    step = f'{{"b":{batch},"q":{length},"kv":0,"logits":{batch * length}}}'
    options = ("--train", "--batch", batch, "--prompt-tokens", length, "--attention", "full")

    train = cli.flops(gpt, *options)["train"]

    assert train["forward"]["flops"] + train["backward"]["flops"] == products + attention
    trace = TraceBuilder().gpu()
    marked(trace, gpt)
    main, at = trace.process().thread(), 0
    for _ in range(4):
        at = one_pass(main, at, "forward", 20, step)
        # Half of the scores of a causal mask are needed.
        end = at + 40 * MS
        main.push(at, end, "backward", domain="llmperf")
        main.launch(at + MS, gpu=(at + 2 * MS, at + 10 * MS), name="flash_fwd_kernel")
        main.launch(at + 2 * MS, gpu=(at + 10 * MS, end - MS), name="flash_bwd_kernel")
        at = end
    report = cli.analyze(trace)
    assert report["training"]["flops"] == 4 * (products + 12 * batch * layers * pairs(length) * width)
    assert report["training"]["hfu_busy"] is None
    assert "recomputation_unknown" in codes(report)


@pytest.mark.parametrize(
    ("kind", "bits", "strategy"), [("int", 4, "group"), ("int", 8, "channel"), ("float", 8, "channel")]
)
def test_the_dtype_of_a_config_is_not_that_of_quantized_weights(kind: str, bits: int, strategy: str, cli: Cli) -> None:
    """Llama 3.3 with 70 billion parameters: w4a16 in groups of 128, w8a8, FP8; `torch_dtype` is bfloat16 in all."""
    weights = {"num_bits": bits, "type": kind, "strategy": strategy, "symmetric": True, "dynamic": False}
    inputs = {"num_bits": 8, "type": kind, "strategy": "token", "dynamic": True, "symmetric": True}
    group = {
        "targets": ["Linear"], "weights": weights | ({"group_size": 128} if bits == 4 else {}),
        "input_activations": inputs if bits == 8 else None,
    }  # fmt: skip
    large = LARGE | {
        "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
        "quantization_config": {
            "quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "ignore": ["lm_head"],
            "format": {("int", 4): "pack-quantized", ("int", 8): "int-quantized"}.get((kind, bits), "float-quantized"),
        },
    }  # fmt: skip

    decode = [one for one in cli.flops(large, "--prompt-tokens", 1)["ops"] if one["phase"] == "decode"]

    # Inputs of 8192 or 28672 weights have a scale of 16 bits for 128, or one for all.
    scales = 8192 // 128 if bits == 4 else 1
    (gate_up,) = [one for one in decode if one["name"] == "gate_up"]
    assert gate_up["weight_bytes"] == 80 * 2 * 28672 * (8192 * bits / 8 + 2 * scales)
    assert gate_up["dtype"] == ("bf16" if bits == 4 else {"int": "int8", "float": "fp8"}[kind])
    assert [one["weight_bytes"] for one in decode if one["name"] == "lm_head"] == [2 * 8192 * 128256]


BERT: dict[str, Any] = {
    "model_type": "bert", "architectures": ["BertLMHeadModel"], "hidden_size": 768, "intermediate_size": 3072,
    "num_hidden_layers": 12, "num_attention_heads": 12, "vocab_size": 30522, "max_position_embeddings": 512,
    "torch_dtype": "float32",
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


# -- serving -----------------------------------------------------------------------------------------------------------


def test_prompts_have_their_tokens_in_the_throughput_of_a_prefill(cli: Cli) -> None:
    """Four prompts of 128 tokens in 50 ms: 512 tokens, not four."""
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA)
    main = trace.process().thread()
    for at in range(0, 800 * MS, 200 * MS):
        main.push(at, at + 130 * MS, "request", domain="llmperf")
        end = one_pass(main, at, "prefill", 50, '{"b":4,"q":128,"kv":0,"logits":4}')
        for cached in (128, 129):
            end = one_pass(main, end, "decode", 40, f'{{"b":4,"q":1,"kv":{cached},"logits":4}}')

    report = cli.analyze(trace)

    prefill, decode = phase(report, "prefill"), phase(report, "decode")
    assert (prefill["tokens"], prefill["measured_wall_ns"]) == (4 * 512, 4 * 50 * MS)
    assert (decode["tokens"], decode["measured_wall_ns"]) == (8 * 4, 8 * 40 * MS)


def test_a_pass_before_generate_is_not_in_its_times(cli: Cli) -> None:
    """A benchmark times `model(...)` alone, then `generate`, which computes the prompt again: 50 ms, 4 tokens of 10."""
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA)
    main, at = trace.process().thread(), 0
    for _ in range(4):
        start = at = one_pass(main, at, "prefill", 50, '{"b":1,"q":128,"kv":0,"logits":1}')
        at = one_pass(main, at, "prefill", 50, '{"b":1,"q":128,"kv":0,"logits":1}')
        for cached in range(128, 132):
            at = one_pass(main, at, "decode", 10, f'{{"b":1,"q":1,"kv":{cached},"logits":1}}')
        main.push(start, at, "request", domain="llmperf")

    rows, _ = cli.sql(trace, "SELECT ttft_ns, tpot_ns FROM requests")

    assert rows == [{"ttft_ns": 50 * MS, "tpot_ns": 10 * MS}] * 4


def test_the_first_token_is_in_no_time_between_tokens(cli: Cli) -> None:
    """vLLM's annotations: a prompt in 500 ms, then 16 tokens of 20. Which request has which is not in them."""
    trace, at = KinetoTrace(), 0
    for _ in range(3):
        for step in range(17):
            length = (20 if step else 500) * MS
            kind = "execute_context_0(0)_generation_1(1)" if step else "execute_context_1(512)_generation_0(0)"
            trace.annotation(kind, at, at + length)
            trace.launch(at + 10_000, gpu=(at + 20_000, at + length - 10_000))
            at += length

    report = cli.analyze(trace)

    found = {one["name"]: (one["occurrences"], one["median_wall_ns"], one["tokens"]) for one in report["phases"]}
    assert found == {"prefill": (3, 500 * MS, 3 * 512), "decode": (48, 20 * MS, 48)}
    assert report["requests"] == []
    assert "requests_not_marked" in codes(report)


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [8, 1])
def test_tokens_of_all_ranks_are_not_those_of_one_gpu(ranks: int, cli: Cli) -> None:
    """8 ranks with 4 sequences of 4,096 tokens each in 1.93 s; all are recorded, or rank 0 alone."""
    trace = TraceBuilder()
    for rank in range(ranks):
        main = trace.gpu(rank).process(100 + rank).thread()
        mark = {"v": 1, "model": LARGE, "rank": rank, "world": 8, "dp": 8}
        main.mark(0, f"llmperf.run {json.dumps(mark)}", domain="llmperf")
        at = 0
        for part, length in [("forward", 600), ("backward", 1200), ("optimizer", 130)] * 3:
            end = at + length * MS
            main.push(at, end, part, domain="llmperf").launch(at + MS, gpu=(at + 2 * MS, end - MS), device=rank)
            if part == "forward":
                main.mark(at + 1, 'llmperf.step {"b":4,"q":4096,"kv":0,"logits":16384}', domain="llmperf")
            at = end

    report = cli.analyze(trace)

    assert report["training"]["tokens_per_s_per_gpu"] == pytest.approx(4 * 4096 / 1.93)
    assert ("ranks_missing" in {one["code"] for one in report["warnings"]}) == (ranks == 1)


# -- traces of torch.profiler ------------------------------------------------------------------------------------------


def test_work_of_autograd_is_in_the_step_that_waits_for_it(cli: Cli) -> None:
    """The GPU's copy of the step's annotation ends with the forward; kernels of the backward are in the step."""
    trace = KinetoTrace()
    trace.meta("thread_name", 4711, 9, name="thread 9 (pt_autograd_0)")
    for step in range(3):
        at = step * 200 * US
        trace.annotation(f"ProfilerStep#{22 + step}", at, at + 180 * US)
        trace.launch(at + 5 * US, gpu=(at + 10 * US, at + 30 * US), name="flash_fwd_kernel")
        trace.op("ScaledDotProductCudnnAttentionBackward0", at + 60 * US, at + 100 * US, tid=9)
        trace.launch(at + 65 * US, gpu=(at + 70 * US, at + 150 * US), name="cudnn_generated_fort_native_sdpa", tid=9)
        trace.event("gpu_user_annotation", f"ProfilerStep#{22 + step}", at + 10 * US, at + 30 * US, 0, 7)

    report = cli.analyze(trace)

    (step_row,) = report["phases"]
    assert (step_row["kernel_count"], step_row["gpu_busy_ns"]) == (6, 3 * 100 * US)
    assert (step_row["other_thread_count"], step_row["other_thread_time_ns"]) == (3, 3 * 80 * US)
    assert "other_thread" in codes(report)


@pytest.mark.parametrize(
    "categories",
    [
        {"kernel": "Kernel"},
        {
            "kernel": "Kernel",
            "gpu_memcpy": "Memcpy",
            "gpu_memset": "Memset",
            "cuda_runtime": "Runtime",
            "cpu_op": "Operator",
        },
    ],
)
def test_categories_of_other_versions_are_read(categories: dict[str, str], cli: Cli) -> None:
    trace = KinetoTrace()
    for at in range(0, 300 * US, 100 * US):
        trace.annotation("decode", at, at + 90 * US)
        trace.launch(at + 10 * US, gpu=(at + 20 * US, at + 45 * US))
        trace.call("cudaMemcpyAsync", at + 50 * US, at + 52 * US, 1000 + at)
        copied = {"device": 0, "stream": 7, "correlation": 1000 + at, "bytes": 8}
        trace.event("gpu_memcpy", "Memcpy DtoH (Device -> Pinned)", at + 60 * US, at + 61 * US, 0, 7, **copied)
    for event in trace.events:
        event["cat"] = categories.get(event.get("cat", ""), event.get("cat", ""))

    decode = phase(cli.analyze(trace), "decode")

    assert (decode["kernel_count"], decode["memop_count"], decode["gpu_busy_ns"]) == (3, 3, 3 * 26 * US)


def test_kernels_that_seem_to_start_before_their_launch(cli: Cli) -> None:
    """NCCL's sends on an idle GPU start 3 µs before they are launched, and no arrow leads to them."""
    trace = KinetoTrace()
    for at in range(0, 4 * MS, MS):
        for name, start in (("forward", at), ("backward", at + 500 * US)):
            trace.annotation(name, start, start + 500 * US)
        trace.launch(at + 10 * US, gpu=(at + 20 * US, at + 400 * US))
        for call in range(at + 500 * US, at + 580 * US, 10 * US):
            gpu = (call - 3 * US, call + 4 * US)
            trace.launch(call, gpu=gpu, name="ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)", stream=20)

    report = cli.analyze(trace)

    backward = phase(report, "backward")
    assert (backward["kernel_count"], backward["gpu_busy_ns"]) == (32, 32 * 7 * US)
    assert backward["budget"]["transfer_ns"] == 32 * 7 * US
    (told,) = [one["message"] for one in report["findings"] if one["code"] == "clocks_differ"]
    assert told.startswith("32 GPU operations start before the call that launched them, by up to 3.0 µs")
