"""More of what test_public_reports.py has: newer software, several recordings, pipelines, operators of torch."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from nsys_pipeline.hardware import find_gpu
from tests.cli.run import MS, Cli, run
from tests.cli.test_public_reports import LATENT, LLAMA, codes, lm_head, marked, ops, pairs, phase, projections
from tests.support.kineto import KinetoTrace, Raw
from tests.support.trace_builder import TraceBuilder


def analyzed_folder(cli: Cli, *options: object) -> dict[str, Any]:
    code, out, err = run(cli.capsys, "analyze", cli.folder, "--format", "json", "--no-cache", *options)
    assert code == 0, err
    report: dict[str, Any] = json.loads(out)
    return report


def operator_flops(cli: Cli, trace: KinetoTrace) -> list[int | None]:
    """FLOPs of the operators of a trace, in the order of their calls."""
    rows, _ = cli.sql(trace, "SELECT flops FROM operators ORDER BY operator, shapes")
    return [row["flops"] for row in rows]


# -- newer software ----------------------------------------------------------------------------------------------------


def test_events_without_times_are_told(cli: Cli) -> None:
    trace = KinetoTrace()
    for step in range(4):
        at, first = step * 100_000, len(trace.events)
        trace.annotation("decode", at, at + 90_000)
        trace.op("aten::mm", at + 9_000, at + 13_000, [[4, 8], [8, 2]])
        trace.launch(at + 10_000, gpu=(at + 20_000, at + 45_000))
        if step >= 2:
            for event in trace.events[first:]:
                event |= {"ts": Raw("0.000"), "dur": Raw("0.000")}

    report = cli.analyze(trace)

    decode = phase(report, "decode")
    assert (decode["occurrences"], decode["kernel_count"], decode["gpu_span_ns"]) == (2, 2, 125_000)
    assert report["trace"]["duration_ns"] == 190_000
    assert report["unattributed"]["kernel_count"] == 2
    (found,) = [one for one in report["findings"] if one["code"] == "untimed_host_events"]
    # A range, an operator and a call in each of two steps.
    assert (found["severity"], found["message"][:2]) == ("error", "6 ")
    assert "untimed_work" in codes(report)


def test_ranges_that_end_behind_their_parent(cli: Cli) -> None:
    trace = KinetoTrace()
    for step in range(3):
        at = step * 1_000_000
        trace.annotation(f"ProfilerStep#{step}", at, at + 900_000)
        for name, start, end in (("forward", 0, 400), ("backward", 400, 700), ("optimizer", 700, 900)):
            trace.annotation(name, at + start * 1_000, at + end * 1_000 + (3 if name == "optimizer" else 0))
            trace.launch(at + start * 1_000 + 10_000, gpu=(at + start * 1_000 + 20_000, at + start * 1_000 + 45_000))
        # An operator of the step before that ends in this one.
        trace.op("aten::_local_scalar_dense", at + 890_000, at + 1_000_500)

    report = cli.analyze(trace)

    found = {one["name"]: (one["kernel_count"], one["wall_ns"]) for one in report["phases"]}
    assert found == {"forward": (3, 1_200_000), "backward": (3, 900_000), "optimizer": (3, 600_009)}
    assert report["unattributed"]["kernel_count"] == 0


def test_loops_inside_graphs_are_told(cli: Cli) -> None:
    nsys = TraceBuilder().gpu()
    main = nsys.process().thread()
    main.call(MS, api="cudaGraphConditionalHandleCreate_v12030")
    main.push(10 * MS, 50 * MS, "decode").graph_launch(11 * MS, nodes=[(12 * MS, 13 * MS), (13 * MS, 15 * MS)])
    torch = KinetoTrace()
    torch.annotation("decode", 0, 90_000)
    torch.call("cudaGraphConditionalHandleCreate", 1_000, 2_000, 7)
    torch.launch(10_000, gpu=(20_000, 45_000))

    assert "conditional_graphs" in codes(cli.analyze(nsys))
    assert "conditional_graphs" in codes(cli.analyze(torch))


def test_green_contexts_have_a_part_of_the_gpu(cli: Cli) -> None:
    def trace(is_green: int) -> TraceBuilder:
        made = TraceBuilder().gpu()
        made.row("TARGET_INFO_CUDA_CONTEXT_INFO", processId=100, deviceId=0, contextId=2, isGreenContext=is_green)
        main = made.process().thread().push(0, 50 * MS, "prefill")
        main.launch(MS, gpu=(5 * MS, 9 * MS), contextId=1, greenContextId=2 * is_green)
        return made

    model = ("--model", "tiny-llama", "--shape", "1x16+0")

    (found,) = [one for one in cli.analyze(trace(1), *model)["findings"] if one["code"] == "green_contexts"]
    assert found["message"].startswith("1 green contexts were made")
    _, err = cli.sql(trace(1), "SELECT mfu_busy FROM phase_summary", *model)
    assert "green contexts" in err
    assert "green_contexts" not in codes(cli.analyze(trace(0), *model))


# -- several files, several ranks --------------------------------------------------------------------------------------


def test_recordings_of_one_process_are_no_ranks(cli: Cli) -> None:
    def record(file: str, at: int) -> None:
        trace = KinetoTrace()
        for step in range(4):
            start = at + step * 200_000
            for name, begin, end in (("forward", 0, 50), ("backward", 50, 90), ("optimizer", 90, 100)):
                trace.annotation(name, start + begin * 1_000, start + end * 1_000)
                trace.launch(start + begin * 1_000 + 1_000, gpu=(start + begin * 1_000 + 3_000, start + end * 1_000))
        trace.write(cli.folder / file)

    record("host_4711.1784000000000.pt.trace.json", 0)
    record("host_4711.1784000000010.pt.trace.json", 10 * MS)

    report = analyzed_folder(cli, "--model", "tiny-llama", "--shape", "1x16")

    assert [one["device_ids"] for one in report["ranks"]] == [[0]]
    assert len(report["trace"]["devices"]) == 1
    training = report["training"]
    # The first step of each recording begins with its first pass, not where the recording before it ended.
    assert (training["steps"], training["device_count"], training["wall_ns"]) == (8, 1, 2 * (100 + 3 * 200) * 1_000)
    assert training["tokens_per_s_per_gpu"] == pytest.approx(8 * 16 / 1.4e-3)


def test_processes_of_one_number_that_run_together_are_ranks(cli: Cli) -> None:
    for rank in range(2):
        trace = KinetoTrace()
        for step in range(3):
            at = step * 200_000 + rank * 1_000
            trace.annotation("decode", at, at + 90_000)
            trace.launch(at + 10_000, gpu=(at + 20_000, at + 45_000))
        trace.write(cli.folder / f"rank{rank}.trace.json")

    report = analyzed_folder(cli)

    assert [(one["rank"], one["device_ids"]) for one in report["ranks"]] == [(0, [0]), (1, [1])]


def test_stages_with_other_numbers_of_layers(cli: Cli) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank, layers in enumerate((3, 1)):
        main = trace.process(100 + rank).thread()
        main.mark(0, f'llmperf.run {{"v":1,"rank":{rank},"world":2,"pp":2,"tp":1}}', domain="llmperf")
        main.push(1, 50 * MS, "forward")
        main.mark(2, 'llmperf.step {"b":1,"q":512,"kv":0,"logits":512}', domain="llmperf")
        for layer in range(layers):
            main.launch(MS + layer * 100, gpu=((5 + 10 * layer) * MS, (9 + 10 * layer) * MS), device=rank)
    marked(trace, LLAMA, pp=2, world=2)

    report = cli.analyze(trace)

    # All GPUs together have the whole model; nothing says how much of it one of them has.
    assert 0 < phase(report, "forward")["mfu_wall"] < 1
    assert {(one["flops"], one["mfu_wall"]) for one in report["ranks"]} == {(None, None)}


def test_a_file_of_all_ranks_is_refused(cli: Cli) -> None:
    trace = KinetoTrace()
    for rank in range(2):
        name = f"[TP0{rank}] 4711"
        trace.event("user_annotation", "decode", 0, 90_000, name, 4711)
        trace.event("cuda_runtime", "cudaLaunchKernel", 10_000, 12_000, name, 4711, correlation=1)
        trace.kernel("gemm", 20_000, 45_000, 1, device=rank)

    code, out, err = run(cli.capsys, "analyze", trace.write(cli.folder / "merged.trace.json"), "--no-cache")

    assert (code, out) == (1, "")
    assert "nothing says which GPU work is whose" in err
    assert "a folder with one for each rank is one trace" in err


# -- FLOPs -------------------------------------------------------------------------------------------------------------


def test_attention_inside_attention_counts_once(cli: Cli) -> None:
    trace = KinetoTrace()
    trace.annotation("forward", 0, 90_000)
    shapes = [[2, 5, 9, 4], [2, 5, 9, 4], [2, 5, 9, 4], [], [], [], []]
    trace.op("aten::scaled_dot_product_attention", 1_000, 30_000, shapes)
    trace.op("aten::_scaled_dot_product_flash_attention", 2_000, 29_000, shapes)
    trace.op("aten::_flash_attention_forward", 3_000, 28_000, [[2, 9, 5, 4]] * 3)
    trace.launch(10_000, gpu=(20_000, 45_000))

    assert sum(flops or 0 for flops in operator_flops(cli, trace)) == 2 * 2 * 5 * 9 * 9 * (4 + 4)


def test_causal_attention_with_more_keys_than_queries(cli: Cli) -> None:
    trace = KinetoTrace()
    trace.annotation("forward", 0, 90_000)
    inputs = {
        "Input Dims": [[1, 8, 4, 64], [1, 2, 10, 64], [1, 2, 10, 32], [], [], [], [], []],
        "Concrete Inputs": ["", "", "", "", "True", "0.", "True", ""],
    }
    trace.event("cpu_op", "aten::_scaled_dot_product_efficient_attention", 2_000, 29_000, **inputs)
    trace.launch(10_000, gpu=(20_000, 45_000))

    # torch's `is_causal` aligns the mask at the first key; a prompt behind a cache sees all of it.
    assert operator_flops(cli, trace) == [2 * 8 * pairs(4) * (64 + 32)]
    printed = cli.flops(LLAMA, "--prompt-tokens", 4, "--cached-tokens", 6)
    assert ops(printed, "attention") == 4 * 4 * 8 * 64 * (4 * 6 + pairs(4))


@pytest.mark.parametrize(
    ("weight", "data", "groups", "multiply_adds"),
    [
        ([4, 6, 4, 4], [2, 4, 8, 8], 1, 49_152),
        ([4, 1, 3, 3], [2, 4, 8, 8], 4, 4_608),
        ([6, 2, 2, 2], [2, 6, 8, 8], 3, 6_144),
    ],
)
def test_transposed_convolutions_of_groups(
    weight: list[int], data: list[int], groups: int, multiply_adds: int, cli: Cli
) -> None:
    trace = KinetoTrace()
    trace.annotation("forward", 0, 90_000)
    values = ["", "", "", "[2, 2]", "[1, 1]", "[1, 1]", "True", "[0, 0]", str(groups)]
    inputs = {"Input Dims": [data, weight, [], [], [], [], [], [], []], "Concrete Inputs": values}
    trace.event("cpu_op", "aten::convolution", 2_000, 29_000, **inputs)
    trace.launch(10_000, gpu=(20_000, 45_000))

    assert operator_flops(cli, trace) == [2 * multiply_adds]


def test_latents_are_whole_on_each_rank(cli: Cli) -> None:
    latents = 64 * 2 * (64 + 16) * 2

    for ranks in (1, 2, 4):
        printed = cli.flops(LATENT, "--prompt-tokens", 64, "--tp", ranks)
        assert printed["decode"]["kv_read_bytes"] == ranks * latents

    heads = cli.flops(LLAMA, "--prompt-tokens", 64, "--tp", 2)["decode"]["kv_read_bytes"]
    assert heads == cli.flops(LLAMA, "--prompt-tokens", 64)["decode"]["kv_read_bytes"]


def test_decode_steps_of_sequences_of_other_lengths(cli: Cli) -> None:
    printed = cli.flops(LLAMA, "--prompt-tokens", "100,300")

    assert ops(printed, "attention", "decode") == 4 * 4 * 8 * 64 * (101 + 301)
    assert printed["decode"]["kv_read_bytes"] == 2 * 4 * 2 * 64 * 2 * (100 + 300)


# -- a second dozen ----------------------------------------------------------------------------------------------------


def steps_of(texts: list[str]) -> KinetoTrace:
    """Steps of 90 µs with a kernel of 25 each."""
    trace = KinetoTrace()
    for number, text in enumerate(texts):
        at = number * 200_000
        trace.annotation(text, at, at + 90_000)
        trace.launch(at + 10_000, gpu=(at + 20_000, at + 45_000))
    return trace


def analyzed_steps(cli: Cli, *texts: str) -> dict[str, Any]:
    """The report of such steps of LLAMA."""
    model, path = cli.folder / "config.json", steps_of(list(texts)).write(cli.folder / "steps.json")
    model.write_text(json.dumps(LLAMA))
    code, out, err = run(cli.capsys, "analyze", path, "--model", model, "--format", "json", "--no-cache")
    assert code == 0, err
    report: dict[str, Any] = json.loads(out)
    return report


@pytest.mark.parametrize("tokens", ["g_sq=2 ", ""])
def test_sums_over_the_requests_of_a_step(tokens: str, cli: Cli) -> None:
    # Prompts of 8 and 4 tokens behind 2 and 6 that are cached; then sequences of 10 and 20 tokens.
    report = analyzed_steps(
        cli,
        "step[EXTEND bs=2 toks=12 c_sq=12 c_sqsq=80 c_sqsk=120 c_sk=20]",
        f"step[DECODE bs=2 {tokens}g_sqsq=2 g_sqsk=30 g_sk=30]",
    )

    attention, logits = 4 * 4 * 8 * 64, 2 * lm_head(LLAMA)
    prompts = 8 * 2 + pairs(8) + 4 * 6 + pairs(4)
    assert phase(report, "prefill")["flops"] == projections(LLAMA, 12) + attention * prompts + logits
    assert phase(report, "decode")["flops"] == projections(LLAMA, 2) + attention * 30 + logits


def test_steps_of_a_draft_model_are_no_decode_steps(cli: Cli) -> None:
    guessed = ["step[DECODE bs=2]", "step[DECODE bs=2]", "step[TARGET_VERIFY bs=2]", "step[DRAFT_EXTEND_V2 bs=2]"]

    report = analyzed_steps(cli, *["step[EXTEND bs=2 toks=12]"] * 2, *guessed * 2)
    plain = analyzed_steps_again(cli, "step[EXTEND bs=2 toks=12]", "step[DECODE bs=2]")

    assert {one["name"]: one["occurrences"] for one in report["phases"]} == {"prefill": 2, "draft": 6, "verify": 2}
    assert phase(report, "draft")["flops_min"] is None
    # The draft model's prompts are marked like the model's own.
    assert "drafts_like_prompts" in codes(report)
    assert phase(plain, "decode")["occurrences"] == 1
    assert "drafts_like_prompts" not in codes(plain)


def analyzed_steps_again(cli: Cli, *texts: str) -> dict[str, Any]:
    (cli.folder / "steps.json").unlink()
    return analyzed_steps(cli, *texts)


def test_stages_of_one_rank_in_files_of_their_own(cli: Cli) -> None:
    for number, (stage, text) in enumerate((("EXTEND", "step[EXTEND bs=2 toks=12]"), ("DECODE", "step[DECODE bs=2]"))):
        trace = KinetoTrace(distributedInfo={"rank": 0, "world_size": 1})
        for step in range(2):
            at = number * 10 * MS + step * 200_000
            trace.annotation(text, at, at + 90_000)
            trace.launch(at + 10_000, gpu=(at + 20_000, at + 45_000))
        trace.write(cli.folder / f"1757059104.5-TP-0-{stage}.trace.json.gz")

    report = analyzed_folder(cli)

    assert [(one["name"], one["kernel_count"]) for one in report["phases"]] == [("prefill", 2), ("decode", 2)]
    assert [(one["rank"], one["device_ids"]) for one in report["ranks"]] == [(0, [0])]


@pytest.mark.parametrize(
    ("name", "bf16", "bytes_per_s"),
    [
        ("NVIDIA GB200", 2500e12, 8000e9),
        ("NVIDIA B200", 2250e12, 7700e9),
        ("NVIDIA A100-SXM4-40GB", 312e12, 1555e9),
        ("NVIDIA A100-SXM4-80GB", 312e12, 2039e9),
    ],
)
def test_variants_of_a_gpu_have_their_own_peaks(name: str, bf16: float, bytes_per_s: float) -> None:
    found = find_gpu(name)

    assert found is not None
    assert (found.peaks_flops_per_s["bf16"], found.bandwidth_bytes_per_s) == (bf16, bytes_per_s)


def test_kernels_of_gated_delta_layers(cli: Cli) -> None:
    names = [
        "chunk_fwd_kernel_o", "chunk_fwd_kernel_h", "chunk_bwd_kernel_dqkwg", "prepare_wy_repr_fwd_kernel",
        "recompute_w_u_fwd_kernel", "chunk_gated_delta_rule_fwd_kernel_h_blockdim64",
    ]  # fmt: skip

    assert cli.families(names) == [{"family": "recurrence", "n": len(names)}]


@pytest.mark.parametrize("text", ["save_checkpoint", "range of no meaning"])
def test_saving_checkpoints_is_no_training(text: str, cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for start in (0, 500 * MS, 1_000 * MS):
        for name, begin, end in (("forward", 0, 150), ("backward", 150, 350), ("optimizer", 350, 400)):
            main.push(start + begin * MS, start + end * MS, name)
            main.launch(start + (begin + 1) * MS, gpu=(start + (begin + 2) * MS, start + (end - 5) * MS))
        main.push(start + 400 * MS, start + 480 * MS, text)

    rows, _ = cli.sql(trace, "SELECT wall_ns, input_wait_ns FROM training_steps ORDER BY step")

    # 20 ms of each step go by after the checkpoint; without its range all 100 ms are the next step's.
    between = 20 * MS if text == "save_checkpoint" else 100 * MS
    first, *others = [tuple(row.values()) for row in rows]
    assert (first, others) == ((400 * MS, 0), [(400 * MS + between, between)] * 2)


def test_tokens_of_all_micro_batches_of_a_step(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for number in range(4):
        at = number * 100 * MS
        main.push(at, at + 40 * MS, "forward").launch(at + MS, gpu=(at + 2 * MS, at + 30 * MS))
        main.mark(at + 1, 'llmperf.step {"b":1,"q":512,"kv":0,"logits":512}', domain="llmperf")
        main.push(at + 50 * MS, at + 90 * MS, "backward").launch(at + 51 * MS, gpu=(at + 52 * MS, at + 85 * MS))
    main.push(400 * MS, 500 * MS, "optimizer").launch(401 * MS, gpu=(402 * MS, 450 * MS))
    marked(trace, LLAMA)

    training = cli.analyze(trace)["training"]

    assert (training["micro_batches"], training["tokens"]) == (4, 2048)
    assert training["tokens_per_s_per_gpu"] == pytest.approx(2048 / 0.5)


def test_a_prefill_around_a_decode_is_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 3_146 * MS, "prefill").launch(MS, gpu=(2 * MS, 49 * MS))
    main.push(55 * MS, 3_140 * MS, "decode").launch(56 * MS, gpu=(60 * MS, 3_100 * MS))

    report = cli.analyze(trace)

    assert phase(report, "prefill")["gpu_busy_ns"] == 47 * MS
    assert "nested_phases" in codes(report)


def test_a_step_reads_all_that_is_cached(cli: Cli) -> None:
    printed = cli.flops(LLAMA, "--prompt-tokens", 1, "--cached-tokens", 10_240)

    assert printed["prefill"]["kv_read_bytes"] == 10_240 * 2 * 4 * 2 * 64 * 2


@pytest.mark.parametrize("dense", [[], [1]])
def test_experts_in_every_other_layer(dense: list[int], cli: Cli) -> None:
    config = {
        "model_type": "qwen3_moe", "hidden_size": 256, "intermediate_size": 512, "moe_intermediate_size": 64,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "num_experts": 8,
        "num_experts_per_tok": 2, "decoder_sparse_step": 2, "mlp_only_layers": dense, "vocab_size": 1000,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip
    # The second and the fourth, unless the config calls one of them dense.
    sparse = 2 - len(dense)
    weights = 4 * (256 * 512 + 256 * 256) + sparse * (256 * 8 + 2 * 3 * 256 * 64) + (4 - sparse) * 3 * 256 * 512

    prefill = cli.prefill(config, "--prompt-tokens", 64)

    assert prefill == 2 * 64 * weights + 4 * 4 * 4 * 64 * pairs(64) + lm_head(config)


def test_numbers_with_a_decimal_comma_are_refused(cli: Cli) -> None:
    text = steps_of(["decode"]).text().replace('thread": 32', 'thread": 32, "blocks per SM": 7,757576, "x": 1')
    path = cli.folder / "comma.json"
    path.write_text(text)

    code, out, err = run(cli.capsys, "analyze", path, "--no-cache")

    assert ("7,757576" in text, code, out) == (True, 1, "")
    assert "damaged after 4 events: it is no JSON" in err


def test_brackets_in_the_name_of_a_trace(cli: Cli) -> None:
    trace = steps_of(["decode"])
    trace.tail = {"traceName": "fit-profiler-[Strategy]SingleDeviceStrategy-ts.pt.trace.json"}

    assert phase(cli.analyze(trace), "decode")["kernel_count"] == 1


def test_control_characters_in_names(cli: Cli) -> None:
    trace = steps_of(["decode"])
    trace.launch(20_000, gpu=(50_000, 60_000), name="ge\x01m\x07m")

    report = cli.analyze(trace)

    assert phase(report, "decode")["kernel_count"] == 2
    assert {one["name"] for one in report["kernels"]} == {"gemm", "ge\x01m\x07m"}


# -- a third dozen -----------------------------------------------------------------------------------------------------


def test_graphs_whose_kernels_the_profiler_hides_are_told(cli: Cli) -> None:
    trace = TraceBuilder("2026.1").gpu()
    main = trace.process().thread()
    for step in range(4):
        at = step * 100 * MS
        main.push(at, at + 90 * MS, "decode").graph_launch(at + MS).launch(
            at + 50 * MS, gpu=(at + 60 * MS, at + 61 * MS)
        )

    (found,) = [one for one in cli.analyze(trace)["findings"] if one["code"] == "untraced_graphs"]

    assert (found["severity"], "in 4 of 4 CUDA graph launches" in found["message"]) == ("error", True)


def test_percentiles_of_few_requests_are_unknown(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for number, step in enumerate((10, 20, 30)):
        at = number * 1_000 * MS
        main.push(at, at + 200 * MS, "request").push(at, at + 50 * MS, "prefill")
        main.launch(at + MS, gpu=(at + 2 * MS, at + 50 * MS))
        for token in range(1, 4):
            start = at + 50 * MS + (token - 1) * step * MS
            main.push(start, start + step * MS, "decode").launch(start + 1, gpu=(start + 2, start + step * MS))

    (found,) = cli.analyze(trace)["requests"]

    assert [found[f"tpot_{name}_ns"] for name in ("p50", "p90", "p99")] == [20 * MS, None, None]


def test_time_per_token_is_not_divided_by_the_batch(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 200 * MS, "request")
    main.push(0, 50 * MS, "prefill").launch(MS, gpu=(2 * MS, 50 * MS))
    for start, end in ((50, 60), (60, 80), (80, 110)):
        main.push(start * MS, end * MS, "decode").launch(start * MS + 1, gpu=(start * MS + 2, end * MS))

    found = cli.analyze(trace, "--model", "tiny-llama", "--shape", "4x16+4")["requests"]

    assert [one["tpot_p50_ns"] for one in found] == [20 * MS]


def layers_of(config: dict[str, Any]) -> int:
    """Weights of the matrices of the layers."""
    return projections(config, 1) // 2


def test_weights_in_fp4_carry_scales(cli: Cli) -> None:
    def weight_bytes(*options: object) -> int:
        return int(cli.flops(LLAMA, "--prompt-tokens", 64, *options)["prefill"]["weight_bytes"])

    assert weight_bytes() - weight_bytes("--weight-dtype", "nvfp4") == layers_of(LLAMA) * (32 - 9) // 16


@pytest.mark.parametrize(("kv_dtype", "bytes_"), [("bf16", 2), ("fp8", 1), ("nvfp4", 9 / 16), ("mxfp4", 17 / 32)])
def test_caches_in_fp4_carry_scales(kv_dtype: str, bytes_: float, cli: Cli) -> None:
    printed = cli.flops(LLAMA, "--prompt-tokens", 64, "--kv-dtype", kv_dtype)

    assert printed["prefill"]["kv_write_bytes"] == 64 * 4 * 2 * 2 * 64 * bytes_


@pytest.mark.parametrize(("told", "bytes_"), [(None, 2), ("FP8", 1), ("NVFP4", 9 / 16)])
def test_weights_in_fp4_say_nothing_of_the_cache(told: str | None, bytes_: float, cli: Cli) -> None:
    quantized = {"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_quant_algo": told}

    printed = cli.flops(LLAMA | {"quantization_config": quantized}, "--prompt-tokens", 64)

    assert printed["prefill"]["kv_write_bytes"] == 64 * 4 * 2 * 2 * 64 * bytes_


def test_kernels_of_a_data_loader_are_not_the_models(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, loader = process.thread(), process.thread(222)
    main.push(0, 50 * MS, "forward")
    for number in range(3):
        at = MS + number * 10 * MS
        main.launch(at, gpu=(at + MS, at + 2 * MS))
        loader.push(at + 3 * MS, at + 8 * MS, "Executor run", domain="DALI")
        loader.launch(at + 4 * MS, gpu=(at + 5 * MS, at + 8 * MS), stream=9)

    report = cli.analyze(trace)

    assert phase(report, "forward")["kernel_count"] == 3
    assert (report["unattributed"]["kernel_count"], "own_ranges" in codes(report)) == (3, True)


def test_steps_of_a_resumed_run_keep_their_numbers(cli: Cli) -> None:
    trace, model = KinetoTrace(), ("--model", "tiny-llama", "--shape", "1x32")
    for number in range(4):
        at = number * 200_000
        trace.annotation(f"ProfilerStep#{3865 + number}", at, at + 100_000)
        for place, name in enumerate(("forward", "backward", "optimizer")):
            start = at + place * 33_000
            trace.annotation(name, start, start + 33_000)
            trace.launch(start + 1_000, gpu=(start + 2_000, start + 30_000))
    path = trace.write(cli.folder / "resumed.json")

    code, out, _ = run(cli.capsys, "analyze", path, *model, "--format", "json", "--no-cache")
    other, _, err = run(cli.capsys, "analyze", path, "--steps", "3865:3867", "--no-cache")

    training = json.loads(out)["training"]
    assert (code, training["steps"], training["tokens"]) == (0, 4, 128)
    # `--steps` counts those of the recording.
    assert (other, "4 of optimizer" in err) == (2, True)


def test_a_raw_recording_is_refused_with_the_way_to_convert_it(cli: Cli) -> None:
    path = cli.folder / "worker.qdstrm"
    path.write_bytes(b"QDSTRM" + bytes(64))

    code, out, err = run(cli.capsys, "analyze", path, "--no-cache")

    assert (code, out, "QdstrmImporter" in err) == (1, "", True)


def test_gradients_of_grouped_queries_count_the_heads_of_queries(cli: Cli) -> None:
    queries, keys = [1, 8, 16, 64], [1, 2, 16, 64]
    trace = KinetoTrace()
    name = "aten::_scaled_dot_product_flash_attention_backward"
    trace.op(name, 0, 10_000, [queries, queries, keys, keys, queries])
    trace.launch(1_000, gpu=(20_000, 45_000))

    # Scores again, gradients of queries and keys over the width of keys; of scores and values over that of values.
    assert operator_flops(cli, trace) == [2 * 8 * 16 * 16 * (3 * 64 + 2 * 64)]


def test_guesses_behind_the_end_of_a_text_are_not_accepted(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    trace.process(100).thread().mark(0, 'llmperf.request {"id":"a","prompt":10,"waited_ms":0}', domain="llmperf")
    worker = trace.process(200).thread()
    steps: list[tuple[str, int, int, dict[str, Any]]]
    steps = [("prefill", 10, 0, {"new": {"0": "a"}}), ("verify", 6, 10, {"drafts": [5]}),
             ("verify", 6, 16, {"drafts": [5]}), ("verify", 6, 19, {"drafts": [5]})]  # fmt: skip
    for number, (name, tokens, cached, more) in enumerate(steps):
        at = 100 + 200 * number
        worker.push(at, at + 100, name, domain="llmperf").launch(at + 2, gpu=(at + 3, at + 105))
        mark = {"q": [tokens], "kv": [cached], "ids": [0], "logits": tokens if number else 1, **more}
        worker.mark(at + 1, f"llmperf.step {json.dumps(mark)}", domain="llmperf")

    rows, _ = cli.sql(trace, "SELECT new_tokens, draft_tokens, accepted_tokens FROM served_requests")

    # One of the prompt, 5 + 1, 2 + 1; of the last step one is certain, and its guesses are nowhere told to be right.
    assert [tuple(row.values()) for row in rows] == [(1 + 6 + 3 + 1, 15, 7)]


def test_tables_of_other_names_are_told(cli: Cli) -> None:
    path = steps_in_nsys().write(cli.folder / "renamed.sqlite")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("ALTER TABLE NVTX_EVENTS RENAME TO NVTX_EVENTS_V2")
        db.execute("ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL RENAME TO CUPTI_ACTIVITY_KIND_KERNEL_V3")

    code, out, _ = run(cli.capsys, "analyze", path, "--format", "json", "--no-cache")

    assert (code, codes(json.loads(out)) >= {"kernels_missing", "no_nvtx"}) == (0, True)


def steps_in_nsys() -> TraceBuilder:
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 50 * MS, "decode").launch(MS, gpu=(2 * MS, 30 * MS))
    return trace


# -- a fourth dozen ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "scales", "packed"),
    [(4096, [], 1), (4096, [256, 1], 1), (4096, [256, 32], 1), (4096, [2, 32], 1), (4096, [256 * 128], 1),
     (2048, [256 * 256], 2), (2048, [256, 128], 2), (2048, [65536], 2), (64, [256 * 4], None)],
)  # fmt: skip
def test_shapes_of_packed_operands_count_pairs_of_values(
    width: int, scales: list[int], packed: int | None, cli: Cli
) -> None:
    trace = KinetoTrace()
    trace.op("aten::_scaled_mm", 0, 10_000, [[256, width], [width, 512], scales, scales])
    trace.launch(1_000, gpu=(20_000, 45_000))

    assert operator_flops(cli, trace) == [packed and 2 * 256 * width * packed * 512]


def test_steps_that_record_a_graph_compute_nothing(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 40 * MS, "decode")
    for place, name in enumerate(("cudaStreamBeginCapture", "cudaLaunchKernel", "cudaStreamEndCapture")):
        main.call(MS * (1 + place), api=f"{name}_v10000")
    for step in range(1, 4):
        at = 50 * MS * step
        main.push(at, at + 40 * MS, "decode").graph_launch(at + MS, nodes=[(at + 2 * MS, at + 12 * MS)])

    report = cli.analyze(trace, "--model", "tiny-llama", "--shape", "1x16+4")

    assert phase(report, "decode")["measured_occurrences"] == 3
    assert "cold_first_occurrence" in codes(report)


def test_times_of_the_profiler_itself_are_no_work(cli: Cli) -> None:
    trace = KinetoTrace()
    for step in range(3):
        at = step * 100_000
        trace.annotation("decode", at, at + 90_000)
        trace.op("aten::mm", at + 5_000, at + 15_000, [[4, 8], [8, 2]])
        trace.launch(at + 10_000, gpu=(at + 20_000, at + 45_000))
        # As newer ones are written: with the numbers of the operator around them.
        own = {"correlation": trace.correlation, "External id": 1}
        trace.event("overhead", "Instrumentation", at + 11_000, at + 13_000, -1, 0, **own)
        trace.event("overhead", "Command Buffer Full", at + 50_000, at + 80_000, -1, 0)

    report = cli.analyze(trace)

    assert (phase(report, "decode")["kernel_count"], phase(report, "decode")["gpu_busy_ns"]) == (3, 75_000)
    assert len(report["ranks"]) == 1


def test_the_unit_of_times_is_not_the_one_to_show_them_in(cli: Cli) -> None:
    trace = steps_of(["decode"])
    trace.head["displayTimeUnit"] = "ns"

    assert phase(cli.analyze(trace), "decode")["gpu_busy_ns"] == 25_000


def test_experts_between_layers_with_a_state(cli: Cli) -> None:
    config = {
        "model_type": "nemotron_h", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4,
        "hybrid_override_pattern": "ME*E", "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
        "mamba_num_heads": 8, "mamba_head_dim": 32, "ssm_state_size": 16, "n_groups": 2, "conv_kernel": 4,
        "chunk_size": 64, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
        "n_shared_experts": 1, "moe_shared_expert_intermediate_size": 128, "mlp_hidden_act": "relu2",
        "vocab_size": 1000, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip
    # Gate, values, two of the state's matrices for each of two groups, and a step for each of eight heads.
    state = 256 * (2 * 256 + 2 * 2 * 16 + 8) + 256 * 256 + (256 + 2 * 2 * 16) * 4
    attention = 256 * 64 * (4 + 2 * 2) + 256 * 256
    # No gate: two matrices of each of two experts of 64, and of the shared one of 128.
    experts = 256 * 8 + 2 * 256 * (2 * 64 + 128)
    scan, scores = 4 * 64 * 8 * 32 * 16, 4 * 4 * 64 * pairs(64)

    prefill = cli.prefill(config, "--prompt-tokens", 64)

    assert prefill == 2 * 64 * (state + attention + 2 * experts) + scan + scores + lm_head(config)


@pytest.mark.parametrize(("variant", "bf16"), [("", 503.8e12), ("Max-Q ", 438.9e12)])
def test_variants_of_a_workstation_gpu_have_their_own_peaks(variant: str, bf16: float) -> None:
    found = find_gpu(f"NVIDIA RTX PRO 6000 Blackwell {variant}Workstation Edition")

    assert found is not None
    assert found.peaks_flops_per_s["bf16"] == bf16


def served(*steps: tuple[str, int, int, dict[str, Any]]) -> TraceBuilder:
    """Steps of one request of 10 tokens: phase, new and cached tokens, and what else its mark says."""
    trace = TraceBuilder().gpu()
    trace.process(100).thread().mark(0, 'llmperf.request {"id":"a","prompt":10,"waited_ms":0}', domain="llmperf")
    worker = trace.process(200).thread()
    for number, (name, tokens, cached, more) in enumerate(steps):
        at = 100 + 200 * number
        worker.push(at, at + 100, name, domain="llmperf").launch(at + 2, gpu=(at + 3, at + 105))
        mark = {"q": [tokens], "kv": [cached], "ids": [0], "logits": 1, **more}
        worker.mark(at + 1, f"llmperf.step {json.dumps(mark)}", domain="llmperf")
    return trace


def test_each_chunk_of_a_prompt_has_its_own_tokens(cli: Cli) -> None:
    first = {"new": {"0": "a"}, "logits": 0}
    trace = served(
        ("prefill", 4, 0, first), ("prefill", 4, 4, {"logits": 0}), ("prefill", 2, 8, {}), ("decode", 1, 10, {})
    )

    rows, _ = cli.sql(trace, "SELECT prefill_tokens, decode_tokens FROM served_steps ORDER BY start_ns")

    assert [tuple(row.values()) for row in rows] == [(4, 0), (4, 0), (2, 0), (0, 1)]


def test_what_is_computed_again_was_not_found_in_the_cache(cli: Cli) -> None:
    again = ("prefill", 4, 8, {"ids": [1], "new": {"1": "a"}})
    trace = served(
        ("prefill", 10, 0, {"new": {"0": "a"}}), ("decode", 1, 10, {}), again, ("decode", 1, 12, {"ids": [1]})
    )

    rows, _ = cli.sql(trace, "SELECT prompt_tokens, reused_tokens, new_tokens, preemptions FROM served_requests")

    assert [tuple(row.values()) for row in rows] == [(10, 0, 4, 1)]


def test_work_that_runs_behind_all_ranges_is_of_its_own(cli: Cli) -> None:
    trace = KinetoTrace()
    for step in range(4):
        at = step * 100_000
        trace.annotation("step[DECODE bs=2]", at, at + 50_000)
        trace.launch(at + 1_000, gpu=(1_000_000 + step * 30_000, 1_020_000 + step * 30_000))

    rows, _ = cli.sql(trace, "SELECT gpu_busy_ns FROM phases ORDER BY start_ns")

    assert [row["gpu_busy_ns"] for row in rows] == [20_000] * 4


def test_asking_twice_gives_the_same_flops(cli: Cli) -> None:
    trace = KinetoTrace()
    trace.op("aten::mm", 0, 10_000, [[4, 8], [8, 2]])
    trace.launch(1_000, gpu=(20_000, 45_000))
    path = trace.write(cli.folder / "trace.json")

    asked = [run(cli.capsys, "sql", path, "SELECT flops, calls FROM operators", "--format", "json") for _ in range(2)]

    assert [json.loads(out) for _, out, _ in asked] == [{"flops": 2 * 4 * 8 * 2, "calls": 1}] * 2


def test_tokens_of_a_step_are_not_those_of_all_before(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(3):
        for place, name in enumerate(("forward", "backward", "optimizer")):
            at = step * 300 * MS + place * 100 * MS
            main.push(at, at + 100 * MS, name).launch(at + MS, gpu=(at + 2 * MS, at + 90 * MS))

    rows, _ = cli.sql(trace, "SELECT tokens FROM training_steps", "--model", "tiny-llama", "--shape", "2x32")

    assert [row["tokens"] for row in rows] == [64] * 3
