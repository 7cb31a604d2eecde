"""Cut the launches of one thread into forward passes.

Algorithm: attention blocks (attention kernels with no product between them) are layers. Sampling ends a pass. The
number of layers from one sampling to the next is the same in all passes of a model: that is the check of the cut, and
stretches that break it are left out. Linear in the number of launches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from nsys_pipeline.infer.launches import Launch, Pass, lookups_before

#: Passes that must agree on the number of layers.
MIN_PASSES = 3
#: Of the stretches between samplings, how many must hold that number, or a number that comes again.
MIN_REGULAR_RATIO = 0.8
#: Why passes are none that end with a sampling.
INSIDE = "an arg-max in the middle of what repeats, as of a text encoder before a loop"
_INNER = ("attention", "graph")


class Event(NamedTuple):
    """A layer, a whole graph or a sampling: index of its first and of its last launch."""

    kind: str
    first: int
    last: int


class Cut(NamedTuple):
    """Passes of a thread, or why there are none."""

    passes: list[Pass]
    regular_ratio: float
    reason: str | None = None


def find_passes(launches: Sequence[Launch]) -> Cut:
    """The passes of one thread's launches. None is better than a wrong one."""
    events = find_events(launches)
    if not any(event.kind in _INNER for event in events):
        return Cut([], 0.0, "no attention kernels, softmax kernels or whole CUDA graphs")
    if not any(event.kind == "sample" for event in events):
        return Cut([], 0.0, "no arg-max or sampling that would end a step")
    stretches = _stretches(events)
    counts = Counter(sum(event.kind == "attention" for event in inner) for inner, _ in stretches)
    layers = _number_of_layers(counts)
    if layers == 1:
        return Cut([], 0.0, "sampling after each attention kernel: layers are not told from steps")
    passes: list[Pass] = []
    dropped = True
    regular = 0
    for inner, sampling in stretches:
        found = _passes_of(launches, inner, sampling, layers, counts)
        if sampling is not None or found:
            regular += bool(found)
        for index, one in enumerate(found):
            one.is_chained = bool(index) or not dropped
            passes.append(one)
        dropped = not found
    closed = sum(sampling is not None for _, sampling in stretches)
    ratio = regular / max(closed, regular, 1)
    if len(passes) < MIN_PASSES:
        return Cut([], ratio, f"{len(passes)} steps that are alike, fewer than {MIN_PASSES}")
    if ratio < MIN_REGULAR_RATIO:
        return Cut([], ratio, f"only {100 * ratio:.0f} % of the stretches between samplings are alike")
    return Cut(passes, ratio)


def samples_inside(launches: Sequence[Launch], passes: Sequence[Pass]) -> bool:
    """Whether most passes look their tokens up behind other layers, so that what samples is not their end.

    A text encoder that ends with an arg-max, and a loop of another model behind it, are such. Not where any has a name.
    """
    inside = sum(
        not lookups_before(launches, one.first)
        and any(launch.role == "lookup" for launch in launches[one.first : one.last])
        for one in passes
    )
    return 2 * inside > len(passes) and not any(one.name for one in passes)


def find_events(launches: Sequence[Launch]) -> list[Event]:
    """Layers, whole graphs and samplings in order. Without attention kernels, softmax between products is attention."""
    has_attention = any(one.role in ("attention", "recurrence") for one in launches)
    attention = ("attention", "recurrence") if has_attention else ("softmax",)
    events: list[Event] = []
    gemms = -1
    for index, one in enumerate(launches):
        if one.role in attention:
            if events and events[-1].kind == "attention" and one.gemms == gemms:
                events[-1] = events[-1]._replace(last=index)
            else:
                events.append(Event("attention", index, index))
            gemms = one.gemms
        elif one.role == "graph":
            events.append(Event("graph", index, index))
        elif one.role == "sample":
            if events and events[-1].kind == "sample":
                events[-1] = events[-1]._replace(last=index)
            else:
                events.append(Event("sample", index, index))
    return events


def _stretches(events: Sequence[Event]) -> list[tuple[list[Event], Event | None]]:
    """Layers and graphs, and the sampling after them; None after the last."""
    stretches: list[tuple[list[Event], Event | None]] = []
    inner: list[Event] = []
    for event in events:
        if event.kind != "sample":
            inner.append(event)
        elif inner:
            stretches.append((inner, event))
            inner = []
    if inner:
        stretches.append((inner, None))
    return stretches


def _number_of_layers(counts: Counter[int]) -> int:
    """The most frequent number of attention blocks of a pass; 0 where all work is in whole graphs."""
    known = {count: times for count, times in counts.items() if count}
    return max(known, key=lambda count: (known[count], -count)) if known else 0


def _passes_of(
    launches: Sequence[Launch], inner: list[Event], sampling: Event | None, layers: int, counts: Counter[int]
) -> list[Pass]:
    """Passes of one stretch: graphs that are passes themselves, then layers; or the other way round."""
    places = [index for index, event in enumerate(inner) if event.kind == "attention"]
    if not places:
        if sampling is None:
            return _single_graphs(launches, inner)
        return [_closed(launches, inner, sampling, layers=0)] if len(inner) == 1 else []
    lead, body, trail = inner[: places[0]], inner[places[0] : places[-1] + 1], inner[places[-1] + 1 :]
    if len(body) > len(places):
        # Pieces of a pass are graphs too, around and between its layers.
        lead, body, trail = [], inner, []
    before, after = _single_graphs(launches, lead), _single_graphs(launches, trail)
    if len(before) < len(lead) or len(after) < len(trail):
        return []
    attention = [event for event in body if event.kind == "attention"]
    is_open = sampling is None or bool(after)
    # The last layers of a trace may be the first ones of a step that it cut.
    if layers == 0 or (is_open and not after):
        return before
    parts = _split(launches, attention, layers) if len(attention) % layers == 0 else []
    if not parts and len(attention) > layers and counts[len(attention)] > 1:
        parts = [attention]
    if not parts:
        return before
    closed = [] if is_open or sampling is None else [_closed(launches, parts[-1], sampling, layers)]
    if closed and len(body) > len(attention):
        closed[0].graphs = len(body) - len(attention)
    opened = [
        Pass(first=part[0].first, last=part[-1].last, layers=len(part), body=part[-layers].first)
        for part in (parts[:-1] if closed else parts)
    ]
    # What was sampled of them is sampled with the pass after them.
    for one in opened:
        one.rows = closed[0].rows if closed else 0
    return [*before, *opened, *closed, *after]


def _single_graphs(launches: Sequence[Launch], graphs: Sequence[Event]) -> list[Pass]:
    """Each launch of one graph that follows itself is a pass that samples inside."""
    kinds = {launches[event.first].kind_id for event in graphs}
    if len(graphs) < MIN_PASSES or len(kinds) != 1:
        return []
    return [Pass(first=event.first, last=event.last, layers=0, graphs=1, body=event.first) for event in graphs]


def _closed(launches: Sequence[Launch], inner: Sequence[Event], sampling: Event, layers: int) -> Pass:
    attention = [event for event in inner if event.kind == "attention"]
    graphs = len(inner) - len(attention)
    body = attention[-layers].first if layers else inner[0].first
    one = Pass(
        first=inner[0].first, last=inner[-1].last, layers=len(attention), graphs=graphs, tail=sampling.last, body=body
    )
    samples = [launch for launch in launches[sampling.first : sampling.last + 1] if launch.role == "sample"]
    kinds = Counter(launch.kind_id for launch in samples)
    kind = min(kinds, key=lambda known: (kinds[known], known or 0))
    one.rows = sum(launch.blocks for launch in samples if launch.kind_id == kind)
    return one


def _split(launches: Sequence[Launch], attention: Sequence[Event], layers: int) -> list[list[Event]]:
    """Passes of which only the last one samples: each starts with a lookup of embeddings."""
    parts = [list(attention[i : i + layers]) for i in range(0, len(attention), layers)]
    for before, after in pairwise(parts):
        between = launches[before[-1].last + 1 : after[0].first]
        if not any(one.role == "lookup" for one in between):
            return []
    return parts
