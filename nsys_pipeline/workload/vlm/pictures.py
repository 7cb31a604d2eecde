"""The images of a run: files that can be read, those that cannot with the reason, or synthetic ones."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline.errors import UsageError
from nsys_pipeline.text import first_line, printable
from nsys_pipeline.workload.vlm.request import ProfileRequest


@attrs.frozen
class Picture:
    """One image: `height` and `width` in pixels. `image`: what PIL read, None for a synthetic one."""

    name: str
    height: int
    width: int
    image: Any = None


@attrs.frozen
class Pictures:
    """`found` images, and `skipped` ones: (name, why)."""

    found: tuple[Picture, ...]
    skipped: tuple[tuple[str, str], ...] = ()

    def described(self) -> dict[str, Any]:
        """What the run mark says about them."""
        return {"found": len(self.found), "skipped": [f"{name}: {why}" for name, why in self.skipped]}


def find_pictures(request: ProfileRequest) -> Pictures:
    """Read the images of `request`, in order of name or list; files that are no images are skipped.

    Raises UsageError if the directory or list cannot be read, and if no image can.
    """
    if request.synthetic_images:
        sizes = enumerate(request.sizes)
        return Pictures(tuple(Picture(f"synthetic {index}", height, width) for index, (height, width) in sizes))
    paths = _listed(Path(request.image_list)) if request.image_list else _files(Path(str(request.input_dir)))
    found: list[Picture] = []
    skipped: list[tuple[str, str]] = []
    for path in paths:
        image, why = _read(path)
        name = printable(path.name)
        if image is None:
            skipped.append((name, why))
        else:
            found.append(Picture(name, image.height, image.width, image))
    if not found:
        where = request.image_list or request.input_dir
        raise UsageError(
            f"none of {len(paths):,} files of `{where}` is an image that can be read",
            hint=f"the first: {skipped[0][0]}: {skipped[0][1]}" if skipped else "it is empty",
        )
    return Pictures(tuple(found), tuple(skipped))


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and not path.is_dir())
    except OSError as error:
        raise UsageError(f"cannot read the directory `{folder}`: {error.strerror}") from error


def _listed(path: Path) -> list[Path]:
    """Paths of a list, one a line, relative ones from its folder; empty lines and those that begin with # are none."""
    try:
        # Editors of Windows begin a file with a mark of its encoding.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the list `{path}`: {error}") from error
    names = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return [path.parent / name for name in names]


def _read(path: Path) -> tuple[Any, str]:
    """An RGB image, turned as its camera says, as `load_image` of transformers reads it; or None and why not."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise UsageError("reading images needs the package `pillow`", hint="pip install pillow") from error
    if path.exists() and not (path.is_file() or path.is_dir()):
        # Opening a pipe would wait for somebody to write to it.
        return None, "no plain file"
    try:
        with warnings.catch_warnings():
            # What is huge and whole is read; what is a bomb is an error.
            warnings.simplefilter("ignore")
            with Image.open(path) as opened:
                return ImageOps.exif_transpose(opened).convert("RGB"), ""
    except OSError as error:
        return None, error.strerror or _said(error)
    except Exception as error:  # noqa: BLE001, RUF100 - decoders raise what they like about broken files
        return None, _said(error)


def _said(error: Exception) -> str:
    return printable(first_line(error))[:200]
