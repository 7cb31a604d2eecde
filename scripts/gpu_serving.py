#!/usr/bin/env python3
"""Record real serving engines on a GPU under a mixed load, and measure what recording costs; a table comes last.

    scripts/gpu_serving.py -o OUT --engine vllm [--only dense-graphs,moe-graphs,…] [--budget 480] [--wheels DIR]
    scripts/gpu_serving.py -o OUT --engine vllm --only dense-tp2     on two GPUs
    scripts/gpu_serving.py -o OUT --engine vllm --only overhead      without nsys, with nsys, and with marks, in turns
    scripts/gpu_serving.py -o OUT --engine vllm --only overhead --order 'no nsys,nsys,nsys,no nsys' [--rounds 3]
    scripts/gpu_serving.py -o OUT --engine sglang
    scripts/gpu_serving.py --list --engine vllm                      what there is, as command lines; runs nothing

The engine, its Python and nsys are those that are found first. Weights are dummies: speed does not depend on them, but
for which experts are chosen. OUT/summary.md gets the tables, OUT/runs-N.tar what each run left (see gpu_captures.py),
the load's own times and the report as JSON among it. After --budget seconds nothing new is begun; a server that takes
longer than --run-timeout seconds is stopped. A run sees as many GPUs as it needs. Standard library only, but for the
tokenizer of the dummy model, which `tokenizers` makes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts import gpu_captures  # noqa: E402 - the repository's root is no installed package

LOAD = ROOT / "scripts" / "serving_load.py"
PORTS = {"vllm": 8000, "sglang": 30000}
READY_TIMEOUT_S = 240
# Preset, and what is changed about it.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "dense": ("qwen3-8b", {"max_position_embeddings": 4096}),
    # Half of the layers: what a layer does is the same, and the server starts in half of the time.
    "moe": ("qwen3-30b-a3b", {"max_position_embeddings": 4096, "num_hidden_layers": 24}),
}
RUNS: dict[str, dict[str, tuple[str, list[str]]]] = {
    "vllm": {
        "dense-graphs": ("dense", []),
        "dense-eager": ("dense", ["--enforce-eager"]),
        "moe-graphs": ("moe", []),
        "moe-eager": ("moe", ["--enforce-eager"]),
        "dense-tp2": ("dense", ["--tensor-parallel-size", "2"]),
    },
    "sglang": {"dense-graphs": ("dense", []), "moe-graphs": ("moe", [])},
}
GPUS = {"dense-tp2": 2}
"""How many GPUs a run needs, if more than one."""
OVERHEAD = {"overhead": "dense-graphs", "overhead-eager": "dense-eager"}
"""What is measured without nsys, too, and the run whose server that is."""
OVERHEAD_VARIANTS = ("no nsys", "nsys", "nsys and marks")
OVERHEAD_ORDER = (*OVERHEAD_VARIANTS, *reversed(OVERHEAD_VARIANTS))
"""A start of the server each: what drifts over the series hits all variants alike."""
OVERHEAD_ROUNDS = 3


def server(engine: str, model: Path, extra: list[str]) -> list[str]:
    """Command of a server."""
    if engine == "vllm":
        limits = ["--max-model-len", "4096", "--max-num-seqs", "32", "--max-num-batched-tokens", "2048"]
        return ["vllm", "serve", str(model), "--load-format", "dummy", *limits, *extra]
    launch = [sys.executable, "-m", "sglang.launch_server", "--model-path", str(model), "--load-format", "dummy"]
    kernels = ["--attention-backend", "triton", "--sampling-backend", "pytorch"]
    limits = ["--mem-fraction-static", "0.7", "--cuda-graph-max-bs", "16", "--chunked-prefill-size", "2048"]
    return [*launch, *kernels, *limits, *extra]


def load(engine: str, model: Path, output: Path, requests: int, rounds: int = 1) -> list[str]:
    """Command of the load; a few requests come first, for what happens at the first of each kind."""
    url = f"http://127.0.0.1:{PORTS[engine]}"
    size = ["--requests", str(requests), "--clients", "12", "--warm-up", "4", "--rounds", str(rounds)]
    return [sys.executable, str(LOAD), url, "--model", str(model), "-o", str(output), *size]


def capture(engine: str, model: Path, extra: list[str], client: list[str], *options: str) -> list[str]:
    """Arguments of `llmperf capture` with `client` as the load."""
    recipe = ["--profile", f"{engine}-serve", "--load", shlex.join(client)]
    return [*recipe, *options, "--", *server(engine, model, extra)]


def make_model(name: str, folder: Path) -> Path:
    """A directory with config.json and a tokenizer of a few hundred tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from nsys_pipeline.model.load import load_config

    preset, changes = MODELS[name]
    config = {key: value for key, value in load_config(preset)[1].items() if not key.startswith("_")} | changes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"hidden_act": "silu", "rms_norm_eps": 1e-6, **config}))
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"])
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog"], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return folder


def main(arguments: list[str] | None = None) -> int:
    """Make the runs that were asked for; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--engine", choices=sorted(RUNS), required=True)
    parser.add_argument("--only", help="comma-separated names of runs, overhead, overhead-eager; default all runs")
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--budget", type=float, default=480.0, metavar="S", help="begin nothing new after S seconds")
    parser.add_argument("--order", default=",".join(OVERHEAD_ORDER), help="starts of the server for overhead")
    parser.add_argument("--rounds", type=int, default=OVERHEAD_ROUNDS, help="of the load in each start for overhead")
    parser.add_argument("--run-timeout", type=float, default=240.0, metavar="S", help="stop a server after S seconds")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="install what is in DIR for these runs")
    parser.add_argument("--no-gpu-metrics", action="store_true", help="sample no hardware counters")
    parser.add_argument("--list", action="store_true", help="print what would be run")
    options = parser.parse_args(arguments)
    deadline = time.monotonic() + options.budget
    runs = RUNS[options.engine]
    wanted = options.only.split(",") if options.only else list(runs)
    if unknown := set(wanted) - set(runs) - set(OVERHEAD):
        parser.error(f"no run called {', '.join(sorted(unknown))}; there are {', '.join([*runs, *OVERHEAD])}")
    order = options.order.split(",")
    if unknown := set(order) - set(OVERHEAD_VARIANTS):
        parser.error(f"no variant called {', '.join(sorted(unknown))}; there are {', '.join(OVERHEAD_VARIANTS)}")
    recording = ["--timeout", f"{options.run_timeout:g}"]
    measuring = recording if options.no_gpu_metrics else [*recording, "--gpu-metrics"]
    if options.list:
        _list(options.engine, [name for name in wanted if name in runs], options.requests, measuring)
        return 0
    if options.output is None:
        parser.error("say where to write: -o OUT")
    options.output.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="gpu-serving-"))
    if options.wheels is not None:
        gpu_captures._unpack_wheels(options.wheels, work / ".wheels")
    lines = ["# Serving engines on a GPU", "", *gpu_captures._versions(gpu_captures._gpus()), ""]
    rows = [_run(options.engine, name, work, options.requests, measuring, deadline) for name in wanted if name in runs]
    if rows:
        header = ["run", "exit", "seconds", "kernels", "graph launches", "phases", "findings"]
        lines += [*gpu_captures._table(header, rows), ""]
    loads = {name: gpu_captures._read(work / f"{name}.load.json") for name in wanted if name in runs}
    if any(loads.values()):
        lines += [*load_table(loads), ""]
    for name in OVERHEAD:
        if name in wanted:
            size = (options.requests, options.rounds)
            lines += [*_overhead(options.engine, name, work, size, order, recording, deadline), ""]
    (options.output / "summary.md").write_text("\n".join(lines))
    shutil.rmtree(work / "models", ignore_errors=True)
    gpu_captures._pack(work, options.output)
    shutil.rmtree(work)
    print("\n".join(lines))
    return 1 if any(row[1] not in ("0", *NOT_RUN) for row in rows) else 0


NOT_RUN = ("not begun", "too few GPUs")


def _list(engine: str, names: list[str], requests: int, options: list[str]) -> None:
    for name in names:
        model, extra = RUNS[engine][name]
        client = load(engine, Path(model), Path("load.json"), requests)
        print(f"{name}: llmperf capture {shlex.join(capture(engine, Path(model), extra, client, *options))}")


def _run(engine: str, name: str, work: Path, requests: int, options: list[str], deadline: float) -> list[str]:
    if time.monotonic() > deadline:
        return [name, "not begun", *[""] * 5]
    if len(visible_gpus()) < GPUS.get(name, 1):
        return [name, "too few GPUs", *[""] * 5]
    model, extra = RUNS[engine][name]
    folder = make_model(model, work / "models" / model)
    client = load(engine, folder, work / f"{name}.load.json", requests)
    with seeing(GPUS.get(name, 1)):
        row = gpu_captures._capture(name, capture(engine, folder, extra, client, *options), work)
    report = gpu_captures._run([*gpu_captures.LLMPERF, "analyze", str(work / name), "--format", "json"])
    if report.returncode == 0:
        (work / f"{name}.json").write_text(report.stdout)
    return row


def visible_gpus() -> list[str]:
    """Names of the GPUs that a program would see, as CUDA_VISIBLE_DEVICES has them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    return [str(index) for index in range(len(gpu_captures._gpus()))]


@contextlib.contextmanager
def seeing(count: int) -> Iterator[None]:
    """Let what is started inside see the first `count` GPUs."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(visible_gpus()[:count])
    try:
        yield
    finally:
        del os.environ["CUDA_VISIBLE_DEVICES"]
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def load_table(loads: dict[str, dict[str, Any]]) -> list[str]:
    """What the clients saw of each run."""
    keys = ("requests", "prompt_tokens", "new_tokens", "seconds", "new_tokens_per_s", "ttft_ms", "tpot_ms")
    rows = [[name, *(str(found.get(key, "")) for key in keys)] for name, found in loads.items()]
    return gpu_captures._table(["run", *keys], rows)


def _overhead(
    engine: str, name: str, work: Path, size: tuple[int, int], order: list[str], options: list[str], deadline: float
) -> list[str]:
    """New tokens per second that the clients see in each start of `order`; `size` is requests and rounds of a start."""
    model, extra = RUNS[engine][OVERHEAD[name]]
    folder = make_model(model, work / "models" / model)
    starts: dict[str, list[dict[str, Any]]] = {variant: [] for variant in OVERHEAD_VARIANTS}
    for number, variant in enumerate(order):
        if time.monotonic() > deadline:
            print(f"{name}, start {number + 1}, {variant}: no time left", flush=True)
            continue
        output = work / f"{name}-{number + 1}-{variant.replace(' ', '-')}.load.json"
        client = load(engine, folder, output, *size)
        began = time.monotonic()
        with seeing(1):
            if variant == "no nsys":
                _serve_alone(engine, folder, extra, client, work)
            else:
                os.environ["LLMPERF_MARKERS"] = "off" if variant == "nsys" else "injection"
                command = capture(engine, folder, extra, client, *options, "--no-analyze")
                gpu_captures._capture("overhead", command, work)
                os.environ.pop("LLMPERF_MARKERS")
        print(f"{name}, start {number + 1}, {variant}: {time.monotonic() - began:.0f} s", flush=True)
        starts[variant].append(gpu_captures._read(output))
        print("\n".join(overhead_table(starts)), flush=True)
    title = (
        f"Overhead of recording, {OVERHEAD[name]}: {len(order)} starts of the server in the order "
        f"{', '.join(order)}; {size[1]} rounds of the load each"
    )
    return [title, "", *overhead_table(starts)]


def overhead_table(starts: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Rates of the rounds of each start, their mean and sample standard deviation, and the change against no nsys.

    The same round of another start sends the same requests: changes are means over rounds of the rate against the mean
    rate of that round without nsys, ± their standard deviation.
    """
    alone = [found.get("rounds_new_tokens_per_s", []) for found in starts.get("no nsys", [])]
    bases = [statistics.fmean(rates) for rates in zip(*(rates for rates in alone if rates), strict=False)]
    rows = []
    for variant, found in starts.items():
        by_start = [one["rounds_new_tokens_per_s"] for one in found if one.get("rounds_new_tokens_per_s")]
        rates = [rate for start in by_start for rate in start]
        if not rates:
            rows.append([variant, *[""] * 6])
            continue
        changes = [rate / base - 1 for start in by_start for rate, base in zip(start, bases, strict=False)]
        times = ([one[key] for one in found if one.get(key)] for key in ("ttft_ms", "tpot_ms"))
        rows.append(
            [
                variant,
                " / ".join(", ".join(f"{rate:.0f}" for rate in start) for start in by_start),
                f"{statistics.fmean(rates):.0f}",
                _spread(rates, 1, ""),
                *(f"{statistics.fmean(known):.1f}" if known else "" for known in times),
                f"{statistics.fmean(changes):+.1%} ± {_spread(changes, 100, ' %')}" if changes else "",
            ]
        )
    header = [
        "variant",
        "new tokens/s: rounds / of the next start",
        "mean",
        "± std",
        "TTFT ms",
        "TPOT ms",
        "against no nsys",
    ]
    return gpu_captures._table(header, rows)


def _spread(values: list[float], scale: float, unit: str) -> str:
    return f"{statistics.stdev(values) * scale:.1f}{unit}" if len(values) > 1 else ""


def _serve_alone(engine: str, model: Path, extra: list[str], client: list[str], work: Path) -> None:
    """The same server and load without nsys."""
    with (work / "overhead-alone.log").open("wb") as log:
        process = subprocess.Popen(server(engine, model, extra), stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_until_ready(f"http://127.0.0.1:{PORTS[engine]}/health", process)
            done = gpu_captures._run(client)
            print(done.stdout, done.stderr, flush=True)
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
