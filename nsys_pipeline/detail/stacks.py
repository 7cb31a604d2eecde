"""What the host did as collapsed stacks, which flame graph viewers read (speedscope.app, flamegraph.pl, inferno)."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from nsys_pipeline.errors import TraceError
from nsys_pipeline.text import printable

if TYPE_CHECKING:
    from nsys_pipeline.trace import Trace


def write_stacks(trace: Trace, stream: IO[str]) -> int:
    """Write a line for each stack and return how many: `phase;part;function (file:line);… microseconds`.

    They are those of `host_time`, with its estimates of time. Raises TraceError if the trace has none.
    """
    trace.build("views.host_stacks")
    rows = trace.connection.execute(
        "SELECT phase, part, frames, time_ns FROM views.host_stacks ORDER BY ALL"
    ).fetchall()
    if not rows:
        raise TraceError(
            "the trace has no samples of Python's stacks while a GPU was idle",
            hint="record them with `llmperf capture --python`",
        )
    for phase, part, frames, time_ns in rows:
        stack = ";".join(printable(text).replace(";", ",") for text in (phase or "outside", part, *frames))
        stream.write(f"{stack} {max(1, round(time_ns / 1000))}\n")
    return len(rows)
