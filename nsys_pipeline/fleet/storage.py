"""Folders and buckets through fsspec, with writes of which a reader never sees a half."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline.errors import LlmperfError, UsageError
from nsys_pipeline.query.handover import is_export

_EXTRAS = "a path, or s3://BUCKET/PREFIX; pip install 'nsys-pipeline[s3]', or [gs] for gs://"
_PART_BYTES = 16 * 2**20
"""Of an upload: what stays in memory of each file until all are there. S3 takes 10,000 parts, which is 160 GB."""


@attrs.frozen
class Storage:
    """A folder or a prefix of a bucket: `root` in the file system `fs` of fsspec."""

    fs: Any
    root: str

    @classmethod
    def of(cls, url: str) -> Storage:
        """The place at `url`: a path, or s3://…, gs://… if the package for it is installed. Raises UsageError."""
        import fsspec

        try:
            fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"`{url}` cannot be opened: {error}", hint=_EXTRAS) from error
        return cls(fs, root.rstrip("/") or "/")

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine, or mounted as one."""
        return "file" in (self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,))

    @property
    def url(self) -> str:
        """What opens it again, on another machine too."""
        return self.root if self.is_local else str(self.fs.unstrip_protocol(self.root))

    def path(self, name: str) -> str:
        """The full path of `name` in it."""
        return f"{self.root}/{name}"

    def put(self, file: Path, name: str) -> None:
        """Copy `file` to `name`, which appears when it is whole. Raises OSError."""
        target = self.path(name)
        if not self.is_local:
            # An object appears when its upload is complete.
            self.fs.put_file(str(file), target)
            return
        final = Path(target)
        final.parent.mkdir(parents=True, exist_ok=True)
        partial = final.with_name(f".{final.name}.{platform.node()}-{os.getpid()}.partial")
        try:
            with file.open("rb") as source, partial.open("wb") as copy:
                shutil.copyfileobj(source, copy)
                copy.flush()
                os.fsync(copy.fileno())
            partial.replace(final)
        finally:
            partial.unlink(missing_ok=True)

    def replace(self, source: Path) -> None:
        """Put the file or the folder of files `source` here, in place of what is. Raises what the store raises.

        Nothing appears before everything was sent, if the store can do that: S3 and Google's can.
        """
        folder = f"{self.root}/"
        files = (
            {folder + file.name: file for file in sorted(source.iterdir())} if source.is_dir() else {self.root: source}
        )
        old = [name for name in self._children() if name not in files]
        with self.fs.transaction:
            for target, file in files.items():
                with file.open("rb") as stream, self.fs.open(target, "wb", block_size=_PART_BYTES) as copy:
                    shutil.copyfileobj(stream, copy, _PART_BYTES)
        for name in old:
            self.fs.rm_file(name)

    def is_replaceable(self) -> bool:
        """Whether here is one file, or a folder as `llmperf export` writes it."""
        return self.fs.isfile(self.root) or is_export(name.rpartition("/")[2] for name in self._children())

    def _children(self) -> list[str]:
        """What lies directly in this folder."""
        self.fs.invalidate_cache()
        return self.fs.ls(self.root, detail=False) if self.fs.exists(self.root) else []

    def read(self, name: str) -> bytes | None:
        """The bytes of `name`, None if it is not there."""
        try:
            return bytes(self.fs.cat_file(self.path(name)))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def remove(self, name: str) -> None:
        """Remove `name`, if it is there."""
        try:
            self.fs.rm_file(self.path(name))
        except FileNotFoundError:
            return

    def glob(self, pattern: str) -> list[str]:
        """Names in it that match `pattern`, in order. The root may hold characters of patterns."""
        import glob

        found = self.fs.glob(f"{glob.escape(self.root)}/{pattern}")
        return sorted(name[len(self.root) + 1 :] if name.startswith(self.root) else name for name in found)

    def stems(self, folder: str) -> set[str]:
        """Names, without `.parquet`, of the files in `folder` and the folders in it."""
        if self.is_local:
            names = [name for _, _, files in os.walk(self.path(folder)) for name in files]
        else:
            names = [name.rpartition("/")[2] for name in self.fs.find(self.path(folder))]
        return {name.removesuffix(".parquet") for name in names if name.endswith(".parquet")}

    def has(self, pattern: str) -> bool:
        """Whether a name in it matches `pattern`."""
        if self.is_local:
            return next(Path(self.root).glob(pattern), None) is not None
        return bool(self.glob(pattern))


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Say why a store does not answer: what its packages raise has no common base. Raises UsageError."""
    try:
        yield
    except LlmperfError:
        raise
    except Exception as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        raise UsageError(f"`{url}` cannot be reached: {reason}") from error


@contextmanager
def uploaded(url: str, *, force: bool = False) -> Iterator[Path]:
    """A path to write a file or a folder of Parquet files to, which goes to `url` if all goes well.

    Raises UsageError where `url` exists and `force` is not set, where something else lies there, or if it cannot be
    written.
    """
    target = Storage.of(url)
    bucket, _, name = target.root.rpartition("/")
    if not bucket.strip("/"):
        raise UsageError(f"`{url}` is a whole bucket", hint="give a name in it with `-o`")
    with reaching(url):
        if target.fs.exists(target.root):
            if not force:
                raise UsageError(f"`{url}` exists", hint="choose another name, or pass --force to replace it")
            if not target.is_replaceable():
                raise UsageError(f"`{url}` holds something else", hint="choose another name")
    with tempfile.TemporaryDirectory(prefix="llmperf-") as folder:
        path = Path(folder) / name
        yield path
        with reaching(url):
            target.replace(path)
