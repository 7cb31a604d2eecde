"""The workload `vlm` without torch: the request, its images, the modules that see, the shapes of their inputs."""

from __future__ import annotations

import copy
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import jsonschema
import pytest

from nsys_pipeline.errors import UsageError
from nsys_pipeline.workload.grids import grids_of
from nsys_pipeline.workload.stages import find_stages
from nsys_pipeline.workload.vlm.pictures import find_pictures
from nsys_pipeline.workload.vlm.request import ProfileRequest

_SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[3] / "docs" / "schemas" / "request-1.json").read_text(encoding="utf-8"))
)
LEAST = {"model_path": "/models/x", "name": "x", "synthetic_images": ["64x32"]}


def test_a_request_is_read_back_as_it_was_written() -> None:
    request = ProfileRequest(
        model_path="/models/x", name="x", input_dir="/images", repeats=5, dtype="float16", ops=True
    )
    assert ProfileRequest.from_json(json.loads(json.dumps(request.to_json()))) == request
    assert ProfileRequest.from_json(LEAST).sizes == [(64, 32)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_path": "models/x"}, "model_path = 'models/x' is not an absolute path"),
        ({"model_path": 3}, "model_path = 3 is not an absolute path"),
        ({"name": ""}, "name = '' is not a text"),
        ({"repeats": 0}, "repeats = 0 is not a whole number from 1"),
        ({"repeats": True}, "repeats = True is not a whole number"),
        ({"repeats": 2.0}, "repeats = 2.0 is not a whole number"),
        ({"max_new_tokens": -1}, "max_new_tokens = -1"),
        ({"batch": 10**9}, "batch = 1000000000"),
        ({"dtype": "int8"}, "dtype = 'int8' is not one of bfloat16, float16, float32"),
        ({"device": "tpu"}, "device = 'tpu' is not one of auto, cpu, cuda and cuda:N"),
        ({"weights": "mine"}, "weights = 'mine' is not one of random, pretrained"),
        ({"ops": "yes"}, "ops = 'yes' is not true or false"),
        ({"synthetic_images": ["64"]}, "`64` is no size of an image"),
        ({"synthetic_images": ["0x64"]}, "`0x64` is no size of an image"),
        ({"synthetic_images": [64]}, "`64` is no size of an image"),
        ({"synthetic_images": "64x64"}, "is not a list of sizes"),
        ({"input_dir": "/images"}, "takes its images from one place"),
        ({"synthetic_images": []}, "takes its images from one place"),
        ({"input_dir": "images", "synthetic_images": []}, "input_dir = 'images' is not an absolute path"),
        ({"surprise": 1}, "unknown field surprise"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        ProfileRequest.from_json(LEAST | changes)
    # To JSON Schema 2.0 is an integer.
    assert _SCHEMA.is_valid(LEAST | changes) == (changes == {"repeats": 2.0})


def test_the_schema_of_a_request_has_its_fields() -> None:
    fields = attrs.fields(ProfileRequest)
    schema = _SCHEMA.schema
    assert list(schema["properties"]) == [field.name for field in fields]
    assert schema["required"] == [field.name for field in fields if field.default is attrs.NOTHING]
    for source in ({"input_dir": "/images"}, {"image_list": "C:\\list.txt"}, {"synthetic_images": ["64x32", "1x1"]}):
        request = ProfileRequest(model_path="/models/x", name="x", **source)
        _SCHEMA.validate(request.to_json())


def test_requests_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    for text in ("[]", "{", '{"name": "x"}', "null", "[" * 100_000):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError):
            ProfileRequest.read(path)
    with pytest.raises(UsageError, match="cannot read"):
        ProfileRequest.read(tmp_path / "none.json")


def test_files_that_are_no_images_are_named_and_skipped(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden.png").write_bytes(b"x")
    image.new("RGB", (30, 20)).save(folder / "b.png")
    image.new("L", (8, 16)).save(folder / "c.jpg")
    (folder / "a.png").write_bytes((folder / "b.png").read_bytes()[:40])
    (folder / "notes\n.txt").write_text("no image", encoding="utf-8")
    (folder / "empty.webp").touch()

    pictures = find_pictures(ProfileRequest(model_path="/m", name="m", input_dir=str(folder)))

    assert [(one.name, one.height, one.width) for one in pictures.found] == [("b.png", 20, 30), ("c.jpg", 16, 8)]
    assert [name for name, _ in pictures.skipped] == ["a.png", "empty.webp", "notes␊.txt"]
    assert all(why for _, why in pictures.skipped)
    assert pictures.described()["found"] == 2

    listed = tmp_path / "list.txt"
    listed.write_text("# mine\n\nimages/c.jpg\nimages/none.png\nimages/b.png\n", encoding="utf-8")
    pictures = find_pictures(ProfileRequest(model_path="/m", name="m", image_list=str(listed)))
    assert [one.name for one in pictures.found] == ["c.jpg", "b.png"]
    assert pictures.skipped == (("none.png", "No such file or directory"),)

    listed.write_text("images/a.png\n", encoding="utf-8")
    with pytest.raises(UsageError, match="none of 1 files"):
        find_pictures(ProfileRequest(model_path="/m", name="m", image_list=str(listed)))
    with pytest.raises(UsageError, match="none of 0 files"):
        find_pictures(ProfileRequest(model_path="/m", name="m", input_dir=str(folder / "sub")))
    with pytest.raises(UsageError, match="cannot read the directory"):
        find_pictures(ProfileRequest(model_path="/m", name="m", input_dir=str(tmp_path / "none")))


def test_images_are_read_as_transformers_reads_them(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    turned = image.Exif()
    turned[0x112] = 6  # the camera was held upright
    image.new("RGB", (30, 20)).save(tmp_path / "photo.jpg", exif=turned)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "list.txt").write_text("\ufeffphoto.jpg\r\npipe.png\r\n", encoding="utf-8")

    pictures = find_pictures(ProfileRequest(model_path="/m", name="m", image_list=str(tmp_path / "list.txt")))

    assert [(one.name, one.height, one.width) for one in pictures.found] == [("photo.jpg", 30, 20)]
    assert pictures.skipped == (("pipe.png", "no plain file"),)


def modules(*paths: str) -> Any:
    return SimpleNamespace(named_modules=lambda: [("", None), *((path, object()) for path in paths)])


def test_parts_that_see_are_found_in_the_module_tree() -> None:
    ocr = modules(
        "model", "model.vision_tower", "model.vision_tower.sam_encoder", "model.vision_tower.sam_encoder.layers",
        "model.vision_tower.vision_encoder", "model.vision_tower.vision_encoder.layers.0.encoder",
        "model.multi_modal_projector", "model.language_model", "model.language_model.encoder", "lm_head",
    )  # fmt: skip
    assert find_stages(ocr) == {
        "model.vision_tower": "tower",
        "model.vision_tower.sam_encoder": "sam",
        "model.vision_tower.vision_encoder": "encoder",
        "model.multi_modal_projector": "projector",
    }
    deepstack = "visual.deepstack_merger_list"
    inner = (deepstack, f"{deepstack}.0", f"{deepstack}.0.norm")
    qwen = modules("visual", "visual.blocks.0.attn", "visual.merger", *inner, "language_model")
    assert find_stages(qwen) == {
        "visual": "tower", "visual.merger": "merger", "visual.deepstack_merger_list.0": "merger",
    }  # fmt: skip
    assert find_stages(modules("model", "model.layers.0.mlp", "model.decoder.encoder", "lm_head")) == {}


def config(**vision: Any) -> Any:
    return SimpleNamespace(vision_config=SimpleNamespace(**vision))


def tensor(*shape: int) -> Any:
    return SimpleNamespace(shape=shape, ndim=len(shape))


def test_patches_from_the_shapes_of_inputs() -> None:
    clip = config(patch_size=14)
    assert grids_of(clip, {"input_ids": tensor(1, 9)}) == []
    assert grids_of(clip, {"pixel_values": tensor(2, 3, 28, 42)}) == [(2, 3), (2, 3)]
    assert grids_of(clip, {"pixel_values": tensor(1, 2, 3, 28, 28)}) == [(2, 2), (2, 2)]
    sam = config(sam_config=SimpleNamespace(patch_size=16))
    views = {"pixel_values": tensor(1, 3, 1024, 1024), "pixel_values_local": tensor(2, 3, 768, 768)}
    assert grids_of(sam, views) == [(64, 64), (48, 48), (48, 48)]
    packed = {"pixel_values": tensor(96, 1176), "image_grid_thw": tensor(2, 3)}
    assert grids_of(clip, packed, {"image_grid_thw": [[1, 8, 10], [2, 2, 4]]}) == [(8, 10), (2, 4), (2, 4)]
    # Values on the device are not asked for, and what nobody knows is not guessed.
    assert grids_of(clip, packed) is None
    # Patches in one row, or padded to as many as there may be.
    strip = {"pixel_values": tensor(1, 3, 14, 14 * 20), "target_sizes": tensor(2, 2)}
    assert grids_of(clip, strip, {"target_sizes": [[4, 3], [2, 4]]}) == [(4, 3), (2, 4)]
    placed = {"pixel_values": tensor(1, 8, 588), "image_position_ids": tensor(1, 8, 2)}
    places = [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1], [-1, -1], [-1, -1]]
    assert grids_of(clip, placed, {"image_position_ids": [places]}) == [(2, 3)]
    assert grids_of(clip, strip) is None
    assert grids_of(clip, placed) is None
    assert grids_of(config(), {"pixel_values": tensor(1, 3, 28, 28)}) is None
    pixtral = config(patch_size=16, model_type="pixtral")
    padded = {"pixel_values": tensor(2, 3, 64, 64), "image_sizes": tensor(2, 2)}
    assert grids_of(pixtral, padded, {"image_sizes": [[64, 32], [16, 48]]}) == [(4, 2), (1, 3)]
    assert grids_of(pixtral, copy.copy(padded)) is None
