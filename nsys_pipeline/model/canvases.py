"""Which canvas of tiles a picture is put on. Standard library only: `--auto` loads it into any program."""

from __future__ import annotations

from collections.abc import Sequence


def best_canvas(canvases: Sequence[Sequence[int]], height: int, width: int) -> Sequence[int]:
    """Height and width of the canvas that keeps most of a picture's pixels, else wastes fewest of its own."""

    def kept(canvas: Sequence[int]) -> tuple[int, int]:
        scale = min(canvas[1] / width, canvas[0] / height)
        pixels = min(int(width * scale) * int(height * scale), width * height)
        return pixels, pixels - canvas[0] * canvas[1]

    return max(canvases, key=kept)
