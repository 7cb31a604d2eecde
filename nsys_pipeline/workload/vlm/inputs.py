"""From images to what the model takes: by its own processor, or, if there is none, pixels and placeholders."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from nsys_pipeline.errors import ModelError, UsageError
from nsys_pipeline.text import first_line
from nsys_pipeline.workload.describe import config_fields
from nsys_pipeline.workload.grids import Grid, grids_of
from nsys_pipeline.workload.seen import sizes_in
from nsys_pipeline.workload.vlm.own_inputs import own_inputs
from nsys_pipeline.workload.vlm.pictures import Picture
from nsys_pipeline.workload.vlm.request import ProfileRequest

if TYPE_CHECKING:
    import torch


@attrs.frozen
class Prepared:
    """The inputs of one request's prefill on the device, how long its prompts are, and what the tower gets.

    `grids` is None if nobody can say. `tokens` has the prompt tokens of each sequence, padding included: of two stacks
    the decoder's, and `encoder` those that the encoder reads of each. `prompts`: without padding, if there is any.
    """

    name: str
    inputs: Mapping[str, Any]
    batch: int
    tokens: int
    grids: tuple[Grid, ...] | None
    encoder: tuple[int, ...] = ()
    prompts: tuple[int, ...] = ()


def load_processor(request: ProfileRequest) -> Any:
    """The model's processor from its directory, None if the directory has none."""
    folder = Path(request.model_path)
    if not folder.is_dir() or not any((folder / name).exists() for name in _PROCESSOR_FILES):
        return None
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        raise ModelError(
            f"the processor of `{request.name}` cannot be loaded: {first_line(error)}",
            hint="pass its config.json instead of the directory for pixels and placeholders without a processor",
        ) from error
    # Some directories hold a tokenizer alone.
    return processor if hasattr(processor, "image_processor") else None


_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


def prepare(
    request: ProfileRequest, model: Any, processor: Any, pictures: Sequence[Picture], device: torch.device
) -> Prepared:
    """Inputs of one request with `pictures`, one for each sequence.

    Raises ModelError if the processor or the model refuses them, UsageError if there is no processor and no rule
    that says what the tower gets.
    """
    views: list[tuple[Grid, ...]] = []
    if processor is None:
        views = [_views(model, request, picture) for picture in pictures]
        inputs = _placeholders(request, model, views)
    else:
        try:
            inputs = _processed(request, processor, pictures)
        except Exception as error:
            said = first_line(error)
            raise ModelError(f"the processor of `{request.name}` refuses {pictures[0].name}: {said}") from error
    mask = inputs.get("attention_mask")
    prompts: tuple[int, ...] = ()
    if mask is not None and bool(mask.all()):
        # Nothing is padded.
        del inputs["attention_mask"]
    elif mask is not None and mask.ndim == 2 and not getattr(model.config, "is_encoder_decoder", False):
        prompts = tuple(int(tokens) for tokens in mask.sum(dim=1).tolist())
    grids = grids_of(model.config, inputs, sizes_in(inputs))
    dtype = model.dtype
    moved = {name: _moved(value, device, dtype) for name, value in inputs.items()}
    if processor is None and not _is_whole(moved):
        try:
            moved["input_ids"] = _with_images(model, moved, [len(image) for image in views])
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"the tower of `{request.name}` does not take pixels alone: {first_line(error)}",
                hint="pass the directory of a checkpoint that has its processor",
            ) from error
        moved |= _types(model, moved["input_ids"])
    ids, encoder = _prompt(request, model, moved)
    name = pictures[0].name if len(pictures) == 1 else f"{pictures[0].name} … {pictures[-1].name}"
    seen = None if grids is None else tuple(grids)
    return Prepared(name, moved, int(ids.shape[0]), int(ids.shape[1]), seen, encoder, prompts)


#: Inputs that only whole prompts have, to which no placeholders are added.
_WHOLE = ("decoder_input_ids", "image_attention_mask", "image_embeds_position_mask")


def _is_whole(inputs: Mapping[str, Any]) -> bool:
    return any(name in inputs for name in _WHOLE)


def _prompt(request: ProfileRequest, model: Any, inputs: dict[str, Any]) -> tuple[Any, tuple[int, ...]]:
    """The decoder's prompt among the inputs, and of two stacks how much text of each sequence the encoder reads.

    Processors leave the decoder's first token to `generate`.
    """
    text = inputs.get("input_ids")
    if not getattr(model.config, "is_encoder_decoder", False):
        return text, ()
    pixels = next((inputs[name] for name in ("flattened_patches", "pixel_values") if name in inputs), text)
    if pixels is None:
        raise ModelError(f"the processor of `{request.name}` made no input that the model knows")
    if "decoder_input_ids" not in inputs:
        import torch

        start = getattr(model.generation_config, "decoder_start_token_id", None) or 0
        inputs["decoder_input_ids"] = torch.full((pixels.shape[0], 1), start, device=pixels.device)
    read = () if text is None else (int(text.shape[1]),) * int(text.shape[0])
    return inputs["decoder_input_ids"], read


def _moved(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    if not hasattr(value, "to"):
        return value
    return value.to(device=device, dtype=dtype) if value.is_floating_point() else value.to(device)


def _processed(request: ProfileRequest, processor: Any, pictures: Sequence[Picture]) -> dict[str, Any]:
    """What the processor makes of the images and the prompt, by its chat template if it has one."""
    images = [picture.image if picture.image is not None else _noise(picture, request.seed) for picture in pictures]
    content = [{"type": "image"}, {"type": "text", "text": request.prompt}]
    if getattr(processor, "chat_template", None):
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    else:
        token = getattr(processor, "image_token", None) or "<image>"
        text = f"{token}\n{request.prompt}"
    if hasattr(processor, "tokenizer"):
        processor.tokenizer.padding_side = "left"
    padding = {"return_tensors": "pt", "padding": len(images) > 1}
    try:
        # One list for each sequence: several processors take images of a batch in no other way.
        made = processor(text=[text] * len(images), images=[[image] for image in images], **padding)
    except Exception as error:  # noqa: BLE001, RUF100 - processors raise what they like
        try:
            # GOT-OCR 2 takes such lists for pages of one document.
            made = processor(text=[text] * len(images), images=images, **padding)
        except Exception:  # noqa: BLE001, RUF100
            raise error from None
    # Those that make a model return its loss: PaliGemma's processor takes every prompt for one to learn.
    return {name: value for name, value in made.items() if name != "labels"}


def _noise(picture: Picture, seed: int) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise UsageError("a processor needs the package `pillow`", hint="pip install pillow") from error
    import random

    pixels = random.Random(seed).randbytes(3 * picture.height * picture.width)  # noqa: S311 - noise, no secret
    return Image.frombytes("RGB", (picture.width, picture.height), pixels)


def _placeholders(request: ProfileRequest, model: Any, views: Sequence[Sequence[Grid]]) -> dict[str, Any]:
    """Random pixels of the shapes that the processor would make: the time of a pass does not depend on their values.

    `input_ids` has the text alone; the placeholders come when the tower has said how many there are.
    """
    import torch

    generator = torch.Generator().manual_seed(request.seed)
    words = _text_config(model.config).vocab_size
    ids = torch.randint(0, words, (len(views), request.prompt_tokens), generator=generator)
    special = _special_ids(model.config)
    # A random token must not look like an image.
    plain = next(token for token in range(words) if token not in special)
    for token in special:
        ids[ids == token] = plain

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    own = own_inputs(model.config, [image[0] for image in views], ids, random)
    if own is not None:
        return own
    return {"input_ids": ids} | _pixels(model, views, generator)


#: Model types whose processors make more than the pixels of each view and a placeholder for each token.
_MORE_THAN_PIXELS = (
    "apertus1p5", "chameleon", "emu3", "ernie4_5_vl_moe", "git", "granite_docling", "inkling2", "inkling2_loop",
    "instructblip", "instructblipvideo", "llava_next", "llava_next_video", "mllama", "molmo2", "unlimited_ocr",
)  # fmt: skip


def _views(model: Any, request: ProfileRequest, picture: Picture) -> tuple[Grid, ...]:
    from nsys_pipeline.model import Model
    from nsys_pipeline.model.images import views

    fields = config_fields(model.config, is_quantized=False)
    what = f"`{fields.get('model_type')}` takes more than pixels and their placeholders"
    if fields.get("model_type") not in _MORE_THAN_PIXELS:
        try:
            return views(Model.from_config(fields, request.name), picture.height, picture.width)
        except (ModelError, UsageError) as error:
            what = error.message
    raise UsageError(
        f"without a processor, what the tower of `{request.name}` gets of an image is not known: {what}",
        hint="pass the directory of a checkpoint that has its processor",
    )


def _pixels(model: Any, views: Sequence[Sequence[Grid]], generator: torch.Generator) -> dict[str, Any]:
    import torch

    from nsys_pipeline.workload.grids import patch_size

    vision, taken = model.config.vision_config, inspect.signature(type(model).forward).parameters
    patch = patch_size(model.config)
    channels = _first(vision, "num_channels", "in_channels", "in_chans") or 3

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    assert patch is not None  # noqa: S101 - a rule for its views has found it
    if "image_grid_thw" in taken:
        grids = [grid for image in views for grid in image]
        frames = _first(vision, "temporal_patch_size", "patch_temporal") or 1
        rows = sum(height * width for height, width in grids)
        return {
            "pixel_values": random(rows, channels * frames * patch * patch),
            "image_grid_thw": torch.tensor([[1, height, width] for height, width in grids]),
        }
    if "image_position_ids" in taken:
        return _padded_patches(model.config, [grid for image in views for grid in image], patch, random)
    sides = [[(height * patch, width * patch) for height, width in image] for image in views]
    if "num_local_patches" in taken:
        tiles = [side for image in sides for side in image[:-1]]
        wholes = [image[-1] for image in sides]
        inputs: dict[str, Any] = {
            "pixel_values": random(len(wholes), channels, *wholes[0]),
            "num_local_patches": [len(image) - 1 for image in sides],
        }
        return inputs | ({"pixel_values_local": random(len(tiles), channels, *tiles[0])} if tiles else {})
    flat = [side for image in sides for side in image]
    if getattr(vision, "model_type", None) == "pixtral":
        # Padded to the largest; the tower takes the padding away.
        padded = (max(height for height, _ in flat), max(width for _, width in flat))
        return {"pixel_values": random(len(flat), channels, *padded), "image_sizes": torch.tensor(flat)}
    if "pixel_attention_mask" in taken:
        # Filled up to the most views that one image has.
        pixels = torch.zeros(len(sides), max(map(len, sides)), channels, *flat[0])
        for row, image in zip(pixels, sides, strict=True):
            row[: len(image)] = random(len(image), channels, *flat[0])
        return {"pixel_values": pixels, "pixel_attention_mask": (pixels != 0).any(dim=2)}
    return {"pixel_values": random(len(flat), channels, *flat[0])}


def _padded_patches(config: Any, grids: Sequence[Grid], patch: int, random: Callable[..., Any]) -> dict[str, Any]:
    """Gemma 4's: as many patches as there may be, with the column and the row of each, -1 for the padding."""
    import torch

    from nsys_pipeline.model.images import GEMMA_TOKENS

    pool = config.vision_config.pooling_kernel_size
    merged = config.model_type == "gemma4_unified"
    most, edge = (GEMMA_TOKENS, patch * pool) if merged else (GEMMA_TOKENS * pool**2, patch)
    places = [[[x, y] for y in range(height) for x in range(width)] for height, width in grids]
    padded = [one + [[-1, -1]] * (most - len(one)) for one in places]
    return {"pixel_values": random(len(grids), most, 3 * edge**2), "image_position_ids": torch.tensor(padded)}


def _first(config: Any, *names: str) -> int | None:
    return next((value for name in names if isinstance(value := getattr(config, name, None), int)), None)


_IMAGE_IDS = ("image_token_id", "image_token_index")
_AROUND = ("vision_start_token_id", "vision_end_token_id")


def _text_config(config: Any) -> Any:
    """The config of the part that writes."""
    return getattr(config, "decoder", None) or config.get_text_config()


def _special_ids(config: Any) -> list[int]:
    """Ids that mean something: of images, of their ends, of padding."""
    names = (*_IMAGE_IDS, *_AROUND, "video_token_id", "pad_token_id")
    found = [getattr(part, name, None) for part in (config, _text_config(config)) for name in names]
    return sorted({token for token in found if isinstance(token, int)})


def _with_images(model: Any, inputs: Mapping[str, Any], views: Sequence[int]) -> torch.Tensor:
    """The text with as many placeholders before it as the tower makes tokens, in every sequence.

    `views`: of the image of each sequence.
    """
    import torch

    config, ids = model.config, inputs["input_ids"]
    token = _first(config, *_IMAGE_IDS)
    if token is None:
        raise ModelError(f"the config of `{config.model_type}` names no id of an image token")
    counts = _image_tokens(model, inputs, views)
    around = [_first(config, name) for name in _AROUND]
    longest = max(counts)
    rows = []
    for row, count in zip(ids, counts, strict=True):
        marks = torch.full((count,), token, dtype=ids.dtype, device=ids.device)
        ends = [torch.tensor([end], dtype=ids.dtype, device=ids.device) for end in around if end is not None]
        image = torch.cat([ends[0], marks, ends[1]]) if len(ends) == len(_AROUND) else marks
        # Sequences with smaller images have more text, so that nothing is padded.
        filled = row.repeat(2 + longest // len(row))[: len(row) + longest - count]
        rows.append(torch.cat([image, filled]))
    return torch.stack(rows)


def _image_tokens(model: Any, inputs: Mapping[str, Any], views: Sequence[int]) -> list[int]:
    """How many tokens the image of each sequence turns into: the tower is asked."""
    import torch

    features = model.get_image_features
    taken = inspect.signature(features).parameters
    given = {name: value for name, value in inputs.items() if name in taken and name != "input_ids"}
    for name in ("vision_feature_layer", "vision_feature_select_strategy"):
        # Older versions do not take them from the config here.
        if name in taken and hasattr(model.config, name):
            given[name] = getattr(model.config, name)
    with torch.inference_mode():
        output = features(**given)
    made: Any = getattr(output, "pooler_output", output)
    parts = [made] if hasattr(made, "numel") else [part for part in made if hasattr(part, "numel")]
    counts = [part.numel() // part.shape[-1] for part in parts]
    if len(counts) == len(views):
        return counts
    shares = [1] * len(views) if len(set(views)) == 1 else views
    each, rest = divmod(sum(counts), sum(shares))
    if rest:
        raise ModelError(f"the tower of `{model.config.model_type}` makes {sum(counts)} tokens of {len(views)} images")
    return [each * share for share in shares]


def _types(model: Any, ids: torch.Tensor) -> dict[str, Any]:
    """Which tokens are images, for models that are told."""
    import torch

    taken = inspect.signature(type(model).forward).parameters
    if "mm_token_type_ids" not in taken:
        return {}
    return {"mm_token_type_ids": (ids == _first(model.config, *_IMAGE_IDS)).to(torch.int32)}
