"""Phases of a trace without markers, each with a score and the evidence in one line."""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from operator import attrgetter

import attrs

from nsys_pipeline.infer.launches import LAYER_ROLES, Launch, Pass, grouped, lookups_before, main_reason
from nsys_pipeline.infer.names import name_passes
from nsys_pipeline.infer.passes import INSIDE, Cut, find_passes, samples_inside
from nsys_pipeline.infer.periods import MIN_UNITS, Found, Period
from nsys_pipeline.infer.training import Step, find_steps
from nsys_pipeline.infer.units import MAX_UNITS, MIN_SCORE, Mark, Units, cut_units

# Copies of tokens and tables to the GPU before the first pass: so many at most, and so near to each other.
_PREPARATIONS, _NEAR_NS = 32, 5_000_000
_UNNAMED = "repeat "
_UNTOLD = "the launches do not tell what it is"
# So many passes without a name, of those that decode, are told with these: they may decode, too.
_MANY_UNNAMED = 0.1
# What steps are made of: so many kinds are told.
_MAX_PARTS = 3
#: Of the phases of training: what was seen in one, and what is around it.
_TRAINING = {
    "forward": ("kernels up to a loss", "gradients follow"),
    "backward": ("gradient kernels", "a loss before them"),
    "optimizer": ("optimizer kernels", "gradients before them"),
}


@attrs.frozen
class InferredPhase:
    """One occurrence, on the thread that launched it. `score`: share of what was looked at that agrees, 0 to 1.

    `place_ns`: an instant at which its own work is launched; before that it may have the host's time between two steps.
    `unit`: what was seen in it, as in '16 attention kernels, then arg-max or sampling'; `evidence`: what that tells.
    """

    phase: str
    process_key: int
    global_tid: int
    start_ns: int
    end_ns: int
    place_ns: int
    score: float
    unit: str
    evidence: str


@attrs.frozen
class InferredRequest:
    """A prefill, in one pass or several, and the decode steps after it. `is_first`: of several of its thread."""

    global_tid: int
    start_ns: int
    end_ns: int
    is_first: bool = False


@attrs.frozen
class Inference:
    """What was inferred; where that is nothing, `reason` says why in one line.

    `hierarchy`: what steps are made of, and what they make up, as in '16 attention kernels < 136 steps < 4 requests'.
    """

    phases: tuple[InferredPhase, ...]
    requests: tuple[InferredRequest, ...] = ()
    reason: str | None = None
    hierarchy: str | None = None


def infer(launches: Sequence[Launch], recordings: Mapping[int, Sequence[int]] | None = None) -> Inference:
    """Phases of `launches`, which are ordered by thread and time. Abstains where the evidence does not agree.

    `recordings`: when those of each process begin, in order, for no step goes on from one to the next. Unit: ns.
    """
    later = {process: starts[1:] for process, starts in (recordings or {}).items()}
    phases: list[InferredPhase] = []
    requests: list[InferredRequest] = []
    reasons: list[tuple[int, str]] = []
    parts: Counter[str] = Counter()
    untold = 0
    recorded_together = grouped(
        launches, lambda one: (one.process_key, bisect(later.get(one.process_key, ()), one.start_ns))
    )
    for _, mine in sorted(recorded_together.items()):
        if {"optimizer", "backward"} <= {one.role for one in mine}:
            steps, reason, more = find_steps(sorted(mine, key=lambda one: one.start_ns))
            phases += _of_steps(mine[0].process_key, steps)
            untold += more
            if reason:
                reasons.append((len(mine), reason))
            continue
        is_paged = any(one.role == "cache" for one in mine)
        for thread in grouped(mine, attrgetter("global_tid")).values():
            cut = find_passes(thread)
            if cut.reason:
                reasons.append((len(thread), cut.reason))
                continue
            name_passes(thread, cut.passes, is_paged=is_paged)
            if samples_inside(thread, cut.passes):
                reasons.append((len(thread), INSIDE))
                continue
            found = _of_passes(thread, cut)
            phases += [phase for _, phase in found]
            parts.update(_parts(thread, one) for one, _ in found)
            requests += _requests(found)
    if phases:
        levels = _hierarchy(phases, parts, len(requests), untold)
        return Inference(tuple(_lettered(phases)), tuple(_with_first(requests)), hierarchy=levels)
    return Inference((), (), main_reason(reasons) or "no kernels that tell a pass through a language model")


def _hierarchy(phases: Sequence[InferredPhase], parts: Counter[str], requests: int, untold: int) -> str | None:
    """Parts of steps < steps < requests, as far as there are such levels. `untold`: updates without such a step."""
    counts = Counter(one.phase for one in phases)
    updates, forwards, passes = counts["optimizer"], counts["forward"], parts.total()
    chains = []
    if updates:
        micro = f"{forwards:,} micro-batches" if forwards > updates else "forward, backward, optimizer"
        more = f", and {_counted(untold, 'update')} more whose forward pass is not told" if untold else ""
        chains.append(f"{micro} < {_counted(updates, 'step')}{more}")
    if passes:
        levels = [_alternatives(parts), _counted(passes, "step"), _counted(requests, "request") if requests else ""]
        chains.append(" < ".join(level for level in levels if level))
    return "; ".join(chains) or None


def _alternatives(parts: Counter[str]) -> str:
    """What steps are made of, the most frequent first."""
    told = [part for part, _ in sorted(parts.items(), key=lambda one: (-one[1], one[0]))]
    return " or ".join([*told[:_MAX_PARTS], *(["others"] if len(told) > _MAX_PARTS else [])])


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _of_steps(process_key: int, steps: Sequence[Step]) -> Iterator[InferredPhase]:
    for step in steps:
        spans = [("forward", span) for span in step.forward_ns]
        spans += [("backward", span) for span in step.backward_ns]
        spans.append(("optimizer", step.optimizer_ns))
        for name, (start_ns, end_ns) in sorted(spans, key=lambda one: one[1]):
            unit, evidence = _TRAINING[name]
            yield InferredPhase(
                name, process_key, step.global_tid, start_ns, end_ns, start_ns, step.score, unit, evidence
            )


def _requests(found: Sequence[tuple[Pass, InferredPhase]]) -> Iterator[InferredRequest]:
    """Prefill, decode, decode, …: a prefill starts the next one, unless it goes on with one that was not sampled."""
    current: list[InferredPhase] = []
    before: Pass | None = None
    for one, phase in found:
        is_chunk = before is not None and before.name == "prefill" and before.tail is None
        is_more = one.is_chained and (one.name == "decode" or (one.name == "prefill" and is_chunk))
        if not (current and is_more):
            yield from _request(current)
            current = []
        if one.name == "prefill" or current:
            current.append(phase)
        before = one
    yield from _request(current)


def _request(phases: Sequence[InferredPhase]) -> Iterator[InferredRequest]:
    if phases and phases[-1].phase == "decode":
        yield InferredRequest(phases[0].global_tid, phases[0].start_ns, phases[-1].end_ns)


def _with_first(requests: Sequence[InferredRequest]) -> Iterator[InferredRequest]:
    """The same, with those that are the first of several of their thread, in all its recordings."""
    counts = Counter(one.global_tid for one in requests)
    seen: set[int] = set()
    for one in requests:
        yield attrs.evolve(one, is_first=counts[one.global_tid] > 1 and one.global_tid not in seen)
        seen.add(one.global_tid)


def _of_passes(launches: Sequence[Launch], cut: Cut) -> list[tuple[Pass, InferredPhase]]:
    """Passes as host intervals: from the end of the pass before, or the first launch, to the end of the sampling."""
    found: list[tuple[Pass, InferredPhase]] = []
    before: Pass | None = None
    last_ns = 0
    names = Counter(one.name for one in cut.passes)
    is_partly = names[None] >= _MANY_UNNAMED * names["decode"] > 0
    for one, following in zip_longest(cut.passes, cut.passes[1:]):
        is_next = one.is_chained and before is not None
        start_ns = launches[_start(launches, one, last_ns if is_next else None)].start_ns
        # The host's work between two steps is the later one's; before a prompt it may be waiting for a request.
        if is_next and before is not None and one.name in ("decode", before.name):
            start_ns = last_ns + 1
        start_ns = max(start_ns, last_ns + 1)
        end_ns = launches[_end(launches, one, following)].end_ns
        if following is not None:
            next_ns = launches[_start(launches, following, None)].start_ns - 1
            # A pass without a sampling of its own lasts until the next one starts.
            is_open = one.tail is None and one.layers and following.is_chained
            end_ns = next_ns if is_open else min(end_ns, next_ns)
        if end_ns > start_ns:
            thread = launches[one.first]
            phase = InferredPhase(
                one.name or f"{_UNNAMED}{one.layers} {one.graphs > 0}",
                thread.process_key,
                thread.global_tid,
                start_ns,
                end_ns,
                thread.start_ns,
                round(cut.regular_ratio, 2),
                _parts(launches, one) + (", then arg-max or sampling" if one.tail is not None else ""),
                _evidence(one, is_partly=is_partly),
            )
            found.append((one, phase))
        last_ns, before = end_ns, one
    return found


def _start(launches: Sequence[Launch], one: Pass, after_ns: int | None) -> int:
    """Index of the first launch of a pass: behind the pass before it, else the lookup of its tokens."""
    index = one.first
    if after_ns is not None:
        while index > 0 and launches[index - 1].start_ns > after_ns:
            index -= 1
        return index
    lookups = lookups_before(launches, one.first)
    index = lookups[-1] if lookups else one.first
    for _ in range(_PREPARATIONS):
        if not index or launches[index - 1].role not in ("to_device", "cache"):
            break
        if launches[index].start_ns - launches[index - 1].end_ns > _NEAR_NS:
            break
        index -= 1
    return index


def _end(launches: Sequence[Launch], one: Pass, following: Pass | None) -> int:
    """Index of the last launch of a pass: its sampling, and copies of what was sampled to the host."""
    if one.tail is None:
        return one.last
    end = one.tail
    for index in range(one.tail + 1, following.first if following else len(launches)):
        role = launches[index].role
        if role in ("to_device", "lookup", *LAYER_ROLES, "graph"):
            break
        if role == "to_host":
            end = index
    return end


def _parts(launches: Sequence[Launch], one: Pass) -> str:
    """What a pass is made of, as its launches are called."""
    if not one.layers:
        return "one CUDA graph"
    roles = Counter(launch.role for launch in launches[one.first : one.last + 1] if launch.role in LAYER_ROLES)
    inner = [role for role in ("attention", "recurrence") if roles[role]] or ["softmax"]
    kernels = f"{' and '.join(inner)} kernel{'' if one.layers == 1 else 's'}"
    is_grouped = sum(roles[role] for role in inner) != one.layers
    what = f"{_counted(one.layers, 'group')} of {kernels}" if is_grouped else f"{one.layers:,} {kernels}"
    return f"{what} among CUDA graphs" if one.graphs else what


def _evidence(one: Pass, *, is_partly: bool) -> str:
    """`is_partly`: many passes of the thread have no name, beside some that decode."""
    if one.name == "decode":
        evidence = "one token of each sequence" if one.layers else "after a prefill, again and again"
        return f"{evidence}; passes without a name may be such steps, too" if is_partly else evidence
    if one.name == "prefill":
        return "many tokens of each sequence"
    return "the launches do not tell whether it is decode, a prompt or both" if is_partly else _UNTOLD


def repeats(found: Found, marks: Sequence[Mark]) -> Inference:
    """Units of work that repeat, whatever they are. `marks`: launches of their kinds, ordered by thread and time."""
    threads: dict[int, list[Mark]] = {}
    for mark in marks:
        threads.setdefault(mark.global_tid, []).append(mark)
    cuts = [cut_units(period, threads.get(period.global_tid, [])) for period in found.periods]
    kept = [one for one in cuts if len(one.spans) >= MIN_UNITS and one.score >= MIN_SCORE]
    if sum(len(one.spans) for one in kept) > MAX_UNITS:
        most = max(kept, key=lambda one: len(one.spans))
        return Inference(
            (), (), f"{len(most.spans):,} repetitions of {_contents(most.period)}, more than {MAX_UNITS:,} in all"
        )
    spans = sorted(
        (one.period.global_tid, start_ns, end_ns, index)
        for index, one in enumerate(kept)
        for start_ns, end_ns in one.spans
    )
    told = [(f"{_UNNAMED}{one.period.identity}", _unit_of(one.period)) for one in kept]
    phases = []
    for (thread, start_ns, end_ns, index), following in zip_longest(spans, spans[1:]):
        # Loops after each other: a unit ends where one of another loop begins.
        until_ns = min(end_ns, following[1] - 1) if following is not None and following[0] == thread else end_ns
        if until_ns > start_ns:
            one, (name, unit) = kept[index], told[index]
            process = one.period.process_key
            place_ns = start_ns + (until_ns - start_ns) // 2
            phases.append(InferredPhase(name, process, thread, start_ns, until_ns, place_ns, one.score, unit, _UNTOLD))
    reason = found.reason or "what repeats in the middle of the trace does not repeat in all of it"
    levels = [_levels(one) for one in kept if one.period.inside or one.period.around]
    return Inference(tuple(_lettered(phases)), (), None if phases else reason, "; ".join(levels) or None)


def _levels(units: Units) -> str:
    period, count = units.period, len(units.spans)
    levels = [
        f"about {_counted(count * period.inside, 'shorter unit')}" if period.inside else "",
        f"{count:,} units of {_unit_of(period)}",
        f"about {_counted(round(count / period.around), 'longer unit')}" if period.around else "",
    ]
    return " < ".join(level for level in levels if level)


def _unit_of(period: Period) -> str:
    about = "about " if period.varies else ""
    # What other threads launch meanwhile is in the unit's time, too.
    return f"{about}{_contents(period)}{'' if period.is_alone else ' of its own thread'}"


def _contents(period: Period) -> str:
    counts = (
        (period.kernels, "kernel", "kernels"),
        (period.graphs, "CUDA graph", "CUDA graphs"),
        (period.copies, "host copy", "host copies"),
    )
    words = [f"{count:,} {one if count == 1 else many}" for count, one, many in counts if count]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _lettered(phases: Sequence[InferredPhase]) -> list[InferredPhase]:
    """Unnamed repeats as `repeat A`, `repeat B`, … by how often they come."""
    counts = Counter(one.phase for one in phases if one.phase.startswith(_UNNAMED))
    letters = {name: f"{_UNNAMED}{_letters(index)}" for index, (name, _) in enumerate(counts.most_common())}
    return [attrs.evolve(one, phase=letters.get(one.phase, one.phase)) for one in phases]


def _letters(index: int) -> str:
    return (_letters(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)
