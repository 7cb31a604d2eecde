"""More of what test_public_reports.py has: pipelines, copy engines, experts of other ranks, profilers of other GPUs."""

from __future__ import annotations

from typing import Any

from nsys_pipeline.workload.trained import trained_fields
from tests.cli.run import MS, Cli, run
from tests.cli.test_public_reports import LLAMA, all_layers, codes, lm_head, marked, pairs, phase
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import ThreadBuilder, TraceBuilder

MIXTRAL: dict[str, Any] = {
    "model_type": "mixtral", "hidden_size": 256, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000, "num_local_experts": 8,
    "num_experts_per_tok": 2, "sliding_window": None, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip


# -- training ----------------------------------------------------------------------------------------------------------


def halves(*names: str) -> TraceBuilder:
    """Three steps of one micro-batch, whose ranges of 20 ms hold a kernel each."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(3):
        for number, name in enumerate(names):
            at = (step * 10 + number) * 20 * MS
            main.push(at, at + 20 * MS, name).launch(at + MS, gpu=(at + 2 * MS, at + 19 * MS), name=f"gemm_{number}")
            if name == "forward":
                main.mark(at + 1, 'llmperf.step {"b":1,"q":512,"kv":0,"logits":512}', domain="llmperf")
    marked(trace, LLAMA)
    return trace


def test_halves_of_a_backward_have_no_flops_of_their_own(cli: Cli) -> None:
    forward = all_layers(LLAMA, 512, pairs(512)) + 512 * lm_head(LLAMA)

    whole_passes = halves("forward", "backward", "optimizer")
    # Its forward ran before the recording.
    whole_passes.process(100).thread().push(-40 * MS, -20 * MS, "backward")
    whole = cli.analyze(whole_passes)
    split = cli.analyze(halves("forward", "backward", "backward", "optimizer"))

    assert phase(whole, "backward")["flops"] == 3 * 2 * forward
    assert "backward_in_parts" not in codes(whole)
    assert (phase(split, "forward")["flops"], phase(split, "backward")["flops"]) == (3 * forward, None)
    assert (phase(split, "backward")["mfu_busy"], split["training"]) == (None, None)
    assert "backward_in_parts" in codes(split)


def test_communication_without_kernels_is_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for name, kind, at in (("forward", 10, 0), ("backward", 8, 100 * MS)):
        main.push(at, at + 90 * MS, name)
        main.memcpy(at + MS, (at + 2 * MS, at + 32 * MS), kind=kind, size_bytes=3 << 20, srcKind=2, dstKind=2)
        main.launch(at + 2 * MS, gpu=(at + 32 * MS, at + 80 * MS))

    (found,) = [one for one in cli.analyze(trace)["findings"] if one["code"] == "copies_between_gpus"]

    assert found["message"].startswith("in forward 1 copies between GPUs, of 3 MiB in all")
    assert (found["phase"], found["at_stake_ns"]) == ("forward", 30 * MS)


def test_kernels_that_carry_tokens_to_experts_are_communication(cli: Cli) -> None:
    names = (
        "void dpsk::ep::internode::dispatch_ll<3, 10, 7168>(void*)", "EpCombineInterNodeKernel_bf16",
        "void mori::moe::EpDispatchIntraNodeKernel<__hip_bfloat16, false>(int)", "moeA2ADispatchKernel",
        "void nixl_ep::ep_kernels::dispatch<true, 7168>(void*)", "void uccl::internode_ll::combine<true>(void*)",
        "void hybrid_ep::dispatch_kernel<128, 8>(int)", "void deep_ep::intranode::notify_dispatch<8>(int)",
    )  # fmt: skip
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for number, name in enumerate(names):
        main.launch(number * MS, gpu=(number * MS + 10, number * MS + 20), name=name)

    rows, _ = cli.sql(trace, "SELECT DISTINCT family FROM kernels")

    assert rows == [{"family": "communication"}]


class Weight:
    def __init__(self, *shape: int, requires_grad: bool = True) -> None:
        self.shape, self.requires_grad = shape, requires_grad


class Tuned:
    """A model as PEFT names its weights, with adapters of rank 16 on queries and on parameters of experts."""

    config = None

    def named_parameters(self) -> list[tuple[str, Weight]]:
        named = []
        for layer in range(2):
            before = f"base_model.model.model.layers.{layer}"
            named += [
                (f"{before}.self_attn.q_proj.base_layer.weight", Weight(256, 256, requires_grad=False)),
                (f"{before}.self_attn.q_proj.lora_A.default.weight", Weight(16, 256)),
                (f"{before}.self_attn.q_proj.lora_B.default.weight", Weight(256, 16)),
                (f"{before}.mlp.experts.base_layer.lora_A.default.weight", Weight(8 * 16, 256)),
                (f"{before}.mlp.experts.base_layer.lora_B.default.weight", Weight(256, 8 * 16)),
                (f"{before}.mlp.experts.lora_A.default.weight", Weight(8 * 16, 128)),
                (f"{before}.mlp.experts.lora_B.default.weight", Weight(256, 8 * 16)),
            ]
        return named


def test_adapters_of_routed_experts_are_told(cli: Cli) -> None:
    told = trained_fields(Tuned())
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for name, at in (("forward", 0), ("backward", 50 * MS)):
        main.push(at, at + 40 * MS, name).launch(at + MS, gpu=(at + 2 * MS, at + 30 * MS))
    main.mark(1, 'llmperf.step {"b":1,"q":64,"kv":0,"logits":64}', domain="llmperf")
    marked(trace, MIXTRAL, **told)

    report = cli.analyze(trace)

    assert told["lora_rank"] == 16
    (found,) = [one for one in report["findings"] if one["code"] == "adapters_of_experts"]
    assert found["severity"] == "warning"
    # Queries, keys, values and output; the router; three matrices of two experts.
    layer = 256 * (256 + 2 * 128) + 256 * 256 + 256 * 8 + 2 * 3 * 256 * 128
    frozen = 2 * 64 * 2 * layer + 4 * 2 * 4 * 64 * pairs(64) + 64 * lm_head(MIXTRAL)
    # What is counted beside them: two products of rank 16 beside the queries of two layers.
    assert phase(report, "forward")["flops"] == frozen + 2 * 2 * 64 * 16 * (256 + 256)


def test_layers_that_run_again_twice_count_twice(cli: Cli) -> None:
    def layer(main: ThreadBuilder, at: int, products: str, attention: str) -> int:
        for number in range(7):
            main.launch(at, gpu=(at + 10, at + 900), name=f"gemm_{products}_{number}")
            at += 1_000
        main.launch(at, gpu=(at + 10, at + 900), name=attention)
        return at + 1_000

    def training(times: int) -> dict[str, Any]:
        trace = TraceBuilder().gpu()
        main = trace.process().thread()
        for step in range(2):
            start = at = step * MS + 10
            for _ in range(4):
                at = layer(main, at, "tn", "flash_fwd_kernel")
            main.push(start - 5, at, "forward")
            main.mark(start - 4, 'llmperf.step {"b":1,"q":512,"kv":0,"logits":512}', domain="llmperf")
            start = at = at + 10
            for _ in range(4):
                for _ in range(times):
                    at = layer(main, at, "tn", "flash_fwd_kernel")
                at = layer(main, at, "nt", "flash_bwd_kernel")
            main.push(start - 5, at, "backward")
        marked(trace, LLAMA)
        found: dict[str, Any] = cli.analyze(trace, "--keep-cold")["training"]
        return found

    again = 2 * all_layers(LLAMA, 512, pairs(512))
    once, twice = training(1), training(2)

    assert (once["recomputed_flops"], twice["recomputed_flops"]) == (again, 2 * again)
    assert once["flops"] == twice["flops"]


def test_kernels_of_the_profilers_warm_up_are_in_no_step(cli: Cli) -> None:
    trace = KinetoTrace()
    for number in range(3):
        trace.kernel("gemm", number * 30_000, number * 30_000 + 25_000, 9_000 + number)
    for step in range(2):
        at = 200_000 + step * 200_000
        trace.annotation(f"ProfilerStep#{step + 2}", at, at + 190_000)
        for name, begin, end in (("forward", 0, 100_000), ("backward", 100_000, 180_000)):
            trace.annotation(name, at + begin, at + end)
            trace.launch(at + begin + 5_000, gpu=(at + begin + 10_000, at + end - 10_000))

    report = cli.analyze(trace)

    assert {one["name"]: (one["kernel_count"], one["gpu_busy_ns"]) for one in report["phases"]} == {
        "forward": (2, 160_000),
        "backward": (2, 120_000),
    }
    assert report["unattributed"]["reasons"]["no_api_call"] == {"count": 3, "time_ns": 75_000}


# -- inference ---------------------------------------------------------------------------------------------------------


def test_communication_without_a_call_is_outside(cli: Cli) -> None:
    trace = KinetoTrace()
    trace.annotation("decode", 0, 150_000)
    # A call whose number is 0, too, is not that of all of them.
    trace.call("hipExtLaunchKernel", 1_000, 2_000, 0)
    trace.launch(5_000, gpu=(10_000, 60_000), name="Cijk_Alik_Bljk")
    for at in (60_000, 80_000):
        trace.kernel("ncclDevKernel_Generic(ncclDevComm*, channelMasks, ncclWork*)", at, at + 15_000, 0)

    report = cli.analyze(trace)

    assert phase(report, "decode")["kernel_count"] == 1
    assert report["unattributed"]["reasons"]["no_api_call"] == {"count": 2, "time_ns": 30_000}


def test_gates_on_times_that_were_not_measured_are_refused(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 95 * MS, "request", domain="llmperf")
    main.push(1, 90 * MS, "prefill", domain="llmperf").launch(MS, gpu=(2 * MS, 80 * MS))
    path = trace.write(cli.folder / "trace.sqlite")

    code, _, err = run(cli.capsys, "analyze", path, "--no-cache", "--fail-if", "decode.tpot_p50 > 50ms")

    assert code == 2
    assert "decode.tpot_p50 is not known in the report" in err


def test_empty_steps_of_idle_ranks_are_no_decode_steps(cli: Cli) -> None:
    trace = KinetoTrace()
    texts = ("execute_context_0(0)_generation_8(8)", "execute_context_0(0)_generation_0(0)", "step[IDLE bs=0]")
    for number, text in enumerate(texts):
        at = number * 90_000
        trace.annotation(text, at, at + 80_000)
        trace.launch(at + 5_000, gpu=(at + 10_000, at + 70_000))

    report = cli.analyze(trace)

    (decode,) = report["phases"]
    assert (decode["name"], decode["occurrences"], decode["kernel_count"], decode["tokens"]) == ("decode", 1, 1, 8)
    assert report["unattributed"]["kernel_count"] == 2


def test_the_decoder_says_whether_tables_are_tied(cli: Cli) -> None:
    text = {
        "model_type": "mistral", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "head_dim": 64,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000,
    }  # fmt: skip

    def params(told: bool) -> int:
        config = {"model_type": "mistral3", "text_config": text | {"tie_word_embeddings": told}}
        return int(cli.flops(config, "--dtype", "bf16", "--prompt-tokens", 8)["params"])

    assert params(False) - params(True) == 1000 * 256


# -- operators of torch ------------------------------------------------------------------------------------------------


def operators(cli: Cli, *called: tuple[str, Any]) -> dict[str, int | None]:
    """FLOPs by name of the operators, called one after the other; an operator in an operator begins with a blank."""
    trace = KinetoTrace()
    trace.annotation("decode", 0, 900_000)
    for number, (name, dims) in enumerate(called):
        at = 1_000 + number * 20_000 - (19_000 if name[0] == " " else 0)
        trace.op(f"aten::{name.strip()}", at, at + (5_000 if name[0] == " " else 15_000), dims)
        trace.launch(at + 1_000, gpu=(at + 5_000, at + 9_000))
    rows, _ = cli.sql(trace, "SELECT operator, flops FROM operators")
    return {row["operator"].removeprefix("aten::"): row["flops"] for row in rows}


def test_products_of_vectors_and_of_broadcast_batches(cli: Cli) -> None:
    found = operators(
        cli,
        ("dot", [[8], [8]]),
        ("mv", [[4, 8], [8]]),
        ("addmv", [[4], [4, 8], [8], [], []]),
        ("addmm", [[5], [4, 8], [8, 5], [], []]),
        # (2, 1, 4, 8) times (3, 8, 5).
        ("matmul", [[2, 1, 4, 8], [3, 8, 5]]),
        (" bmm", [[6, 4, 8], [6, 8, 5]]),
    )

    assert found == {"dot": 16, "mv": 64, "addmv": 64, "addmm": 320, "matmul": None, "bmm": 1920}


def test_attention_by_any_name_has_flops_or_none(cli: Cli) -> None:
    qkv = [[1, 12, 64, 64]] * 3
    kinds = ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention")

    found = operators(cli, *((f"_scaled_dot_product_{kind}", qkv) for kind in kinds), ("my_attention", qkv))

    assert found.pop("my_attention") is None
    # Two products of 12 heads: 64 queries, 64 keys, 64 values wide.
    assert found == {f"_scaled_dot_product_{kind}": 2 * 2 * 12 * 64 * 64 * 64 for kind in kinds}
