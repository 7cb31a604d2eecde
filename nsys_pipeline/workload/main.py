"""The built-in workload: build the model, warm up, run the measured requests, say what was measured."""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsys_pipeline import markers
from nsys_pipeline.errors import LlmperfError
from nsys_pipeline.workload.describe import ranks
from nsys_pipeline.workload.experts import counted_experts, expert_blocks
from nsys_pipeline.workload.generate import EagerEngine, Engine, GraphEngine, RequestTimes, run_request, token_picker
from nsys_pipeline.workload.instrument import mark_layers, operator_ranges
from nsys_pipeline.workload.models import build_model, pick_device, run_description
from nsys_pipeline.workload.options import Shape, WorkloadOptions, check_without_gpu
from nsys_pipeline.workload.parallel import process_group, shard_model, wait_for_ranks

if TYPE_CHECKING:
    import torch

RESULT_SCHEMA = "llmperf.workload/1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the workload of the command line; its exit status. Errors are one line on stderr."""
    options = WorkloadOptions.parse(sys.argv[1:] if arguments is None else arguments)
    return run_program(lambda: run_workload(options), options.result)


def run_program(run: Callable[[], dict[str, Any]], result_file: Path | None) -> int:
    """Call `run`, print the times that it returns and write them to `result_file`; the exit status of the program.

    Of several ranks the first one speaks.
    """
    try:
        result = run()
    except LlmperfError as error:
        print(f"error: {error.message}", file=sys.stderr)  # noqa: T201 - this is a program of its own
        if error.hint:
            print(f"\nhint: {error.hint}", file=sys.stderr)  # noqa: T201
        return int(error.exit_code)
    if ranks()["rank"] == 0:
        _tell(result)
        if result_file is not None:
            result_file.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def run_workload(options: WorkloadOptions) -> dict[str, Any]:
    """Run every request and return what was measured, as `--result` writes it."""
    device = pick_device(options.device)
    if device.type != "cuda":
        check_without_gpu(cuda_graphs=options.cuda_graphs, capture_range=options.capture_range)
    with process_group(device, options.parallel):
        return _run_requests(options, device)


def _run_requests(options: WorkloadOptions, device: torch.device) -> dict[str, Any]:
    import torch

    model = build_model(options, device)
    description = run_description(model, options, device)
    if options.parallel == "tensor":
        shard_model(model)
    if options.layers:
        mark_layers(model)
    synchronize = synchronizer(device)
    experts = _experts(options, model, device, synchronize)
    if options.compile:
        model.forward = torch.compile(model.forward)
    times: dict[Shape, list[RequestTimes]] = {shape: [] for shape in options.shapes}
    engines: dict[Shape, tuple[Engine, torch.Tensor]] = {}
    with torch.inference_mode(), operator_ranges(enabled=options.ops):
        if options.capture_range is None:
            markers.run(**description)
        with markers.phase(markers.WARMUP):
            for shape in options.shapes:
                prompt = _prompt(model, shape, device, options.seed)
                engines[shape] = _engine(options, model, shape, prompt), prompt
                for _ in range(options.warmup):
                    run_request(*engines[shape], shape, sync_steps=True, synchronize=synchronize)
        wait_for_ranks()
        with recording(options, description):
            for _ in range(options.repeats):
                for shape, (engine, prompt) in engines.items():
                    request = run_request(
                        engine,
                        prompt,
                        shape,
                        sync_steps=options.sync == "step",
                        synchronize=synchronize,
                        experts=experts.get(shape, ()),
                    )
                    times[shape].append(request)
    return {
        "schema": RESULT_SCHEMA,
        "run": description,
        "shapes": [summary(shape, requests, options.sync == "step") for shape, requests in times.items()],
    }


def _experts(
    options: WorkloadOptions, model: Any, device: torch.device, synchronize: Callable[[], None]
) -> dict[Shape, list[float | None]]:
    """Distinct experts of each pass of a request, by shape, counted in one more warm-up request of each.

    Empty for a model without experts, and with sampling, whose requests are not each other's likes.
    """
    import torch

    found: dict[Shape, list[float | None]] = {}
    if options.sample or not expert_blocks(model):
        return found
    engine = EagerEngine(model, token_picker(sample=False))
    with torch.inference_mode(), markers.phase(markers.WARMUP):
        for shape in options.shapes:
            with counted_experts(model) as found[shape]:
                prompt = _prompt(model, shape, device, options.seed)
                run_request(engine, prompt, shape, sync_steps=True, synchronize=synchronize)
    return found


def _engine(options: WorkloadOptions, model: Any, shape: Shape, prompt: torch.Tensor) -> Engine:
    pick = token_picker(sample=options.sample)
    return GraphEngine(model, pick, shape, prompt) if options.cuda_graphs else EagerEngine(model, pick)


def _prompt(model: Any, shape: Shape, device: torch.device, seed: int) -> torch.Tensor:
    """Random token ids: the time of a pass does not depend on them."""
    import torch

    config = model.config.get_text_config()
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, config.vocab_size, (shape.batch, shape.prompt_tokens), generator=generator)
    return ids.to(device)


@contextlib.contextmanager
def recording(options: WorkloadOptions, description: dict[str, Any]) -> Iterator[None]:
    """With a capture range, say `description` where it is recorded: nsys drops what came before the range.

    With `--capture-range profiler`, nsys records only what runs inside.
    """
    if options.capture_range != "profiler":
        if options.capture_range is not None:
            markers.run(**description)
        yield
        return
    import torch

    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    try:
        markers.run(**description)
        yield
        torch.cuda.synchronize()
    finally:
        torch.cuda.profiler.stop()


def summary(shape: Shape, requests: list[RequestTimes], steps_are_timed: bool) -> dict[str, Any]:
    """Times of the requests of one shape: mean and standard deviation of each."""
    total_s = [request.total_s for request in requests]
    tokens = shape.batch * shape.new_tokens
    found: dict[str, Any] = {
        "shape": str(shape),
        "repeats": len(requests),
        "total_s": _mean_std(total_s),
        "tokens_per_s": _mean_std([tokens / seconds for seconds in total_s]) if tokens else None,
    }
    if steps_are_timed:
        found["ttft_s"] = _mean_std([request.prefill_s for request in requests])
        per_token = [statistics.fmean(request.decode_s) for request in requests if request.decode_s]
        found["tpot_s"] = _mean_std(per_token) if per_token else None
    return found


def _mean_std(values: list[float]) -> dict[str, float | None]:
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else None}


def _tell(result: dict[str, Any]) -> None:
    for shape in result["shapes"]:
        parts = [f"{shape['tokens_per_s']['mean']:.1f} new tokens/s"] if shape["tokens_per_s"] else []
        if shape.get("ttft_s"):
            parts.append(f"TTFT {shape['ttft_s']['mean'] * 1e3:.2f} ms")
        if shape.get("tpot_s"):
            parts.append(f"TPOT {shape['tpot_s']['mean'] * 1e3:.3f} ms")
        parts = parts or [f"{shape['total_s']['mean'] * 1e3:.2f} ms"]
        print(f"{shape['shape']}: {', '.join(parts)} (mean of {shape['repeats']})", flush=True)  # noqa: T201


def synchronizer(device: torch.device) -> Callable[[], None]:
    """What waits for all work of `device`."""
    import torch

    return torch.cuda.synchronize if device.type == "cuda" else _nothing


def _nothing() -> None:
    """Nothing runs beside the host on the CPU."""
