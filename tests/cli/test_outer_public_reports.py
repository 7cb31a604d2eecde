"""More of what test_public_reports.py has: profilers' libraries, JAX, calculators of FLOPs and memory."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.run import MS, Cli, run
from tests.cli.test_odd_public_reports import LATENT, weights_of
from tests.cli.test_public_reports import ALL_REDUCE, LLAMA, codes, lm_head, marked, pairs, phase, projections
from tests.support.trace_builder import TraceBuilder

MODULE = "XlaModule:#hlo_module=jit_train_step,program_id=5#"
PASS = [*(["nvjet_tst", "flash_fwd_kernel", *["nvjet_tst"] * 3] * 4), "nvjet_tst"]


def message(report: dict[str, Any], code: str) -> str:
    (found,) = [one["message"] for one in report["findings"] if one["code"] == code]
    return str(found)


def outside(cli: Cli, trace: TraceBuilder) -> int:
    """Kernels in no phase."""
    rows, _ = cli.sql(trace, "SELECT count(*) AS n FROM kernels WHERE phase IS NULL")
    return int(rows[0]["n"])


# -- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waiting", [0, 20])
def test_input_that_the_gpu_does_not_wait_for_is_told(waiting: int, cli: Cli) -> None:
    """The host is in its data loader for 60 of 100 ms; the GPU works on the step before for 52 of them."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 600 * MS, 100 * MS):
        main.push(at + 60 * MS, at + 66 * MS, "forward")
        main.launch(at + 61 * MS, gpu=(at + 62 * MS, at + 80 * MS), name="gemm")
        main.push(at + 66 * MS, at + 72 * MS, "backward")
        main.launch(at + 67 * MS, gpu=(at + 80 * MS, at + 150 * MS - waiting * 3 * MS), name="gemm")
        main.push(at + 72 * MS, at + 74 * MS, "optimizer")
        main.launch(at + 73 * MS, gpu=(at + 150 * MS - waiting * 3 * MS, at + 152 * MS - waiting * 3 * MS), name="adam")

    report = cli.analyze(trace)

    assert ("input_wait_hidden" in codes(report)) == (waiting == 0)
    if not waiting:
        # Five waits from 74 to 160 ms, in each of which the GPU works until 152.
        assert "of 430.0 ms" in message(report, "input_wait_hidden")
        assert "work for 390.0 ms" in message(report, "input_wait_hidden")


@pytest.mark.parametrize("kind", ["nodes", "whole", "missing"])
def test_command_buffers_of_xla_are_work_of_their_step(kind: str, cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 500 * MS, 100 * MS):
        main.push(at, at + 90 * MS, MODULE, domain="TSL")
        main.push(at + MS, at + 3 * MS, "Thunk:#name=command_buffer,hlo_op=command_buffer.1#", domain="TSL")
        if kind == "nodes":
            main.graph_launch(at + 2 * MS, nodes=[(at + (4 + node) * MS, at + (5 + node) * MS) for node in range(80)])
        elif kind == "whole":
            main.graph_launch(at + 2 * MS, gpu=(at + 4 * MS, at + 84 * MS))
        else:
            main.graph_launch(at + 2 * MS)
        main.launch(at + 3 * MS, gpu=(at + 84 * MS, at + 86 * MS), name="loop_add_fusion")

    report = cli.analyze(trace)

    assert phase(report, "step")["gpu_busy_ns"] == 5 * (2 if kind == "missing" else 82) * MS
    expected = {"nodes": set(), "whole": {"whole_graphs"}, "missing": {"untraced_graphs"}}[kind]
    assert codes(report) & {"whole_graphs", "untraced_graphs"} == expected


def test_thunks_of_xla_without_a_module_are_outside(cli: Cli) -> None:
    """An all-reduce that another thread starts while the module is open, and one that starts behind its end."""
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, other = process.thread(), process.thread(200)
    for at in range(0, 500 * MS, 100 * MS):
        main.push(at, at + 50 * MS, MODULE, domain="TSL")
        main.push(at + MS, at + 2 * MS, "Thunk:#name=gemm_fusion_dot.1,hlo_op=gemm_fusion_dot.1#", domain="TSL")
        main.launch(at + MS + 10, gpu=(at + 2 * MS, at + 42 * MS), name="gemm_fusion_dot_1")
        other.push(at + 5 * MS, at + 6 * MS, "Thunk:#name=all-reduce-start,unique_hlo_op_id=77#", domain="TSL")
        other.launch(at + 5 * MS + 10, gpu=(at + 42 * MS, at + 49 * MS), name=ALL_REDUCE, stream=9)
        main.push(at + 51 * MS, at + 52 * MS, "Thunk:#name=all-reduce-start,unique_hlo_op_id=78#", domain="TSL")
        main.launch(at + 51 * MS + 10, gpu=(at + 61 * MS, at + 70 * MS), name=ALL_REDUCE, stream=9)

    report = cli.analyze(trace)

    assert phase(report, "step")["gpu_busy_ns"] == 5 * 47 * MS
    assert outside(cli, trace) == 5
    assert "5 operations of step were launched by threads" in message(report, "other_thread")


def test_llm_c_on_blackwell_has_its_own_peak(cli: Cli) -> None:
    """GPT-2 124M: three times the products and the attention of 4 x 1,024 tokens, on an RTX 5090 with 209.5 TFLOP/s."""
    config = {
        "model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257,
        "torch_dtype": "bfloat16",
    }  # fmt: skip
    trace = TraceBuilder().gpu(
        name="NVIDIA GeForce RTX 5090", compute=(12, 0), sm_count=170, memory_bandwidth=1_792_000_000_000
    )
    main = trace.process().thread()
    for step, at in enumerate(range(0, 250 * MS, 50 * MS)):
        main.push(at, at + 49 * MS, f"Train step {step}")
        main.push(at, at + 10 * MS, "gpt2_forward").push(at + 10 * MS, at + 40 * MS, "gpt2_backward_and_reduce")
        for number in range(24):
            name, start = "cutlass_80_tensorop_bf16_s16816gemm_bf16_128x256", at + (1 + number) * MS
            main.launch(start, gpu=(start + MS, start + 2 * MS), name=name)
        main.push(at + 40 * MS, at + 48 * MS, "gpt2_update")
        main.launch(at + 41 * MS, gpu=(at + 42 * MS, at + 47 * MS), name="void adamw_kernel3<float, __nv_bfloat16>")

    report = cli.analyze(trace, "--model", cli.config(config), "--shape", "4x1024")

    tokens = 4 * 1024
    products = 2 * tokens * (12 * 12 * 768 * 768 + 768 * 50257)
    flops = 3 * (products + 4 * 12 * 4 * 768 * pairs(1024))
    assert report["phases"][0]["flops"] == 5 * flops
    assert report["phases"][0]["mfu_busy"] == pytest.approx(flops / 29e-3 / 209.5e12, rel=1e-3)


# -- what profilers record ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "is_refused"), [(-(2**63), True), (2**63 - 1, True), (-1_700_000_000 * 10**9, False), (-10 * MS, False)]
)
def test_kernels_whose_time_is_a_mark_for_none_are_told(time: int, is_refused: bool, cli: Cli) -> None:
    trace = TraceBuilder().gpu().session(50 * MS)
    main = trace.process().thread()
    for at in range(0, 40 * MS, 10 * MS):
        main.push(at, at + 10 * MS, "decode")
        main.launch(at + 1, gpu=(at + MS, at + 4 * MS), name="gemm")
        main.launch(at + 2, gpu=(time, time) if at == 20 * MS else (at + 4 * MS, at + 5 * MS), name="gemm")

    code, _, err = run(cli.capsys, "analyze", cli.write(trace), "--no-cache", "--format", "json")

    assert code == (1 if is_refused else 0)
    if is_refused:
        assert "holds values that no nsys export has" in err
    else:
        report = cli.analyze(trace)
        assert "untimed_work" in codes(report)
        assert phase(report, "decode")["gpu_busy_ns"] == 15 * MS


@pytest.mark.parametrize("api", ["cuLaunchKernelEx", "cudaLaunchKernelExC_v11060", "cuLaunchKernelEx_ptsz"])
def test_kernels_that_the_driver_launches_are_of_their_step(api: str, cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 40 * MS, 10 * MS):
        main.push(at, at + 10 * MS, "decode")
        call = main.call(at + 1, api=api)
        main.process.kernel((at + MS, at + 9 * MS), correlation=call, name="nvjet_tst")

    report = cli.analyze(trace)

    assert (phase(report, "decode")["kernel_count"], phase(report, "decode")["gpu_busy_ns"]) == (4, 32 * MS)
    assert codes(report) == {"no_model"}


def test_ranges_that_nodes_of_a_graph_open_are_told(cli: Cli) -> None:
    """Host functions between the nodes open them, on a thread of CUDA's; another thread launched the graph."""
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, callbacks = process.thread(), process.thread(300)
    for at in range(0, 500 * MS, 100 * MS):
        main.graph_launch(at + MS, nodes=[(at + (3 + node) * MS, at + (4 + node) * MS) for node in range(80)])
        callbacks.push(at + 2 * MS, at + 43 * MS, "prefill")
        callbacks.push(at + 43 * MS, at + 91 * MS, "decode")

    report = cli.analyze(trace)

    told = [one["message"] for one in report["findings"] if one["code"] == "phases_of_other_threads"]
    assert [("200 GPU operations" in one, "5 measured ranges" in one) for one in told] == [(True, True)] * 2
    assert outside(cli, trace) == 400


# -- tokens ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("passes", [1, 8])
def test_steps_of_several_tokens_have_no_time_per_token(passes: int, cli: Cli) -> None:
    """Two requests of four decode ranges, in each of which the model runs once or eight times, 3 ms each."""
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA)
    main = trace.process().thread()
    at = 0
    for _ in range(2):
        main.push(at, at + (5 + 4 * passes * 3) * MS, "request")
        for tokens in (128, 1, 1, 1, 1):
            times = 1 if tokens > 1 else passes
            end = at + (5 * MS if tokens > 1 else times * 3 * MS)
            main.push(at, end, "decode" if tokens == 1 else "prefill", domain="llmperf")
            main.mark(at + 1, f'llmperf.step {{"b":1,"q":{tokens},"kv":128,"logits":1}}', domain="llmperf")
            for start in range(at, at + times * 3 * MS, 3 * MS):
                for number, name in enumerate(PASS):
                    ran = start + MS // 10 * (number + 1)
                    main.launch(start + 2 + 10 * number, gpu=(ran, ran + MS // 10), name=name)
            at = end

    report = cli.analyze(trace)
    rows, _ = cli.sql(trace, "SELECT tpot_ns FROM requests")

    assert ("several_passes" in codes(report)) == (passes > 1)
    if passes > 1:
        assert "runs the layers 8 times" in message(report, "several_passes")
    # From the end of the first token, whichever of host and GPU is later, to that of the last: 4 x 3 ms.
    assert [row["tpot_ns"] for row in rows] == [None if passes > 1 else 3 * MS] * 2


# -- models ------------------------------------------------------------------------------------------------------------


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


def test_weights_that_layers_share_are_stored_once_and_multiplied_each_time(cli: Cli) -> None:
    """Zamba 2: one transformer layer at three places."""
    kinds = ["mamba", "mamba", "hybrid"] * 3
    config = {
        "model_type": "zamba2", "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 9,
        "num_attention_heads": 8, "num_key_value_heads": 8, "attention_head_dim": 128, "attention_hidden_size": 1024,
        "vocab_size": 1000, "mamba_d_state": 64, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_ngroups": 1,
        "n_mamba_heads": 16, "mamba_headdim": 64, "hybrid_layer_ids": [2, 5, 8], "num_mem_blocks": 1,
        "adapter_rank": 16, "use_shared_attention_adapter": False, "use_shared_mlp_adapter": True,
        "torch_dtype": "bfloat16", "layers_block_type": kinds,
    }  # fmt: skip

    ops = [one for one in cli.flops(config, "--prompt-tokens", 100)["ops"] if one["phase"] == "prefill"]

    for name, weights in (("qkv", 1024 * 3 * 1024), ("gate_up", 512 * 2 * 2048), ("down", 2048 * 512)):
        shared = [one for one in ops if one["name"] == name]
        assert sum(one["flops"] for one in shared) == 3 * 2 * 100 * weights
        assert sum(one["weight_bytes"] for one in shared) == 2 * weights
    assert run(cli.capsys, "flops", cli.config({"model_type": "albert", "num_hidden_groups": 1}))[0] != 0


@pytest.mark.parametrize(
    ("kernel", "fields", "code"),
    [
        ("void flash_attn_ext_f16<(int)192, (int)128, (int)4>", {}, "whole_keys_cached"),
        ("void flash_attn_ext_f16<(int)576, (int)512, (int)4>", {}, None),
        ("flash_fwd_kernel", {"framework": "transformers", "framework_version": "4.57.1"}, "latents_not_cached"),
        ("flash_fwd_kernel", {"framework": "transformers", "framework_version": "5.24.0"}, None),
    ],
)
def test_caches_of_whole_keys_where_latents_are_counted_are_told(
    kernel: str, fields: dict[str, str], code: str | None, cli: Cli
) -> None:
    trace = TraceBuilder().gpu()
    marked(trace, LATENT, **fields)
    main = trace.process().thread()
    for at in range(0, 400 * MS, 100 * MS):
        main.push(at, at + 100 * MS, "decode", domain="llmperf")
        main.mark(at + 1, 'llmperf.step {"b":1,"q":1,"kv":10000,"logits":1}', domain="llmperf")
        for number, name in enumerate([*["gemm"] * 8, kernel] * 3):
            main.launch(at + MS + number, gpu=(at + (2 + number) * MS, at + (3 + number) * MS), name=name)

    found = codes(cli.analyze(trace)) & {"whole_keys_cached", "latents_not_cached"}
    latents, whole = (
        cli.flops(LATENT, "--prompt-tokens", 1000, *more)["decode"]["kv_read_bytes"]
        for more in ([], ["--mla", "cached"])
    )

    assert found == ({code} if code else set())
    # Three layers: a latent of 64 with 16 rotary values, or four heads with keys of 48 and values of 32, in 16 bits.
    assert (latents, whole) == (1000 * 3 * (64 + 16) * 2, 1000 * 3 * 4 * (48 + 32) * 2)


def test_bits_that_are_no_whole_number_are_refused(cli: Cli) -> None:
    """EXL2 with 2.65 bits a weight and 6 in the head; GPTQ in groups of 32 has 4.625."""
    exl2 = {"quant_method": "exl2", "bits": 2.65, "head_bits": 6}
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True, "sym": True}

    code, _, err = run(cli.capsys, "flops", cli.config(LLAMA | {"quantization_config": exl2}), "--prompt-tokens", 64)
    printed = cli.flops(LLAMA | {"quantization_config": gptq}, "--prompt-tokens", 64)

    assert code != 0
    assert "quantization method `exl2` is not known" in err
    assert weights_of(printed, "o")[0][0] == 512 * 512 * 4.625 / 8
