"""More of what test_public_reports.py has: layers with a state, engines side by side, operators that graphs hide."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from nsys_pipeline.hardware import find_gpu
from tests.cli.run import MS, Cli, run
from tests.cli.test_newest_public_reports import MIXTRAL
from tests.cli.test_public_reports import LLAMA, marked
from tests.support.kineto import KinetoTrace, Raw, gpu
from tests.support.trace_builder import ProcessBuilder, TraceBuilder
from tests.unit.trace.test_messages import job

# -- names of kernels --------------------------------------------------------------------------------------------------

HYBRID: dict[str, Any] = {
    "model_type": "qwen3_5_text", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 8,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 1000,
    "layer_types": [*["linear_attention"] * 3, "full_attention"] * 2, "linear_num_key_heads": 4,
    "linear_num_value_heads": 8, "linear_key_head_dim": 32, "linear_value_head_dim": 32, "linear_conv_kernel_dim": 4,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
# As transformers runs a layer: no two of its products are one.
STATE = [
    *(f"gemm_{name}" for name in ("qkv", "z", "b", "a")), "causal_conv1d_fwd_kernel",
    "chunk_local_cumsum_scalar_kernel", "chunk_scaled_dot_kkt_fwd_kernel", "solve_tril_16x16_kernel",
    "recompute_w_u_fwd_kernel", "chunk_gated_delta_rule_fwd_kernel_h_blockdim64", "chunk_fwd_kernel_o", "gemm_out",
]  # fmt: skip
FULL = [*(f"gemm_{name}" for name in "qkv"), "flash_fwd_kernel", "gemm_o"]
MLP = ["gemm_gate", "gemm_up", "silu_mul", "gemm_down"]


def test_kernels_of_layers_with_a_state(cli: Cli) -> None:
    mamba = [
        "void selective_scan_fwd_kernel<Selective_Scan_fwd_kernel_traits<128, 16>>(SSMParamsBase)",
        "_selective_scan_update_kernel", "_chunk_cumsum_fwd_kernel", "_chunk_state_fwd_kernel",
        "_state_passing_fwd_kernel", "_bmm_chunk_fwd_kernel", "_chunk_scan_fwd_kernel", "_causal_conv1d_update_kernel",
    ]  # fmt: skip
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 200 * MS, "prefill", domain="llmperf")
    main.mark(1, 'llmperf.step {"b":1,"q":64,"kv":0,"logits":1}', domain="llmperf")
    layers = [*[*STATE, *MLP] * 3, *FULL, *MLP] * 2
    for number, name in enumerate([*layers, "gemm_head"]):
        main.launch((number + 1) * MS, gpu=((number + 1) * MS + 9, (number + 2) * MS), name=name)
    marked(trace, HYBRID)

    rows, err = cli.sql(trace, "SELECT kernel_count FROM phase_summary")

    assert cli.families(mamba) == [{"family": "recurrence", "n": len(mamba)}]
    # It is the model: six of its eight layers have a state, two attend.
    assert "it is another model" not in err
    assert rows == [{"kernel_count": len(layers) + 1}]


def test_what_a_template_fuses_is_no_kind_of_its_own(cli: Cli) -> None:
    products = ["triton_tem_fused__to_copy_addmm_relu_2", "triton_tem_fused_addmm_gelu_7", "triton_tem_fused_mm_t_4"]
    # Made around a product: its operands, or what follows it.
    around = ["triton_poi_fused__scaled_mm_add_0", "triton_poi_fused_addmm_native_dropout_1"]

    found = {one["family"]: one["n"] for one in cli.families(products + around)}

    assert found == {"gemm": 3, "elementwise": 2}


# -- operators of torch ------------------------------------------------------------------------------------------------


def test_work_that_graphs_hide_from_operators_is_told(cli: Cli) -> None:
    trace = KinetoTrace()
    for step in range(3):
        at = step * 200_000
        trace.annotation("decode", at, at + 90_000)
        # One runs on the GPU; what the other records into a graph does later, if at all.
        for start in (1_000, 10_000):
            trace.op("aten::mm", at + start, at + start + 8_000, [[4, 8], [8, 2]])
        trace.launch(at + 2_000, gpu=(at + 5_000, at + 9_000))
        trace.correlation += 1
        trace.call("hipGraphLaunch", at + 20_000, at + 25_000, trace.correlation)
        for node in range(20):
            start = at + 26_000 + node * 2_000
            trace.kernel("gemm", start, start + 1_800, trace.correlation)

    rows, err = cli.sql(trace, "SELECT calls, flops, flops_per_s FROM operators")

    # `work_without_operators`: 36 of 40 µs in each step.
    assert "in decode 90 % of the GPU time was launched outside every operator of torch, 90 % by CUDA graphs" in err
    # The rate is that of the products that a GPU computed, in 4 µs each.
    product = 2 * 4 * 8 * 2
    assert rows == [{"calls": 6, "flops": 6 * product, "flops_per_s": pytest.approx(product / 4e-6)}]


def test_calls_of_hip_are_what_those_of_cuda_are(cli: Cli) -> None:
    trace = KinetoTrace()
    for step in range(3):
        at = step * 400_000
        trace.annotation("decode", at, at + 390_000)
        trace.call("hipExtModuleLaunchKernel", at + 20_000, at + 60_000, 2 * step + 1)
        trace.kernel("Cijk_Alik_Bljk", at + 50_000, at + 100_000, 2 * step + 1)
        trace.call("hipGraphLaunch", at + 110_000, at + 150_000, 2 * step + 2)
        for node in range(4):
            trace.kernel("attn_fwd", at + 150_000 + node * 10_000, at + 160_000 + node * 10_000, 2 * step + 2)
        trace.call("hipDeviceSynchronize", at + 160_000, at + 300_000, 0)
        trace.call("hipMalloc", at + 300_000, at + 380_000, 0)

    rows, _ = cli.sql(trace, "SELECT class, time_ns FROM time_budget")
    budget = {row["class"]: row["time_ns"] for row in rows}

    # The wait goes on for 110 µs after the last kernel of a step; launches are entered 30 and 40 µs before theirs run.
    assert (budget["sync"], budget["api"], budget["launch"]) == (3 * 110_000, 3 * 80_000, 3 * 70_000)


# -- engines -----------------------------------------------------------------------------------------------------------


def arrive(process: ProcessBuilder, at: int, name: str) -> None:
    process.thread().mark(at, f'llmperf.request {{"id":"{name}","prompt":10,"waited_ms":0}}', domain="llmperf")


def serve(process: ProcessBuilder, at: int, name: str, *, number: int = 0, device: int = 0) -> None:
    """A prompt of 10 tokens and two decode steps, of 100 ns each, one after the other from `at` on."""
    thread = process.thread()
    for step in range(3):
        start = at + 100 * step
        thread.push(start, start + 90, "decode" if step else "prefill", domain="llmperf")
        thread.launch(start + 2, gpu=(start + 3, start + 80), device=device)
        mark: dict[str, Any] = {"q": [1 if step else 10], "kv": [9 + step if step else 0], "ids": [number], "logits": 1}
        if not step:
            mark["new"] = {str(number): name}
        thread.mark(start + 1, f"llmperf.step {json.dumps(mark)}", domain="llmperf")


def test_requests_that_are_never_served_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    server, worker = trace.process(100), trace.process(200)
    for number, name in enumerate(("a", "b", "c")):
        arrive(server, 10 * number, name)
        if name != "b":
            serve(worker, 1_000 * MS * (number + 1), name, number=number)
    # It had not waited for as long as the others do.
    arrive(server, 3_000 * MS - 50, "d")

    report = cli.analyze(trace)

    (found,) = [one for one in report["findings"] if one["code"] == "requests_unserved"]
    assert found["message"].startswith(
        "1 of 4 requests had no first token when the recording ended or their client gave them up, after up to 3,000 ms"
    )
    assert report["requests"][0]["requests"] == 2


def test_engines_may_give_requests_the_same_names(cli: Cli) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    for engine in range(2):
        worker = trace.process(100 + engine)
        worker.thread().mark(0, 'llmperf.run {"v":1,"rank":0,"world":1,"tp":1}', domain="llmperf")
        for number in range(2):
            at = 1_000 * (number + 1) + 10 * engine
            arrive(worker, at, str(number))
            serve(worker, at + 20 + 5 * engine, str(number), number=number, device=engine)

    rows, err = cli.sql(trace, "SELECT request, process_id, ttft_ns, new_tokens FROM served_requests ORDER BY ALL")

    expected = [(str(number), 100 + engine, 110 + 5 * engine, 3) for number in range(2) for engine in range(2)]
    assert [tuple(row.values()) for row in rows] == expected
    assert "have one name" not in err


def test_names_that_two_clients_give_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    worker = trace.process(100)
    for number in range(2):
        arrive(worker, 1_000 * number, "id")
        serve(worker, 1_000 * number + 20, "id", number=number)

    _, err = cli.sql(trace, "FROM served_requests")

    # `same_request_names`
    assert "several requests have one name, 1 such names in all" in err


def test_an_engine_that_computes_prompts_for_another(cli: Cli) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    first, second = trace.process(100), trace.process(101)
    for worker in (first, second):
        worker.thread().mark(0, 'llmperf.run {"v":1,"rank":0,"world":1,"tp":1}', domain="llmperf")
    arrive(first, 0, "a")
    for worker, device, at, step in (
        (first, 0, 100, {"q": [10], "kv": [0], "new": {"0": "a"}}),
        (second, 1, 300, {"q": [1], "kv": [10], "new": {"0": "a"}}),
        (second, 1, 500, {"q": [1], "kv": [11]}),
    ):
        worker.thread().push(at, at + 90, "decode", domain="llmperf").launch(at + 2, (at + 3, at + 80), device=device)
        worker.thread().mark(at + 1, f"llmperf.step {json.dumps({'ids': [0], 'logits': 1} | step)}", domain="llmperf")

    rows, _ = cli.sql(trace, "SELECT request, process_id, arrived_ns, reused_tokens FROM served_requests")

    assert [tuple(row.values()) for row in rows] == [("a", 101, 0, 0)]


# -- models ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ignored", "tied"), [([], True), (["lm_head"], True), (["lm_head"], False)])
def test_a_quantized_table_that_is_the_head_too(ignored: list[str], tied: bool, cli: Cli) -> None:
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 128}
    quantization = {
        "quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ignored,
        "config_groups": {"group_0": {"targets": ["Linear", "Embedding"], "weights": weights}},
    }  # fmt: skip
    config = LLAMA | {"tie_word_embeddings": tied, "quantization_config": quantization}

    printed = cli.flops(config, "--prompt-tokens", 16)

    (head,) = [one for one in printed["ops"] if one["phase"] == "decode" and one["name"] == "lm_head"]
    # 1,000 rows of 512 values in 4 bits, with a 16-bit scale for each 128 of them; or in 16 bits.
    assert head["weight_bytes"] == (1_000 * (512 // 2 + 4 * 2) if tied else 1_000 * 512 * 2)
    assert head["dtype"] == "bf16"


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("teacher", "steps"), [(True, range(4)), (False, [2])])
def test_passes_of_a_teacher_are_in_the_time_of_a_step(teacher: bool, steps: Sequence[int], cli: Cli) -> None:
    """Steps of 60 ms; before those in `steps` another forward runs for 20 ms: in each a teacher, in one evaluation."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    at = 0
    for step in range(4):
        for name in [*(["forward"] if step in steps else []), "forward", "backward", "optimizer"]:
            main.push(at, at + 20 * MS, name).launch(at + MS, gpu=(at + 2 * MS, at + 20 * MS))
            if name == "forward":
                main.mark(at + 1, 'llmperf.step {"b":1,"q":64,"kv":0,"logits":64}', domain="llmperf")
            at += 20 * MS
    marked(trace, LLAMA)

    rows, err = cli.sql(
        trace, "SELECT sum(wall_ns) AS wall, sum(gpu_busy_ns) AS busy, sum(tokens) AS n FROM training_steps"
    )

    passes = 16 if teacher else 12
    assert rows == [{"wall": passes * 20 * MS, "busy": passes * 18 * MS, "n": 4 * 64}]
    # `forwards_without_backward`
    assert ("each training step has forward passes without a backward (4 in all)" in err) == teacher


# -- what was right already --------------------------------------------------------------------------------------------


def test_layouts_of_attention_differ_by_operator(cli: Cli) -> None:
    # (batch, heads, tokens, size), and (batch, tokens, heads, size) one call further down.
    calls = [
        ("_scaled_dot_product_efficient_attention", [2, 16, 8, 64]),
        ("_efficient_attention_forward", [2, 8, 16, 64]),
    ]
    trace = KinetoTrace()
    for number, (name, shape) in enumerate(calls):
        trace.op(f"aten::{name}", 1_000 * (number + 1), 20_000 - 1_000 * number, [shape] * 3)
    trace.launch(5_000, gpu=(25_000, 30_000))

    rows, _ = cli.sql(trace, "SELECT sum(flops) AS n FROM operators")

    assert rows == [{"n": 2 * 2 * 2 * 16 * 8 * 8 * 64}]


def test_layers_that_read_the_cache_of_another_have_none(cli: Cli) -> None:
    config = {
        "model_type": "gemma3n_text", "hidden_size": 256, "intermediate_size": [512] * 5, "num_hidden_layers": 5,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 64, "vocab_size": 1000,
        "vocab_size_per_layer_input": 1000, "hidden_size_per_layer_input": 16, "num_kv_shared_layers": 2,
        "layer_types": [f"{kind}_attention" for kind in ("sliding", "full", "sliding", "sliding", "full")],
        "sliding_window": 16, "altup_num_inputs": 2, "laurel_rank": 8, "activation_sparsity_pattern": [0] * 5,
        "torch_dtype": "bfloat16",
    }  # fmt: skip

    printed = cli.flops(config, "--prompt-tokens", 64)

    token = 2 * 64 * 2
    assert printed["prefill"]["kv_write_bytes"] == 3 * 64 * token
    # All five read: three of them the 15 tokens that a window of 16 has beside the new one.
    assert printed["decode"]["kv_read_bytes"] == (3 * 15 + 2 * 64) * token


def test_heads_of_keys_that_are_fewer_than_ranks_are_held_by_several(cli: Cli) -> None:
    one, eight = (cli.flops(LLAMA, "--prompt-tokens", 64, "--tp", ranks)["decode"] for ranks in (1, 8))

    # Two heads of 64, of which each of eight ranks holds one.
    assert one["kv_read_bytes"] == 4 * 2 * 64 * 64 * 2 * 2
    assert eight["kv_read_bytes"] == 8 / 2 * one["kv_read_bytes"]


def test_experts_of_all_ranks_are_counted(cli: Cli) -> None:
    whole, shared = (cli.flops(MIXTRAL, "--batch", 3, "--prompt-tokens", 16, *o) for o in ((), ("--ep", 4, "--tp", 4)))

    assert shared["params"] == whole["params"]
    assert shared["decode"]["flops"] == whole["decode"]["flops"]


def test_each_rank_reads_the_experts_that_it_holds(cli: Cli) -> None:
    printed = cli.flops(MIXTRAL, "--batch", 3, "--prompt-tokens", 16, "--ep", 4)
    experts = sum(
        one["weight_bytes"] for one in printed["ops"] if one["phase"] == "decode" and "experts_" in one["name"]
    )

    # A token chooses 2 of all 8: a rank's two are read as often as any, not by each of the tokens.
    assert experts == pytest.approx(8 * (1 - (1 - 2 / 8) ** 3) * 3 * 256 * 128 * 2 * 2, rel=1e-6)
    assert printed["decode"]["bytes"] - printed["decode"]["gpu_bytes"] >= 3 / 4 * experts


def test_the_merger_of_a_tower_runs_on_merged_patches(cli: Cli) -> None:
    config = LLAMA | {
        "model_type": "qwen2_5_vl", "rope_scaling": {"type": "mrope", "mrope_section": [8, 12, 12]},
        "image_token_id": 5, "vision_config": {
            "depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4, "out_hidden_size": 512,
            "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
            "fullatt_block_indexes": [1], "in_channels": 3,
        },
    }  # fmt: skip

    printed = cli.flops(config, "--prompt-tokens", 64, "--images", 1, "--image-patches", "8x8")

    merger = [one["flops"] for one in printed["ops"] if one["name"] in ("merger_1", "merger_2")]
    assert merger == [2 * 16 * (4 * 64) * (4 * 64), 2 * 16 * (4 * 64) * 512]


def test_a_gpu_is_no_other_one_of_the_same_chip() -> None:
    found = [find_gpu(name) for name in ("NVIDIA H100 80GB HBM3", "NVIDIA H200", "NVIDIA GH200 144G HBM3e")]

    assert [one and one.bandwidth_bytes_per_s for one in found] == [3350e9, 4800e9, 4900e9]


def test_times_of_sixteen_digits_keep_their_nanoseconds(cli: Cli) -> None:
    trace = KinetoTrace(baseTimeNanoseconds=0)
    for name, start, end in (("prefill", 0, 34_670), ("decode", 34_719, 90_000)):
        trace.annotation(name, start, end)
        trace.launch(start + 1, gpu=(start + 2_101, start + 2_204))
    # A double of this size tells no times apart that are less than 250 ns from each other.
    for event in trace.events:
        if event["ph"] == "X":
            whole, _, digits = event["ts"].partition(".")
            event["ts"] = Raw(f"{int(whole) + 1_727_076_000_000_000}.{digits}")

    rows, _ = cli.sql(trace, "SELECT phase, wall_ns, kernel_time_ns FROM phases ORDER BY start_ns")

    assert [tuple(row.values()) for row in rows] == [("prefill", 34_670, 103), ("decode", 55_281, 103)]


def test_ranges_that_begin_together_nest_whichever_is_written_first(cli: Cli) -> None:
    trace = KinetoTrace()
    for name, end in (("prefill", 40_000), ("request", 90_000)):
        trace.annotation(name, 0, end)
    trace.launch(1_000, gpu=(10_000, 30_000))
    trace.launch(50_000, gpu=(60_000, 80_000))

    rows, _ = cli.sql(trace, "SELECT range_name, phase FROM kernels ORDER BY start_ns")

    assert [tuple(row.values()) for row in rows] == [("prefill", "prefill"), ("request", None)]


def test_kernels_that_nobody_waited_for_are_told(cli: Cli) -> None:
    trace = KinetoTrace(deviceProperties=[gpu(0), gpu(1)])
    trace.annotation("decode", 0, 90_000)
    trace.launch(1_000, gpu=(10_000, 30_000))
    trace.call("cudaLaunchKernel", 5_000, 7_000, 9)

    _, err = cli.sql(trace, "SELECT gpu_busy_ns FROM phase_summary")

    assert "torch.profiler recorded 1 of 2 launching calls without what the GPU did in them" in err


def test_what_a_link_carries_of_an_exchange_of_all_is_unknown(cli: Cli) -> None:
    path = job(cli.folder, "ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)", 4)

    query = "SELECT count(*) AS kernels, sum(message_bytes) AS bytes, sum(bus_bytes) AS bus FROM collectives"
    _, out, _ = run(cli.capsys, "sql", "--no-cache", path, query, "--format", "json")

    assert json.loads(out) == {"kernels": 4, "bytes": 4 * 8_000_000, "bus": None}


# -- GPUs of several processes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("idle", "told"), [(1, True), (0, False)])
def test_processes_that_each_call_their_gpu_0(idle: int, told: bool, cli: Cli) -> None:
    """Two of them, whose kernels of 70 ms overlap: on GPUs of their own, or on the only one."""
    trace = TraceBuilder("2023.3").gpu(0)
    for number in range(idle):
        trace.gpu(number + 1)
    for process in range(2):
        main = trace.process(100 + process).thread().push(0, 90 * MS, "decode")
        main.launch(MS, gpu=((5 + 5 * process) * MS, (75 + 5 * process) * MS))

    rows, err = cli.sql(trace, "SELECT gpu_busy_ns FROM phase_summary")

    assert rows == [{"gpu_busy_ns": 75 * MS}]
    # `gpus_not_told_apart`; where there is no other GPU they share it.
    assert ("in decode 2 processes work at the same time on what each calls GPU 0, and 1 other" in err) == told
    assert "have decode open at once" in err


# -- a third round -----------------------------------------------------------------------------------------------------


def test_kernels_that_start_before_the_one_before_ends(cli: Cli) -> None:
    trace = KinetoTrace()
    trace.annotation("decode", 0, 90_000)
    for number in range(3):
        # Programmatic dependent launch: each starts 2 µs before the one before it has ended.
        trace.launch(1_000 * number, gpu=(10_000 + 8_000 * number, 20_000 + 8_000 * number))

    rows, err = cli.sql(trace, "SELECT kernel_count, kernel_time_ns, gpu_busy_ns FROM phase_summary")

    assert rows == [{"kernel_count": 3, "kernel_time_ns": 30_000, "gpu_busy_ns": 26_000}]
    assert "inside another kernel" not in err


def test_kernels_that_are_recorded_twice_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    process = trace.process()
    process.thread().push(0, 50 * MS, "decode").launch(MS, gpu=(2 * MS, 10 * MS)).launch(2 * MS, gpu=(12 * MS, 20 * MS))
    process.kernel((12 * MS, 20 * MS), correlation=2)

    rows, err = cli.sql(trace, "SELECT gpu_busy_ns FROM phase_summary")

    assert rows == [{"gpu_busy_ns": 16 * MS}]
    assert "the times of 1 kernels are wrong or recorded twice, of which the longest takes 8.0 ms" in err


def test_traces_that_end_in_the_middle_are_refused(cli: Cli) -> None:
    trace = KinetoTrace()
    for number in range(20):
        trace.annotation("decode", number * 100_000, number * 100_000 + 90_000)
    path = trace.write(cli.folder / "trace.json.gz")
    path.write_bytes(path.read_bytes()[:-40])

    code, out, err = run(cli.capsys, "analyze", path, "--no-cache")

    assert (code, out) == (1, "")
    assert "is a damaged gzip file" in err


def test_correlation_ids_of_several_calls_are_told(cli: Cli) -> None:
    trace = KinetoTrace()
    for number, name in enumerate(("prefill", "decode")):
        at = number * 100_000
        trace.annotation(name, at, at + 90_000)
        trace.call("cudaLaunchKernel", at + 1_000, at + 2_000, 5)
        trace.kernel("gemm", at + 5_000, at + 9_000 + number, 5)

    rows, err = cli.sql(trace, "SELECT phase, kernel_time_ns FROM phases ORDER BY start_ns")

    assert [tuple(row.values()) for row in rows] == [("prefill", 4_000), ("decode", 4_001)]
    assert "1 correlation ids are those of several calls" in err


def test_weights_that_no_token_reads_are_in_no_bandwidth(cli: Cli) -> None:
    printed = cli.flops(LLAMA, "--prompt-tokens", 64)

    norms = 2 * 4 + 1
    layers = 4 * (512 * (512 + 2 * 128) + 512 * 512 + 3 * 512 * 1_024)
    # Of the table of embeddings one row, of the head all of them.
    assert printed["decode"]["weight_bytes"] == 2 * (layers + (norms + 1) * 512 + 512 * 1_000)
    assert printed["params"] == layers + norms * 512 + 2 * 512 * 1_000
