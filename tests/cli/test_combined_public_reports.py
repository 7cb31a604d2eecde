"""More of what test_public_reports.py has: unlike GPUs in one pass, evaluation in training, configs that say more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.run import MS, Cli, run
from tests.cli.test_public_reports import LLAMA, codes, lm_head, marked, pairs, phase, projections
from tests.support.kineto import KinetoTrace, gpu
from tests.support.trace_builder import ThreadBuilder, TraceBuilder

# -- GPUs --------------------------------------------------------------------------------------------------------------


def test_unlike_gpus_of_one_pass_have_the_sum_of_their_peaks(cli: Cli) -> None:
    """Layers of one process on two GPUs: steps of 18 ms, of which the first GPU works for 4 and the second for 10."""
    trace = TraceBuilder().gpu(0, name="NVIDIA GeForce RTX 5090", sm_count=170, compute=(12, 0))
    trace.gpu(1, name="NVIDIA GeForce RTX 3090", sm_count=82, compute=(8, 6))
    main = trace.process().thread()
    for at in range(0, 80 * MS, 20 * MS):
        main.push(at, at + 18 * MS, "prefill", domain="llmperf")
        main.mark(at + 1, 'llmperf.step {"b":1,"q":2048,"kv":0,"logits":1}', domain="llmperf")
        main.launch(at + MS, gpu=(at + 2 * MS, at + 6 * MS), device=0)
        main.launch(at + 2 * MS, gpu=(at + 7 * MS, at + 17 * MS), device=1)
    marked(trace, LLAMA)

    report = cli.analyze(trace)

    found, peaks = phase(report, "prefill"), 209.5e12 + 71e12
    assert found["peak_flops_per_s"] == pytest.approx(peaks)
    assert found["mfu_wall"] == pytest.approx(found["flops"] / (peaks * 4 * 18e-3))
    assert found["mfu_busy"] == pytest.approx(found["flops"] / (peaks / 2 * 4 * 14e-3))
    assert found["mbu_wall"] == pytest.approx(found["bytes"] / ((1792e9 + 936e9) * 4 * 18e-3))
    assert "unlike_gpus" in codes(report)


def test_parts_of_an_amd_gpu_have_no_peak(cli: Cli) -> None:
    partition = gpu(0, "AMD Instinct MI300X") | {"numSms": 38}
    trace = KinetoTrace(deviceProperties=[partition])
    trace.annotation("decode", 0, 90_000)
    trace.launch(10_000, gpu=(20_000, 45_000), name="Cijk_Alik_Bljk")

    rows, err = cli.sql(trace, "SELECT mfu_busy FROM phase_summary", "--model", "tiny-llama", "--shape", "1x16+1")

    assert rows == [{"mfu_busy": None}]
    assert "no cited peak for `AMD Instinct MI300X`" in err


# -- engines -----------------------------------------------------------------------------------------------------------


def test_halves_of_a_batch_on_threads_of_their_own(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, halves = process.thread(), [process.thread(), process.thread()]
    main.push(0, 18 * MS, "execute_context_0(0)_generation_64(64)").launch(MS, gpu=(MS + 5, 2 * MS), name="prepare")
    for number, half in enumerate(halves):
        for layer in range(4):
            at = (3 + 2 * layer + number) * MS
            half.push(at - 9, at + 9, f"{{'Module': 'model.layers.{layer}.mlp'}}")
            half.launch(at, gpu=(at + 5, at + MS + MS // 2), stream=11 + number)

    rows, _ = cli.sql(trace, "SELECT phase, count(*) AS n FROM gpu_work GROUP BY phase")

    assert rows == [{"phase": "decode", "n": 9}]


def test_requests_that_only_keep_ranks_company_have_no_tokens(cli: Cli) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank, requests in enumerate((8, 1)):
        main = trace.process(100 + rank).thread()
        main.push(0, 18 * MS, f"[Executor] _forward_step 4: 0 ctx reqs, 0 ctx tokens, {requests} gen reqs")
        main.launch(MS, gpu=(2 * MS, 17 * MS), device=rank)

    rows, _ = cli.sql(trace, "SELECT tokens, flops FROM phase_summary", "--model", "tiny-llama", "--dp", 2)

    # One of them is a dummy, which the text does not say.
    assert rows == [{"tokens": None, "flops": None}]


@pytest.mark.parametrize(
    ("kernel", "told"),
    [
        ("void vllm::merge_attn_states_kernel<__nv_bfloat16, 128>(float*)", True),
        # Parts of one sequence.
        ("void flashinfer::PersistentVariableLengthMergeStatesKernel<8, 16>(float*)", False),
    ],
)
def test_a_prefix_that_sequences_share_is_told(kernel: str, told: bool, cli: Cli) -> None:
    trace = decoding(kernel)
    marked(trace, LLAMA)

    _, err = cli.sql(trace, "SELECT mbu_busy FROM phase_summary")

    # `shared_prefix`
    assert ("merge attention, as where sequences share a prefix that is read once" in err) == told


def test_layers_that_a_quantized_cache_leaves_out_are_told(cli: Cli) -> None:
    trace = decoding("gemm")
    marked(trace, LLAMA, kv_dtype="fp8", kv_plain_layers=["sliding_window"])

    _, err = cli.sql(trace, "SELECT mbu_busy FROM phase_summary")

    # `cache_of_two_dtypes`
    assert "layers of the run (sliding_window) keep their keys and values in the model's dtype" in err


def decoding(kernel: str) -> TraceBuilder:
    """A decode step of 32 sequences, with one such kernel a layer."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 18 * MS, "decode", domain="llmperf")
    main.mark(1, 'llmperf.step {"b":32,"q":1,"kv":2048,"logits":32}', domain="llmperf")
    for layer in range(1, 5):
        main.launch(layer * MS, gpu=(3 * layer * MS, (3 * layer + 2) * MS), name=kernel)
    return trace


# -- training ----------------------------------------------------------------------------------------------------------

LIGHTNING = "[pl][profile][Strategy]SingleDeviceStrategy."


def run_ranges(main: ThreadBuilder, at: int, *names: str) -> int:
    """Ranges of 20 ms, one after the other from `at` on, each with a kernel of 18; the end of the last."""
    for name in names:
        main.push(at, at + 20 * MS, name).launch(at + MS, gpu=(at + 2 * MS, at + 20 * MS))
        at += 20 * MS
    return at


@pytest.mark.parametrize("evaluating", [f"{LIGHTNING}validation_step", "eval_step_7"])
def test_evaluation_is_in_no_step_and_no_wait_for_input(evaluating: str, cli: Cli) -> None:
    """Sanity check, then two epochs of two steps of two micro-batches; evaluation after each epoch."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    at = run_ranges(main, 0, evaluating)
    for _ in range(2):
        for batch in range(4):
            start = at
            at = run_ranges(main, at, f"{LIGHTNING}training_step", f"{LIGHTNING}backward")
            at = run_ranges(main, at, "Optimizer.step#AdamW.step") if batch % 2 else at
            main.push(start, at, "[pl][profile]run_training_batch")
        at = run_ranges(main, at, evaluating)

    rows, _ = cli.sql(trace, "SELECT wall_ns, input_wait_ns, gpu_busy_ns FROM training_steps")
    phases, _ = cli.sql(
        trace, "SELECT phase, kernel_count FROM phase_summary WHERE phase NOT IN ('forward', 'backward')"
    )

    assert rows == [{"wall_ns": 100 * MS, "input_wait_ns": 0, "gpu_busy_ns": 90 * MS}] * 4
    assert {row["phase"]: row["kernel_count"] for row in phases} == {"evaluation": 3, "optimizer": 4}


# -- configs that say more than their model type -----------------------------------------------------------------------


def test_decoders_without_a_causal_mask(cli: Cli) -> None:
    config = LLAMA | {"is_causal": False}

    printed = cli.flops(config, "--prompt-tokens", 64)

    # Every token sees all 64.
    assert printed["prefill"]["flops"] == projections(config, 64) + 4 * 4 * 8 * 64 * 64 * 64 + lm_head(config)
    assert printed["prefill"]["kv_write_bytes"] == 0
    assert printed["decode"] is None
    assert "no causal mask" in printed["convention"]["notes"][0]


@pytest.mark.parametrize(("model_type", "flag", "seen"), [("gemma3_text", True, 8), ("gemma4_text", "all", 9)])
def test_gemma_that_attends_in_both_directions(model_type: str, flag: object, seen: int, cli: Cli) -> None:
    """Windows of 16, halved: a token sees 8 of those before it in Gemma 3 and 9 in Gemma 4, and as many after it."""
    config = {
        "model_type": model_type, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 6,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 64, "global_head_dim": 64, "vocab_size": 1000,
        "vocab_size_per_layer_input": 1000, "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0,
        "sliding_window": 16, "layer_types": ["sliding_attention"] * 5 + ["full_attention"], "torch_dtype": "bfloat16",
    }  # fmt: skip

    causal, both = (
        cli.prefill(config | more, "--prompt-tokens", 64) for more in ({}, {"use_bidirectional_attention": flag})
    )

    sliding = sum(min(one + seen, 63) - max(one - seen, 0) + 1 for one in range(64))
    assert both - causal == 4 * 4 * 64 * (5 * (sliding - pairs(64, 16)) + 64 * 64 - pairs(64))


def test_heads_of_a_draft_model_have_its_vocabulary(cli: Cli) -> None:
    config = LLAMA | {"num_hidden_layers": 1, "architectures": ["LlamaForCausalLMEagle3"], "draft_vocab_size": 320}

    printed = cli.flops(config, "--prompt-tokens", 64)

    attention, mlp, fused = 1024 * (512 + 2 * 128) + 512 * 512, 3 * 512 * 1024, 3 * 512 * 512
    assert printed["params"] == 1000 * 512 + fused + attention + mlp + 4 * 512 + 320 * 512
    products = 2 * 64 * (fused + attention + mlp) + 2 * 320 * 512
    assert printed["prefill"]["flops"] == products + 4 * 8 * 64 * pairs(64)
    # Of another kind of draft its fields are told.
    other = cli.flops(LLAMA | {"draft_vocab_size": 320}, "--prompt-tokens", 64)
    assert "`draft_vocab_size`" in other["convention"]["notes"][0]


@pytest.mark.parametrize(
    ("name", "more", "head"),
    [
        ("LlamaForSequenceClassification", {"num_labels": 3}, 3 * 512),
        ("LlamaForTokenClassification", {"id2label": {"0": "a", "1": "b", "2": "c", "3": "d"}}, 4 * 512),
        ("LlamaModel", {}, 0),
        # Code of its own generates with what it calls so.
        ("LlamaModel", {"auto_map": {"AutoModelForCausalLM": "modeling.Llama"}}, 1000 * 512),
        ("LlamaForCausalLM", {}, 1000 * 512),
    ],
)
def test_classifiers_have_no_lm_head(name: str, more: dict[str, Any], head: int, cli: Cli) -> None:
    plain = cli.flops(LLAMA, "--prompt-tokens", 64)
    other = cli.flops(LLAMA | more | {"architectures": [name]}, "--prompt-tokens", 64)

    # What sorts tokens has a bias, and runs on each of them.
    bias, runs = (4, 64) if "Token" in name else (0, 1)
    assert plain["params"] - other["params"] == 1000 * 512 - head - bias
    assert plain["prefill"]["flops"] - other["prefill"]["flops"] == 2 * (1000 * 512 - runs * head)
    tied = cli.flops(LLAMA | more | {"architectures": [name], "tie_word_embeddings": True}, "--prompt-tokens", 64)
    # The table is there all the same.
    assert other["params"] - tied["params"] == (1000 * 512 if head == 1000 * 512 else 0)


LAYERS = 4 * (512 * (512 + 2 * 128) + 512 * 512 + 3 * 512 * 1024)
"""Weights of the products of LLAMA's layers."""


@pytest.mark.parametrize("repeated", [False, True])
def test_what_mlx_quantizes(repeated: bool, cli: Cli) -> None:
    own = {"group_size": 64, "bits": 4, "model.layers.0.self_attn.q_proj": {"group_size": 64, "bits": 8}}
    config = LLAMA | {"quantization": own} | ({"quantization_config": own} if repeated else {})

    printed = cli.flops(config, "--prompt-tokens", 64)

    # A 16-bit scale and bias for each 64 values; norms stay in 16 bits, tables do not: a row of one, all of the other.
    bits = 4.5 * (LAYERS + 512 + 1000 * 512) + 4 * 512 * 512 + 16 * 9 * 512
    assert printed["decode"]["weight_bytes"] == bits / 8
    assert printed["convention"]["notes"] == []


def test_the_older_name_of_a_quantization(cli: Cli) -> None:
    weights = {"num_bits": 8, "type": "float", "strategy": "channel"}
    stated = {
        "quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }  # fmt: skip

    older, newer = (
        cli.flops(LLAMA | {name: stated}, "--prompt-tokens", 64)["decode"]["weight_bytes"]
        for name in ("compression_config", "quantization_config")
    )

    assert older == newer < 0.6 * cli.flops(LLAMA, "--prompt-tokens", 64)["decode"]["weight_bytes"]


# -- a second round ----------------------------------------------------------------------------------------------------


def engine(trace: TraceBuilder, pid: int, phase_name: str, step: str, *, device: int, at: int = 0, **run: Any) -> None:
    """A worker that says what it runs, and three steps of 18 ms."""
    worker = trace.process(pid).thread()
    worker.mark(at, f"llmperf.run {json.dumps({'v': 1, 'rank': 0, 'framework': 'vllm'} | run)}", domain="llmperf")
    for start in range(at + 9, at + 60 * MS, 20 * MS):
        worker.push(start, start + 18 * MS, phase_name, domain="llmperf").mark(start + 1, step, domain="llmperf")
        worker.launch(start + MS, gpu=(start + 2 * MS, start + 15 * MS), name="gemm", device=device)


PROMPT, TOKEN = (f'llmperf.step {{"b":8,"q":{q},"kv":{kv},"logits":8}}' for q, kv in ((512, 0), (1, 512)))


def test_engines_of_several_models_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    engine(trace, 100, "decode", TOKEN, device=0, model=LLAMA)
    engine(trace, 101, "decode", TOKEN, device=1, at=1, model=LLAMA | {"num_hidden_layers": 2, "use_cache": False})

    rows, err = cli.sql(trace, "SELECT process_id, flops IS NULL AS unknown FROM phases GROUP BY ALL ORDER BY ALL")
    total, _ = cli.sql(trace, "SELECT flops, mfu_busy FROM phase_summary")

    assert rows == [{"process_id": 100, "unknown": False}, {"process_id": 101, "unknown": True}]
    # Not those of half of the phase.
    assert total == [{"flops": None, "mfu_busy": None}]
    # `other_runs`
    assert "1 processes run something else than the first that says what it runs (another model)" in err


@pytest.mark.parametrize("decoding_ranks", [1, 2])
def test_engines_of_other_degrees_are_told(decoding_ranks: int, cli: Cli) -> None:
    """One computes prompts on a GPU, another one tokens, on as many or on two."""
    trace = TraceBuilder().gpu(0).gpu(1).gpu(2)
    engine(trace, 100, "prefill", PROMPT, device=0, model=LLAMA, tp=1)
    for rank in range(decoding_ranks):
        engine(trace, 200 + rank, "decode", TOKEN, device=1 + rank, at=1, model=LLAMA, tp=decoding_ranks)

    rows, err = cli.sql(trace, "SELECT phase, flops IS NULL AS unknown, tokens FROM phase_summary ORDER BY phase")

    tokens = 3 * 8 * decoding_ranks
    assert rows == [
        {"phase": "decode", "unknown": decoding_ranks > 1, "tokens": tokens},
        {"phase": "prefill", "unknown": False, "tokens": 3 * 8 * 512},
    ]
    assert ("(another parallel degree)" in err) == (decoding_ranks > 1)


def test_adapters_that_no_mark_tells_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 90 * MS, "execute_context_0(0)_generation_64(64)")
    for number, name in enumerate(("gemm", "_lora_shrink_kernel", "_lora_expand_kernel")):
        main.launch((number + 1) * MS, gpu=((5 + 5 * number) * MS, (9 + 5 * number) * MS), name=name)

    _, err = cli.sql(trace, "SELECT mfu_busy_min FROM phase_summary", "--model", "tiny-llama")

    # `adapter_kernels`
    assert "in decode 2 kernels (`_lora_shrink_kernel`) multiply with LoRA adapters" in err or (
        "in decode 2 kernels (`_lora_expand_kernel`) multiply with LoRA adapters" in err
    )


def test_kernels_of_amds_libraries(cli: Cli) -> None:
    products = ["Cijk_Alik_Bljk_HHS_BH_Bias_MT64x32x256_MI16x16x1", "Cijk_Ailk_Bljk_SB_MT64x64x16_SN_1LDSB0"]
    tiles = "void ck_tile::kentry<256, 2, ck_tile::FmhaFwdKernel<ck_tile::half_t>>(ck_tile::FmhaFwdKernel<int>::Kargs)"

    found = {one["family"]: one["n"] for one in cli.families([*products, tiles])}

    assert found == {"gemm": 2, "attention": 1}


def test_rotary_positions_of_ggml_are_no_norm(cli: Cli) -> None:
    names = ["void rope_norm<true, false, float>(float*)", "void rope_neox<true, false, float>(float*)"]

    assert cli.families(names) == [{"family": "embedding", "n": 2}]


def test_layers_that_pruning_made_unlike_are_told(cli: Cli) -> None:
    config = LLAMA | {"model_type": "qwen2", "layer_head_num": [8, 8, 4, 4], "layer_inter_size": [1024, 512, 512, 256]}

    (note,) = cli.flops(config, "--prompt-tokens", 64)["convention"]["notes"]

    assert note.startswith("the config has `layer_head_num`, `layer_inter_size`")


def test_kinds_of_more_layers_than_there_are_are_refused(cli: Cli) -> None:
    path = cli.config(LLAMA | {"model_type": "qwen3", "layer_types": ["full_attention"] * 6})

    code, out, err = run(cli.capsys, "flops", path, "--prompt-tokens", 64)

    assert (code, out) == (1, "")
    assert "`layer_types` lists 6 layers, but there are 4" in err


def test_a_model_that_denoises_is_no_decoder(cli: Cli) -> None:
    path = cli.config({"model_type": "llada", "d_model": 512, "n_layers": 4, "n_heads": 8})

    code, _, err = run(cli.capsys, "flops", path, "--prompt-tokens", 64)

    assert code == 1
    assert "model type `llada` is not known" in err


def test_heads_whose_size_the_config_states(cli: Cli) -> None:
    config = {
        "model_type": "gpt_oss", "hidden_size": 288, "intermediate_size": 288, "num_hidden_layers": 2,
        "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 1000, "num_local_experts": 4,
        "num_experts_per_tok": 2, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"],
        "torch_dtype": "bfloat16",
    }  # fmt: skip

    ops = cli.flops(config, "--prompt-tokens", 64)["ops"]

    found = sum(one["flops"] for one in ops if (one["phase"], one["name"]) == ("prefill", "qkv"))
    assert found == 2 * 2 * 64 * 288 * (8 + 2 * 2) * 64


def test_flops_of_a_run_are_those_of_the_whole_model(cli: Cli) -> None:
    whole, shared = TraceBuilder().gpu(0), TraceBuilder().gpu(0).gpu(1)
    engine(whole, 100, "decode", TOKEN, device=0, model=LLAMA, tp=1)
    for rank in range(2):
        engine(shared, 100 + rank, "decode", TOKEN, device=rank, at=rank, model=LLAMA, tp=2)

    (one,), _ = cli.sql(whole, "SELECT sum(flops) AS flops FROM phases")
    (both,), _ = cli.sql(shared, "SELECT sum(flops) AS flops FROM phases")

    assert one == both


def test_an_optimizer_inside_the_backward_makes_no_steps(cli: Cli) -> None:
    """Hooks update each weight as soon as its gradient is there, on autograd's thread."""
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, autograd = process.thread(), process.thread()
    for at in range(0, 300 * MS, 100 * MS):
        main.push(at, at + 30 * MS, "forward").launch(at + MS, gpu=(at + 2 * MS, at + 30 * MS))
        main.mark(at + 1, 'llmperf.step {"b":1,"q":64,"kv":0,"logits":64}', domain="llmperf")
        main.push(at + 30 * MS, at + 100 * MS, "backward")
        for start in range(at + 31 * MS, at + 90 * MS, 20 * MS):
            autograd.launch(start, gpu=(start + 9, start + 8 * MS))
            autograd.push(start + 9 * MS, start + 12 * MS, "Optimizer.step#AdamW.step")
            autograd.launch(start + 10 * MS, gpu=(start + 11 * MS, start + 12 * MS), name="multi_tensor_apply_kernel")
    marked(trace, LLAMA)

    rows, _ = cli.sql(trace, "SELECT micro_batches, is_complete, wall_ns, tokens FROM training_steps")

    assert rows == [{"micro_batches": 1, "is_complete": True, "wall_ns": 100 * MS, "tokens": 64}] * 3


def test_forwards_that_overlap_backwards_have_no_flops(cli: Cli) -> None:
    """DualPipe runs the forward of one micro-batch in one range with the backward of another."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    run_ranges(main, 0, "forward_chunk", "overlapped_forward_backward", "backward_chunk", "optimizer")
    marked(trace, LLAMA)

    rows, _ = cli.sql(trace, "SELECT is_complete, flops FROM training_steps")

    assert rows == [{"is_complete": False, "flops": None}]
