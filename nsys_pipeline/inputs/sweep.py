"""Innermost open interval at every instant, for intervals that need not nest.

Push/pop ranges nest and are swept in SQL (`macros.innermost_segments`). Start/end ranges overlap freely: this handles
the few of them that are phases.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator


def latest_start_segments(
    spans: Iterable[tuple[int, int, int, int]],
) -> Iterator[tuple[int, int, int | None, int | None]]:
    """Disjoint segments of each lane with the open span that started last.

    `spans`: (lane, span id, start ns, end ns), a span holding both its ends. Yields (lane, start ns, end ns or None,
    span id or None), where a segment ends before the start of the next one. O(n log n).
    """
    lanes: dict[int, list[tuple[int, int, int]]] = {}
    for lane, span, start, end in spans:
        lanes.setdefault(lane, []).append((start, end, span))
    for lane, members in lanes.items():
        starts = {start for start, _, _ in members}
        boundaries = sorted(starts | {end + 1 for _, end, _ in members})
        members.sort()
        open_spans: list[tuple[int, int, int]] = []
        upcoming = 0
        segments: list[tuple[int, int | None]] = []
        for at in boundaries:
            while upcoming < len(members) and members[upcoming][0] <= at:
                start, end, span = members[upcoming]
                heapq.heappush(open_spans, (-start, end, -span))
                upcoming += 1
            # A span that has ended may stay in the heap as long as a later one is above it.
            while open_spans and open_spans[0][1] < at:
                heapq.heappop(open_spans)
            segments.append((at, -open_spans[0][2] if open_spans else None))
        following: list[int | None] = [at for at, _ in segments[1:]]
        for (at, span_or_none), end_or_none in zip(segments, [*following, None], strict=True):
            yield lane, at, end_or_none, span_or_none
