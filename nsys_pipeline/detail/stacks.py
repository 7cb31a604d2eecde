"""What the host did as collapsed stacks, which flame graph viewers read (speedscope.app, flamegraph.pl, inferno)."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from nsys_pipeline.errors import TraceError
from nsys_pipeline.text import printable

if TYPE_CHECKING:
    from nsys_pipeline.trace import Trace

# Phase, what the GPU is idle in, frames from the outermost on, estimated ns.
_STACKS = """
    WITH part AS (
        SELECT DISTINCT phase, part, all_ns / all_samples AS sample_ns FROM attribute.host_places WHERE all_ns > 0
    ),
    stack AS (
        SELECT
            s.phase, s.counts_as AS part, s.sample_id,
            list(format('{} ({}:{})', coalesce(f.function, '?'), coalesce(f.file, '?'), coalesce(f.line, 0))
                 ORDER BY f.depth DESC) AS frames
        FROM attribute.host_samples AS s JOIN load.python_frames AS f USING (sample_id)
        WHERE s.counts_as IS NOT NULL
        GROUP BY ALL
    )
    SELECT coalesce(s.phase, 'outside') AS phase, s.part, s.frames, sum(p.sample_ns) AS time_ns
    FROM stack AS s JOIN part AS p ON p.phase IS NOT DISTINCT FROM s.phase AND p.part = s.part
    GROUP BY ALL
    ORDER BY ALL
"""


def write_stacks(trace: Trace, stream: IO[str]) -> int:
    """Write a line for each stack and return how many: `phase;part;function (file:line);… microseconds`.

    They are those of `host_time`, with its estimates of time. Raises TraceError if the trace has none.
    """
    trace.build("attribute.host_places", "attribute.host_samples", "load.python_frames")
    rows = trace.connection.execute(_STACKS).fetchall()
    if not rows:
        raise TraceError(
            "the trace has no samples of Python's stacks while a GPU was idle",
            hint="record them with `llmperf capture --python`",
        )
    for phase, part, frames, time_ns in rows:
        stack = ";".join(printable(text).replace(";", ",") for text in (phase, part, *frames))
        stream.write(f"{stack} {max(1, round(time_ns / 1000))}\n")
    return len(rows)
