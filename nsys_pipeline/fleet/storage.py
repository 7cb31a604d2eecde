"""Folders and buckets through fsspec, with writes of which a reader never sees a half."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline.errors import UsageError


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
            raise UsageError(f"`{url}` cannot be opened: {error}", hint="a path, or s3://BUCKET/PREFIX") from error
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
