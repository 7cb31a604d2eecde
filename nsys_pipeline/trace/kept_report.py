"""The report of an analysis in the cache: the same trace, options and code again need only read it."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache as remembered
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import attrs

from nsys_pipeline.records import Report
from nsys_pipeline.trace import cache
from nsys_pipeline.trace.run_file import report_path, run_path

if TYPE_CHECKING:
    from nsys_pipeline.inputs.options import AnalysisOptions
    from nsys_pipeline.trace.trace_file import TraceFile


class KeptReport:
    """Where the cache keeps the report of the trace in `file`, told `options`; nowhere if there is to be no cache."""

    def __init__(self, file: TraceFile, options: AnalysisOptions) -> None:
        opening, model = file.options, options.model
        self._cache_dir = opening.cache_dir or cache.default_cache_dir()
        self._entry: Path | None = None
        if opening.use_cache:
            beside = [
                cache.identity_of(path) for path in (run_path(file.path), report_path(file.path)) if path.exists()
            ]
            described = model and (model.name, model.config, model.approximate, model.beside)
            told = (opening.identity(), opening.window, described, attrs.evolve(options, model=None))
            self._entry = cache.entry(
                self._cache_dir,
                "reports",
                file.path,
                ".json",
                cache.code_fingerprint(),
                repr((file.path, beside, told)),
            )

    def read(self) -> Report | None:
        """The report that an earlier run has kept; None if there is none."""
        if self._entry:
            with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
                report = _restored(Report, json.loads(self._entry.read_text(encoding="utf-8")))
                with suppress(OSError):
                    self._entry.touch()
                return report  # type: ignore[no-any-return]
        return None

    def write(self, report: Report) -> None:
        """Keep `report`, if it reads back as it is. Failing to is no error: the cache is a convenience."""
        if self._entry is None:
            return
        with suppress(OSError, ValueError, TypeError):
            text = json.dumps(attrs.asdict(report))
            if _restored(Report, json.loads(text)) == report:
                partial = cache.temporary(self._entry)
                partial.write_text(text, encoding="utf-8")
                partial.replace(self._entry)
                cache.trim(self._cache_dir)


_hints = remembered(get_type_hints)


def _restored(kind: Any, value: Any) -> Any:
    """`value`, as JSON has it, as a `kind`: a class of records, or what one of its fields holds."""
    origin = get_origin(kind)
    if value is None or not (attrs.has(kind) or origin):
        return int(value) if kind is int and isinstance(value, str) else value
    if origin in (Union, UnionType):
        kinds = [one for one in get_args(kind) if one is not type(None)]
        return _restored(kinds[0], value) if len(kinds) == 1 else value
    if origin is None:
        return kind(**{name: _restored(_hints(kind)[name], one) for name, one in value.items()})
    if origin is dict:
        of_key, of_value = get_args(kind)
        return {_restored(of_key, key): _restored(of_value, one) for key, one in value.items()}
    return origin(_restored(get_args(kind)[0], one) for one in value)
