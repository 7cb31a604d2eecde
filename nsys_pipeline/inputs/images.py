"""Images and sound of requests: which pass sends them through their towers, if no mark says it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

import attrs

from nsys_pipeline import markers
from nsys_pipeline.errors import ModelError
from nsys_pipeline.records import Notice, Step

if TYPE_CHECKING:
    from nsys_pipeline.inputs.inputs import Inputs
    from nsys_pipeline.model import Model

_T = TypeVar("_T")

VISION = "vision"
"""The phase of a tower that runs before the prompt."""
ENCODER = "encoder"
"""The phase of the first of two stacks, if it runs before the decoder's first pass."""


def with_whole_images(inputs: Inputs, steps: Mapping[int, Step]) -> tuple[Mapping[int, Step], tuple[Notice, ...]]:
    """`steps`, each without the images of marks that the model's tower cannot run on: these have no known size."""
    model = inputs.run.model
    if model is None or model.architecture.vision is None:
        return steps, ()
    is_whole = model.architecture.is_whole
    broken = {one: step for one, step in steps.items() if not all(map(is_whole, step.images))}
    if not broken:
        return steps, ()
    from nsys_pipeline.model.images import why_not_whole

    left = {
        one: attrs.evolve(
            step,
            images=[image for image in step.images if is_whole(image)],
            unsized=tuple(dict.fromkeys((*step.unsized, "images"))),
        )
        for one, step in broken.items()
    }
    worst = next(image for step in broken.values() for image in step.images if not is_whole(image))
    passes = "a pass has" if len(broken) == 1 else f"{len(broken):,} passes have"
    return {**steps, **left}, (
        Notice(
            "images_not_whole",
            f"{passes} images that cannot be, which are not counted: {why_not_whole(model, worst)}",
            'pass the --model that ran; if it is this one, its marks are wrong: `"images"` are [height, width] in '
            "patches before any merge",
        ),
    )


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
    for towers, encoders, prefills in _requests(inputs):
        if model.architecture.reads_prompt_in_encoder:
            towers = towers or encoders  # noqa: PLW2901 - the encoder runs its tower
        first = next((one for one in prefills if one in steps and not any(steps[one].kv_tokens)), None)
        if first is not None:
            read = [steps[one].new_tokens for one in encoders if one in steps] or [sum(steps[first].encoder_tokens)]
            check_prompt(model, grids, sum(read) or steps[first].new_tokens, audio=clips)
            found[first] = attrs.evolve(steps[first], audio=clips or steps[first].audio)
        if towers and grids:
            # Several calls of the tower share the images in a way that nobody says.
            shares = [[grid] for grid in grids] if len(towers) == len(grids) else [grids, *[()] * (len(towers) - 1)]
            nothing = Step((), (), 0)
            found |= {
                one: attrs.evolve(steps.get(one, nothing) if one in encoders else nothing, images=share)
                for one, share in zip(towers, shares, strict=True)
                if share
            }
        elif first is not None:
            found[first] = attrs.evolve(found[first], images=grids or steps[first].images)
    told_now = {kind for kind, has in (("images", grids), ("audio", clips)) if has}
    for one, step in found.items():
        if told_now.intersection(step.unsized):
            found[one] = attrs.evolve(step, unsized=[kind for kind in step.unsized if kind not in told_now])
    return found, tuple(notices)


@attrs.define
class _Encoded:
    """What passes of a request have encoded so far.

    `images`: those that went through the tower. `read`: tokens that the encoder has read of each sequence, and `run`
    the same with padding. `is_untold`: an encoder has run, and no mark says on what.
    """

    images: tuple[tuple[int, int], ...] = ()
    read: tuple[int, ...] = ()
    run: tuple[int, ...] = ()
    is_untold: bool = False

    def seen_by(self, step: Step, *, needs_image: bool) -> Step:
        """`step` of the decoder, which looks at it. Sequences that share what was encoded, as beams do, each have it.

        There are more of them than were encoded: they stand behind each other, and so does what was encoded of each.
        """
        sequences = len(self.read) or (len(self.images) if needs_image else 0)
        images = _repeated(self.images, sequences, step.batch)
        read = _repeated(self.read, sequences, step.batch)
        run = _repeated(self.run, sequences, step.batch)
        step = attrs.evolve(step, seen_images=images, seen_encoder_tokens=read)
        if run == read:
            return step
        padded = attrs.evolve(step.padded or attrs.evolve(step, padded=None), seen_encoder_tokens=run)
        return attrs.evolve(step, padded=padded)


def with_seen(inputs: Inputs, steps: Mapping[int, Step]) -> tuple[Mapping[int, Step], tuple[Notice, ...]]:
    """`steps`, each with what its request has had encoded before it and the decoder looks at.

    That is images that went through the tower, or tokens that the encoder has read, if it does. A request without a
    range of its own lasts until the next prefill, or until the next phase `vision` or `encoder` after a prompt.
    """
    model = inputs.run.model
    if model is None:
        return steps, ()
    architecture = model.architecture
    sees = architecture.cross_attends_to_images or architecture.appends_images
    sees = sees and any(step.images for step in steps.values())
    if not (sees or architecture.has_two_stacks):
        return steps, ()
    # An encoder of nothing but images runs as a tower does.
    encoders = (ENCODER,) if architecture.encoder_tokens is None else (ENCODER, VISION)
    found: dict[int, Step] = {}
    encoded = _Encoded()
    last: tuple[object, ...] = ()
    charged_again = 0
    for occurrence, phase, thread, request in _in_order(inputs):
        before = last[-1:]
        begins = request is None and (
            phase == VISION
            or (phase == ENCODER and before != (VISION,))
            or (phase == markers.PREFILL and before not in ((VISION,), (ENCODER,)))
        )
        if begins or (thread, request) != last[:2]:
            encoded = _Encoded()
        last = (thread, request, phase)
        step = steps.get(occurrence)
        is_encoder = architecture.has_two_stacks and phase in encoders
        if step is None:
            encoded.is_untold |= is_encoder
            continue
        if is_encoder:
            step = _of_encoder(step, architecture.encoder_tokens)
            found[occurrence] = attrs.evolve(step, seen_images=encoded.images) if sees else step
            encoded.read, encoded.run = step.q_tokens, step.executed.q_tokens
        else:
            if step.encoder_tokens:
                # It runs the encoder itself, as each pass of training does, whatever the passes before it have read.
                encoded = attrs.evolve(encoded, read=(), run=())
            step = found[occurrence] = encoded.seen_by(step, needs_image=architecture.needs_image)
            runs_encoder = step.batch and not (any(step.kv_tokens) or step.seen_encoder_tokens)
            if encoded.is_untold and runs_encoder:
                charged_again += 1
                found[occurrence] = attrs.evolve(step, counts_encoder_again=True)
            if step.encoder_tokens:
                encoded.read = encoded.run = step.encoder_tokens
        encoded.images += step.images if sees else ()
    return {**steps, **found}, (*_untold(charged_again), *_of_other_size(steps, architecture.encoder_grid))


def _of_encoder(step: Step, fixed: int | None) -> Step:
    """A pass of the first of two stacks alone; `fixed`: the tokens that its images have each, if they have."""
    if fixed is not None and not step.batch:
        sequences = len(step.images)
        step = attrs.evolve(step, q_tokens=(fixed,) * sequences, kv_tokens=(0,) * sequences)
    return attrs.evolve(step, is_encoder=True, logits=0)


def _untold(passes: int) -> tuple[Notice, ...]:
    if not passes:
        return ()
    which = "a pass" if passes == 1 else f"{passes:,} passes"
    return (
        Notice(
            "encoder_in_prefill",
            f"the encoder ran in a phase of its own whose marks do not say on what: its FLOPs and bytes are in {which} "
            "of the decoder after it, whose MFU is too high, and that phase has none",
            "record the trace again with `llmperf capture --auto`, or mark the phase with "
            "`step(q_tokens=[tokens of each sequence], logits=0)`",
        ),
    )


def _of_other_size(steps: Mapping[int, Step], grid: tuple[int, int] | None) -> tuple[Notice, ...]:
    """What there is to say of images that are not of the size that an encoder of images has in its config."""
    others = {image for step in steps.values() for image in step.images} - {grid}
    if grid is None or not others:
        return ()
    sizes = ", ".join(f"{height}x{width}" for height, width in sorted(others)[:3])
    return (
        Notice(
            "images_of_other_size",
            f"images of {sizes} patches went through an encoder whose config says {grid[0]}x{grid[1]}: FLOPs and bytes "
            "of the encoder, and of attention to what it read, are those of the config's size",
            "pass a --model whose config has the size of the images in `image_size`",
        ),
    )


def _repeated(values: tuple[_T, ...], sequences: int, batch: int) -> tuple[_T, ...]:
    """`values` of so many sequences, as many of each, for a batch in which several share those of one."""
    if not (values and sequences) or batch % sequences or len(values) % sequences:
        return values
    each, times = len(values) // sequences, batch // sequences
    shares = (values[start : start + each] for start in range(0, len(values), each))
    return tuple(value for share in shares for value in share * times)


def with_prompts(inputs: Inputs, steps: Mapping[int, Step]) -> tuple[Mapping[int, Step], tuple[Notice, ...]]:
    """`steps`, each with the tokens of its sequences' prompts, if the decoder's window keeps them.

    They are those of the last prefill of the request, or of the thread if requests have no ranges, as long as steps go
    on from there: those of an engine may be of other sequences. A step that the
    decoder's cost cannot be told of without them is left out.
    """
    model = inputs.run.model
    if model is None or not model.architecture.window_keeps_prompt:
        return steps, ()
    found: dict[int, Step] = {}
    prompts: tuple[int, ...] = ()
    reached: tuple[int, ...] = ()
    last: tuple[object, object] | None = None
    for occurrence, phase, thread, request in _in_order(inputs):
        if (thread, request) != last:
            prompts, last = (), (thread, request)
        step = steps.get(occurrence)
        if step is None:
            continue
        # The cache of a sequence that has ended grows as those of the others do.
        added = 0 if phase == markers.PREFILL else max(step.executed.q_tokens, default=0)
        lengths = tuple(kv + (new or added) for new, kv in zip(step.q_tokens, step.kv_tokens, strict=True))
        if phase == markers.PREFILL:
            prompts = reached = lengths
        elif len(prompts) == step.batch:
            goes_on = all(map(lambda low, kv, high: low <= kv <= high, prompts, step.kv_tokens, reached))
            prompts, reached = prompts if goes_on else (), lengths
        if len(prompts) == step.batch:
            found[occurrence] = attrs.evolve(step, prompts=prompts)
    return _that_say_enough(model, {**steps, **found})


def _that_say_enough(model: Model, steps: Mapping[int, Step]) -> tuple[Mapping[int, Step], tuple[Notice, ...]]:
    """The steps that have an estimate, and what is to be said about the others."""
    from nsys_pipeline.model import Estimator

    estimator = Estimator(model)
    why: dict[Step, ModelError] = {}
    for step in dict.fromkeys(steps.values()):
        if not step.prompts and any(step.kv_tokens):
            try:
                estimator.estimate(step)
            except ModelError as error:
                why[step] = error
    if not why:
        return steps, ()
    left_out = sum(step in why for step in steps.values())
    passes = "1 pass has" if left_out == 1 else f"{left_out:,} passes have"
    first = next(iter(why.values()))
    return {one: step for one, step in steps.items() if step not in why}, (
        Notice("no_estimate", f"{passes} no FLOPs: {first.message}", first.hint),
    )


def _in_order(inputs: Inputs) -> list[tuple[int, str, int, int | None]]:
    """Occurrence, phase, thread and request of each phase range, thread by thread in the order of their starts."""
    return inputs.connection.execute(
        "SELECT occurrence_id, phase, global_tid, request_id FROM attribute.phase_ranges ORDER BY global_tid, start_ns"
    ).fetchall()


def _requests(inputs: Inputs) -> list[tuple[list[int], list[int], list[int]]]:
    """Occurrences of `vision`, `encoder` and prefill of each request; without request ranges each prefill is one."""
    kinds = (VISION, ENCODER, markers.PREFILL)
    rows = inputs.connection.execute(
        "SELECT occurrence_id, phase, request_id FROM attribute.phase_ranges WHERE phase IN (?, ?, ?) "
        "ORDER BY global_tid, start_ns",
        list(kinds),
    ).fetchall()
    requests: dict[tuple[str, int], tuple[list[int], list[int], list[int]]] = defaultdict(lambda: ([], [], []))
    for occurrence, phase, request in rows:
        key = ("occurrence", occurrence) if request is None else ("request", request)
        requests[key][kinds.index(phase)].append(occurrence)
    return list(requests.values())
