"""Images and sound of requests: which pass sends them through their towers, if no mark says it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from nsys_pipeline import markers
from nsys_pipeline.records import Notice, Step

if TYPE_CHECKING:
    from nsys_pipeline.inputs.inputs import Inputs

VISION = "vision"
"""The phase of a tower that runs before the prompt."""


def with_images(inputs: Inputs, steps: Mapping[int, Step]) -> tuple[Mapping[int, Step], tuple[Notice, ...]]:
    """`steps`, each request with the images and the clips of the options in the passes that run their towers.

    Images go into the request's phase `vision`, if it has one, else into its first prefill, and so do clips. Marks that
    name images, or clips, win. Raises UsageError for options that make no sense for the model, and if a prompt has
    fewer tokens than what it holds.
    """
    told, seconds = inputs.options.images, inputs.options.audio_seconds
    if not told.are_told and seconds is None:
        return steps, ()
    from nsys_pipeline.model.images import check_prompt
    from nsys_pipeline.model.sound import read_audio

    model = inputs.run.model
    are_marked, is_marked = (any(getattr(step, name) for step in steps.values()) for name in ("images", "audio"))
    grids = () if are_marked else told.grids(model)
    clips = () if is_marked else read_audio(model, seconds)
    notices = []
    if are_marked and told.are_told:
        message = "the trace carries the sizes of its images; the ones on the command line are not used"
        notices.append(Notice("images_ignored", message))
    if is_marked and seconds is not None:
        message = "the trace carries the lengths of its clips of sound; those on the command line are not used"
        notices.append(Notice("audio_ignored", message))
    if model is None or not (grids or clips):
        return steps, tuple(notices)
    found = dict(steps)
    for towers, prefills in _requests(inputs):
        first = next((one for one in prefills if one in steps and not any(steps[one].kv_tokens)), None)
        if first is not None:
            check_prompt(model, grids, steps[first].new_tokens, audio=clips)
            found[first] = attrs.evolve(steps[first], audio=clips or steps[first].audio)
        if towers and grids:
            # Several calls of the tower share the images in a way that nobody says.
            shares = [[grid] for grid in grids] if len(towers) == len(grids) else [grids, *[()] * (len(towers) - 1)]
            found |= {one: Step((), (), 0, images=share) for one, share in zip(towers, shares, strict=True) if share}
        elif first is not None:
            found[first] = attrs.evolve(found[first], images=grids or steps[first].images)
    return found, tuple(notices)


def with_seen_images(inputs: Inputs, steps: Mapping[int, Step]) -> Mapping[int, Step]:
    """`steps`, each with the images of its request that went through the tower before it, if the decoder looks at them.

    A request without a range of its own lasts until the next prefill, or until the next phase `vision` after a prompt.
    """
    model = inputs.run.model
    if (
        model is None
        or not model.architecture.cross_attends_to_images
        or not any(step.images for step in steps.values())
    ):
        return steps
    rows = inputs.connection.execute(
        "SELECT occurrence_id, phase, global_tid, request_id FROM attribute.phase_ranges ORDER BY global_tid, start_ns"
    ).fetchall()
    found: dict[int, Step] = {}
    seen: tuple[tuple[int, int], ...] = ()
    last: tuple[object, ...] = ()
    for occurrence, phase, thread, request in rows:
        begins = request is None and (phase == VISION or (phase == markers.PREFILL and last[-1:] != (VISION,)))
        if begins or (thread, request) != last[:2]:
            seen = ()
        last = (thread, request, phase)
        step = steps.get(occurrence)
        if step is not None:
            found[occurrence] = attrs.evolve(step, seen_images=seen)
            seen += step.images
    return {**steps, **found}


def with_prompts(inputs: Inputs, steps: Mapping[int, Step]) -> Mapping[int, Step]:
    """`steps`, each with the tokens of its sequences' prompts, if the decoder's window keeps them.

    They are those of the last prefill of the request, or of the thread if requests have no ranges.
    """
    model = inputs.run.model
    if model is None or not model.architecture.window_keeps_prompt:
        return steps
    rows = inputs.connection.execute(
        "SELECT occurrence_id, phase, global_tid, request_id FROM attribute.phase_ranges ORDER BY global_tid, start_ns"
    ).fetchall()
    found: dict[int, Step] = {}
    prompts: tuple[int, ...] = ()
    last: tuple[object, object] | None = None
    for occurrence, phase, thread, request in rows:
        if (thread, request) != last:
            prompts, last = (), (thread, request)
        step = steps.get(occurrence)
        if step is None:
            continue
        if phase == markers.PREFILL:
            prompts = tuple(map(sum, zip(step.q_tokens, step.kv_tokens, strict=True)))
        if len(prompts) == step.batch:
            found[occurrence] = attrs.evolve(step, prompts=prompts)
    return {**steps, **found}


def _requests(inputs: Inputs) -> list[tuple[list[int], list[int]]]:
    """Occurrences of `vision` and of prefill of each request; without request ranges each prefill is one."""
    rows = inputs.connection.execute(
        "SELECT occurrence_id, phase, request_id FROM attribute.phase_ranges WHERE phase IN (?, ?) "
        "ORDER BY global_tid, start_ns",
        [VISION, markers.PREFILL],
    ).fetchall()
    requests: dict[tuple[str, int], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for occurrence, phase, request in rows:
        key = ("occurrence", occurrence) if request is None else ("request", request)
        requests[key][phase == markers.PREFILL].append(occurrence)
    return list(requests.values())
