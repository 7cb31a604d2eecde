"""The workload `vlm` on tiny models: with a processor from disk, and with pixels and placeholders alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.errors import ModelError, UsageError
from nsys_pipeline.workload.vlm.main import run_workload
from nsys_pipeline.workload.vlm.request import ProfileRequest
from tests.support.tiny_models import known
from tests.support.tiny_vlms import LLAVA, QWEN

SETTINGS: dict[str, Any] = {"name": "tiny", "device": "cpu", "repeats": 1, "warmup": 0, "max_new_tokens": 2}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A Llava with a processor, as its publisher would save it."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    pil = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    image = pytest.importorskip("PIL.Image")
    words = ["<unk>", "<pad>", "</s>", "<image>", "Describe", "the", "image", "."]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: at for at, word in enumerate(words)}, unk_token=words[0])
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    special = {"unk_token": words[0], "pad_token": words[1], "eos_token": words[2]}
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, additional_special_tokens=["<image>"], **special
    )
    folder = tmp_path / "llava"
    transformers.LlavaProcessor(
        image_processor=pil.CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer=fast,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    config = transformers.AutoConfig.for_model(**LLAVA)
    transformers.AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    images = tmp_path / "images"
    images.mkdir()
    for name, size in (("a", (40, 30)), ("b", (30, 70)), ("c", (28, 28))):
        image.new("RGB", size, "red").save(images / f"{name}.png")
    return folder


def test_a_checkpoint_with_its_processor(checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    images = str(checkpoint.parent / "images")
    settings = SETTINGS | {"model_path": str(checkpoint), "input_dir": images, "batch": 2}
    result = run_workload(ProfileRequest.from_json(settings | {"weights": "pretrained"}))

    # Four image tokens and four of the text, whatever the size: the processor crops.
    shapes = [(one["shape"], one["images"], one["patches"]) for one in result["shapes"]]
    assert shapes == [("2x8+2", "a.png … b.png", [[2, 2], [2, 2]]), ("1x8+2", "c.png", [[2, 2]])]
    assert result["run"]["images"] == {"found": 3, "skipped": []}
    # Synthetic images go through the processor, too, and weights may be random.
    (one,) = run_workload(
        ProfileRequest.from_json(
            SETTINGS | {"model_path": str(checkpoint), "synthetic_images": ["50x60"], "prompt": "the image"}
        )
    )["shapes"]
    assert (one["shape"], one["patches"]) == ("1x6+2", [[2, 2]])
    capfd.readouterr()

    (checkpoint / "processor_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="the processor of `tiny` cannot be loaded"):
        run_workload(ProfileRequest.from_json(settings))


def config_of(folder: Path, config: dict[str, Any]) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def test_sequences_with_images_of_different_sizes_are_as_long_as_each_other(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    if not known("qwen2_5_vl"):
        pytest.skip("this transformers has no Qwen2.5-VL")
    sizes = ["112x140", "56x56"]
    request = ProfileRequest.from_json(
        SETTINGS | {"model_path": config_of(tmp_path, QWEN), "synthetic_images": sizes, "batch": 2, "prompt_tokens": 5}
    )
    (one,) = run_workload(request)["shapes"]
    # 20 tokens of the larger image, the marks around it, and the text.
    assert (one["shape"], one["patches"]) == (f"2x{20 + 2 + 5}+2", [[8, 10], [4, 4]])


def test_what_cannot_be_prepared_is_said(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    settings = SETTINGS | {"synthetic_images": ["56x56"]}
    text = {"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 1}
    with pytest.raises(ModelError, match="cannot build"):
        run_workload(ProfileRequest.from_json(settings | {"model_path": config_of(tmp_path, text)}))
    cut = {**LLAVA, "model_type": "llava_next"}
    with pytest.raises(UsageError, match="without a processor, what the tower of `tiny` gets of an image is not known"):
        run_workload(ProfileRequest.from_json(settings | {"model_path": config_of(tmp_path, cut)}))
