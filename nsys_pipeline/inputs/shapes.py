"""Which shape each occurrence of a phase has: from the marks in the trace, else from what the user says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from nsys_pipeline import markers
from nsys_pipeline.duck import create_from_rows
from nsys_pipeline.errors import UsageError
from nsys_pipeline.inputs.ended import steps_without_ended
from nsys_pipeline.inputs.images import with_images, with_prompts, with_seen, with_whole_images
from nsys_pipeline.inputs.ranges import role_of
from nsys_pipeline.inputs.training import OPTIMIZER, training_steps
from nsys_pipeline.records import Notice, Step

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from nsys_pipeline.inputs.inputs import Inputs
    from nsys_pipeline.inputs.options import RequestShape
    from nsys_pipeline.rules.stated import StatedStep


@attrs.frozen
class _Occurrence:
    id: int
    phase: str
    thread: int
    request: int | None


@attrs.frozen
class AssignedSteps:
    """The step of each occurrence whose shape is known, by occurrence id, and what there is to say about the rest."""

    by_occurrence: Mapping[int, Step]
    notices: tuple[Notice, ...] = ()

    @cached_property
    def distinct(self) -> tuple[Step, ...]:
        """The distinct steps: a step's place is its shape id."""
        return tuple(dict.fromkeys(self.by_occurrence.values()))

    @cached_property
    def unsized(self) -> frozenset[str]:
        """Of `images` and `audio`, what some step encodes of sizes that nobody knows."""
        return frozenset(kind for step in self.distinct for kind in step.unsized)

    @cached_property
    def ids(self) -> Mapping[int, int]:
        """Shape id of each occurrence."""
        places = {step: index for index, step in enumerate(self.distinct)}
        return {occurrence: places[step] for occurrence, step in self.by_occurrence.items()}


def assign_steps(inputs: Inputs) -> AssignedSteps:
    """Give each occurrence its step: as marks say, else as the text of an engine's range says, else as the user says.

    Raises UsageError where there are several request shapes and their number is not the number of requests of a
    thread, and where prompts have fewer tokens than their images.
    """
    assigned = _assigned(inputs)
    steps, broken = with_whole_images(inputs, assigned.by_occurrence)
    steps, notices = with_images(inputs, steps)
    steps, more = with_seen(inputs, steps)
    known, rest = with_prompts(inputs, steps)
    return AssignedSteps(known, (*assigned.notices, *broken, *notices, *more, *rest))


def _assigned(inputs: Inputs) -> AssignedSteps:
    request_shapes = inputs.options.shapes
    steps, notices = _traced_steps(inputs, inputs.run.max_context)
    others = inputs.run.others
    steps = {occurrence: step for occurrence, step in steps.items() if occurrence not in others}
    is_marked = bool(steps)
    steps, is_training = training_steps(inputs.connection, steps, request_shapes)
    if not request_shapes or (is_training and not is_marked):
        return AssignedSteps(steps, tuple(notices))
    unmarked = [one for one in _occurrences(inputs.connection) if one.id not in steps and one.id not in others]
    # That an optimizer runs says nothing of tokens.
    is_told = any(step.part != OPTIMIZER for step in steps.values())
    if is_told and not unmarked:
        notices.append(
            Notice("shapes_ignored", "the trace carries its own step shapes; the ones on the command line are not used")
        )
    matched = 0
    requests = list(_requests(unmarked))
    if not is_told and not requests:
        notices.append(_no_requests(inputs.connection))
    by_thread: dict[int, list[list[_Occurrence]]] = defaultdict(list)
    for request in requests:
        by_thread[request[0].thread].append(request)
    for thread_requests in by_thread.values():
        for request, shape in zip(thread_requests, _pair(thread_requests, request_shapes), strict=True):
            if shape is not None:
                matched += 1
                decodes = [occurrence for occurrence in request if occurrence.phase == markers.DECODE]
                reads = inputs.run.model is not None and inputs.run.model.architecture.reads_prompt_in_encoder
                prefill, *decode_steps = shape.steps(len(decodes), is_read_by_encoder=reads)
                for occurrence in request:
                    if occurrence.phase == markers.PREFILL:
                        steps[occurrence.id] = prefill
                steps.update((one.id, step) for one, step in zip(decodes, decode_steps, strict=True))
    if unmarked and matched < len(requests):
        notices.append(
            Notice(
                "requests_without_shape",
                f"{len(requests) - matched} of {len(requests)} requests do not fit the given shape and have no MFU",
                "give every request's shape in order: --shape 1x128+4 --shape 1x2048+32 …",
            )
        )
    return AssignedSteps(steps, tuple(notices))


def _no_requests(con: DuckDBPyConnection) -> Notice:
    rows = con.execute("SELECT DISTINCT phase FROM attribute.phase_ranges ORDER BY phase").fetchall()
    phases = " and ".join(filter(None, [", ".join(name for (name,) in rows[:-1]), *(name for (name,) in rows[-1:])]))
    has = f": its phases are {phases}" if phases else ""
    return Notice(
        "shapes_without_requests",
        f"the given shapes are of requests, and the trace has no prefill and no decode{has}; the shapes are not used",
        "if other ranges are passes of requests, say which with --phase prefill=REGEX and --phase decode=REGEX;"
        " of training, with --phase forward=REGEX and --phase backward=REGEX",
    )


def marked_steps(con: DuckDBPyConnection) -> tuple[dict[int, Step], list[Notice]]:
    """What marks in the trace say, and what there is to say about those that cannot be read."""
    rows = con.execute("FROM attribute.step_marks").fetchall()
    steps: dict[int, Step] = {}
    known: dict[str, Step | None] = {}
    for occurrence_id, text in rows:
        if text not in known:
            try:
                known[text] = markers.decode_step(text.removeprefix(markers.STEP_MARK))
            except ValueError:
                known[text] = None
        if (step := known[text]) is not None:
            steps[occurrence_id] = step
    bad = sum(step is None for step in known.values())
    notices = [Notice("bad_step_marks", f"{bad} step marks cannot be read and are ignored")] if bad else []
    steps |= steps_without_ended(con, steps)
    return steps | _corrected_steps(con, steps), notices


def _corrected_steps(con: DuckDBPyConnection, steps: Mapping[int, Step]) -> dict[int, Step]:
    """Steps of engines that schedule ahead of what they know, with the cached tokens that later steps show."""
    rows = con.execute(
        "SELECT occurrence_id, list(new_tokens), list(cached_tokens) FROM attribute.step_sequences WHERE is_ahead "
        "GROUP BY occurrence_id"
    ).fetchall()
    return {
        occurrence: attrs.evolve(steps[occurrence], q_tokens=new, kv_tokens=cached)
        for occurrence, new, cached in rows
        if occurrence in steps and len(new) == steps[occurrence].batch
    }


def _traced_steps(inputs: Inputs, max_context: int | None) -> tuple[dict[int, Step], list[Notice]]:
    """What the trace itself says: marks, else the texts of engines' ranges."""
    steps, notices = inputs.marked_steps
    return {**_stated_steps(inputs, max_context), **steps}, list(notices)


def _check_context(name: str, stated: StatedStep, told: int | None) -> None:
    """Raise UsageError where the longest sequence that the user tells is shorter than one of the step."""
    if told is not None and stated.least_context > told:
        raise UsageError(
            f"--max-context {told}: a request of the step `{name}` has {stated.least_context:,} tokens or more",
            hint="give the longest sequence that the engine takes (vLLM's max-model-len, SGLang's context-length)",
        )


def _stated_steps(inputs: Inputs, max_context: int | None) -> dict[int, Step]:
    """What the texts of engines' ranges say, by occurrence id."""
    rows = inputs.connection.execute(
        "SELECT occurrence_id, domain, name FROM attribute.phase_texts WHERE domain <> ?", [markers.DOMAIN]
    ).fetchall()
    steps: dict[int, Step] = {}
    known: dict[tuple[str, str], Step | None] = {}
    for occurrence_id, domain, name in rows:
        if (domain, name) not in known:
            role = role_of(inputs, domain, name)
            stated = role.stated if role else None
            if stated:
                _check_context(name, stated, inputs.options.max_context)
            known[domain, name] = stated.step(max_context) if stated else None
        if (step := known[domain, name]) is not None:
            steps[occurrence_id] = step
    return steps


def _occurrences(con: DuckDBPyConnection) -> list[_Occurrence]:
    rows = con.execute(
        "SELECT occurrence_id, phase, global_tid, request_id FROM attribute.phase_ranges "
        "WHERE phase IN ('prefill', 'decode') ORDER BY global_tid, start_ns"
    ).fetchall()
    return [_Occurrence(*row) for row in rows]


def _requests(occurrences: Iterable[_Occurrence]) -> Iterable[list[_Occurrence]]:
    """Occurrences of one request each: those in one `request` range, else from one prefill to the next."""
    current: list[_Occurrence] = []
    for occurrence in occurrences:
        last = current[-1] if current else None
        if last and (
            occurrence.thread != last.thread
            or occurrence.request != last.request
            or (occurrence.request is None and occurrence.phase == markers.PREFILL)
        ):
            yield current
            current = []
        current.append(occurrence)
    if current:
        yield current


def _pair(requests: Sequence[Sequence[_Occurrence]], shapes: Sequence[RequestShape]) -> list[RequestShape | None]:
    """The shape of each request of a thread: the only one, or its own, in order; None where decode steps say no.

    The number of decode steps alone does not tell which of several shapes a request has: there are others of as many.
    """
    if len(shapes) not in (1, len(requests)):
        raise UsageError(
            f"{len(shapes)} shapes for {len(requests)} requests of a thread, warm-up included",
            hint="give one --shape for all of them, or one for each in order",
        )
    decodes = [sum(occurrence.phase == markers.DECODE for occurrence in request) for request in requests]
    given = shapes if len(shapes) == len(requests) else list(shapes) * len(requests)
    return [shape if shape.new_tokens in (None, count) else None for shape, count in zip(given, decodes, strict=True)]


def create_occurrence_shapes(inputs: Inputs) -> None:
    """`input.occurrence_shapes`: which shape an occurrence has."""
    types = {"occurrence_id": "BIGINT", "shape_id": "BIGINT"}
    create_from_rows(inputs.connection, "input.occurrence_shapes", types, inputs.steps.ids.items())


def create_shapes(inputs: Inputs) -> None:
    """`input.shapes`: one row per distinct step."""
    types = {
        "shape_id": "BIGINT", "label": "VARCHAR", "batch": "BIGINT", "new_tokens": "BIGINT",
        "cached_tokens": "BIGINT", "logits": "BIGINT", "kind": "VARCHAR", "padding_tokens": "BIGINT",
        "is_unread": "BOOLEAN", "may_have_ended": "BOOLEAN", "counts_encoder_again": "BOOLEAN", "part": "VARCHAR",
        "head": "VARCHAR",
    }  # fmt: skip
    rows = (
        (
            index,
            _label(step),
            step.batch,
            *_known_tokens(step),
            step.logits,
            _kind(step),
            step.padding_tokens,
            step.is_unread,
            step.may_have_ended,
            step.counts_encoder_again,
            step.part,
            step.head,
        )
        for index, step in enumerate(inputs.steps.distinct)
    )
    create_from_rows(inputs.connection, "input.shapes", types, rows)


def create_step_sizes(inputs: Inputs) -> None:
    """`input.step_sizes`: how much work an occurrence has, whichever model does it; its context NULL if not known."""
    types = {
        "occurrence_id": "BIGINT", "kind": "VARCHAR", "label": "VARCHAR", "batch": "BIGINT", "new_tokens": "BIGINT",
        "cached_tokens": "BIGINT",
    }  # fmt: skip
    steps, _ = training_steps(inputs.connection, _traced_steps(inputs, None)[0], ())
    if inputs.options.shapes:
        steps = {**inputs.steps.by_occurrence, **steps}
    # The time of a padded batch is that of all that it computes.
    sizes = {
        step: (_kind(step), _label(step), step.batch, *_known_tokens(step.executed))
        for step in dict.fromkeys(steps.values())
    }
    rows = ((occurrence, *sizes[step]) for occurrence, step in steps.items())
    create_from_rows(inputs.connection, "input.step_sizes", types, rows)


def _known_tokens(step: Step) -> tuple[int | None, int | None]:
    """New and cached tokens, None where they are not known; new ones may still be in the text of the range."""
    if step.part == OPTIMIZER:
        return None, None
    if step.is_exact:
        return step.new_tokens, sum(step.kv_tokens)
    return None, step.sums.cached if step.sums else None


def _uniform(values: Sequence[int]) -> str:
    return str(values[0]) if len(set(values)) == 1 else f"{min(values)}..{max(values)}"


def _label(step: Step) -> str:
    if step.part == OPTIMIZER or not step.batch:
        return _kind(step)
    return f"{_kind(step)} @{_uniform(step.kv_tokens) if step.is_exact else '?'}"


def _kind(step: Step) -> str:
    """Batch and query length: decode steps of one batch are of one kind whatever their context."""
    if step.part == OPTIMIZER:
        return "AdamW"
    if not step.batch:
        return _beside(step) or "empty"
    is_bounded = step.upper is not None and (step.batch == 1 or set(step.q_tokens) == {1})
    is_known = step.is_exact or step.q_is_known or is_bounded
    # Those that have ended are not in the way of the others: theirs is a step of the same kind.
    q_tokens = [new for new in step.q_tokens if new] or step.executed.q_tokens
    kind = f"{step.batch}x{_uniform(q_tokens) if is_known else '?'}"
    return " + ".join(filter(None, (kind, _beside(step))))


def _beside(step: Step) -> str:
    """Images and clips of sound of a pass; empty without any."""
    told = (len(step.images), "image"), (len(step.audio), "clip")
    known = [f"{number} {kind}{'s' * (number > 1)}" for number, kind in told if number]
    return " + ".join((*known, *(f"{kind} of unknown size" for kind in step.unsized)))
