"""What attention in square windows of an image shares (SAM, Swin): windows at the border, and the matrices around it.

The model requires the windows cut off at the border; the implementation pads them, which counts as executed.
"""

from __future__ import annotations

from nsys_pipeline.model.emitter import Emitter


def window_sides(side: int, window: int, *, padded: bool) -> list[int]:
    """Lengths of the windows along a side of so many tokens."""
    full, rest = divmod(side, window)
    return [window] * full + ([window if padded else rest] if rest else [])


def window_projections(
    emit: Emitter, width: int, tokens: int, executed: int, *, qkv_bias: bool, is_read: bool = True
) -> None:
    """The matrices before and after the attention, on `tokens` that are required and `executed` ones that run.

    `is_read`: whether the pass reads their weights.
    """
    for name, n, bias in (("qkv", 3 * width, qkv_bias), ("o", width, True)):
        emit.add(
            "gemm",
            name,
            m=tokens,
            n=n,
            k=width,
            flops=2 * tokens * n * width,
            executed=2 * executed * n * width,
            weight=emit.plain_bytes(n * (width + bias)) if is_read else 0,
            activation=emit.plain_bytes(tokens * (n + width)),
        )
