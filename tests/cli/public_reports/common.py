"""Configs, traces and formulas that tests of public reports share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tests.cli.run import MS, Cli, run
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import ThreadBuilder, TraceBuilder

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 1000, "max_position_embeddings": 4096,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
LATENT: dict[str, Any] = {
    "model_type": "deepseek_v3", "hidden_size": 256, "intermediate_size": 512, "moe_intermediate_size": 64,
    "num_hidden_layers": 2, "first_k_dense_replace": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
    "q_lora_rank": None, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 24,
    "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2, "vocab_size": 1000,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
#: 8 billion parameters: 16 GB in 16 bits. A token has 128 KiB in the cache.
LARGE: dict[str, Any] = LLAMA | {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 2_000_000,
}  # fmt: skip
CACHE_KERNEL = "void vllm::reshape_and_cache_flash_kernel<__nv_bfloat16, unsigned char, (vllm::Fp8KVCacheDataType)1>"
PROMPT, TOKEN = (f'llmperf.step {{"b":8,"q":{q},"kv":{kv},"logits":8}}' for q, kv in ((512, 0), (1, 512)))
MIXTURE: dict[str, Any] = {
    "model_type": "qwen3_moe", "hidden_size": 256, "intermediate_size": 512, "moe_intermediate_size": 128,
    "num_hidden_layers": 4, "num_experts": 16, "num_experts_per_tok": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 1000, "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}  # fmt: skip
DEEPSEEK: dict[str, Any] = {
    "model_type": "deepseek_v3", "hidden_size": 256, "intermediate_size": 512, "moe_intermediate_size": 128,
    "num_hidden_layers": 3, "first_k_dense_replace": 1, "n_routed_experts": 8, "n_shared_experts": 1,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "num_attention_heads": 4, "num_key_value_heads": 4,
    "q_lora_rank": 128, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32,
    "vocab_size": 1000, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
MODULE = "XlaModule:#hlo_module=jit_train_step,program_id=5#"
FIVE_STEPS = range(0, 500 * MS, 100 * MS)
QWEN_3_5: dict[str, Any] = {
    "model_type": "qwen3_5_text", "attn_output_gate": True, "dtype": "bfloat16", "full_attention_interval": 4,
    "head_dim": 256, "hidden_size": 5120, "intermediate_size": 17408, "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 48, "linear_value_head_dim": 128,
    "num_attention_heads": 24, "num_hidden_layers": 64, "num_key_value_heads": 4, "vocab_size": 248320,
    "tie_word_embeddings": False,
}  # fmt: skip
US = 1000


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


def marked(trace: TraceBuilder, model: dict[str, Any], **fields: object) -> None:
    """A run mark in a process of its own."""
    trace.process(900).thread().mark(
        0, f"llmperf.run {json.dumps({'v': 1, 'model': model} | fields)}", domain="llmperf"
    )


def ops(printed: dict[str, Any], name: str, phase_name: str = "prefill") -> int:
    """FLOPs of the operations of one name."""
    return sum(one["flops"] for one in printed["ops"] if (one["phase"], one["name"]) == (phase_name, name))


def decoding(kernel: str) -> TraceBuilder:
    """A decode step of 32 sequences, with one such kernel a layer."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 18 * MS, "decode", domain="llmperf")
    main.mark(1, 'llmperf.step {"b":32,"q":1,"kv":2048,"logits":32}', domain="llmperf")
    for layer in range(1, 5):
        main.launch(layer * MS, gpu=(3 * layer * MS, (3 * layer + 2) * MS), name=kernel)
    return trace


def run_ranges(main: ThreadBuilder, at: int, *names: str) -> int:
    """Ranges of 20 ms, one after the other from `at` on, each with a kernel of 18; the end of the last."""
    for name in names:
        main.push(at, at + 20 * MS, name).launch(at + MS, gpu=(at + 2 * MS, at + 20 * MS))
        at += 20 * MS
    return at


def engine(trace: TraceBuilder, pid: int, phase_name: str, step: str, *, device: int, at: int = 0, **run: Any) -> None:
    """A worker that says what it runs, and three steps of 18 ms."""
    worker = trace.process(pid).thread()
    worker.mark(at, f"llmperf.run {json.dumps({'v': 1, 'rank': 0, 'framework': 'vllm'} | run)}", domain="llmperf")
    for start in range(at + 9, at + 60 * MS, 20 * MS):
        worker.push(start, start + 18 * MS, phase_name, domain="llmperf").mark(start + 1, step, domain="llmperf")
        worker.launch(start + MS, gpu=(start + 2 * MS, start + 15 * MS), name="gemm", device=device)


def messages(report: dict[str, Any], code: str) -> str:
    return " ".join(str(one["message"]) for one in report["findings"] if one["code"] == code)


def trained(
    trace: TraceBuilder,
    model: dict[str, Any] | None = None,
    *,
    rank: int = 0,
    step: str = "",
    talk: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    **marks: object,
) -> None:
    """Two steps of 320 ms on a rank's GPU; `step`: mark of the forward; `talk`: what four layers of a phase send."""
    main = trace.gpu(rank).process(100 + rank).thread()
    if model is not None:
        mark = {"v": 1, "model": model, "rank": rank} | marks
        main.mark(0, f"llmperf.run {json.dumps(mark)}", domain="llmperf")
    at = MS
    for part, length in [("forward", 100), ("backward", 200), ("optimizer", 20)] * 2:
        end = at + length * MS
        main.push(at, end, part).launch(at + 2, gpu=(at + MS, end - 18 * MS), device=rank, name="nvjet_hsh_128x256")
        if part == "forward" and step:
            main.mark(at + 1, f"llmperf.step {step}", domain="llmperf")
        for number, name in enumerate(talk.get(part, ()) * 4):
            sent = end - (17 - number) * MS
            main.launch(at + 3 + number, gpu=(sent, sent + MS - 5), device=rank, name=name)
        at = end


def kernels_of_a_pass(main: ThreadBuilder, at: int, *, attention: str = "fmhaSm100Kernel") -> None:
    """The kernels of a pass of `LLAMA`, of 1 ms each: four layers and the head."""
    names = [*(["nvjet_tst", attention, *["nvjet_tst"] * 3] * 4), "nvjet_tst"]
    for number, name in enumerate(names):
        main.launch(at + number, gpu=(at + number * MS + MS, at + number * MS + 2 * MS), name=name)


def message(report: dict[str, Any], code: str) -> str:
    (found,) = [one["message"] for one in report["findings"] if one["code"] == code]
    return str(found)


def outside(cli: Cli, trace: TraceBuilder) -> int:
    """Kernels in no phase."""
    rows, _ = cli.sql(trace, "SELECT count(*) AS n FROM kernels WHERE phase IS NULL")
    return int(rows[0]["n"])


def spent(cli: Cli, trace: TraceBuilder | KinetoTrace, *options: object) -> dict[str, float]:
    """The time budget of all phases by class, in ms."""
    query = "SELECT class, sum(time_ns) / 1e6 AS ms FROM time_budget GROUP BY class HAVING ms > 0"
    rows, _ = cli.sql(trace, query, *options)
    return {row["class"]: row["ms"] for row in rows}


def analyzed_folder(cli: Cli, *options: object) -> dict[str, Any]:
    code, out, err = run(cli.capsys, "analyze", cli.folder, "--format", "json", "--no-cache", *options)
    assert code == 0, err
    report: dict[str, Any] = json.loads(out)
    return report


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
    return cli.analyze(steps_of(list(texts)), "--model", cli.config(LLAMA))


def one_pass(main: ThreadBuilder, at: int, name: str, length: int, step: str) -> int:
    """A pass of `length` ms with one kernel; when it ends."""
    end = at + length * MS
    main.push(at, end, name, domain="llmperf").launch(at + MS, gpu=(at + 2 * MS, end - MS))
    main.mark(at + 1, f"llmperf.step {step}", domain="llmperf")
    return end
