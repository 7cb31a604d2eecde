"""What a pass is: decode (one token of each sequence) or prefill (many).

Evidence: blocks of the activations' grids count tokens, blocks of the sampling's grid count sequences, and products,
lookups and attention kernels that are made for a few rows say that there are few. A pass is named only if all agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import attrs

from nsys_pipeline.infer.launches import LAYER_ROLES, Launch, Pass, lookups_before

#: More tokens for each sequence than a decode step: 4 times. An engine pads its batches, at most to twice the size.
PROMPT_RATIO = 4.0
#: And at least so much larger grids: kernels that are tried out before a CUDA graph run many times, and are as small.
LARGER_RATIO = 2.0
DECODE_RATIO = 1.5
PADDED_RATIO = 3.0
#: Products of so many rows are of a few; or of twice as many rows as there are sequences.
FEW_ROWS = 16
#: Decode steps that are believed without any prefill beside them.
MIN_DECODES = 8
#: Share of these that must look up what the one before has sampled; and of all decode steps, that must add to a cache.
MIN_READING_RATIO = 0.9


@attrs.frozen
class _Sizes:
    """`tokens`: of a sequence, in a unit that all passes of a thread share; None if unknown.

    `grid`: that of one kernel, in the same unit. `is_few`: few rows, and without a cache of pages, none that the host
    gives.
    """

    one: Pass
    tokens: float | None
    grid: float
    is_few: bool


def name_passes(launches: Sequence[Launch], passes: Sequence[Pass], *, is_paged: bool) -> None:
    """Set the names of `passes` of one thread. `is_paged`: of an engine whose passes may mix prompts and decoding."""
    _fill_rows(passes)
    sizes = [_size_of(launches, one, is_paged=is_paged) for one in passes]
    one_token = _one_token(sizes)
    has_prompt = one_token is not None and any(_is_prompt(size, one_token) for size in sizes)
    if one_token is None:
        return
    # Encoders with short and long inputs have no cache.
    few = [size.one for size in sizes if size.is_few and size.one.layers]
    is_decoding = has_prompt or _reads_what_it_sampled(launches, passes)
    is_decoding &= _adds_to_cache(launches, few, has_prompt=has_prompt)
    if not (is_paged or is_decoding):
        return
    highest = PADDED_RATIO if is_paged else DECODE_RATIO
    for size in sizes:
        if size.tokens is None:
            continue
        if size.is_few and size.tokens <= highest * (one_token.tokens or 0):
            size.one.name = "decode"
        elif _is_prompt(size, one_token) and not is_paged:
            # A pass of an engine may hold requests that decode, too: nothing in it tells.
            size.one.name = "prefill"
    if not is_paged:
        _name_first_steps(launches, sizes, DECODE_RATIO * (one_token.tokens or 0))
        _name_graphs(passes)


def _size_of(launches: Sequence[Launch], one: Pass, *, is_paged: bool) -> _Sizes:
    tokens = _tokens(launches, one)
    activations = launches[one.last].activations - launches[one.body].activations
    # A pass whose tokens the host gives is a short prompt, or of a classifier, rather than a step of decoding.
    is_few = _is_for_few_rows(launches, one) and (is_paged or not _is_fed(launches, one))
    return _Sizes(one, tokens, (tokens or 0) / max(activations, 1), is_few)


def _one_token(sizes: Sequence[_Sizes]) -> _Sizes | None:
    """A pass of one token for each sequence; None if that cannot be told from short prompts."""
    few = [size for size in sizes if size.is_few and size.one.layers]
    known = sorted((size for size in few if size.tokens is not None), key=lambda size: size.tokens or 0)
    if not known or len(known) < 0.9 * len(few):
        return None
    one_token = known[len(known) // 20]
    prompts = [_is_prompt(size, one_token) for size in sizes]
    if not any(prompts) and len(known) < MIN_DECODES:
        return None
    layers = min(size.one.layers for size in few)
    # More layers in a pass that is no prompt: two models, one of which may draft for the other.
    if any(
        size.one.layers > layers and (size.is_few or not is_prompt)
        for size, is_prompt in zip(sizes, prompts, strict=True)
    ):
        return None
    return one_token


def _is_prompt(size: _Sizes, one_token: _Sizes) -> bool:
    if size.tokens is None or one_token.tokens is None:
        return False
    return size.tokens >= PROMPT_RATIO * one_token.tokens and size.grid >= LARGER_RATIO * one_token.grid


def _reads_what_it_sampled(launches: Sequence[Launch], passes: Sequence[Pass]) -> bool:
    """Whether passes look up the tokens of the pass before them, and not what the host gives, as classifiers do."""
    followed = [(before, one) for before, one in pairwise(passes) if one.is_chained and before.tail is not None]
    reading = 0
    for before, one in followed:
        lookups = lookups_before(launches, one.first)
        between = launches[(before.tail or before.last) + 1 : lookups[-1]] if lookups else ()
        reading += bool(lookups) and not any(launch.role == "to_device" for launch in between)
    return reading >= MIN_READING_RATIO * max(len(followed), 1)


def _adds_to_cache(launches: Sequence[Launch], passes: Sequence[Pass], *, has_prompt: bool) -> bool:
    """Whether the layers of most passes write to a cache, or have attention kernels that are made for decoding.

    A recurrence keeps its state itself: beside prompts that is enough.
    """
    writing = sum(
        launches[one.last].stores - launches[one.first].stores >= one.layers - 1
        or any(
            launch.is_few if launch.role == "attention" else has_prompt and launch.role == "recurrence"
            for launch in launches[one.first : one.last + 1]
        )
        for one in passes
    )
    return writing >= MIN_READING_RATIO * len(passes)


def _is_fed(launches: Sequence[Launch], one: Pass) -> bool:
    """Whether something is copied to the GPU after the sampling before the pass, and before its lookups and layers."""
    index = (lookups_before(launches, one.first) or [one.first])[-1]
    while index > 0 and launches[index - 1].role not in (*LAYER_ROLES, "sample", "graph"):
        index -= 1
        if launches[index].role == "to_device":
            return True
    return False


def _name_first_steps(launches: Sequence[Launch], sizes: Sequence[_Sizes], most_tokens: float) -> None:
    """The first step after a prompt may be given what the steps after it only change: it is like these."""
    for before, size, after in zip(sizes, sizes[1:], sizes[2:], strict=False):
        is_between = before.one.name == "prefill" and after.one.name == "decode"
        is_chained = size.one.is_chained and after.one.is_chained
        is_one_token = size.tokens is not None and size.tokens <= most_tokens
        if is_between and is_chained and is_one_token and _is_for_few_rows(launches, size.one):
            size.one.name = "decode"


def _name_graphs(passes: Sequence[Pass]) -> None:
    """A graph that is launched again and again after a prompt is the step that follows a prompt.

    The one step between them, in which the kernels of the graph are tried out, may be untold.
    """
    is_after = False
    before: Pass | None = None
    for one in passes:
        if one.graphs and not one.layers and one.is_chained and is_after:
            one.name = "decode"
        is_tried = one.is_chained and before is not None and before.name == "prefill"
        is_after = one.name is not None or is_tried
        before = one


def _fill_rows(passes: Sequence[Pass]) -> None:
    """A pass that is sampled inside a graph has as many sequences as the others, if they all have the same number."""
    known = {one.rows for one in passes if one.rows}
    if len(known) == 1:
        for one in passes:
            one.rows = one.rows or min(known)


def _tokens(launches: Sequence[Launch], one: Pass) -> float | None:
    first, last = launches[one.body], launches[one.last]
    count = last.activations - first.activations
    blocks = last.activation_blocks - first.activation_blocks
    # A grid of one block says nothing about how few tokens there are.
    if one.layers < 2 or not one.rows or not count or blocks < 2 * count:
        return None
    return blocks / one.rows


def _is_for_few_rows(launches: Sequence[Launch], one: Pass) -> bool:
    first, last = launches[one.body], launches[one.last]
    gemms, tile_rows = last.gemms - first.gemms, last.tile_rows - first.tile_rows
    if gemms and tile_rows <= max(FEW_ROWS, 2 * one.rows) * gemms:
        return True
    if any(launch.is_few for launch in launches[one.body : one.last + 1] if launch.role == "attention"):
        return True
    lookups = [launches[index].is_few for index in lookups_before(launches, one.first)]
    return bool(lookups) and all(lookups)
