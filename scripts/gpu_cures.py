#!/usr/bin/env python3
"""Plant a cause in a small decoder, cure it, and compare the gain that llmperf predicts with the one that is measured.

    scripts/gpu_cures.py capture -o OUT [--only graphs,items,…]     on a GPU: a trace of each, and times without nsys
    scripts/gpu_cures.py table OUT                                  anywhere: what was predicted, and what was gained
    scripts/gpu_cures.py run CASE                                   what is captured: ranges `base` and `cured`

`capture` also trains a Llama of 1.2 B parameters under `--auto`, and once without nsys (case `train`).
OUT gets CASE.sqlite.xz and times.json: milliseconds of a step without nsys.
"""

from __future__ import annotations

import argparse
import json
import lzma
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LLMPERF = [sys.executable, "-c", "from nsys_pipeline.cli import main; main()"]
PHASES = ["--phase", "base=^base$", "--phase", "cured=^cured$"]
WARMUP, STEPS = 3, 10
TIMEOUT_S = 180

Step = Callable[[], Any]


class Decoder:
    """Weights and a static KV cache of a Llama-shaped decoder; `dtype` of both."""

    def __init__(self, torch: Any, *, layers: int = 24, width: int = 2048, dtype: str = "bfloat16") -> None:
        self.torch, self.layers, self.width = torch, layers, width
        self.heads = width // 128

        def matrix(rows: int, columns: int) -> Any:
            return torch.randn(rows, columns, device="cuda", dtype=getattr(torch, dtype)) * rows**-0.5

        self.weights = [
            [matrix(width, 3 * width), matrix(width, width), matrix(width, 8 * width), matrix(4 * width, width)]
            for _ in range(layers)
        ]
        self.head = matrix(width, 32_000)
        self.largest = 0.0

    def __call__(self, x: Any, cache: list[tuple[Any, Any]] | None = None, *, check: bool = False) -> Any:
        """Next tokens of `x`, (batch, tokens, width); `check`: ask the GPU for a value in each layer."""
        torch = self.torch
        for index, (qkv, out, up, down) in enumerate(self.weights):
            normed = x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6).to(x.dtype)
            q, k, v = (normed @ qkv).unflatten(-1, (3 * self.heads, 128)).transpose(1, 2).chunk(3, dim=1)
            if cache is not None:
                k, v = cache[index]
            seen = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
            x = x + seen.transpose(1, 2).flatten(2) @ out
            gate, value = (x @ up).chunk(2, dim=-1)
            x = x + (torch.nn.functional.silu(gate) * value) @ down
            if check:
                self.largest = x.abs().max().item()
        return (x[:, -1] @ self.head).argmax(-1)


def graphs(torch: Any) -> tuple[Step, Step]:
    """A decode step in eager mode against the replay of its CUDA graph."""
    model, batch = Decoder(torch), 8
    x = torch.randn(batch, 1, model.width, device="cuda", dtype=torch.bfloat16)
    cache = [
        tuple(torch.randn(batch, model.heads, 512, 128, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        for _ in range(model.layers)
    ]
    for _ in range(3):
        model(x, cache)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        model(x, cache)
    return lambda: model(x, cache), graph.replay


def items(torch: Any) -> tuple[Step, Step]:
    """A check in each layer that waits for the GPU against none."""
    model = Decoder(torch)
    x = torch.randn(1, 1024, model.width, device="cuda", dtype=torch.bfloat16)
    return lambda: model(x, check=True), lambda: model(x)


def pageable(torch: Any) -> tuple[Step, Step]:
    """An input of 64 MiB from pageable memory against one from pinned memory."""
    model = Decoder(torch, layers=4)
    plain = torch.randn(16, 1024, model.width, dtype=torch.bfloat16)
    pinned = plain.pin_memory()
    return lambda: model(plain.to("cuda")), lambda: model(pinned.to("cuda", non_blocking=True))


def loader(torch: Any) -> tuple[Step, Step]:
    """An input that the host makes within the step against one that is there."""
    model = Decoder(torch)
    ready = torch.randn(1, 1024, model.width, device="cuda", dtype=torch.bfloat16)
    return lambda: model(torch.randn(1, 1024, model.width).to("cuda", torch.bfloat16)), lambda: model(ready)


def fp32(torch: Any) -> tuple[Step, Step]:
    """Products of float32 on the CUDA cores against TF32 on the tensor cores."""
    model = Decoder(torch, layers=8, dtype="float32")
    x = torch.randn(1, 1024, model.width, device="cuda")

    def step(allow: bool) -> Any:
        torch.backends.cuda.matmul.allow_tf32 = allow
        return model(x)

    return lambda: step(False), lambda: step(True)


def optimizer(torch: Any) -> tuple[Step, Step]:
    """AdamW with a loop over parameters against its fused kernel."""

    def made(**how: bool) -> Any:
        parameters = [torch.randn(512, 512, device="cuda", requires_grad=True) for _ in range(300)]
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        return torch.optim.AdamW(parameters, **how)

    return made(foreach=False, fused=False).step, made(fused=True).step


CASES: dict[str, Callable[[Any], tuple[Step, Step]]] = {
    "graphs": graphs, "items": items, "loader": loader, "pageable": pageable, "fp32": fp32, "optimizer": optimizer,
}  # fmt: skip


def run(case: str) -> dict[str, float]:
    """Run both variants, each step in a range of its name; milliseconds of a step, the median."""
    import torch

    @contextmanager
    def ranged(name: str) -> Iterator[None]:
        torch.cuda.nvtx.range_push(name)
        yield
        torch.cuda.nvtx.range_pop()

    found = {}
    with torch.no_grad():
        for name, step in zip(("base", "cured"), CASES[case](torch), strict=True):
            times = []
            for index in range(WARMUP + STEPS):
                torch.cuda.synchronize()
                start = time.perf_counter()
                with ranged(name if index >= WARMUP else "preparing"):
                    step()
                    torch.cuda.synchronize()
                times.append((time.perf_counter() - start) * 1e3)
            found[name] = statistics.median(times[WARMUP:])
    return found


def train() -> dict[str, float]:
    """Train a Llama 3.2 1B with random weights, activations recomputed; milliseconds of a step, the median."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = json.loads((ROOT / "nsys_pipeline/model/presets/llama-3.2-1b.json").read_text())
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = LlamaForCausalLM(LlamaConfig(**sizes))
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    adam = torch.optim.AdamW(model.parameters(), fused=True)
    tokens = torch.randint(0, 32_000, (4, 2048), device="cuda")
    times = []
    for _ in range(WARMUP + 5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        model(input_ids=tokens, labels=tokens).loss.backward()
        adam.step()
        adam.zero_grad()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) * 1e3)
    return {"step": statistics.median(times[WARMUP:])}


def capture(output: Path, names: list[str]) -> None:
    """Times without nsys, then a trace, of each case."""
    times: dict[str, Any] = {}
    for name in names:
        command = [sys.executable, str(Path(__file__).resolve()), "run", name]
        with tempfile.TemporaryDirectory() as folder:
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
                times[name] = {"untraced": json.loads(done.stdout.splitlines()[-1])}
                directory = Path(folder) / "run"
                how = ["--auto"] if name == "train" else []
                argv = [*LLMPERF, "capture", "--no-analyze", *how, "-o", str(directory), "--", *command]
                done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
                log = (directory / "workload.log").read_text()
                times[name]["traced"] = json.loads(next(line for line in log.splitlines() if line.startswith("{")))
                packed = output / f"{name}.sqlite.xz"
                with (directory / "trace.sqlite").open("rb") as trace, lzma.open(packed, "wb", preset=1) as stream:
                    shutil.copyfileobj(trace, stream)
            except (subprocess.SubprocessError, OSError, ValueError, StopIteration) as error:
                said = getattr(error, "stderr", "") or ""
                print(f"{name}: {error!r}\n{said[-1500:]}", file=sys.stderr)
        (output / "times.json").write_text(json.dumps(times, indent=2) + "\n")
        print(name, times.get(name), flush=True)


def table(folder: Path) -> None:
    """A row for each case: the first finding of a cause, what is at stake, and what the cure gained, in ms a step."""
    times = json.loads((folder / "times.json").read_text())
    print("| case | verdict | first finding | at stake ms | gained, traced ms | gained, untraced ms |")
    print("| --- | --- | --- | ---: | ---: | ---: |")
    for name in CASES:
        trace = folder / f"{name}.sqlite.xz"
        if not trace.exists():
            continue
        argv = [*LLMPERF, "analyze", str(trace), "--no-cache", "--format", "json", *PHASES]
        report = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
        base, cured = (next(each for each in report["phases"] if each["name"] == phase) for phase in ("base", "cured"))
        wall = [each["wall_ns"] / each["occurrences"] / 1e6 for each in (base, cured)]
        causes = [each for each in report["findings"] if each["phase"] == "base" and each["at_stake_ns"]]
        first = causes[0] if causes else {"code": "none", "at_stake_ns": 0}
        stake = first["at_stake_ns"] / base["occurrences"] / 1e6
        untraced = times[name]["untraced"]
        print(
            f"| {name} | {base['bound']} | `{first['code']}` | {stake:.3f} | {wall[0] - wall[1]:.3f} |"
            f" {untraced['base'] - untraced['cured']:.3f} |"
        )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, dest="verb")
    capturing = verbs.add_parser("capture")
    capturing.add_argument("-o", "--output", type=Path, required=True)
    capturing.add_argument("--only", default=",".join([*CASES, "train"]))
    verbs.add_parser("table").add_argument("folder", type=Path)
    verbs.add_parser("run").add_argument("case", choices=[*CASES, "train"])
    options = parser.parse_args()
    if options.verb == "run":
        print(json.dumps(train() if options.case == "train" else run(options.case)))
    elif options.verb == "capture":
        options.output.mkdir(parents=True, exist_ok=True)
        capture(options.output, options.only.split(","))
    else:
        table(options.folder)


if __name__ == "__main__":
    main()
