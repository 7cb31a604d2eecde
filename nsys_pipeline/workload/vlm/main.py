"""Run a profile request: build the model, prepare its images, warm up, run the repeats, say what was measured."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from nsys_pipeline import markers
from nsys_pipeline.errors import ModelError
from nsys_pipeline.workload.experts import counted_experts, expert_blocks
from nsys_pipeline.workload.generate import EagerEngine, RequestTimes, run_request, token_picker
from nsys_pipeline.workload.instrument import mark_layers, operator_ranges
from nsys_pipeline.workload.main import (
    RESULT_SCHEMA,
    recording,
    run_program,
    summary,
    synchronizer,
)
from nsys_pipeline.workload.models import build_model, pick_device, run_description
from nsys_pipeline.workload.options import Shape, WorkloadOptions, check_without_gpu
from nsys_pipeline.workload.stages import mark_stages
from nsys_pipeline.workload.vlm.inputs import Prepared, load_processor, prepare
from nsys_pipeline.workload.vlm.pictures import Picture, Pictures, find_pictures
from nsys_pipeline.workload.vlm.request import ProfileRequest

if TYPE_CHECKING:
    import torch

AUTO_CLASS = "AutoModelForImageTextToText"


def main(arguments: Sequence[str]) -> int:
    """Run the request of a file; the exit status. Errors are one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m nsys_pipeline.workload.vlm", description="Run images through a model, with markers."
    )
    parser.add_argument("request", type=Path, help="JSON file of a profile request")
    parser.add_argument("--result", type=Path, help="write the measured times here as JSON")
    options = parser.parse_args(arguments)
    return run_program(lambda: run_workload(ProfileRequest.read(options.request)), options.result)


class VisionEngine(EagerEngine):
    """The model with a growing cache; its prefill takes what the processor made, images included."""

    def __init__(self, model: Any, pick: Any) -> None:
        super().__init__(model, pick)
        self.keeps_last_logits = "logits_to_keep" in inspect.signature(type(model).forward).parameters
        self._has_two_stacks = bool(getattr(model.config, "is_encoder_decoder", False))
        self._mask: torch.Tensor | None = None
        self._seen: dict[str, Any] = {}

    def prefill(self, prompt: Any) -> torch.Tensor:
        self._mask = prompt.get("attention_mask")
        kept = {"logits_to_keep": 1} if self.keeps_last_logits else {}
        if self._has_two_stacks:
            return self._encode(prompt, kept)
        if "image_attention_mask" in prompt:
            output = self._forward(**prompt, **kept)
            # IDEFICS takes what its tower made in every pass.
            self._seen = {
                "image_encoder_embeddings": output.image_outputs.last_hidden_state,
                "image_attention_mask": prompt["image_attention_mask"][:, -1:],
            }
            return self._pick(output.logits)
        return self._run(**prompt, **kept)

    def _encode(self, prompt: Any, kept: dict[str, int]) -> torch.Tensor:
        """Run both stacks, and keep what the decoder looks at."""
        made: list[Any] = []
        hook = self._model.get_encoder().register_forward_hook(lambda _module, _inputs, output: made.append(output))
        try:
            token = self._run(**prompt, **kept)
        finally:
            hook.remove()
        self._seen = {"encoder_outputs": made[0]} | ({} if self._mask is None else {"attention_mask": self._mask})
        return token

    def decode(self, token: torch.Tensor) -> torch.Tensor:
        if self._has_two_stacks:
            return self._run(decoder_input_ids=token, **self._seen, **{self._keyword: self._cache})
        masked: dict[str, torch.Tensor] = {}
        if self._mask is not None:
            # Padding of shorter prompts stays hidden.
            self._mask = _with_one_more(self._mask)
            masked = {"attention_mask": self._mask, **_positions(self._model, self._mask)}
        return self._run(input_ids=token, **self._seen, **masked, **{self._keyword: self._cache})


def _positions(model: Any, mask: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of the token after the masked ones, for models whose images take up fewer positions than tokens (M-RoPE).

    With a mask over all tokens these models make positions of them all, and `generate` gives them those of the new one.
    """
    saved = getattr(getattr(model, "model", None), "rope_deltas", None)
    if saved is None:
        return {}
    last = mask.sum(dim=-1, keepdim=True) - 1
    return {"position_ids": (last + saved.to(mask.device)).expand(3, -1, -1)}


def _with_one_more(mask: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.cat([mask, mask.new_ones((mask.shape[0], 1))], dim=1)


def run_workload(request: ProfileRequest) -> dict[str, Any]:
    """Run every request and return what was measured, as the result file has it.

    Raises UsageError and ModelError for what cannot be run: no image, no such device, a model of another kind.
    """
    import torch

    pictures = find_pictures(request)
    _tell(pictures.skipped)
    device = pick_device(request.device)
    options = _as_workload(request)
    if device.type != "cuda":
        check_without_gpu(capture_range=options.capture_range)
    model = build_model(options, device, AUTO_CLASS)
    pictures, prepared = _prepared(request, model, pictures, device)
    description = run_description(model, options, device) | {"images": pictures.described()}
    requests = _Requests(request, model, prepared, synchronizer(device))
    mark_stages(model)
    if request.layers:
        # The blocks of a tower have the same names.
        mark_layers(_text_model(model))
    with torch.inference_mode(), operator_ranges(enabled=request.ops):
        if request.capture_range is None:
            markers.run(**description)
        if requests.must_warm_up:
            with markers.phase(markers.WARMUP):
                requests.warm_up()
        with recording(options, description):
            shapes = requests.measure()
    return {"schema": RESULT_SCHEMA, "run": description, "request": request.to_json(), "shapes": shapes}


class _Requests:
    """Every request of the run, and how to run it."""

    def __init__(
        self, request: ProfileRequest, model: Any, prepared: Sequence[Prepared], synchronize: Callable[[], None]
    ) -> None:
        self._request, self._model, self._prepared, self._synchronize = request, model, prepared, synchronize
        self._engine = VisionEngine(model, token_picker(sample=False))
        self._experts: list[Sequence[float | None]] = [() for _ in prepared]

    @property
    def must_warm_up(self) -> bool:
        """Whether there is anything to run that does not count: a range around nothing would be a phase of its own."""
        return self._request.warmup > 0 or bool(expert_blocks(self._model))

    def warm_up(self) -> None:
        """Run what does not count; of a model with experts once more, to count those that its passes run."""
        places = range(len(self._prepared))
        if expert_blocks(self._model):
            for index in places:
                with counted_experts(self._model) as found:
                    self._run(index, sync_steps=True)
                self._experts[index] = found
        for _ in range(self._request.warmup):
            for index in places:
                self._run(index, sync_steps=True)

    def measure(self) -> list[dict[str, Any]]:
        """Run every request as often as is asked for; the times of each in seconds, as the result has them."""
        are_steps_timed = self._request.sync == "step"
        times: list[list[RequestTimes]] = [[] for _ in self._prepared]
        for _ in range(self._request.repeats):
            for index, measured in enumerate(times):
                measured.append(self._run(index, sync_steps=are_steps_timed))
        return [
            {"images": one.name, "patches": None if one.grids is None else [list(grid) for grid in one.grids]}
            | summary(self._shape(one), measured, are_steps_timed)
            for one, measured in zip(self._prepared, times, strict=True)
        ]

    def _shape(self, one: Prepared) -> Shape:
        return Shape(one.batch, one.tokens, self._request.max_new_tokens)

    def _run(self, index: int, *, sync_steps: bool) -> RequestTimes:
        one = self._prepared[index]
        return run_request(
            self._engine,
            one.inputs,
            self._shape(one),
            sync_steps=sync_steps,
            synchronize=self._synchronize,
            experts=self._experts[index],
            images=one.grids or (),
            encoder_tokens=one.encoder,
            all_logits=not self._engine.keeps_last_logits,
            prompts=one.prompts,
        )


def _as_workload(request: ProfileRequest) -> WorkloadOptions:
    """The same request in the terms of what builds models and describes runs."""
    path = Path(request.model_path)
    return WorkloadOptions(
        config=path if path.is_file() else None,
        model=None if path.is_file() else request.model_path,
        name=request.name,
        weights=request.weights,
        shapes=(),
        dtype=request.dtype,
        attn=request.attn,
        sync=request.sync,
        capture_range=request.capture_range,
        seed=request.seed,
    )


def _prepared(
    request: ProfileRequest, model: Any, pictures: Pictures, device: torch.device
) -> tuple[Pictures, list[Prepared]]:
    """Inputs of every request: `batch` images each, the last one as many as are left.

    Files of images that the processor does not take, as one of 1 x 300 pixels, are skipped like those that are none.
    Raises ModelError if it takes none of them, and UsageError if nobody knows what the tower gets.
    """
    processor = load_processor(request)

    def made(found: Sequence[Picture]) -> list[Prepared]:
        batches = [found[start : start + request.batch] for start in range(0, len(found), request.batch)]
        return [prepare(request, model, processor, batch, device) for batch in batches]

    with markers.phase(markers.WARMUP):
        # The tower may run once here, to say how many tokens an image is.
        try:
            return pictures, made(pictures.found)
        except ModelError:
            if request.synthetic_images:
                raise
            kept, refused = _tried(pictures.found, lambda picture: made([picture]))
            if not kept or not refused:
                raise
            _tell(refused)
            left = attrs.evolve(pictures, found=kept, skipped=(*pictures.skipped, *refused))
            return left, made(kept)


def _tried(
    found: Sequence[Picture], try_one: Callable[[Picture], object]
) -> tuple[tuple[Picture, ...], tuple[tuple[str, str], ...]]:
    """Those that `try_one` takes, and the others with the reason."""
    kept, refused = [], []
    for picture in found:
        try:
            try_one(picture)
            kept.append(picture)
        except ModelError as error:
            refused.append((picture.name, error.message))
    return tuple(kept), tuple(refused)


def _tell(skipped: Sequence[tuple[str, str]]) -> None:
    for name, why in skipped:
        print(f"{markers.MESSAGE}skipped {name}: {why}", file=sys.stderr)  # noqa: T201


def _text_model(model: Any) -> Any:
    """The part of the model that writes, if it is a module of its own."""
    named = model.named_modules()
    return next(
        (module for path, module in named if path.rpartition(".")[2] in ("language_model", "text_model")), model
    )
