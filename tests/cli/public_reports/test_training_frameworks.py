"""What training frameworks tell of their own steps: teachers, optimizers, windows of profilers, split sequences."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.public_reports.common import DEEPSEEK, LLAMA, codes, lm_head, marked, message, pairs, phase, projections
from tests.cli.run import MS, Cli, run
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import ThreadBuilder, TraceBuilder

ADAM = "multi_tensor_apply_kernel<FusedAdamMathFunctor<float, 4>>"
BROADCAST = "ncclDevKernel_Broadcast_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
GATHER = "ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
REDUCE = "ncclDevKernel_Reduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
SCATTER = "ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
SEND = "ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)"
LIGHTNING = "[pl][profile][Strategy]SingleDeviceStrategy."
WEIGHTS = 4 * (512 * 64 * (8 + 2 * 2) + 512 * 512 + 3 * 512 * 1024) + 512 * 1000


def part(main: ThreadBuilder, at: int, name: str, length: int, *, step: str = "", kernel: str = "nvjet_hsh") -> int:
    """A range of `length` ms, whose kernel begins 1 ms after it and ends 1 ms before; returns its end."""
    end = at + length * MS
    main.push(at, end, name).launch(at + 2, gpu=(at + MS, end - MS), name=kernel)
    if step:
        main.mark(at + 1, f"llmperf.step {step}", domain="llmperf")
    return end


def of_tokens(tokens: int) -> str:
    return f'{{"b":1,"q":{tokens},"kv":0,"logits":{tokens}}}'


def required(tokens: int) -> int:
    """FLOPs of forward and backward of a sequence of `LLAMA`."""
    return 3 * (projections(LLAMA, tokens) + 4 * 4 * 512 * pairs(tokens) + tokens * lm_head(LLAMA))


# -- steps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batches", [0, 1, 3])
@pytest.mark.parametrize("after", [False, True])
def test_evaluation_takes_no_pass_of_a_teacher_out_of_the_steps(batches: int, after: bool, cli: Cli) -> None:
    """Eight steps of 100 ms, of a student and a teacher before or after it; both go over batches behind the fourth."""
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA)
    main, at = trace.process(100).thread(), 0
    for step in range(8):
        for name, length in [("forward", 20), ("forward", 30)] if after else [("forward", 30), ("forward", 20)]:
            # Of a forward that stands before the backward the last is the student's.
            at = part(main, at, "prefill" if length == 30 else name, length, step=of_tokens(64))
        at = part(main, part(main, at, "backward", 40), "optimizer", 10)
        for _ in range(batches if step == 3 else 0):
            at = part(main, part(main, at, "prefill", 30), "prefill", 20)

    training = cli.analyze(trace)["training"]
    rows, err = cli.sql(trace, "SELECT wall_ns, gpu_busy_ns, tokens FROM training_steps")

    assert [tuple(row.values()) for row in rows] == [(100 * MS, 92 * MS, 64)] * 8
    assert training["tokens_per_s_per_gpu"] == pytest.approx(64 / 0.1)
    assert "forward passes without a backward (8 in all)" in err


def test_what_runs_before_with_no_gradient_is_told(cli: Cli) -> None:
    """Two steps of four batches: features of all without gradients, then each again with its backward."""
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA)
    main, at = trace.process(100).thread(), 0
    for _ in range(3):
        for name in ["forward"] * 4 + ["forward", "backward"] * 4 + ["optimizer"]:
            at = part(main, at, name, 10, step=of_tokens(64) if name == "forward" else "")

    report = cli.analyze(trace)

    assert (report["training"]["micro_batches"], report["training"]["tokens"]) == (12, 3 * 4 * 64)
    assert report["training"]["flops"] == 3 * 4 * required(64)
    assert report["training"]["tokens_per_s_per_gpu"] == pytest.approx(4 * 64 / 0.13)
    assert "(12 in all)" in message(report, "forwards_without_backward")
    # What is counted of the passes is exact; of the steps it lacks those passes.
    assert not any(one["is_lower_bound"] for one in report["phases"])
    names = ("is_lower_bound", "is_upper_bound", "is_tokens_upper_bound", "is_hfu_upper_bound")
    assert [report["training"][name] for name in names] == [True, False, False, False]


@pytest.mark.parametrize("is_marked", [True, False])
def test_steps_of_a_profiler_that_are_micro_batches(is_marked: bool, cli: Cli) -> None:
    """The profiler's step comes with each of four micro-batches of 30 ms; the optimizer takes 10 ms with the fourth."""
    trace, at, autograd = KinetoTrace(), 0, 4712
    trace.meta("thread_name", 4711, autograd, name=f"thread {autograd} (pt_autograd_0)")
    for number in range(16):
        begin = at
        parts = [("forward", 10, 4711, "nvjet_hsh"), ("backward", 20, autograd, "nvjet_hsh")]
        for name, length, thread, kernel in parts + [("Optimizer.step#AdamW.step", 10, 4711, ADAM)] * (number % 4 == 3):
            trace.launch(at + 2_000, gpu=(at + 10_000, at + length * MS - 1_000), name=kernel, tid=thread)
            if is_marked or kernel == ADAM:
                trace.annotation(name, at + 1_000, at + length * MS - 500)
            at += length * MS
        trace.annotation(f"ProfilerStep#{number}", begin, at)

    report = cli.analyze(trace, "--model", cli.config(LLAMA), "--shape", "2x512")

    told = {one["code"] for one in report["warnings"]} if "warnings" in report else set()
    if is_marked:
        assert (report["training"]["steps"], report["training"]["micro_batches"]) == (4, 16)
        assert report["training"]["tokens_per_s_per_gpu"] == pytest.approx(4 * 2 * 512 / 0.13, rel=1e-4)
        assert report["training"]["flops"] == 16 * 2 * required(512)
        return
    assert report["training"] is None
    said = codes(report) | told
    # The optimizer alone has a step of its own: nothing in the trace says how many tokens there are.
    assert "shapes_ignored" not in said
    assert "shapes_without_requests" in said


def test_validation_of_an_epoch_is_no_training_of_lightning(cli: Cli) -> None:
    """Three epochs of four steps of 36 ms, one of them for the loader; five batches of 11 ms are validated in each."""
    trace, at = KinetoTrace(), 0
    for _ in range(3):
        for _ in range(4):
            at += MS
            names = (f"{LIGHTNING}training_step", 10), (f"{LIGHTNING}backward", 20), ("Optimizer.step#AdamW.step", 5)
            for name, length in names:
                trace.launch(at + 1_000, gpu=(at + 10_000, at + length * MS - 1_000))
                trace.annotation(name, at, at + length * MS)
                at += length * MS
        for _ in range(5):
            at += MS
            trace.launch(at + 1_000, gpu=(at + 10_000, at + 9 * MS))
            trace.annotation(f"{LIGHTNING}validation_step", at, at + 10 * MS)
            at += 10 * MS

    report = cli.analyze(trace, "--model", cli.config(LLAMA), "--shape", "2x512")

    # The first one does not show how long it waited.
    assert report["training"]["steps"] == 12
    assert report["training"]["tokens_per_s_per_gpu"] == pytest.approx(12 * 1024 / (12 * 0.036 - 0.001), rel=1e-4)
    assert phase(report, "evaluation")["wall_ns"] == 15 * 10 * MS


@pytest.mark.parametrize("is_first_cold", [False, True])
def test_work_of_what_is_left_out_is_no_time_of_the_steps(is_first_cold: bool, cli: Cli) -> None:
    """A step takes the GPU 30 ms and the host 3. The profiler begins while 30 ms of the step before are to be done."""
    trace, gpu, at = KinetoTrace(), 30 * MS, 10_000
    trace.kernel("nvjet_hsh", 0, gpu - 1_000, 9_000)
    for number in range(4):
        if is_first_cold and number == 0:
            trace.annotation("warmup", at - 1_000, at + 3_500_000)
        for name, length in (("forward", 10), ("backward", 15), ("Optimizer.step#AdamW.step", 5)):
            trace.annotation(name, at, at + MS)
            trace.launch(at + 1_000, gpu=(gpu, gpu + length * MS - 1_000))
            gpu, at = gpu + length * MS, at + MS
        at += 600_000
    trace.call("cudaDeviceSynchronize", at, gpu, 99_000)

    training = cli.analyze(trace, "--model", cli.config(LLAMA), "--shape", "1x512", "--keep-cold")["training"]

    assert training["steps"] == (3 if is_first_cold else 4)
    assert training["tokens_per_s_per_gpu"] == pytest.approx(512 / 0.03, rel=1e-3)
    assert training["mfu_wall"] == pytest.approx(required(512) / 0.03 / 989.4e12, rel=1e-3)


def test_waiting_for_rollouts_is_in_the_time_of_a_step_and_told(cli: Cli) -> None:
    """A trainer waits 270 ms for another process' rollouts and weights; its passes take 100 ms, and 94 of its GPU."""
    trace = TraceBuilder().gpu(0).gpu(1)
    marked(trace, LLAMA)
    main, at = trace.process(100).thread(), 0
    rollout = trace.process(200).thread()
    for _ in range(4):
        rollout.push(at, at + 200 * MS, "decode", domain="llmperf")
        rollout.launch(at + 2, gpu=(at + MS, at + 199 * MS), device=1)
        at = part(main, at + 270 * MS, "forward", 30, step=of_tokens(256))
        at = part(main, part(main, at, "backward", 60), "optimizer", 10, kernel=ADAM)

    report = cli.analyze(trace)
    rows, _ = cli.sql(trace, "SELECT wall_ns, input_wait_ns, gpu_busy_ns FROM training_steps WHERE step > 0")

    assert [tuple(row.values()) for row in rows] == [(370 * MS, 270 * MS, 94 * MS)] * 3
    assert report["training"]["device_count"] == 1
    assert report["training"]["tokens_per_s_per_gpu"] == pytest.approx(4 * 256 / (4 * 0.37 - 0.27))
    assert report["training"]["mfu_busy"] == pytest.approx(required(256) / 0.094 / 989.4e12)


def test_sending_weights_to_an_engine_is_in_the_time_of_a_step(cli: Cli) -> None:
    """Between two steps the trainer sends weights for 24 of 40 ms, and sleeps; it is not training, and has no phase."""
    trace = TraceBuilder().gpu()
    main, at = trace.process(100).thread(), 0
    for _ in range(4):
        at = part(main, at, "forward", 30)
        at = part(main, part(main, at, "backward", 60), "optimizer", 10, kernel=ADAM)
        main.push(at, at + 40 * MS, "update_weights").launch(at + 2, gpu=(at + MS, at + 25 * MS), name=BROADCAST)
        main.push(at + 40 * MS, at + 90 * MS, "wake_up")
        at += 90 * MS

    report = cli.analyze(trace)
    rows, _ = cli.sql(trace, "SELECT wall_ns, input_wait_ns, gpu_busy_ns FROM training_steps WHERE step > 0")

    assert [tuple(row.values()) for row in rows] == [(190 * MS, 90 * MS, 118 * MS)] * 3
    assert report["unattributed"]["kernel_time_ns"] == 4 * 24 * MS


# -- the optimizer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "kernels", "is_known"),
    [
        (["AdamW"], [ADAM], True),
        (["Muon"], ["nvjet_tst_64x32", "elementwise_kernel"], False),
        (["Muon", "AdamW"], ["nvjet_tst_64x32", ADAM], False),
        (["SingleDeviceMuonWithAuxAdam"], ["elementwise_kernel"], False),
        ([], ["nvjet_tst_64x32", ADAM], False),
        (["AdamW8bit"], ["kOptimizerStatic8bit2StateBlockwise"], False),
        (["DeepSpeedCPUAdam"], ["vectorized_elementwise_kernel"], False),
    ],
)
def test_an_optimizer_that_is_not_adam_alone_moves_other_bytes(
    texts: list[str], kernels: list[str], is_known: bool, cli: Cli
) -> None:
    """Steps of 60 ms, 20 of them for the optimizer; AdamW reads four values of each weight and writes three."""
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA)
    main, at = trace.process(100).thread(), 0
    for _ in range(3):
        at = part(main, part(main, at, "forward", 20, step=of_tokens(64)), "backward", 20)
        main.push(at, at + 20 * MS, "optimizer")
        for number, text in enumerate(texts):
            main.push(at + 10 + number * MS, at + 20 + number * MS, f"Optimizer.step#{text}.step")
        for number, name in enumerate(kernels):
            main.launch(at + 2 + number, gpu=(at + (number + 1) * MS, at + (number + 2) * MS), name=name)
        at += 20 * MS

    report = cli.analyze(trace)

    found = phase(report, "optimizer")
    assert ("optimizer_bytes_unknown" in codes(report)) == (not is_known)
    if is_known:
        # Table, head, norms and the weights of the layers; in 32 bits, as the kernel's name says.
        assert found["bytes"] == 3 * 7 * 4 * (WEIGHTS + 512 * 1000 + 9 * 512)
    else:
        assert (found["bytes"], found["mbu_busy"]) == (None, None)


def test_reductions_that_the_backward_hides_are_not_all_of_its_communication(cli: Cli) -> None:
    """ZeRO-2: autograd sends five buckets beside its kernels, the engine the last one behind them, for 4 ms each."""
    trace = TraceBuilder()
    for rank in range(2):
        process = trace.gpu(rank).process(100 + rank)
        main, autograd, at = process.thread(), process.thread(5000 + rank), MS
        for _ in range(4):
            main.push(at, at + 30 * MS, "DeepSpeedEngine.forward")
            main.launch(at + 2, gpu=(at + MS, at + 29 * MS), device=rank)
            at += 30 * MS
            main.push(at, at + 70 * MS, "DeepSpeedEngine.backward")
            main.push(at + 60 * MS, at + 70 * MS - 1, "DeepSpeedEngine.allreduce_gradients")
            autograd.launch(at + 2, gpu=(at + MS, at + 59 * MS), device=rank)
            for bucket in range(6):
                thread, sent = (main, 61) if bucket == 5 else (autograd, 10 * bucket + 9)
                span = (at + (sent + 1) * MS, at + (sent + 5) * MS)
                thread.launch(at + sent * MS, gpu=span, device=rank, stream=20, name=REDUCE)
            at += 70 * MS
            main.push(at, at + 20 * MS, "DeepSpeedEngine.step")
            main.launch(at + 2, gpu=(at + MS, at + 8 * MS), device=rank, name=ADAM)
            main.launch(at + 4, gpu=(at + 8 * MS, at + 18 * MS), device=rank, stream=20, name=GATHER)
            at += 20 * MS

    rows, _ = cli.sql(
        trace, "SELECT phase, kind, time_ns, overlapped_ns, exposed_ns, wait_ns FROM collective_summary ORDER BY phase"
    )

    assert [tuple(row.values()) for row in rows] == [
        ("backward", "reduce", 2 * 4 * 24 * MS, 2 * 4 * 20 * MS, 2 * 4 * 4 * MS, 0),
        ("optimizer", "all_gather", 2 * 4 * 10 * MS, 0, 2 * 4 * 10 * MS, 0),
    ]


# -- ranks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_told", [True, False])
def test_tokens_of_sequences_that_heads_are_exchanged_for_count_once(is_told: bool, cli: Cli) -> None:
    """Ulysses and FSDP: two pairs of ranks, of which each has half of 2,048 tokens, in three steps of 320 ms."""
    layers = {
        "forward": [GATHER, "nvjet_hsh", SEND, SEND, SEND, "flash_fwd_kernel", SEND, "nvjet_hsh"],
        "backward": [GATHER, "nvjet_hsh", SEND, "flash_bwd_kernel", SEND, SEND, SEND, "nvjet_hsh", SCATTER],
        "optimizer": [ADAM],
    }
    trace = TraceBuilder()
    for rank in range(4):
        main, at = trace.gpu(rank).process(100 + rank).thread(), MS
        for name, length in [("forward", 100), ("backward", 200), ("optimizer", 20)] * 3:
            main.push(at, at + length * MS, name)
            for number, kernel in enumerate(layers[name] * (1 if name == "optimizer" else 4)):
                begin = at + (number + 1) * MS
                main.launch(at + 2 + number, gpu=(begin, begin + MS - 10), device=rank, name=kernel)
            at += length * MS
    options = ("--model", cli.config(LLAMA), "--shape", "1x1024", *(("--dp", 2, "--cp", 2) if is_told else ()))

    report = cli.analyze(trace, *options)

    found = report["training"]
    assert ("context_parallel_unknown" in codes(report)) == (not is_told)
    if is_told:
        assert (found["tokens"], found["flops"]) == (3 * 2 * 2048, 3 * 2 * required(2048))
        assert found["tokens_per_s_per_gpu"] == pytest.approx(1024 / 0.32)
    else:
        assert (found["tokens"], found["flops"], found["tokens_per_s_per_gpu"]) == (None, None, None)


def test_flops_of_a_gpu_are_those_of_its_own_batch(cli: Cli) -> None:
    """ESM-2 of three layers on four GPUs, two sequences of 100 amino acids each: all see all, and all are scored."""
    config: dict[str, Any] = {
        "model_type": "esm", "architectures": ["EsmForMaskedLM"], "hidden_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 4, "intermediate_size": 256, "vocab_size": 33, "max_position_embeddings": 1026,
        "position_embedding_type": "rotary", "torch_dtype": "bfloat16",
    }  # fmt: skip
    trace = TraceBuilder()
    for rank in range(4):
        main, at = trace.gpu(rank).process(100 + rank).thread(), MS
        for name, length in [("forward", 10), ("backward", 20), ("optimizer", 5)] * 3:
            main.push(at, at + length * MS, name).launch(at + 2, gpu=(at + MS, at + length * MS - MS), device=rank)
            at += length * MS

    found = cli.analyze(trace, "--model", cli.config(config), "--shape", "2x100")["training"]
    printed = cli.flops(config, "--train", "--batch", 8, "--prompt-tokens", 100, "--dp", 4)["train"]

    layers = 3 * (2 * 200 * (4 * 64 * 64 + 2 * 64 * 256) + 2 * 4 * 100 * 100 * 64)
    step = 3 * (layers + 2 * 200 * (64 * 64 + 64 * 33))
    assert printed["step"] == {
        "flops": 4 * step, "required_flops": 4 * step, "gpu_flops": step, "gpu_required_flops": step,
    }  # fmt: skip
    assert found["flops"] == 3 * 4 * step
    assert found["tokens_per_s_per_gpu"] == pytest.approx(200 / 0.035)
    assert found["mfu_wall"] == pytest.approx(step / 0.035 / 989.4e12)


# -- models ------------------------------------------------------------------------------------------------------------


def test_mamba_trains_its_parameters_and_its_scan(cli: Cli) -> None:
    width, inner, state, rank, taps = 64, 128, 16, 4, 4
    config = {
        "model_type": "mamba", "hidden_size": width, "num_hidden_layers": 3, "state_size": state, "conv_kernel": taps,
        "expand": 2, "intermediate_size": inner, "time_step_rank": rank, "vocab_size": 1000, "use_bias": False,
        "use_conv_bias": True, "torch_dtype": "bfloat16", "tie_word_embeddings": True,
    }  # fmt: skip

    printed = cli.flops(config, "--train", "--batch", 2, "--prompt-tokens", 100)

    products = width * 2 * inner + inner * (rank + 2 * state) + rank * inner + inner * width
    beside = inner * taps + inner + inner + inner * state + inner + width
    assert printed["params"] == 3 * (products + beside) + 1000 * width + width
    layer = 200 * (2 * products + 2 * inner * taps + 4 * inner * state)
    assert printed["train"]["step"]["flops"] == 3 * (3 * layer + 200 * 2 * width * 1000)


def test_linear_attention_that_is_not_known_has_no_utilization(cli: Cli) -> None:
    config = {"model_type": "gla", "hidden_size": 256, "num_hidden_layers": 2, "num_heads": 4, "vocab_size": 1000}

    code, _, err = run(cli.capsys, "flops", cli.config(config), "--train", "--prompt-tokens", 64)

    assert (code, "model type `gla` is not known" in err) == (1, True)


def test_gradients_of_an_indexer_are_not_counted_and_told(cli: Cli) -> None:
    """A choice has no gradient; an indexer that is trained has a loss of its own, over all keys or those picked."""
    config = DEEPSEEK | {"model_type": "deepseek_v32", "index_n_heads": 8, "index_head_dim": 32, "index_topk": 64}
    trace = TraceBuilder().gpu()
    marked(trace, config)
    main, at = trace.process(100).thread(), 0
    for _ in range(3):
        at = part(main, part(main, at, "forward", 20, step=of_tokens(256)), "backward", 20)
        at = part(main, at, "optimizer", 10, kernel=ADAM)

    report = cli.analyze(trace)
    printed, plain = (cli.flops(one, "--train", "--prompt-tokens", 256) for one in (config, DEEPSEEK))

    chosen = sum(one["flops"] for one in printed["ops"] if one["name"].startswith("index_"))
    train = printed["train"]
    assert chosen > 0
    assert train["backward"]["flops"] == 2 * (train["forward"]["flops"] - chosen)
    assert report["training"]["flops"] == 3 * (train["forward"]["flops"] + train["backward"]["flops"])
    assert "selections_without_gradient" in codes(report)
    assert any("have no gradient" in note for note in printed["convention"]["notes"])
    assert plain["convention"]["notes"] == []


@pytest.mark.parametrize("storage", ["uint8", "bfloat16", "float32"])
def test_weights_in_four_bits_that_are_stored_as_another_type(storage: str, cli: Cli) -> None:
    """QLoRA with FSDP keeps packed weights as bf16; adapters of rank 16 stand beside all linear layers."""
    quantization = {
        "quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_storage": storage,
    }  # fmt: skip
    config = LLAMA | {"quantization_config": quantization}
    options = ("--train", "--lora", 16, "--batch", 2, "--prompt-tokens", 512)

    printed = cli.flops(config, *options)
    code, out, _ = run(cli.capsys, "flops", cli.config(config), *options)

    adapters = 4 * 16 * ((512 + 512) + 2 * (512 + 128) + (512 + 512) + 3 * (512 + 1024))
    frozen = 2 * (projections(LLAMA, 512) + 4 * 4 * 512 * pairs(512) + 512 * lm_head(LLAMA))
    assert printed["params"] == WEIGHTS + 512 * 1000 + 9 * 512
    assert printed["convention"]["trained_params"] == adapters
    assert printed["train"]["forward"]["flops"] == frozen + 2 * 1024 * adapters
    assert sum(one["flops"] for one in printed["ops"]) == frozen
    # What adapters have is in no row, and shares are of the whole.
    assert any(f"{2 * 1024 * adapters:,}" in note for note in printed["convention"]["notes"])
    (row,) = [line for line in out.splitlines() if " gate_up " in line]
    assert (code, f"{2 * 1024 * 4 * 2 * 512 * 1024 / (frozen + 2 * 1024 * adapters):.1%}" in row) == (0, True)


# -- operators ---------------------------------------------------------------------------------------------------------


def test_attention_over_packed_sequences_has_no_flops_of_its_shapes(cli: Cli) -> None:
    """Shapes have all tokens and the number of sequences, not their lengths. The last kernel is no operator's."""
    packed = [[1024, 8, 64], [1024, 2, 64], [1024, 2, 64], [5], [5]]
    whole = [[2, 8, 512, 64], [2, 2, 512, 64], [2, 2, 512, 64]]
    calls = [
        ("aten::_flash_attention_forward", packed),
        ("flash_attn::_flash_attn_varlen_forward", packed),
        ("aten::_flash_attention_backward", [[1024, 8, 64], *packed]),
        ("flash_attn::_flash_attn_varlen_backward", [[1024, 8, 64], *packed]),
        ("aten::_scaled_dot_product_flash_attention", whole),
    ]
    trace = KinetoTrace()
    for number, (name, shapes) in enumerate(calls):
        trace.op(name, number * MS, number * MS + 50_000, shapes)
        trace.launch(number * MS + 10_000, gpu=(number * MS + 100_000, number * MS + 900_000), name="flash_fwd_kernel")
    trace.launch(5 * MS, gpu=(5 * MS + 10_000, 5 * MS + 410_000), name="flash_fwd_kernel")

    rows, _ = cli.sql(trace, "SELECT operator, flops, gpu_self_ratio FROM operators ORDER BY flops NULLS LAST")
    code, out, _ = run(cli.capsys, "analyze", cli.write(trace), "--no-cache")

    assert [row["flops"] for row in rows] == [4 * 2 * 8 * 512 * 512 * 64, *[None] * 4]
    assert [row["gpu_self_ratio"] for row in rows] == pytest.approx([0.2] * 5)
    assert (code, "share of the GPU time of the phase's operators" in " ".join(out.split())) == (0, True)
