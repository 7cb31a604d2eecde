"""Formats that a trace can have. Those of other recorders have a row each: they are made an nsys export, then read."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path

import attrs


class Kind(Enum):
    """Inputs that can be a trace."""

    SQLITE = "SQLite export"
    REPORT = "nsys report"
    PARQUET_DIR = "Parquet export"
    RUN_DIR = "run directory"
    JOB = "directory with a trace for each rank"
    XZ = "xz"
    GZIP = "gzip"
    ZSTD = "zstd"
    KINETO = "torch.profiler trace"


PACKED = frozenset({Kind.XZ, Kind.GZIP, Kind.ZSTD})


@attrs.frozen
class Converted:
    """A format of another recorder.

    `about` names such files for people. `begins` tells one by its first 64 bytes, unpacked. `suffixes`: how names end
    that no other files have; `run_suffixes`: those of a trace in a run directory. `convert` (path, packed or not; where
    to write; the most bytes to unpack) writes the tables of an nsys export, and returns where: first under the name
    `cache.temporary`, so that what is there is whole.
    """

    recorder: str
    about: str
    begins: Callable[[bytes], bool]
    suffixes: tuple[str, ...]
    run_suffixes: tuple[str, ...]
    convert: Callable[[Path, Path, int | None], Path]


def _is_json(head: bytes) -> bool:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def _from_kineto(path: Path, out: Path, limit_bytes: int | None) -> Path:
    from nsys_pipeline.trace.kineto import convert

    return convert(path, out, limit_bytes=limit_bytes)


CONVERTED = {
    Kind.KINETO: Converted(
        recorder="torch.profiler",
        about="a `.json` of torch.profiler",
        begins=_is_json,
        # as torch's `tensorboard_trace_handler`, vLLM and SGLang name them
        suffixes=(".trace.json", ".trace.json.gz"),
        run_suffixes=(".json", ".json.gz"),
        convert=_from_kineto,
    ),
}


def converted_as(head: bytes) -> Kind | None:
    """Whose trace a file is that begins like this; None where it is of none of `CONVERTED`."""
    return next((kind for kind, one in CONVERTED.items() if one.begins(head)), None)
