"""The timeline of a trace as bytes that a page carries and a browser unpacks.

Layout, all of it gzip: the length of a JSON header as 32 bits (little-endian); the header; then for each column of
COLUMNS its bytes in planes, the lowest byte of all spans first. Spans are ordered by lane, start, and end from late to
early, so that what is around comes first. A column of differences whose planes are together takes 2 to 3 bytes a span.
"""

from __future__ import annotations

import gzip
import json
import sys
from array import array
from typing import TYPE_CHECKING, Any

from nsys_pipeline.duck import scalar
from nsys_pipeline.records import Timeline
from nsys_pipeline.text import printable

if TYPE_CHECKING:
    import polars as pl

    from nsys_pipeline.trace import Trace

#: Column → bytes of each value.
COLUMNS = {
    "start": 7,  # since the start of the span above in its lane; of the first, since the origin. Unit: ns
    "dur": 7,  # Unit: ns
    "name": 3,  # index into `names` of the header
    "category": 2,  # into `categories`
    "phase": 2,  # into `phases`, 0 without a phase
    "count": 3,  # spans that were merged into this one
    "link": 4,  # 0, or 1 + the index of the span of its launching call, zigzag-coded against the link above
}
#: More spans than this are merged: a page of 2,000,000 has about 10 MB.
MAX_SPANS = 2_000_000
# Past it a double has no place for every ns.
_LAST_NS = 2**53 - 1
_COUNT = """
    SELECT (SELECT count(*) FROM attribute.gpu_work) + (SELECT count(*) FROM load.api_calls)
        + (SELECT count(*) FROM load.nvtx_ranges) + 2 * (SELECT count(*) FROM attribute.phase_ranges)
"""
_SPANS = """
    SELECT lane, start_ns, end_ns, name, category, phase, id, api_id, 1 AS span_count
    FROM views._timeline_spans
    ORDER BY lane, start_ns, end_ns DESC, id
"""
_MERGED = """
    SELECT *, NULL::BIGINT AS id, NULL::BIGINT AS api_id
    FROM macros.merged_spans('views._timeline_spans', ?)
    ORDER BY lane, start_ns
"""


def read_timeline(trace: Trace, *, max_spans: int = MAX_SPANS) -> Timeline | None:
    """The timeline of `trace`; None where nothing was recorded.

    Of more than `max_spans` spans those are merged that start in one stretch of time in one lane.
    """
    import polars as pl

    trace.build("views._timeline_spans", "macros.merged_spans")
    with trace.reading():
        con = trace.connection
        resolution = None
        total = scalar(con, _COUNT)
        spans = pl.DataFrame()
        if total <= max_spans:
            spans = pl.DataFrame(con.sql(_SPANS))
        else:
            lanes, first, last = con.execute(
                "SELECT count(DISTINCT lane), min(start_ns), max(start_ns) FROM views._timeline_spans"
            ).fetchall()[0]
            resolution = max(1, -(-(last - first + 1) * lanes // max_spans))
            spans = pl.DataFrame(con.sql(_MERGED, params=[resolution]))
        names = _names_of_lanes(trace)
    return pack(spans, names, resolution_ns=resolution) if spans.height else None


def _names_of_lanes(trace: Trace) -> dict[str, dict[str, str]]:
    """What threads ("pid tid") and GPUs are called."""
    trace.build("views.threads", "views.devices")
    threads = trace.connection.execute("SELECT process_id, thread_id, name FROM views.threads").fetchall()
    devices = trace.connection.execute("SELECT device_id, name FROM views.devices").fetchall()
    return {
        "threads": {f"{process} {thread}": printable(name) for process, thread, name in threads if name},
        "devices": {str(device): printable(name) for device, name in devices if name},
    }


def pack(spans: pl.DataFrame, names_of_lanes: dict[str, dict[str, str]], *, resolution_ns: int | None) -> Timeline:
    """The bytes of `spans`, which are ordered as the layout says."""
    import polars as pl

    origin = spans["start_ns"].min()
    spans = spans.with_columns(
        lane_index=pl.col("lane").rle_id(),
        start=(pl.col("start_ns") - origin).clip(0, _LAST_NS),
        dur=(pl.col("end_ns") - pl.col("start_ns")).clip(0, _LAST_NS),
        name=pl.col("name").fill_null("?"),
        category=pl.col("category").fill_null("other"),
        phase=pl.col("phase").fill_null(""),
    ).with_row_index("row")
    is_first = pl.col("lane_index").diff().fill_null(1) != 0
    names, name = _coded(spans["name"])
    categories, category = _coded(spans["category"])
    phases, phase = _coded(spans["phase"], first="")
    calls = spans.filter(pl.col("lane").struct["track"] == "api").select(
        api_id="id", call=pl.col("row").cast(pl.Int64) + 1
    )
    link = spans.select("row", "api_id").join(calls, on="api_id", how="left").sort("row")["call"].fill_null(0)
    columns = {
        "start": spans.select(pl.when(is_first).then("start").otherwise(pl.col("start").diff())).to_series(),
        "dur": spans["dur"],
        "name": name,
        "category": category,
        "phase": phase,
        "count": spans["span_count"].clip(1, 2**24 - 1),
        "link": _zigzag(link.diff().fill_null(link)),
    }
    lanes = spans.group_by("lane_index", maintain_order=True).agg(
        pl.col("lane").first(), count=pl.len(), operations=pl.col("span_count").sum()
    )
    header = {
        "version": 1,
        "columns": COLUMNS,
        "count": spans.height,
        "resolution_ns": resolution_ns,
        "duration_ns": spans.select((pl.col("start") + pl.col("dur")).max()).item(),
        "names": [printable(text) for text in names],
        "categories": [printable(text) for text in categories],
        "phases": [printable(text) for text in phases],
        **names_of_lanes,
        "lanes": [_lane(row) for row in lanes.to_dicts()],
    }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    planes = [_planes(columns[column], size) for column, size in COLUMNS.items()]
    data = b"".join([len(text).to_bytes(4, "little"), text, *planes])
    return Timeline(
        data=gzip.compress(data, 9, mtime=0),
        span_count=spans.height,
        operation_count=int(spans["span_count"].sum()),
        resolution_ns=resolution_ns,
    )


def _lane(row: dict[str, Any]) -> dict[str, Any]:
    lane = row["lane"]
    return {**lane, "domain": printable(lane["domain"] or ""), "count": row["count"], "operations": row["operations"]}


def _coded(column: pl.Series, first: str | None = None) -> tuple[list[str], pl.Series]:
    """The texts of `column`, the frequent ones first (or `first`), and their indices."""
    import polars as pl

    counts = column.value_counts(sort=True, name="n")
    texts = counts.sort(["n", column.name], descending=[True, False])[column.name].to_list()
    if first is not None:
        texts = [first, *(text for text in texts if text != first)]
    codes = pl.DataFrame({column.name: texts, "code": range(len(texts))})
    return texts, column.to_frame().join(codes, on=column.name, how="left", maintain_order="left")["code"]


def _zigzag(column: pl.Series) -> pl.Series:
    """Small numbers of either sign as small numbers: 0, -1, 1, -2 as 0, 1, 2, 3."""
    import polars as pl

    number = pl.col(column.name)
    return column.to_frame().select(pl.when(number < 0).then(-2 * number - 1).otherwise(2 * number)).to_series()


def _planes(column: pl.Series, size: int) -> bytes:
    values = array("Q", column.to_list())
    if sys.byteorder == "big":
        values.byteswap()
    data = values.tobytes()
    return b"".join(data[plane::8] for plane in range(size))
