"""What is profiled: the record that the command line makes, the run directory keeps and the workload reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import attrs

from nsys_pipeline.errors import UsageError
from nsys_pipeline.records import MAX_BATCH, MAX_TOKENS

DTYPES = ("bfloat16", "float16", "float32")
SYNC_MODES = ("step", "request")
DEFAULT_PROMPT = "Describe the image."
DEFAULT_PROMPT_TOKENS = 32
MAX_SIDE = 65_536
"""Pixels of a side of a synthetic image: more than any processor takes."""


def _fail(attribute: attrs.Attribute[Any], value: object, wanted: str) -> UsageError:
    return UsageError(f"profile request: {attribute.name} = {value!r} is not {wanted}")


def _text(_request: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not value:
        raise _fail(attribute, value, "a text")


def _device(_request: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,4})?", value):
        raise _fail(attribute, value, "one of auto, cpu, cuda and cuda:N")


def _absolute(_request: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not (PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()):
        raise _fail(attribute, value, "an absolute path")


def _between(least: int, most: int) -> Any:
    def check(_request: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _fail(attribute, value, f"a whole number from {least:,} to {most:,}")

    return check


def _one_of(*choices: str) -> Any:
    def check(_request: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in choices:
            raise _fail(attribute, value, f"one of {', '.join(choices)}")

    return check


def _flag(_request: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise _fail(attribute, value, "true or false")


def _size(text: object) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text.strip()) if isinstance(text, str) else None
    if match is None or not all(0 < int(side) <= MAX_SIDE for side in match.groups()):
        raise UsageError(f"`{text}` is no size of an image", hint="write HxW in pixels, height first, as in 1024x768")
    return int(match[1]), int(match[2])


def _sizes(_request: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, tuple):
        raise _fail(attribute, value, "a list of sizes")
    for text in value:
        _size(text)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_optional = attrs.validators.optional


@attrs.frozen(kw_only=True)
class ProfileRequest:
    """One model, its images, and how often to run them. Paths are absolute; counts are positive.

    `model_path`: a checkpoint's directory, or a config.json whose weights are random. Images come from the files of
    `input_dir`, from the lines of the file `image_list`, or are synthetic ones of `synthetic_images`, HxW in pixels:
    exactly one of the three. `batch`: images of a request, one for each sequence. `prompt_tokens`: text tokens beside
    the image if there is no processor to make them of `prompt`. `max_new_tokens`: decode steps of a request.
    """

    model_path: str = attrs.field(validator=_absolute)
    name: str = attrs.field(validator=_text)
    weights: str = attrs.field(default="random", validator=_one_of("random", "pretrained"))
    input_dir: str | None = attrs.field(default=None, validator=_optional(_absolute))
    image_list: str | None = attrs.field(default=None, validator=_optional(_absolute))
    synthetic_images: tuple[str, ...] = attrs.field(default=(), converter=_tuple, validator=_sizes)
    prompt: str = attrs.field(default=DEFAULT_PROMPT, validator=_text)
    prompt_tokens: int = attrs.field(default=DEFAULT_PROMPT_TOKENS, validator=_between(1, MAX_TOKENS))
    batch: int = attrs.field(default=1, validator=_between(1, MAX_BATCH))
    max_new_tokens: int = attrs.field(default=32, validator=_between(0, MAX_TOKENS))
    repeats: int = attrs.field(default=3, validator=_between(1, 1_000_000))
    warmup: int = attrs.field(default=1, validator=_between(0, 1_000_000))
    device: str = attrs.field(default="auto", validator=_device)
    dtype: str | None = attrs.field(default=None, validator=_optional(_one_of(*DTYPES)))
    attn: str = attrs.field(default="auto", validator=_text)
    sync: str = attrs.field(default="step", validator=_one_of(*SYNC_MODES))
    layers: bool = attrs.field(default=False, validator=_flag)
    ops: bool = attrs.field(default=False, validator=_flag)
    capture_range: str | None = attrs.field(default=None, validator=_optional(_one_of("profiler", "nvtx")))
    seed: int = attrs.field(default=0, validator=_between(0, 2**32 - 1))

    def __attrs_post_init__(self) -> None:
        sources = [self.input_dir, self.image_list, self.synthetic_images or None]
        if sum(source is not None for source in sources) != 1:
            raise UsageError(
                "the workload `vlm` takes its images from one place",
                hint="pass one of --input-dir DIR, --images FILE and --synthetic-images HxW",
            )

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width in pixels of each synthetic image."""
        return [_size(text) for text in self.synthetic_images]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in attrs.asdict(self).items()}

    @classmethod
    def from_json(cls, fields: object) -> ProfileRequest:
        """Read what `to_json` wrote. Raises UsageError that names the field which is missing, unknown or wrong."""
        if not isinstance(fields, Mapping):
            raise UsageError("profile request: not an object")
        known: Any = attrs.fields(cls)
        names = {field.name for field in known}
        if unknown := sorted(str(name) for name in fields if name not in names):
            raise UsageError(f"profile request: unknown field {', '.join(unknown)}")
        required = [field.name for field in known if field.default is attrs.NOTHING]
        if missing := [name for name in required if name not in fields]:
            raise UsageError(f"profile request: no {', '.join(missing)}")
        return cls(**fields)

    @classmethod
    def read(cls, path: Path) -> ProfileRequest:
        """Read a request from a file. Raises UsageError for one that cannot be read."""
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise UsageError(f"cannot read `{path}`: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise UsageError(f"`{path}` is no profile request: {error}") from error
