"""From pictures to what a vision tower sees: patches of each view, and the tokens that they are in the prompt."""

from __future__ import annotations

import itertools
import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nsys_pipeline.errors import ModelError, UsageError
from nsys_pipeline.model.canvases import best_canvas
from nsys_pipeline.model.families.flattened_patches import KOSMOS_PATCHES, PIX2STRUCT_PATCHES
from nsys_pipeline.model.families.page_tiles import MOLMO_MARGIN
from nsys_pipeline.model.model import Model
from nsys_pipeline.records import MAX_BATCH, MAX_TOKENS

Grid = tuple[int, int]
"""Height and width of an image, or of one view of it, in patches."""

_Rule = Callable[[Model, int, int], tuple[Grid, ...]]
"""What the tower of a model gets of a picture of so many pixels, height and width."""

#: Fewest and most pixels that the processors of the published checkpoints leave a picture.
_QWEN2_PIXELS = (56 * 56, 28 * 28 * 128 * 128)
_QWEN3_PIXELS = (256 * 256, 4096 * 4096)
# Of the two frames that a picture counts as.
_GLM_PIXELS = (112 * 112 // 2, 28 * 28 * 15_000 // 2)
_MINIMAX_PIXELS = (4 * 28 * 28, 451_584)
_PADDLE_PIXELS = (384 * 384, 1536 * 1536)
GEMMA_TOKENS = 280
_ERNIE_PIXELS = (56 * 56, 28 * 28 * 6177)
_EMU_PIXELS = (512 * 512, 1024 * 1024)
_APERTUS_PIXELS = (128 * 128, 1400 * 1400)
_HUNYUAN_PIXELS = (512 * 512, 2048 * 2048)
#: Most tokens of a picture (transformers, image_processing_muse_glimmer.py).
_MUSE_TOKENS = 4096
#: Most patches of Kimi K2.5, in all and on a side.
_KIMI_PATCHES, _KIMI_SIDE = 16_384, 512
#: Most crops, and fewest pixels that a side fills (transformers, image_processing_phi4_multimodal.py).
_PHI_CROPS, _PHI_LEAST = 36, 10
#: Longest side in pixels (transformers, image_processing_idefics3.py).
_IDEFICS_SIDE = 4096
#: Pixels of a side of a patch, which configs of Pix2Struct and KOSMOS-2.5 do not say.
_ROW_PATCH = 16
#: Sides of a picture may differ by this factor (transformers, image_processing_qwen2_vl.py).
_MAX_ASPECT = 200
#: Model types whose processors cut a picture in views by rules that are not read here.
_CUTS = (
    "aya_vision", "deepseek_vl_v2", "ovis2", "perception_lm", "qianfan_ocr",
)  # fmt: skip
#: Those that leave rows of tokens out, the padding of their views: the prompt has fewer than the tower makes.
_UNPADDED = ("granite4_vision", "llava_next", "llava_next_video", "llava_onevision")
#: Those that cut a picture only if it is the prompt's only one.
_WHOLE_IF_SEVERAL = ("llava_onevision",)


def read_images(
    model: Model | None, *, count: int | None, patches: Sequence[str] = (), sizes: Sequence[str] = ()
) -> tuple[Grid, ...]:
    """The views of all images, from `--images`, `--image-patches` and `--image-size` as they are typed.

    `patches` are ``HxW``, or the tokens of an image in the tower; `sizes` are ``HxW`` in pixels. One of them stands for
    all images, else there is one for each. Empty without images. Raises UsageError for what makes no sense, and if
    the model has no tower, or one that takes any size and nobody says which.
    """
    told = [*patches, *sizes]
    number = len(told) if count is None else count
    if not number:
        if told:
            raise UsageError("--images 0 has no sizes", hint="drop --image-patches and --image-size")
        return ()
    if patches and sizes:
        raise UsageError("--image-patches and --image-size say the same thing", hint="use one of them")
    if number > MAX_BATCH:
        raise UsageError(f"--images {number:,} is past what llmperf estimates: at most {MAX_BATCH:,}")
    if len(told) not in (0, 1, number):
        raise UsageError(
            f"{len(told)} sizes for {number} images", hint="give one for all of them, or one for each in order"
        )
    if model is None:
        raise UsageError("what an image costs depends on the model", hint="name it with --model")
    _need_tower(model)
    several = number > 1
    each = [_patches(model, text) for text in patches] or [_pixels(model, text, several=several) for text in sizes]
    each = each or [_fixed(model)]
    if len(each) < number:
        each *= number
    return tuple(grid for views in each for grid in views)


def _need_tower(model: Model) -> None:
    if model.architecture.vision is None:
        what = "has a reading of its text decoder only" if model.architecture.text_only else "has no vision tower"
        why = f": {model.architecture.why}" if model.architecture.why else ""
        raise UsageError(f"`{model.name}` {what}{why}")


def _fixed(model: Model) -> tuple[Grid, ...]:
    tokens = model.architecture.vision_tokens
    if tokens is None:
        raise UsageError(f"`{model.name}` takes images of any size", hint="pass --image-patches or --image-size")
    return (_square(tokens - model.architecture.vision_extra),)


def _square(patches: int) -> Grid:
    side = math.isqrt(patches)
    return (side, side) if side * side == patches else (patches, 1)


def _patches(model: Model, text: str) -> tuple[Grid, ...]:
    extra = model.architecture.vision_extra
    if re.fullmatch(r"\d{1,12}", text.strip()):
        patches = int(text) - extra
        if not 0 < patches <= MAX_TOKENS:
            raise UsageError(f"--image-patches {text} is no number of tokens of an image in `{model.name}`")
        sides = _square(patches)
        if 1 in sides and patches > 1 and model.architecture.counts_by_sides:
            raise UsageError(
                f"--image-patches {text} is not a square number, and sides matter to the tower of `{model.name}`",
                hint=_WRITE_SIDES,
            )
    else:
        sides = _sides("--image-patches", text, "in patches, as in 56x56")
    if not model.architecture.is_whole(sides):
        raise UsageError(f"--image-patches {text}: {why_not_whole(model, sides)}", hint=_WRITE_SIDES)
    return (sides,)


_WRITE_SIDES = "say the picture's pixels with --image-size HxW, or its sides in patches with --image-patches HxW"


def why_not_whole(model: Model, sides: Grid) -> str:
    """What is wrong with an image whose sides the tower's merge does not divide."""
    merge = model.architecture.merged_side
    return (
        f"the tower of `{model.name}` merges {merge}x{merge} patches, and {sides[0]}x{sides[1]} are no multiples of it"
    )


def _pixels(model: Model, text: str, *, several: bool) -> tuple[Grid, ...]:
    height, width = _sides("--image-size", text, "in pixels, as in 1024x768: height, then width")
    return views(model, height, width, several=several)


def _sides(option: str, text: str, unit: str) -> Grid:
    match = re.fullmatch(r"(\d{1,9})x(\d{1,9})", text.strip())
    if match is None or 0 in (int(match[1]), int(match[2])):
        raise UsageError(f"{option} `{text}` is no size", hint=f"write HxW {unit}")
    height, width = int(match[1]), int(match[2])
    if height * width > MAX_TOKENS * 1024:
        raise UsageError(f"{option} {text} is past what llmperf estimates")
    return height, width


def views(model: Model, height: int, width: int, *, several: bool = False) -> tuple[Grid, ...]:
    """What the tower gets of a picture of `height` x `width` pixels, as the processor of the model type prepares it.

    `several`: the prompt has other pictures, too, which makes some processors leave them all whole.
    One (height, width) in patches for each view, in the order in which the tower gets them.
    Raises UsageError for a model type whose processor is not known here.
    """
    _need_tower(model)
    rule = _VIEWS.get(model.model_type)
    if several and model.model_type in _WHOLE_IF_SEVERAL:
        return _fixed(model)
    if rule is not None:
        return rule(model, height, width)
    if model.architecture.vision_tokens is None or model.model_type in _CUTS:
        raise UsageError(
            f"how the processor of `{model.model_type}` cuts and scales a picture is not known here",
            hint="pass --image-patches HxW of each view that the tower gets",
        )
    return _fixed(model)


def _vision_config(model: Model) -> Mapping[str, Any]:
    vision = model.config.get("vision_config")
    return vision if isinstance(vision, Mapping) else {}


def _number(model: Model, name: str, default: int, config: Mapping[str, Any] | None = None) -> int:
    """A number of the vision config, or of `config`, which some configs say of each of two sides, which are equal."""
    told = (_vision_config(model) if config is None else config).get(name)
    if isinstance(told, list | tuple) and len(told) == 2 and told[0] == told[1]:
        told = told[0]
    if told is None:
        return default
    if isinstance(told, float) and told.is_integer():
        told = int(told)
    if isinstance(told, bool) or not isinstance(told, int) or told < 1:
        raise ModelError(
            f"config of model type `{model.model_type}`: `{name}` is {told!r}, not a whole number above zero"
        )
    return told


def _scaled(height: int, width: int, unit: int) -> Grid:
    """Scaled up to a merged patch on the shorter side; rounded down."""
    scale = max(1.0, unit / min(height, width))
    return int(height * scale), int(width * scale)


def _scaled_by_sides(height: int, width: int, unit: int) -> Grid:
    """The same, one side after the other, each time rounded to whole pixels."""
    if height < unit:
        height, width = unit, round(width * unit / height)
    if width < unit:
        height, width = round(height * unit / width), unit
    return height, width


def _qwen(
    patch: int,
    pixels: tuple[int, int],
    *,
    scales_up: Callable[[int, int, int], Grid] | None = None,
    merge: int = 2,
) -> Callable[[Model, int, int], tuple[Grid, ...]]:
    """Sides rounded to whole merged patches, within limits of the area (Qwen2-VL, arXiv 2409.12191).

    `scales_up`: what is first done to a picture that is smaller than a merged patch on one side.
    """

    def rule(model: Model, height: int, width: int) -> tuple[Grid, ...]:
        edge = _number(model, "patch_size", patch)
        unit = edge * _number(model, "spatial_merge_size", merge)
        told = f"{height}x{width}"
        if scales_up:
            height, width = scales_up(height, width, unit)
        if max(height, width) > _MAX_ASPECT * min(height, width):
            raise UsageError(f"a picture of {told} pixels is longer than `{model.model_type}` takes")
        least, most = pixels
        sides = [round(side / unit) * unit for side in (height, width)]
        if sides[0] * sides[1] > most:
            shrink = math.sqrt(height * width / most)
            sides = [max(unit, math.floor(side / shrink / unit) * unit) for side in (height, width)]
        elif sides[0] * sides[1] < least:
            stretch = math.sqrt(least / (height * width))
            sides = [math.ceil(side * stretch / unit) * unit for side in (height, width)]
        return ((sides[0] // edge, sides[1] // edge),)

    return rule


def _mistral3(model: Model, height: int, width: int) -> tuple[Grid, ...]:
    """Scaled down to the tower's longest side, then up to whole merged patches (Pixtral, arXiv 2410.07073)."""
    patch, longest = _number(model, "patch_size", 14), _number(model, "image_size", 1540)
    merge = _number(model, "spatial_merge_size", 2, model.config)
    ratio = max(1.0, max(height, width) / longest)
    units = [(max(1, math.floor(side / ratio)) - 1) // (patch * merge) + 1 for side in (height, width)]
    return ((units[0] * merge, units[1] * merge),)


def _kimi(model: Model, height: int, width: int) -> tuple[Grid, ...]:
    """Scaled down to so many patches in all and on a side, then padded to whole merged patches; never scaled up."""
    patch, merge = _number(model, "patch_size", 14), 2
    patches = max(1, height // patch) * max(1, width // patch)
    scale = min(1.0, math.sqrt(_KIMI_PATCHES / patches), *(_KIMI_SIDE * patch / side for side in (height, width)))
    sides = [min(max(1, int(side * scale)), _KIMI_SIDE * patch) for side in (height, width)]
    rows, columns = (-(-side // (merge * patch)) * merge for side in sides)
    return ((rows, columns),)


def _tiling(height: int, width: int, edge: int, most: int, fewest: int = 1, *, longest: int | None = None) -> Grid:
    """Rows and columns of tiles: the rectangle most like the picture, the larger of equal ones if it is large.

    `longest`: most tiles on a side.
    """
    best, nearest = (1, 1), math.inf
    side = range(1, (longest or most) + 1)
    grids = [(w, h) for w in side for h in side if fewest <= w * h <= most]
    for wide, high in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        off = abs(width / height - wide / high)
        if off < nearest or (off == nearest and width * height > 0.5 * edge * edge * wide * high):
            best, nearest = (high, wide), off
    return best


def _deepseek_ocr(edge: int, most: int) -> _Rule:
    """Two to `most` tiles of `edge` pixels if a side is longer than one, and the whole in 1024; patches of 16."""

    def rule(_model: Model, height: int, width: int) -> tuple[Grid, ...]:
        tiles = math.prod(_tiling(height, width, edge, most, fewest=2)) if max(height, width) > edge else 0
        return (*((edge // 16, edge // 16),) * tiles, (64, 64))

    return rule


#: Canvases of LLaVA-NeXT, of tiles of 336 pixels, if a config has none of its own (transformers,
#: configuration_llava_next.py).
_CANVASES = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
#: The same of LLaVA-OneVision (arXiv 2408.03326): up to six tiles of 384 pixels on a side.
_ONE_CANVASES = tuple((384 * rows, 384 * columns) for rows in range(1, 7) for columns in range(1, 7))


def _canvases(model: Model, usual: Sequence[Grid]) -> Sequence[Sequence[int]]:
    told = model.config.get("image_grid_pinpoints") or usual
    if isinstance(told, Sequence) and all(
        isinstance(one, Sequence) and len(one) == 2 and all(isinstance(side, int) and side > 0 for side in one)
        for one in told
    ):
        return told
    raise ModelError(f"config of model type `{model.model_type}`: `image_grid_pinpoints` must list pairs of pixels")


def _llava_next(model: Model, height: int, width: int) -> tuple[Grid, ...]:
    """The whole, and the tiles of the canvas that keeps most of the picture's pixels, else wastes fewest of its own."""
    is_one = model.model_type == "llava_onevision"
    (grid,), edge = _fixed(model), _number(model, "image_size", 384 if is_one else 336)
    canvases = _canvases(model, _ONE_CANVASES if is_one else _CANVASES)
    rows, columns = best_canvas(canvases, height, width)
    return (grid,) * (1 + -(-rows // edge) * -(-columns // edge))


def _gemma4(model: Model, height: int, width: int) -> tuple[Grid, ...]:
    """As large as the number of tokens allows, sides down to whole merged patches, never below one."""
    pool = _number(model, "pooling_kernel_size", 3)
    scale = math.sqrt(GEMMA_TOKENS / (height * width))
    rows, columns = (math.floor(scale * side) for side in (height, width))
    if not rows:
        rows, columns = 1, min(width // height, GEMMA_TOKENS)
    elif not columns:
        rows, columns = min(height // width, GEMMA_TOKENS), 1
    # Without a tower a merged patch is a patch.
    each = 1 if model.model_type == "gemma4_unified" else pool
    return ((rows * each, columns * each),)


def _canvas(height: int, width: int, edge: int, most: int) -> Grid:
    """Rows and columns of tiles: that a picture is enlarged least on, else shrunk least; of equal ones the fewest."""
    grids = [(rows, columns) for rows in range(1, most + 1) for columns in range(1, most + 1) if rows * columns <= most]
    scales = {(rows, columns): min(rows * edge / height, columns * edge / width) for rows, columns in grids}
    larger = [scale for scale in scales.values() if scale >= 1]
    chosen = min(larger) if larger else max(scales.values())
    return min((one for one in grids if scales[one] == chosen), key=math.prod)


def _tiles_and_whole(most: int, edge: int, arranged: Callable[[int, int, int, int], Grid] = _canvas) -> _Rule:
    """Tiles, and the whole as one more if there are several. `edge`: of a tile, if no config says so."""

    def rule(model: Model, height: int, width: int) -> tuple[Grid, ...]:
        tiles = math.prod(arranged(height, width, _number(model, "image_size", edge), most))
        return _fixed(model) * (tiles + (tiles > 1))

    return rule


def _idefics3(model: Model, height: int, width: int) -> tuple[Grid, ...]:
    """The longer side becomes four tiles, the shorter one as many as it needs, and the whole is one more."""
    edge = _number(model, "image_size", 224 if model.model_type == "idefics3" else 512)
    # The processor rounds the shorter side down, then up to an even number, and keeps sides within 4,096.
    longer, shorter, ratio = 4 * edge, min(height, width), width / height
    shorter = int(longer / ratio) if width >= height else int(longer * ratio)
    shorter = max(1, shorter + shorter % 2)
    if longer > _IDEFICS_SIDE:
        ratio = longer / shorter
        longer, shorter = _IDEFICS_SIDE, max(1, int(_IDEFICS_SIDE / ratio))
    ratio, tiles = longer / shorter, -(-longer // edge)
    return _fixed(model) * (tiles * max(1, -(-int(tiles * edge / ratio) // edge)) + 1)


def _mllama(model: Model, height: int, width: int) -> tuple[Grid, ...]:
    """One image of all tiles of a canvas."""
    edge, patch, most = (
        _number(model, *told) for told in (("image_size", 448), ("patch_size", 14), ("max_num_tiles", 4))
    )
    rows, columns = _canvas(height, width, edge, most)
    return ((rows * (edge // patch), columns * (edge // patch)),)


def _phi4(model: Model, height: int, width: int) -> tuple[Grid, ...]:
    """Scaled to fill up to 36 crops, of which whole rows and columns of patches that stay empty are cut off."""
    edge, patch = _number(model, "image_size", 448), _number(model, "patch_size", 14)
    rows, columns = -(-height // edge), -(-width // edge)
    if rows * columns > _PHI_CROPS:
        rows, columns = _tiling(height, width, edge, _PHI_CROPS)
    canvas = (rows * edge, columns * edge)
    scale = min(canvas[0] / height, canvas[1] / width)
    filled = [min(side, int(real * scale)) for side, real in zip(canvas, (height, width), strict=True)]
    # The side that sets the scale is filled whatever rounding says.
    filled[int(canvas[1] / width < canvas[0] / height)] = canvas[int(canvas[1] / width < canvas[0] / height)]
    if min(filled) < _PHI_LEAST:
        raise UsageError(f"a picture of {height}x{width} pixels is longer than `{model.model_type}` takes")
    empty = [(side - real) // patch for side, real in zip(canvas, filled, strict=True)]
    return ((canvas[0] // patch - empty[0], canvas[1] // patch - empty[1]),)


def _muse(model: Model, height: int, width: int) -> tuple[Grid, ...]:
    """Sides rounded down or up to whole merged patches, whichever pair is most like the picture, within the most."""
    merge = _number(model, "merge_size", 2)
    unit = _number(model, "patch_size", 14) * merge
    rows, columns = height / unit, width / unit
    if rows * columns > _MUSE_TOKENS:
        ratio = columns / rows
        rows = (_MUSE_TOKENS / ratio) ** 0.5
        columns = rows * ratio
    pairs = set(itertools.product(*((math.floor(side), math.ceil(side)) for side in (rows, columns))))
    allowed = [pair for pair in pairs if min(pair) >= 1 and math.prod(pair) <= _MUSE_TOKENS]
    allowed = allowed or [(max(1, round(rows)), max(1, round(columns)))]
    best = min(allowed, key=lambda pair: abs(pair[0] / pair[1] - height / width))
    return ((best[0] * merge, best[1] * merge),)


def _flattened(most: int) -> _Rule:
    """As many patches of 16 pixels as fit a row of `most`, rows and columns in the shape of the picture."""

    def rule(model: Model, height: int, width: int) -> tuple[Grid, ...]:
        if model.config.get("is_vqa"):
            raise UsageError(
                f"the processor of `{model.name}` writes the question above the picture, and its height is not known",
                hint="pass --image-patches HxW of both together",
            )
        scale = math.sqrt(most * (_ROW_PATCH / height) * (_ROW_PATCH / width))
        rows, columns = (max(1, min(math.floor(scale * side / _ROW_PATCH), most)) for side in (height, width))
        return ((rows, columns),)

    return rule


def _inkling2(model: Model, height: int, width: int) -> tuple[Grid, ...]:
    """Filled up to whole merged patches; never scaled."""
    merge = _number(model, "spatial_merge_size", 2)
    unit = merge * _number(model, "patch_size", 20)
    return ((-(-height // unit) * merge, -(-width // unit) * merge),)


#: Most tiles of a page of Granite Docling, and most on a side; most crops of Molmo 2 (transformers, image processors).
_DOCLING_TILES, _DOCLING_SIDE, _MOLMO_CROPS = 32, 16, 8


def _granite_docling(model: Model, height: int, width: int) -> tuple[Grid, ...]:
    """The rectangle of tiles that is most like the page, and the whole as one more if there are several."""
    tiles = math.prod(_tiling(height, width, _number(model, "image_size", 512), _DOCLING_TILES, longest=_DOCLING_SIDE))
    return _fixed(model) * (tiles + (tiles > 1))


def _molmo2(model: Model, height: int, width: int) -> tuple[Grid, ...]:
    """One image: the patches of the canvas that it is enlarged least on, else shrunk least, of crops that overlap."""
    config = _vision_config(model) or model.config.get("vit_config") or {}
    edge = _number(
        model, "image_default_input_size" if "image_default_input_size" in config else "image_size", 378, config
    )
    patch = _number(model, "image_patch_size" if "image_patch_size" in config else "patch_size", 14, config)
    step = edge // patch - MOLMO_MARGIN
    margin = MOLMO_MARGIN * patch
    grids = sorted(
        ((rows, columns) for rows in range(1, _MOLMO_CROPS + 1) for columns in range(1, _MOLMO_CROPS // rows + 1)),
        key=lambda tiles: (math.prod(tiles), tiles[0]),
    )

    def scale(tiles: Grid) -> float:
        # As single-precision numbers, which decide between canvases that are nearly alike.
        sides = zip(tiles, (height - margin, width - margin), strict=True)
        return min(_single(count * step * patch / side) if side else math.inf for count, side in sides)

    scales = [scale(tiles) for tiles in grids]
    larger = [one for one in scales if one >= 1]
    rows, columns = grids[scales.index(min(larger) if larger else max(scales))]
    return ((rows * step + MOLMO_MARGIN, columns * step + MOLMO_MARGIN),)


def _single(value: float) -> float:
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


_VIEWS: dict[str, _Rule] = {
    "qwen2_vl": _qwen(14, _QWEN2_PIXELS),
    "qwen2_5_vl": _qwen(14, _QWEN2_PIXELS),
    "qwen3_vl": _qwen(16, _QWEN3_PIXELS),
    "qwen3_vl_moe": _qwen(16, _QWEN3_PIXELS),
    "qwen3_5": _qwen(16, _QWEN3_PIXELS),
    "qwen3_5_moe": _qwen(16, _QWEN3_PIXELS),
    "glm4v": _qwen(14, _GLM_PIXELS, scales_up=_scaled),
    "glm4v_moe": _qwen(14, _GLM_PIXELS, scales_up=_scaled),
    "glm46v": _qwen(14, _GLM_PIXELS, scales_up=_scaled),
    "glm_ocr": _qwen(14, _GLM_PIXELS, scales_up=_scaled),
    "minimax_m3_vl": _qwen(14, _MINIMAX_PIXELS),
    "paddleocr_vl": _qwen(14, _PADDLE_PIXELS, scales_up=_scaled_by_sides),
    "ernie4_5_vl_moe": _qwen(14, _ERNIE_PIXELS),
    "ernie4_5_moe_vl": _qwen(14, _ERNIE_PIXELS),
    "emu3": _qwen(8, _EMU_PIXELS, merge=1),
    "apertus1p5": _qwen(16, _APERTUS_PIXELS, merge=1),
    "fast_vlm": lambda _model, _height, _width: ((16, 16),),
    "hy_v4_vl": _qwen(16, _HUNYUAN_PIXELS),
    "inkling2": _inkling2,
    "inkling2_loop": _inkling2,
    "kimi_k25": _kimi,
    "muse_glimmer": _muse,
    "muse_spark": _muse,
    "mistral3": _mistral3,
    "lighton_ocr": _mistral3,
    "mistral_large4": _mistral3,
    "deepseek_ocr2": _deepseek_ocr(768, 6),
    "unlimited_ocr": _deepseek_ocr(640, 32),
    "internvl": _tiles_and_whole(12, 448, _tiling),
    "llava_next": _llava_next,
    "llava_next_video": _llava_next,
    "llava_onevision": _llava_next,
    "granite4_vision": _llava_next,
    "llama4": _tiles_and_whole(16, 336),
    "cohere2_vision": _tiles_and_whole(12, 512),
    "idefics3": _idefics3,
    "smolvlm": _idefics3,
    "gemma4": _gemma4,
    "gemma4_unified": _gemma4,
    "mllama": _mllama,
    "pix2struct": _flattened(PIX2STRUCT_PATCHES),
    "kosmos-2.5": _flattened(KOSMOS_PATCHES),
    "phi4_multimodal": _phi4,
    "granite_docling": _granite_docling,
    "molmo2": _molmo2,
}


def tokens_in_prompt(model: Model, grids: Sequence[Grid]) -> int:
    """How many tokens of the prompt images are, at least: separators of views and rows come on top."""
    if model.architecture.appends_images:
        return 0
    if model.architecture.cross_attends_to_images:
        # A placeholder each, if the prompt has any.
        return 0 if model.architecture.needs_image else len(grids)
    seen = grids[:1] if model.model_type in _UNPADDED else grids
    lengths = model.architecture.vision_lengths(seen)
    return sum(model.architecture.projected(length, sides) for length, sides in zip(lengths, seen, strict=True))


def check_prompt(model: Model, grids: Sequence[Grid], prompt_tokens: int, *, audio: Sequence[int] = ()) -> None:
    """Raise UsageError if images, and clips of so many frames, are more tokens than the prompts that hold them have."""
    tokens = tokens_in_prompt(model, grids) if grids and model.architecture.decoder is not None else 0
    encoder = model.architecture.audio
    tokens += sum(map(encoder.tokens, audio)) if encoder else 0
    if tokens > prompt_tokens:
        kinds = [(len(grids), "image(s)"), (len(audio), "clip(s) of sound")]
        what = " and ".join(f"{count:,} {kind}" for count, kind in kinds if count)
        raise UsageError(
            f"{what} of `{model.name}` are {tokens:,} tokens, but the prompts have {prompt_tokens:,}",
            hint=f"the tokens that {'images' if grids else 'clips'} turn into are part of the prompt",
        )
