"""Models whose images are not only tokens of a decoder's prompt, with random weights: what the workload `vlm` and
`--auto` say of their passes, against what torch counts in these."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from nsys_pipeline import markers
from nsys_pipeline.model import Estimator, Model, images
from nsys_pipeline.model.families import flattened_patches
from nsys_pipeline.records import Step
from nsys_pipeline.workload.generate import EagerEngine
from nsys_pipeline.workload.stages import find_stages
from nsys_pipeline.workload.vlm import main as vlm
from nsys_pipeline.workload.vlm.own_inputs import own_inputs
from nsys_pipeline.workload.vlm.request import ProfileRequest
from tests.support.tiny_models import known
from tests.support.versions import counted_with_the_newest
from tests.unit.model.configs import FULL, read_json
from tests.unit.workload.conftest import Recorder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

NAMES = ("idefics", "pix2struct", "kosmos-2.5", "t5gemma2", "udop", "pp_formulanet")


def config_of(name: str) -> dict[str, Any]:
    """The config of the golden passes."""
    if not known(name):
        pytest.skip(f"this transformers has no {name}")
    config: dict[str, Any] = read_json("image_pass_configs.json")[name]["config"]
    return config


def build(name: str) -> Any:
    config = transformers.AutoConfig.for_model(**config_of(name))
    auto = transformers.AutoModelForImageTextToText
    return auto.from_config(config, attn_implementation="eager").eval().requires_grad_(False)


@pytest.fixture
def short_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of 64 patches, for speed."""
    for name, patches in (("pix2struct", "PIX2STRUCT_PATCHES"), ("kosmos-2.5", "KOSMOS_PATCHES")):
        monkeypatch.setattr(flattened_patches, patches, 64)
        monkeypatch.setitem(images._VIEWS, name, images._flattened(64))


@contextlib.contextmanager
def counted() -> Iterator[Any]:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        yield counter


def estimated(model: Model, steps: Sequence[Step]) -> list[int]:
    """FLOPs of passes of one request as transformers runs them, each with what the ones before it have encoded."""
    found, seen, read = [], (), ()  # type: list[int], tuple[Any, ...], tuple[int, ...]
    for step in steps:
        whole = attrs.evolve(step, seen_images=seen, seen_encoder_tokens=() if step.is_encoder else read)
        found.append(Estimator(model, FULL).estimate(whole).flops)
        seen += step.images
        read = step.q_tokens if step.is_encoder else step.encoder_tokens or read
    return found


SHAPES = {
    "idefics": "2x5+2",
    "pix2struct": "2x5+2",
    "kosmos-2.5": "2x14+2",
    "t5gemma2": "2x1+2",
    "udop": "2x1+2",
    "pp_formulanet": "2x5+2",
}
READ = {"t5gemma2": (9, 9), "udop": (5, 5)}


@counted_with_the_newest
@pytest.mark.parametrize("name", NAMES)
def test_the_workload_runs_what_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_rows: None
) -> None:
    counts: list[int] = []

    class Counting(vlm.VisionEngine):
        def _run(self, **inputs: Any) -> Any:
            return self._count(lambda: EagerEngine._run(self, **inputs))

        def _count(self, run: Any) -> Any:
            with counted() as counter:
                token = run()
            counts.append(counter.get_total_flops())
            return token

        def prefill(self, prompt: Any) -> Any:
            # IDEFICS keeps what its tower made, and does not go through `_run`.
            run = super().prefill
            return self._count(lambda: run(prompt)) if name == "idefics" else run(prompt)

    steps: list[Step] = []
    phase = markers.phase

    def spied(text: str, shape: Step | None = None) -> Any:
        if shape is not None:
            steps.append(markers.decode_step(markers.encode_step(shape).removeprefix(markers.STEP_MARK)))
        return phase(text, shape)

    monkeypatch.setattr(vlm, "VisionEngine", Counting)
    monkeypatch.setattr(markers, "phase", spied)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config_of(name)), encoding="utf-8")
    settings = {"name": name, "device": "cpu", "repeats": 1, "warmup": 0, "max_new_tokens": 2, "attn": "eager"}
    pictures = {"synthetic_images": ["60x100", "100x60"], "batch": 2, "prompt_tokens": 5, "dtype": "float32"}
    result = vlm.run_workload(ProfileRequest.from_json(settings | pictures | {"model_path": str(path)}))
    assert result["shapes"][0]["shape"] == SHAPES[name]
    assert len(steps[0].images) == 2
    assert steps[0].encoder_tokens == READ.get(name, ())
    assert estimated(Model.from_config(config_of(name)), steps) == counts


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("idefics", {"model.vision_model": "tower", "model.perceiver_resampler": "projector"}),
        ("pix2struct", {"encoder": "tower"}),
        ("kosmos-2.5", {"vision_model": "tower", "image_to_text_projection": "projector"}),
        ("t5gemma2", {"model.encoder.vision_tower": "tower", "model.encoder.multi_modal_projector": "projector"}),
        ("udop", {"encoder.embed_patches": "tower"}),
        ("pp_formulanet", {"model.encoder": "tower", "model.encoder.multi_modal_projector": "projector"}),
    ],
)
def test_what_sees_is_marked(name: str, stages: dict[str, str]) -> None:
    found = find_stages(build(name))
    assert {path: part for path, part in found.items() if part != "encoder"} == stages


def inputs_of(name: str, config: Any) -> dict[str, Any]:
    views = {"pix2struct": (5, 7), "kosmos-2.5": (5, 7), "t5gemma2": (4, 4), "pp_formulanet": (7, 7)}
    grid = views.get(name, (3, 3))
    # None of them is the token of padding, of which `generate` makes a mask.
    text = torch.full((2, 5), 5)
    made = own_inputs(config, [grid, grid[::-1]], text, lambda *shape: torch.zeros(shape))
    assert made is not None
    return made


# Pix2Struct's config has no cache: each step runs the whole sequence again.
PASSES = {
    "idefics": ["prefill 2x5+0, 2 logits of [[3, 3], [3, 3]]", "decode 2x1+5, 2 logits"],
    "pix2struct": ["vision of [[5, 7], [7, 5]]", "prefill 2x6+0, 12 logits", "decode 2x7+0, 14 logits"],
    "kosmos-2.5": ["prefill 2x14+0, 2 logits of [[5, 7], [7, 5]]", "decode 2x1+14, 2 logits"],
    "t5gemma2": [
        "encoder 2x9+0, 0 logits of [[4, 4], [4, 4]]", "prefill 2x2+0, 2 logits", "decode 2x1+2, 2 logits",
    ],
    "udop": ["encoder 2x5+0, 0 logits of [[3, 3], [3, 3]]", "prefill 2x1+0, 2 logits", "decode 2x1+1, 2 logits"],
    "pp_formulanet": ["vision of [[7, 7], [7, 7]]", "prefill 2x6+0, 2 logits", "decode 2x1+6, 2 logits"],
}  # fmt: skip


@counted_with_the_newest
@pytest.mark.parametrize("name", PASSES)
def test_auto_says_what_an_unmarked_program_runs(
    marked: Recorder, name: str, monkeypatch: pytest.MonkeyPatch, short_rows: None
) -> None:
    steps: list[Step] = []
    mark = marked.mark

    def spied(text: str) -> None:
        mark(text)
        if text.startswith(markers.STEP_MARK):
            step = markers.decode_step(text.removeprefix(markers.STEP_MARK))
            # As `analyze` reads the passes of this phase, if the model has two stacks.
            steps.append(attrs.evolve(step, is_encoder=marked.passes[-1].startswith("encoder")))

    monkeypatch.setattr(marked, "mark", spied)
    module = build(name)
    model = Model.from_config(config_of(name))
    start = {"decoder_start_token_id": 0} if name == "udop" else {}
    with counted() as counter:
        module.generate(**inputs_of(name, module.config), max_new_tokens=2, min_new_tokens=2, do_sample=False, **start)
    assert [one for one in marked.passes if not one.startswith("vision.")] == PASSES[name]
    assert sum(estimated(model, steps)) == counter.get_total_flops()
