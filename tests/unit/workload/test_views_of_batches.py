"""Images of a batch, which have more views or fewer: those that fill it up are none, and the tower is the witness."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline import markers
from nsys_pipeline.errors import ModelError
from nsys_pipeline.workload.generate import run_request
from nsys_pipeline.workload.options import Shape
from nsys_pipeline.workload.seen import images_of
from nsys_pipeline.workload.stages import find_stages
from nsys_pipeline.workload.vlm.inputs import Prepared, prepare
from nsys_pipeline.workload.vlm.main import VisionEngine, run_workload
from nsys_pipeline.workload.vlm.pictures import Picture
from nsys_pipeline.workload.vlm.request import ProfileRequest
from tests.support.tiny_models import known
from tests.support.tiny_vlms import QWEN
from tests.support.versions import counted_with_the_newest
from tests.unit.workload.conftest import Recorder

pytest.importorskip("torch")

TOWERS = json.loads((Path(__file__).parents[1] / "model" / "tower_configs.json").read_text(encoding="utf-8"))
#: Tiles of 42 pixels.
PINPOINTS = [[42, 84], [84, 84], [126, 42]]
#: Whole and tiles of a picture on each of these canvases.
SIZES, VIEWS = [[40, 80], [82, 83]], [1 + 2, 1 + 4]
SETTINGS: dict[str, Any] = {"name": "tiny", "device": "cpu", "repeats": 1, "warmup": 0, "max_new_tokens": 2}


def built(name: str, **changes: Any) -> Any:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = {**TOWERS[name]["config"], **changes}
    if not known(config["model_type"]) or not hasattr(transformers, "AutoModelForImageTextToText"):
        pytest.skip(f"this transformers has no {name}")
    return transformers.AutoModelForImageTextToText.from_config(transformers.AutoConfig.for_model(**config)).eval()


def seen_by_tower(model: Any, inputs: dict[str, Any]) -> int:
    """How many views the outermost tower is called with."""
    import torch

    tower = next(path for path, part in find_stages(model).items() if part == "tower")
    counts: list[int] = []

    def count(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        pixels = args[0] if args else kwargs["pixel_values"]
        counts.append(int(pixels.shape[0]))

    hook = model.get_submodule(tower).register_forward_pre_hook(count, with_kwargs=True)
    try:
        taken = inspect.signature(model.get_image_features).parameters
        with torch.inference_mode():
            model.get_image_features(**{name: value for name, value in inputs.items() if name in taken})
    finally:
        hook.remove()
    return sum(counts)


@pytest.mark.parametrize("name", ["llava_next", "llava_onevision"])
def test_views_of_canvases(name: str) -> None:
    import torch

    model = built(name, image_grid_pinpoints=PINPOINTS)
    edge = model.config.vision_config.image_size
    inputs = {"pixel_values": torch.zeros(2, max(VIEWS), 3, edge, edge), "image_sizes": torch.tensor(SIZES)}
    assert len(images_of(model.config, inputs) or ()) == sum(VIEWS) == seen_by_tower(model, inputs)
    if name == "llava_onevision" and "batch_num_images" in inspect.signature(model.get_image_features).parameters:
        # Two images of one prompt are whole.
        inputs = {**inputs, "pixel_values": inputs["pixel_values"][:, :1], "batch_num_images": torch.tensor([2])}
        assert len(images_of(model.config, inputs) or ()) == 2 == seen_by_tower(model, inputs)


@pytest.mark.parametrize("name", ["idefics3", "smolvlm"])
def test_views_that_are_no_pixels(name: str) -> None:
    import torch

    model = built(name)
    edge = model.config.vision_config.image_size
    pixels, mask = torch.zeros(2, 3, 3, edge, edge), torch.zeros(2, 3, edge, edge, dtype=torch.bool)
    for sequence, views in enumerate((3, 1)):
        pixels[sequence, :views], mask[sequence, :views] = 1.0, True
    inputs = {"pixel_values": pixels, "pixel_attention_mask": mask}
    assert len(images_of(model.config, inputs) or ()) == 4 == seen_by_tower(model, inputs)
    # Of one sequence all views are pixels; of several nobody knows without the mask.
    assert len(images_of(model.config, {"pixel_values": pixels[:1]}) or ()) == 3
    assert images_of(model.config, {"pixel_values": pixels}) is None


def test_views_without_a_processor(tmp_path: Path) -> None:
    model = built("smolvlm", image_token_id=60)
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_dict()), encoding="utf-8")
    request = ProfileRequest.from_json(
        SETTINGS | {"model_path": str(tmp_path / "config.json"), "synthetic_images": ["50x50", "50x200"], "batch": 2}
    )
    (one,) = run_workload(request)["shapes"]
    # Four by four tiles and four by one, each with the whole.
    assert len(one["patches"]) == 17 + 5


@counted_with_the_newest
def test_the_next_tokens_place_in_a_padded_batch(tmp_path: Path) -> None:
    """A shorter prompt beside a longer one is continued as it is alone."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    if not known("qwen2_5_vl") or not hasattr(transformers, "AutoModelForImageTextToText"):
        pytest.skip("this transformers has no Qwen2.5-VL of this kind")
    torch.manual_seed(0)
    model = transformers.AutoModelForImageTextToText.from_config(transformers.AutoConfig.for_model(**QWEN)).eval()
    start, image, end = QWEN["vision_start_token_id"], QWEN["image_token_id"], QWEN["vision_end_token_id"]
    prompts, grids = [], [[1, 4, 6], [1, 2, 4]]
    for _, height, width in grids:
        prompts.append([5, start, *[image] * (height * width // 4), end, 6, 7])
    logits: list[Any] = []

    def pick(output: Any) -> Any:
        logits.append(output[:, -1])
        return torch.full((output.shape[0], 1), 9)

    def continued(of: list[int]) -> Any:
        longest = max(len(prompts[one]) for one in of)
        ids = torch.tensor([[0] * (longest - len(prompts[one])) + prompts[one] for one in of])
        mask = torch.tensor([[0] * (longest - len(prompts[one])) + [1] * len(prompts[one]) for one in of])
        seen = torch.tensor([grids[one] for one in of])
        given = {
            "input_ids": ids,
            "pixel_values": torch.cat([pixels[one] for one in of]),
            "image_grid_thw": seen,
            "mm_token_type_ids": (ids == image).int(),
            "attention_mask": mask,
        }
        taken = inspect.signature(model.forward).parameters
        engine = VisionEngine(model, pick)
        with torch.inference_mode():
            token = engine.prefill({name: value for name, value in given.items() if name in taken})
            for _ in range(2):
                token = engine.decode(token)
        return logits[-1]

    pixels = [torch.randn(height * width, 3 * 2 * 14 * 14) for _, height, width in grids]
    together = continued([0, 1])
    for one in range(2):
        torch.testing.assert_close(together[one], continued([one])[0], rtol=1e-4, atol=1e-5)


class Processor:
    """In the place of one of transformers': takes images as it is told to, and refuses thin ones."""

    image_token = "<image>"

    def __init__(self, *, is_nested: bool) -> None:
        self._is_nested = is_nested

    def __call__(self, *, text: list[str], images: list[Any], return_tensors: str, padding: bool) -> dict[str, Any]:
        import torch

        assert return_tensors == "pt"
        assert padding == (len(text) > 1)
        if isinstance(images[0], list) != self._is_nested:
            raise ValueError("not such lists")
        if any((one[0] if self._is_nested else one).height == 1 for one in images):
            raise ValueError("too thin")
        ids = torch.tensor([[3] * 4 + [5, 6]] * len(text))
        return {"input_ids": ids, "pixel_values": torch.zeros(len(text), 3, 28, 28), "labels": ids}


@pytest.mark.parametrize("is_nested", [True, False])
def test_what_processors_take_and_make(is_nested: bool) -> None:
    torch = pytest.importorskip("torch")
    image = pytest.importorskip("PIL.Image")
    model = built("llava")
    request = ProfileRequest.from_json(SETTINGS | {"model_path": "/m", "synthetic_images": ["20x30"]})
    pictures = [Picture(name, 20, 30, image.new("RGB", (30, 20))) for name in ("a", "b")]
    one = prepare(request, model, Processor(is_nested=is_nested), pictures, torch.device("cpu"))
    assert isinstance(one, Prepared)
    # With labels a model computes its loss, which nobody asked for.
    assert set(one.inputs) == {"input_ids", "pixel_values"}
    assert (one.batch, one.tokens, one.grids) == (2, 6, ((2, 2), (2, 2)))
    thin = Picture("thin", 1, 300, image.new("RGB", (300, 1)))
    with pytest.raises(ModelError, match="refuses thin: too thin" if is_nested else "refuses thin: not such lists"):
        prepare(request, model, Processor(is_nested=is_nested), [thin], torch.device("cpu"))


def test_images_that_a_processor_refuses_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    image = pytest.importorskip("PIL.Image")
    model = built("llava", vision_config={**TOWERS["llava"]["config"]["vision_config"], "image_size": 28})
    model.config.image_token_index = model.config.image_token_id = 3
    model.save_pretrained(tmp_path / "m")
    folder = tmp_path / "images"
    folder.mkdir()
    for name, size in (("a", (30, 20)), ("b", (300, 1)), ("c", (20, 30))):
        image.new("RGB", size).save(folder / f"{name}.png")
    monkeypatch.setattr("nsys_pipeline.workload.vlm.main.load_processor", lambda _request: Processor(is_nested=True))
    settings = SETTINGS | {"model_path": str(tmp_path / "m"), "input_dir": str(folder), "weights": "pretrained"}
    result = run_workload(ProfileRequest.from_json(settings | {"batch": 2}))
    assert [one["images"] for one in result["shapes"]] == ["a.png … c.png"]
    why = "the processor of `tiny` refuses b.png: too thin"
    assert result["run"]["images"] == {"found": 2, "skipped": [f"b.png: {why}"]}
    assert f"skipped b.png: {why}" in capfd.readouterr().err

    for name in ("a", "c"):
        (folder / f"{name}.png").unlink()
    with pytest.raises(ModelError, match="too thin"):
        run_workload(ProfileRequest.from_json(settings))


def test_padding_of_a_batch_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(markers, "_chosen", recorder)

    class Engine:
        def reset(self) -> None:
            """Nothing is kept."""

        def prefill(self, prompt: Any) -> Any:
            return prompt

        decode = prefill

    settings: dict[str, Any] = {"sync_steps": False, "synchronize": lambda: None}
    run_request(Engine(), "prompt", Shape(2, 9, 2), **settings, prompts=(9, 4))
    assert [(step.q_tokens, step.kv_tokens, step.logits) for step in recorder.steps] == [
        ((9, 4), (0, 0), 2), ((1, 1), (9, 4), 2), ((1, 1), (10, 5), 2)
    ]  # fmt: skip
    assert [step.padding_tokens for step in recorder.steps] == [5, 0, 0]
    assert [step.executed.kv_tokens for step in recorder.steps] == [(0, 0), (9, 9), (10, 10)]
    recorder.steps.clear()
    run_request(Engine(), "prompt", Shape(2, 9, 0), **settings, prompts=(9, 4), all_logits=True)
    assert [(step.logits, step.executed.logits) for step in recorder.steps] == [(13, 18)]
