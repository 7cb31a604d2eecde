"""A copy of an export, unpacked where need be, without the environment and the secrets that it was recorded with."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from nsys_pipeline.errors import TraceError, UsageError
from nsys_pipeline.nsys.clean import holds_private, scrub_environment
from nsys_pipeline.trace.export_tables import check_tables
from nsys_pipeline.trace.formats import CONVERTED, Kind
from nsys_pipeline.trace.identify import renamed
from nsys_pipeline.trace.sqlite_source import SqliteSource
from nsys_pipeline.trace.unpack import unpack


def clean_copy(
    path: Path,
    kind: Kind,
    out: Path,
    *,
    keeps_environment: bool = False,
    force: bool = False,
    limit_bytes: int | None = None,
) -> Path:
    """Write the export at `path`, a `kind` of SQLite, to `out`, which appears when it is whole and clean.

    A trace of another recorder is converted to one.

    Raises UsageError where `out` is `path`, or exists and `force` is not set, or cannot be written; TraceError where
    `path` is damaged or no export of nsys. `limit_bytes`: see `unpack.limit_of`.
    """
    if out.exists() and out.resolve() == path.resolve():
        raise UsageError(f"`{out}` is the trace itself", hint="give the copy another name with `-o`")
    if out.exists() and not force:
        raise UsageError(f"`{out}` exists", hint="give another name with `-o`, or `--force` to replace it")
    partial = out.with_name(f".partial-{os.getpid()}-{out.name}")
    try:
        if kind is Kind.SQLITE:
            shutil.copyfile(path, partial)
        elif converted := CONVERTED.get(kind):
            converted.convert(path, partial, limit_bytes)
        else:
            unpack(path, kind, partial, limit_bytes=limit_bytes)
        check_tables(SqliteSource(partial, shown=path), path)
        if not keeps_environment and holds_private(partial):
            scrub_environment(partial)
        partial.replace(out)
    except TraceError as error:
        raise renamed(error, partial, path) from error
    except OSError as error:
        raise UsageError(f"`{out}` cannot be written: {error.strerror or error}") from error
    finally:
        for left in (partial, partial.with_name(f"{partial.name}-journal")):
            left.unlink(missing_ok=True)
    return out
