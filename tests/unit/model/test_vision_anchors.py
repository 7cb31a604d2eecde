"""Published vision models at their real sizes, against counts made by hand from their papers' sizes."""

from __future__ import annotations

from nsys_pipeline.model import Estimator, Model, load_model
from nsys_pipeline.model.vision_parts import vision_part
from nsys_pipeline.records import Step
from tests.unit.model.configs import FULL


def by_part(model: Model, *grids: tuple[int, int]) -> dict[str, int]:
    ops = Estimator(model).estimate(Step((), (), 0, images=grids)).ops
    parts: dict[str, int] = {}
    for op in ops:
        if not op.flops_model:
            continue
        part = vision_part(op, has_sam=True)
        parts[part] = parts.get(part, 0) + op.layers * op.flops_model
    return parts


def test_sam_b_at_1024_pixels() -> None:
    # 976.9 GFLOP as it runs: 12 layers of 4,096 tokens, windows padded to 14, relative positions, neck, convolutions.
    layer = 24 * 768**2
    windowed = 25 * (8 * 768**2 * 196 + 4 * 768 * 196**2 + 4 * 768 * 196 * 14) + (layer - 8 * 768**2) * 4096
    whole = layer * 4096 + 4 * 768 * 4096**2 + 4 * 768 * 4096 * 64
    embedding = 2 * 4096 * 768 * 3 * 16 * 16
    neck = 2 * 4096 * (768 * 256 + 9 * 256 * 256)
    convolutions = 2 * 1024 * 9 * 256 * 512 + 2 * 256 * 9 * 512 * 1024
    sam = 8 * windowed + 4 * whole + embedding + neck + convolutions
    assert round(sam / 1e9, 1) == 976.9
    ops = Estimator(load_model("deepseek-ocr"), FULL).estimate(Step((), (), 0, images=((64, 64),))).ops
    assert sum(op.layers * op.flops_executed for op in ops if vision_part(op, has_sam=True) == "sam") == sam


def test_clip_l_at_336_pixels() -> None:
    # 381.9 GFLOP: 24 layers of 577 tokens and the patches.
    clip = 24 * (24 * 577 * 1024**2 + 4 * 577**2 * 1024) + 2 * 576 * 3 * 14 * 14 * 1024
    assert round(clip / 1e9, 1) == 381.9
    llava = Estimator(load_model("llava-1.5-7b"))
    ops = llava.estimate(Step((), (), 0, images=((24, 24),))).ops
    assert sum(op.layers * op.flops_model for op in ops if not op.name.startswith("projector")) == clip


def test_the_decoder_of_deepseek_ocr() -> None:
    # 1.148 GFLOP and 61,440 FLOP for each cached token; 61,440 bytes of keys and values for each token.
    estimator = Estimator(load_model("deepseek-ocr"))
    near, far = (estimator.estimate(Step.uniform(batch=1, q_tokens=1, kv_tokens=kv)) for kv in (1000, 2000))
    assert (far.flops - near.flops, far.kv_read_bytes - near.kv_read_bytes) == (61_440 * 1000, 61_440 * 1000)
    assert round((near.flops - 61_440 * 1001) / 1e9, 3) == 1.148


def test_modes_of_deepseek_ocr_are_sums_of_views() -> None:
    model = load_model("deepseek-ocr")
    tiny, base = by_part(model, (32, 32)), by_part(model, (64, 64))
    gundam = by_part(model, *((40, 40),) * 4, (64, 64))
    small = by_part(model, (40, 40))
    assert set(base) == {"sam", "encoder", "projector"}
    assert gundam == {part: 4 * small[part] + base[part] for part in base}
    assert tiny["projector"] * 4 == base["projector"]
