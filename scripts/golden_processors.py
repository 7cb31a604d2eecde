"""Rewrite tests/unit/model/golden_processors.json: what transformers' image processors make of pictures of odd sizes.

Each processor has its own arguments, or those that the published checkpoints give it (`KINDS`), and gets one to three
pictures a request. Needs torch, torchvision, transformers and PIL. Usage: python scripts/golden_processors.py [TYPE …]
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.golden_totals import TESTS, quieten

REQUESTS = 8
#: Pictures that are smaller than a merged patch on both sides, which random ones hardly are.
SMALL: list[list[list[int]]] = [[[24, 14]], [[9, 20], [640, 480]]]
_PIXTRAL = {"patch_size": {"height": 28, "width": 28}, "size": {"longest_edge": 1540}}
_LLAVA_NEXT = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
#: Model type → class of its processor, arguments that are not its defaults, and fields of the vision config.
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "qwen2_vl": ("Qwen2VL", {"size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 128 * 128}}, {}),
    "qwen2_5_vl": ("Qwen2VL", {"size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 128 * 128}}, {}),
    "qwen3_vl": (
        "Qwen2VL",
        {"patch_size": 16, "size": {"shortest_edge": 65_536, "longest_edge": 16_777_216}},
        {"patch_size": 16},
    ),
    "glm4v": ("Glm4v", {}, {}),
    "glm46v": ("Glm46V", {}, {}),
    "minimax_m3_vl": ("MiniMaxM3VL", {}, {}),
    "paddleocr_vl": ("PaddleOCRVL", {}, {}),
    "ernie4_5_vl_moe": ("Ernie4_5_VLMoe", {}, {}),
    "emu3": ("Emu3", {}, {}),
    "apertus1p5": ("Apertus1p5", {}, {}),
    "hy_v4_vl": ("HYV4VL", {}, {}),
    "inkling2": ("Inkling2", {}, {}),
    "kimi_k25": ("Kimi_K25", {}, {}),
    "muse_glimmer": ("MuseGlimmer", {}, {}),
    "mistral3": ("Pixtral", _PIXTRAL, {"image_size": 1540}),
    "lighton_ocr": ("Pixtral", _PIXTRAL, {"image_size": 1540}),
    "deepseek_ocr2": ("DeepseekOcr2", {}, {}),
    "internvl": ("GotOcr2", {"crop_to_patches": True, "size": {"height": 448, "width": 448}}, {"image_size": 448}),
    "llava_next": ("LlavaNext", _LLAVA_NEXT, {"image_size": 336}),
    "llava_next_video": ("LlavaNext", _LLAVA_NEXT, {"image_size": 336}),
    "llava_onevision": ("LlavaOnevision", {}, {"image_size": 384}),
    "llama4": ("Llama4", {}, {"image_size": 336}),
    "cohere2_vision": ("Cohere2Vision", {}, {"image_size": 512}),
    "idefics3": ("Idefics3", {}, {"image_size": 364}),
    "smolvlm": (
        "SmolVLM",
        {"max_image_size": {"longest_edge": 512}, "size": {"longest_edge": 2048}},
        {"image_size": 512},
    ),
    "gemma4": ("Gemma4", {}, {}),
    "gemma4_unified": ("Gemma4Unified", {}, {}),
    "mllama": ("Mllama", {"size": {"height": 560, "width": 560}}, {"image_size": 560}),
    "phi4_multimodal": ("Phi4Multimodal", {}, {}),
    "granite_docling": ("GraniteDocling", {}, {"image_size": 512}),
    "molmo2": ("Molmo2", {}, {}),
    "kosmos-2.5": ("Kosmos2_5", {}, {}),
    "pix2struct": ("Pix2Struct", {}, {}),
    # One view of one size, whatever the picture.
    **{
        name: (kind, {}, {})
        for name, kind in {
            "aria": "Aria", "blip": "Blip", "blip-2": "Blip", "chameleon": "Chameleon", "deepseek_vl": "DeepseekVL",
            "gemma3": "Gemma3", "gemma3n": "Siglip", "git": "CLIP", "got_ocr2": "GotOcr2", "instructblip": "Blip",
            "janus": "Janus", "kosmos-2": "CLIP", "llava": "CLIP", "paligemma": "Siglip",
            "pp_chart2table": "PPChart2Table", "pp_formulanet": "PPFormulaNet", "vipllava": "CLIP",
        }.items()
    },
}  # fmt: skip
#: Those whose processors take the pictures of each request as a list of their own.
_NESTED = (
    "granite_docling", "idefics3", "llava_next", "llava_next_video", "llava_onevision", "mllama", "smolvlm",
)  # fmt: skip


def picture(height: int, width: int) -> Image.Image:
    """Noise without black pixels: views of nothing but zeros are what batches are filled up with."""
    rows = np.random.RandomState(height * width % 1000).randint(1, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(rows)


def _sides(edge: int) -> Callable[[Any], dict[str, Any]]:
    """Sides in pixels as patches of `edge`."""
    return lambda out: {"views": [[side // edge for side in size] for size in np.asarray(out["image_sizes"]).tolist()]}


def _views(out: Any) -> dict[str, Any]:
    """How many views there are; those of nothing but zeros are what other pictures have more."""
    pixels = out["pixel_values"]
    return {"count": int((pixels.flatten(0, 1).flatten(1) != 0).any(1).sum() if pixels.ndim == 5 else pixels.shape[0])}


#: Model type, or a name that the processor gives → what it says.
_SAYS: tuple[tuple[str, Callable[[Any], dict[str, Any]]], ...] = (
    # It counts merged patches, two on a side.
    ("inkling2", lambda out: {"views": [[2 * side for side in grid[1:]] for grid in out["image_grid_thw"].tolist()]}),
    ("image_grid_thw", lambda out: {"views": [grid[1:] for grid in out["image_grid_thw"].tolist()]}),
    # Columns and rows of patches; those of the padding are negative.
    (
        "image_position_ids",
        lambda out: {"views": [(one.max(0).values.flip(0) + 1).tolist() for one in out["image_position_ids"]]},
    ),
    ("num_local_patches", lambda out: {"count": int(sum(out["num_local_patches"])) + len(out["num_local_patches"])}),
    ("num_tiles", lambda out: {"patches": [int(tiles) * 40 * 40 for one in out["num_tiles"] for tiles in one]}),
    ("num_img_tokens", lambda out: {"tokens": [int(tokens) for tokens in out["num_img_tokens"]]}),
    # Of the crops: squares of patches, each pooled into one.
    ("image_grids", lambda out: {"pooled": [grid[2:] for grid in out["image_grids"].tolist()]}),
    ("flattened_patches", lambda out: {"patches": [int(count) for count in out["attention_mask"].sum(-1)]}),
    ("rows", lambda out: {"count": int(out["pixel_attention_mask"].sum())}),
    (
        "pixel_attention_mask",
        lambda out: {"count": int(out["pixel_attention_mask"].flatten(0, 1).flatten(1).any(1).sum())},
    ),
    ("emu3", _sides(8)),
    ("apertus1p5", _sides(16)),
    ("mistral3", _sides(14)),
    ("lighton_ocr", _sides(14)),
    ("pixel_values", _views),
)  # fmt: skip


def made(name: str, out: Any) -> dict[str, Any]:
    """What a processor says of the pictures of a request.

    `views` in patches, or their number (`count`), or `patches`, `pooled` patches or `tokens` of each picture.
    """
    return next(says for key, says in _SAYS if key == name or key in out)(out)


def some_sizes(name: str) -> list[list[list[int]]]:
    """Sizes of the pictures of each request, the same ones for a model type whenever this is run."""
    chosen = random.Random(name)

    def side() -> int:
        return chosen.choice([chosen.randint(8, 60), chosen.randint(20, 700), chosen.randint(300, 1600)])

    return [[[side(), side()] for _ in range((1, 1, 2, 3)[number % 4])] for number in range(REQUESTS)]


def main() -> None:
    """Ask every processor."""
    quieten()
    target, only = TESTS / "golden_processors.json", sys.argv[1:]
    kept = {}
    if target.exists():
        kept = {entry["model"]: entry for entry in json.loads(target.read_text(encoding="utf-8"))["models"]}
    entries = []
    for name, (kind, arguments, vision) in KINDS.items():
        if only and name not in only:
            entries.append(kept[name])
            continue
        processor = getattr(transformers, f"{kind}ImageProcessor")(**arguments)
        requests: list[dict[str, Any]] = []
        for sizes in [*SMALL, *some_sizes(name)]:
            pictures = [picture(*size) for size in sizes]
            try:
                out = processor(images=[pictures] if name in _NESTED else pictures, return_tensors="pt")
            except ValueError:
                # Too long a picture: llmperf has to refuse it, too.
                requests.append({"sizes": sizes, "refused": True})
                continue
            requests.append({"sizes": sizes, **made(name, out)})
        entries.append({"model": name, "vision": vision, "requests": requests})
        print(name, file=sys.stderr)
    rows = ",\n  ".join(json.dumps(entry) for entry in entries)
    target.write_text(f'{{"source": "transformers {transformers.__version__}", "models": [\n  {rows}\n]}}\n', "utf-8")


if __name__ == "__main__":
    main()
