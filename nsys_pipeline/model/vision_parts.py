"""Which part of the vision side an operation belongs to, in the words of the ranges `vision.<part>`."""

from __future__ import annotations

from nsys_pipeline.model.ops import Op
from nsys_pipeline.model.quantization import VISION

TOWER, SAM, ENCODER, MERGER, PROJECTOR = "tower", "sam", "encoder", "merger", "projector"
#: Parts that lie inside the tower: if no range marks them, they are the tower's.
INSIDE_TOWER = (SAM, ENCODER, MERGER)

_PROJECTOR_OPS = ("projector", "image_newline", "view_separator")
_MERGER_OPS = ("merger", "deepstack", "adapter")
_ENCODER_LAYERS = (f"{VISION}.encoder", f"{VISION}.clip", f"{VISION}.layers")
_ENCODER_OPS = ("encoder_norm", "clip_pre_norm", "clip_positions")


def is_vision(op: Op) -> bool:
    """Whether an operation of a pass belongs to the vision side."""
    return op.layer.startswith(f"{VISION}.")


def vision_part(op: Op, *, has_sam: bool) -> str:
    """The part that `op` of the vision side belongs to. `has_sam`: patches go through SAM first."""
    if op.name.startswith(_PROJECTOR_OPS):
        return PROJECTOR
    if op.name.startswith(_MERGER_OPS):
        return MERGER
    if op.layer.startswith((f"{VISION}.sam", f"{VISION}.neck")) or (has_sam and op.layer == f"{VISION}.before"):
        return SAM
    if op.layer.startswith(_ENCODER_LAYERS) or op.name in _ENCODER_OPS:
        return ENCODER
    return TOWER
