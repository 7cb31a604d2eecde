"""Compare the estimate with hardware counters: ncu over one prefill and two decode steps of a two-layer model.

Runs on a machine with an NVIDIA GPU, ncu, torch and transformers:

    python scripts/ground_truth.py                     three models, Markdown table on stdout
    python scripts/ground_truth.py --model hd128 --json result.json

It starts itself under ncu (`--worker`), which replays every kernel of the marked phases and reads

    sm__ops_path_tensor_src_bf16_dst_fp32.sum          tensor-core FLOPs (already FLOPs: not instructions)
    smsp__sass_thread_inst_executed_op_{fadd,fmul,ffma}_pred_on.sum    FP32 work outside the tensor cores
    dram__bytes_read.sum, dram__bytes_write.sum        DRAM traffic
    gpu__time_duration.sum                             time

and sums them per phase. `op_hmma_*` counters are not used: they read 0 for Hopper's wgmma. ncu flushes the caches
before each kernel (`--cache-control all`), so that DRAM bytes include what a warm L2 would have served.

A second table names the kernels that moved most of each phase's DRAM bytes, so that a difference can be traced.

Expected differences: tensor cores compute whole tiles (a batch of 1 pads to 64 rows or more, so that decode's counted
FLOPs are many times the model's); causal attention kernels compute whole tiles on the diagonal; grouped GEMM pads each
expert's rows; activations cross DRAM between kernels, and are not in the minimum bytes; transformers' growing cache is
copied whole at every step (`CatArrayBatchedCopy`).
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from nsys_pipeline.ncu.command import DRAM_READ as READ  # noqa: E402 - found through the line above
from nsys_pipeline.ncu.command import DRAM_WRITE as WRITE  # noqa: E402
from nsys_pipeline.ncu.command import FADD, FFMA, FMUL, METRICS, TIME  # noqa: E402
from nsys_pipeline.ncu.command import TENSOR_FLOPS as TENSOR  # noqa: E402
from nsys_pipeline.rules.kernels import short_name  # noqa: E402

PHASES = ("prefill", "decode_0", "decode_1")

_COMMON: dict[str, Any] = {
    "num_hidden_layers": 2,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
    "vocab_size": 32000,
    "torch_dtype": "bfloat16",
}
#: Two layers of real widths: what is measured per layer is what the full model runs.
MODELS: dict[str, dict[str, Any]] = {
    "hd64": {
        **_COMMON, "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 64, "attention_bias": False, "mlp_bias": False,
    },
    "hd128": {
        **_COMMON, "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "attention_bias": False, "mlp_bias": False,
    },
    "moe": {
        **_COMMON, "model_type": "mixtral", "hidden_size": 2048, "intermediate_size": 4096, "num_attention_heads": 16,
        "num_key_value_heads": 4, "head_dim": 128, "num_local_experts": 8, "num_experts_per_tok": 2,
        "sliding_window": None,
    },
}  # fmt: skip


def worker(name: str, batch: int, prompt: int) -> None:
    """One prefill and two decode steps inside NVTX ranges; a first, unmarked request loads and tunes everything."""
    import torch
    import transformers

    config = {key: value for key, value in MODELS[name].items() if key != "torch_dtype"}
    hf_config = transformers.AutoConfig.for_model(**config)
    torch.manual_seed(0)
    with torch.device("cuda"):
        auto = transformers.AutoModelForCausalLM
        model = auto.from_config(hf_config, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    ids = torch.randint(0, config["vocab_size"], (batch, prompt), device="cuda")
    one = ids[:, :1]

    def request(*, marked: bool) -> None:
        past = None
        for index, phase in enumerate(PHASES):
            if marked:
                torch.cuda.synchronize()
                torch.cuda.nvtx.range_push(phase)
            out = model(input_ids=one if index else ids, past_key_values=past, use_cache=True, logits_to_keep=1)
            past = out.past_key_values
            torch.cuda.synchronize()
            if marked:
                torch.cuda.nvtx.range_pop()

    with torch.no_grad():
        request(marked=False)
        torch.cuda.cudart().cudaProfilerStart()
        request(marked=True)
        torch.cuda.cudart().cudaProfilerStop()


def run_ncu(ncu: str, name: str, phase: str, *, batch: int, prompt: int, timeout: int) -> str:
    """ncu's table of one phase, a line for each kernel. Raises RuntimeError with ncu's output where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "ncu.csv"
        argv = [
            ncu, "--csv", "--page", "raw", "--print-units", "base", "--log-file", str(log),
            "--metrics", ",".join(METRICS), "--clock-control", "none", "--cache-control", "all",
            "--profile-from-start", "off", "--nvtx", "--nvtx-include", f"{phase}/",
            sys.executable, str(Path(__file__).resolve()), "--worker", "--model", name, "--batch", str(batch),
            "--prompt", str(prompt),
        ]  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    if done.returncode:
        raise RuntimeError(
            f"ncu failed with {done.returncode} on {name}/{phase}:\n{done.stderr[-2000:]}\n{text[-2000:]}"
        )
    return text


def read_kernels(text: str) -> list[tuple[str, dict[str, float]]]:
    """Name and counters of each kernel in ncu's raw CSV. Raises RuntimeError where values or kernels are missing."""
    lines = text.splitlines()
    start = next((index for index, line in enumerate(lines) if line.startswith('"ID"')), None)
    if start is None:
        raise RuntimeError(f"ncu printed no table:\n{text[-2000:]}")
    kernels = []
    for row in csv.DictReader(io.StringIO("\n".join(lines[start:]))):
        if not (row.get("ID") or "").strip().isdigit():
            continue  # the line of units
        counters = {}
        for metric in METRICS:
            value = re.sub(r"[^0-9.eE+-]", "", row.get(metric) or "")
            if not value:
                raise RuntimeError(f"ncu has no value of {metric} for kernel {row.get('Kernel Name')}")
            counters[metric] = float(value)
        kernels.append((short_name(row.get("Kernel Name") or ""), counters))
    if not kernels:
        raise RuntimeError("ncu saw no kernel in the range")
    return kernels


def sum_counters(kernels: Iterable[tuple[str, Mapping[str, float]]]) -> dict[str, float]:
    """Sum each metric over kernels, and count them as `kernels`."""
    sums: dict[str, float] = defaultdict(float)
    for _, counters in kernels:
        sums["kernels"] += 1
        for metric in METRICS:
            sums[metric] += counters[metric]
    return dict(sums)


def by_name(kernels: Iterable[tuple[str, Mapping[str, float]]]) -> list[dict[str, Any]]:
    """Kernels of one name together, those that moved most first."""
    groups: dict[str, list[tuple[str, Mapping[str, float]]]] = defaultdict(list)
    for kernel in kernels:
        groups[kernel[0]].append(kernel)
    rows = []
    for name, members in groups.items():
        sums = sum_counters(members)
        moved = {"dram_read_bytes": sums[READ], "dram_write_bytes": sums[WRITE], "tensor_flops": sums[TENSOR]}
        rows.append({"kernel": name, "count": sums["kernels"], "time_ns": sums[TIME], **moved})
    return sorted(rows, key=lambda row: -(row["dram_read_bytes"] + row["dram_write_bytes"]))


def estimated(name: str, batch: int, prompt: int, phase: str) -> dict[str, float]:
    """FLOPs (exact causal and full attention) and bytes that llmperf expects of a phase."""
    from nsys_pipeline.model import Conventions, Model, estimate
    from nsys_pipeline.records import Step

    model = Model.from_config(MODELS[name], name)
    index = PHASES.index(phase)
    new, cached = (prompt, 0) if index == 0 else (1, prompt + index - 1)
    step = Step.uniform(batch=batch, q_tokens=new, kv_tokens=cached)
    exact = estimate(model, step)
    full = estimate(model, step, Conventions(attention="full", count="executed"))
    return {
        "flops": exact.flops,
        "flops_full": full.flops,
        "bytes": exact.bytes,
        "activation_bytes": exact.activation_bytes,
    }


def compare(counters: Mapping[str, float], expected: Mapping[str, float]) -> dict[str, float]:
    """Counted and estimated numbers of one phase side by side, with their ratios."""
    simt = counters[FADD] + counters[FMUL] + 2 * counters[FFMA]
    moved = counters[READ] + counters[WRITE]
    return {
        "kernels": counters["kernels"],
        "tensor_flops": counters[TENSOR],
        "fp32_flops": simt,
        "flops": expected["flops"],
        "flops_full": expected["flops_full"],
        "flops_ratio": counters[TENSOR] / expected["flops"],
        "dram_bytes": moved,
        "dram_read_bytes": counters[READ],
        "bytes": expected["bytes"],
        "bytes_ratio": moved / expected["bytes"],
        "time_ns": counters[TIME],
    }


def markdown(rows: Iterable[Mapping[str, Any]]) -> str:
    """The table kept in docs/flops.md."""
    lines = [
        "| model | batch x prompt | phase | kernels | tensor FLOPs counted | estimated | ratio | FP32 FLOPs | "
        "DRAM bytes counted | minimum bytes | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['model']} | {row['batch']} x {row['prompt']} | {row['phase']} | {row['kernels']:.0f} | "
        f"{row['tensor_flops']:.4g} | {row['flops']:.4g} | {row['flops_ratio']:.3f} | {row['fp32_flops']:.3g} | "
        f"{row['dram_bytes']:.4g} | {row['bytes']:.4g} | {row['bytes_ratio']:.3f} |"
        for row in rows
    ]
    return "\n".join(lines)


def kernel_table(rows: Iterable[Mapping[str, Any]], top: int = 6) -> str:
    """The kernels that moved most, for each phase."""
    lines = [
        "| model | batch x prompt | phase | kernel | n | tensor FLOPs | DRAM read | DRAM written |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['model']} | {row['batch']} x {row['prompt']} | {row['phase']} | {kernel['kernel']} | "
        f"{kernel['count']:.0f} | {kernel['tensor_flops']:.4g} | {kernel['dram_read_bytes']:.4g} | "
        f"{kernel['dram_write_bytes']:.4g} |"
        for row in rows
        for kernel in row["by_kernel"][:top]
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", choices=sorted(MODELS), action="append", help="default: all")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--prompt", type=int, default=2048)
    parser.add_argument("--phase", choices=PHASES, action="append", help="default: all")
    parser.add_argument("--ncu", default=shutil.which("ncu") or "/usr/local/cuda/bin/ncu")
    parser.add_argument("--timeout", type=int, default=300, help="seconds per phase")
    parser.add_argument("--json", type=Path, help="also write the rows there")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.model or sorted(MODELS)
    if options.worker:
        worker(names[0], options.batch, options.prompt)
        return 0
    rows = []
    failed = False
    for name in names:
        for phase in options.phase or PHASES:
            print(f"{name} {phase} …", file=sys.stderr, flush=True)
            try:
                table = run_ncu(
                    options.ncu, name, phase, batch=options.batch, prompt=options.prompt, timeout=options.timeout
                )
                kernels = read_kernels(table)
            except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                print(f"error: {error}", file=sys.stderr)
                failed = True
                continue
            row = compare(sum_counters(kernels), estimated(name, options.batch, options.prompt, phase))
            about = {"model": name, "batch": options.batch, "prompt": options.prompt, "phase": phase}
            rows.append({**about, **row, "by_kernel": by_name(kernels)})
            if options.json:
                options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(markdown(rows), kernel_table(rows), sep="\n\n")
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    raise SystemExit(main())
