"""Phases of a trace without markers, each with a score and the evidence in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import attrs

from nsys_pipeline.infer.launches import Launch, Pass, by_thread, lookups_before
from nsys_pipeline.infer.names import name_passes
from nsys_pipeline.infer.passes import Cut, find_passes
from nsys_pipeline.infer.training import find_steps


# Copies of tokens and tables to the GPU before the first pass: so many at most, and so near to each other.
_PREPARATIONS, _NEAR_NS = 32, 5_000_000


@attrs.frozen
class InferredPhase:
    """One occurrence, on the thread that launched it. `score`: share of what was looked at that agrees, 0 to 1."""

    phase: str
    process_key: int
    global_tid: int
    start_ns: int
    end_ns: int
    score: float
    evidence: str


@attrs.frozen
class Inference:
    """What was inferred; where that is nothing, `reason` says why in one line."""

    phases: tuple[InferredPhase, ...]
    reason: str | None = None


def infer(launches: Sequence[Launch]) -> Inference:
    """Phases of `launches`, which are ordered by thread and time. Abstains where the evidence does not agree."""
    phases: list[InferredPhase] = []
    reasons: list[tuple[int, str]] = []
    processes: dict[int, list[Launch]] = {}
    for one in launches:
        processes.setdefault(one.process_key, []).append(one)
    for process_key, mine in sorted(processes.items()):
        steps, reason = find_steps(sorted(mine, key=lambda one: one.start_ns))
        if steps:
            evidence = f"{len(steps)} steps: loss, gradients, then optimizer kernels"
            for step in steps:
                for name, (start_ns, end_ns) in (
                    ("forward", step.forward_ns), ("backward", step.backward_ns), ("optimizer", step.optimizer_ns),
                ):  # fmt: skip
                    phases.append(
                        InferredPhase(name, process_key, step.global_tid, start_ns, end_ns, 1.0, evidence)
                    )
            continue
        if reason != "no optimizer kernels":
            reasons.append((len(mine), reason or ""))
            continue
        is_paged = any(one.role == "cache" for one in mine)
        for thread in by_thread(mine).values():
            cut = find_passes(thread)
            if cut.reason:
                reasons.append((len(thread), cut.reason))
                continue
            name_passes(thread, cut.passes, is_paged=is_paged)
            phases += _occurrences(thread, cut)
    if phases:
        return Inference(tuple(_lettered(phases)))
    return Inference((), max(reasons)[1] if reasons else "no kernels that tell a pass through a language model")


def _occurrences(launches: Sequence[Launch], cut: Cut) -> list[InferredPhase]:
    """Passes as host intervals: from the end of the sampling before, or the first launch, to the end of the sampling."""
    kinds = Counter((one.name, one.layers, bool(one.graphs)) for one in cut.passes)
    found: list[InferredPhase] = []
    before: Pass | None = None
    last_end_ns = 0
    for index, one in enumerate(cut.passes):
        following = cut.passes[index + 1] if index + 1 < len(cut.passes) else None
        end = _end(launches, one, following)
        is_next = one.is_chained and before is not None
        if is_next and before is not None and (one.name == "decode" or before.name == one.name):
            start_ns = last_end_ns + 1
        else:
            start_ns = launches[_start(launches, one, last_end_ns if is_next else None)].start_ns
        end_ns = launches[end].end_ns
        start_ns = max(start_ns, last_end_ns + 1)
        if following is not None:
            # A pass without a sampling of its own lasts until the next one starts.
            next_ns = launches[_start(launches, following, None)].start_ns - 1
            end_ns = next_ns if one.tail is None and one.layers and following.is_chained else min(end_ns, next_ns)
        if end_ns > start_ns:
            kind = (one.name, one.layers, bool(one.graphs))
            found.append(
                InferredPhase(
                    one.name or _unnamed(one),
                    launches[end].process_key, launches[end].global_tid, start_ns, end_ns,
                    round(cut.regular_ratio, 2), _evidence(one, kinds[kind]),
                )
            )  # fmt: skip
        last_end_ns, before = end_ns, one
    return found


def _start(launches: Sequence[Launch], one: Pass, after_ns: int | None) -> int:
    """Index of the first launch of a pass: behind the pass before it, else the lookup of its tokens."""
    lookups = lookups_before(launches, one.first)
    index = one.first
    if after_ns is not None:
        while index > 0 and launches[index - 1].start_ns > after_ns:
            index -= 1
        return index
    index = lookups[-1] if lookups else one.first
    for _ in range(_PREPARATIONS):
        before = launches[index - 1] if index else None
        if before is None or before.role not in ("to_device", "cache") or launches[index].start_ns - before.end_ns > _NEAR_NS:
            break
        index -= 1
    return index


def _end(launches: Sequence[Launch], one: Pass, following: Pass | None) -> int:
    """Index of the last launch of a pass: its sampling, and copies of what was sampled to the host."""
    limit = following.first if following else len(launches)
    if one.tail is None:
        return one.last
    end = one.tail
    for index in range(one.tail + 1, limit):
        role = launches[index].role
        if role in ("to_device", "lookup", "attention", "softmax", "graph"):
            break
        if role == "to_host":
            end = index
    return end


def _unnamed(one: Pass) -> str:
    return f"repeat {one.layers} {one.graphs > 0}"


def _evidence(one: Pass, count: int) -> str:
    what = f"{one.layers} attention layers" if one.layers else "one CUDA graph"
    told = {
        "decode": "one token for each sequence" if one.layers else "follows a prefill again and again",
        "prefill": "many tokens for each sequence",
        None: "prefill, decode or mixed: the launches do not tell",
    }[one.name]
    end = ", then sampling" if one.tail is not None else ""
    return f"{count} × ({what}{end}); {told}"


def _lettered(phases: Sequence[InferredPhase]) -> list[InferredPhase]:
    """Unnamed repeats as `repeat A`, `repeat B`, … by how often they come."""
    counts = Counter(one.phase for one in phases if one.phase.startswith("repeat "))
    letters = {name: f"repeat {_letters(index)}" for index, (name, _) in enumerate(counts.most_common())}
    return [attrs.evolve(one, phase=letters.get(one.phase, one.phase)) for one in phases]


def _letters(index: int) -> str:
    return (_letters(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)
