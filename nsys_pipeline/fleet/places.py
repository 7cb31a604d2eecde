"""Find the traces of a fleet, and say of which run and rank each one is, by its path alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import attrs

from nsys_pipeline.errors import UsageError
from nsys_pipeline.fleet.storage import Storage, reaching
from nsys_pipeline.trace.identify import TRACE_SUFFIXES

# What `capture --backend torch` leaves; other files of JSON are something else.
_TORCH = re.compile(r"(?:^|/)trace(?:[-_.]?rank\d+)?(\.json(?:\.gz)?)$")

_RANK = re.compile(r"[-_.]?rank[-_.]?(\d+)", re.IGNORECASE)
_WILDCARDS = re.compile(r"[*?\[]")


@attrs.frozen
class Place:
    """One trace: its `url`, the run that it belongs to and, if the file's name says it, its rank.

    `fingerprint` changes when the file does: size and time of the last change, or what a bucket says instead.
    """

    url: str
    run: str
    rank: int | None
    fingerprint: str

    @property
    def id(self) -> str:
        """Names the trace whatever is in it."""
        return hashlib.sha256(self.url.encode(errors="surrogateescape")).hexdigest()[:20]


def find_traces(sources: Iterable[str], *, leave_out: str | None = None) -> list[Place]:
    """Traces in folders, matched by patterns or named one by one, in order; `leave_out` is a folder that holds none.

    A run is a folder with `trace.sqlite` or with a trace for each rank (`…rank3…`) in it, or else one file. Raises
    UsageError if there is no such folder, or no trace.
    """
    found: dict[str, Place] = {}
    for source in sources:
        if leave_out is not None and _is_inside(source, leave_out):
            raise UsageError(
                f"`{source}` lies in `{leave_out}`, where the dataset goes", hint="give --out a folder of its own"
            )
        with reaching(source):
            places = list(_find(source, leave_out))
        if not places:
            raise UsageError(
                f"there is no trace in `{source}`", hint=f"llmperf looks for files {', '.join(TRACE_SUFFIXES)}"
            )
        found |= {place.url: place for place in places}
    return sorted(found.values(), key=lambda place: (place.run, -1 if place.rank is None else place.rank, place.url))


def _is_inside(source: str, folder: str) -> bool:
    one, other = Storage.of(source), Storage.of(folder)
    return one.fs.protocol == other.fs.protocol and f"{one.root}/".startswith(f"{other.root}/")


def fingerprint(info: Mapping[str, Any]) -> str:
    """What tells a file from its own later content, from what fsspec knows of it."""
    known = (info.get(name) for name in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created"))
    return f"{info.get('size')}|{next((value for value in known if value is not None), '')}"


def _find(source: str, leave_out: str | None) -> Iterator[Place]:
    pattern = _WILDCARDS.search(source)
    whole = Storage.of(source)
    if pattern and not whole.fs.exists(whole.root):
        matched = whole.fs.glob(whole.root, detail=True)
        base = PurePosixPath(whole.root[: _WILDCARDS.search(whole.root).start()] + "x").parent.as_posix()  # type: ignore[union-attr]
    else:
        if not whole.fs.exists(whole.root):
            raise UsageError(f"`{source}` does not exist")
        matched, base = {whole.root: whole.fs.info(whole.root)}, whole.root
        if whole.fs.isfile(whole.root):
            base = PurePosixPath(whole.root).parent.as_posix()
    infos: dict[str, dict[str, Any]] = {}
    for name, info in matched.items():
        infos |= whole.fs.find(name, detail=True) if info["type"] == "directory" else {name: info}
    skipped = None if leave_out is None else Storage.of(leave_out).root + "/"
    usable = {
        name: info
        for name, info in infos.items()
        if (name.endswith(TRACE_SUFFIXES) or _TORCH.search(name))
        and not (skipped and name.startswith(skipped))
        and not any(part.startswith(".") for part in PurePosixPath(name[len(base) :]).parts)
    }
    best: dict[str, str] = {}
    for suffix in TRACE_SUFFIXES:
        for name in usable:
            if name.endswith(suffix):
                best.setdefault(name.removesuffix(suffix), name)
    for name in usable:
        if torch := _TORCH.search(name):
            best.setdefault(name.removesuffix(torch[1]), name)
    for stem, name in best.items():
        info = _behind_link(whole, name) if usable[name].get("islink") else usable[name]
        run, rank = _run_and_rank(stem, base)
        url = name if whole.is_local else str(whole.fs.unstrip_protocol(name))
        yield Place(url, run, rank, fingerprint(info))


def _behind_link(storage: Storage, name: str) -> Mapping[str, Any]:
    """What `name` leads to: a listing has the time of the link. Nothing where it leads nowhere; the worker says so."""
    try:
        return storage.fs.info(name)  # type: ignore[no-any-return]
    except OSError:
        return {}


def _run_and_rank(stem: str, base: str) -> tuple[str, int | None]:
    """The run's name relative to `base`, and the rank, of a trace whose path without its suffix is `stem`."""
    relative = PurePosixPath(stem[len(base) :].lstrip("/") if base != "/" else stem.lstrip("/"))
    match = _RANK.search(relative.name)
    name = _RANK.sub("", relative.name, count=1)
    folder = relative.parent.as_posix().removeprefix(".") or PurePosixPath(base).name or "run"
    if name in ("trace", "report", ""):
        return folder, int(match[1]) if match else None
    run = name if relative.parent.as_posix() == "." else f"{relative.parent.as_posix()}/{name}"
    return run, int(match[1]) if match else None
