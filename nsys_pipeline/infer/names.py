"""What a pass is: decode (one token of each sequence) or prefill (many).

Evidence: blocks of the activations' grids count tokens, blocks of the sampling's grid count sequences, and products,
lookups and attention kernels that are made for a few rows say that there are few. A pass is named only if all agree.
"""

from __future__ import annotations

from collections.abc import Sequence

from nsys_pipeline.infer.launches import Launch, Pass, lookups_before

#: More tokens for each sequence than a decode step: 4 times. An engine pads its batches, at most to twice the size.
PROMPT_RATIO = 4.0
DECODE_RATIO = 1.5
PADDED_RATIO = 3.0
#: Products of so many rows are of a few; or of twice as many rows as there are sequences.
FEW_ROWS = 16
#: Decode steps that are believed without any prefill beside them.
MIN_DECODES = 8


def name_passes(launches: Sequence[Launch], passes: Sequence[Pass], *, is_paged: bool) -> None:
    """Set the names of `passes` of one thread. `is_paged`: of an engine whose passes may mix prompts and decoding."""
    _fill_rows(passes)
    layers = min((one.layers for one in passes if one.layers), default=0)
    tokens = [_tokens_per_sequence(launches, one) for one in passes]
    few = [_is_for_few_rows(launches, one) for one in passes]
    for_few = [ratio for ratio, is_few, one in zip(tokens, few, passes, strict=True) if is_few and one.layers]
    known = sorted(ratio for ratio in for_few if ratio is not None)
    if not known or len(known) < 0.9 * len(for_few):
        return
    one_token = known[len(known) // 20]
    if len(known) < MIN_DECODES and not any(ratio is not None and ratio >= PROMPT_RATIO * one_token for ratio in tokens):
        return
    if any(
        one.layers > layers and (is_few or ratio is None or ratio < PROMPT_RATIO * one_token)
        for one, ratio, is_few in zip(passes, tokens, few, strict=True)
    ):
        # More layers in a pass that is no prompt: two models, one of which may draft for the other.
        return
    highest = PADDED_RATIO if is_paged else DECODE_RATIO
    for one, ratio, is_few in zip(passes, tokens, few, strict=True):
        if ratio is None:
            continue
        if is_few and ratio <= highest * one_token:
            one.name = "decode"
        elif ratio >= PROMPT_RATIO * one_token:
            one.name = "prefill"
    before: Pass | None = None
    for one in passes:
        if one.graphs and not one.layers and one.is_chained and before is not None and before.name and not is_paged:
            # A graph that is launched again and again after a prompt is the step that follows a prompt.
            one.name = "decode"
        before = one
    if is_paged:
        for one in passes:
            # It may hold requests that decode, too: nothing in it tells.
            if one.name == "prefill":
                one.name = None


def _fill_rows(passes: Sequence[Pass]) -> None:
    """A pass that is sampled inside a graph has as many sequences as the others, if they all have the same number."""
    known = {one.rows for one in passes if one.rows}
    if len(known) == 1:
        for one in passes:
            one.rows = one.rows or min(known)


def _tokens_per_sequence(launches: Sequence[Launch], one: Pass) -> float | None:
    first, last = launches[one.body], launches[one.last]
    count = last.activations - first.activations
    blocks = last.activation_blocks - first.activation_blocks
    # A grid of one block says nothing about how few tokens there are.
    if one.layers < 2 or not one.rows or blocks < 2 * count or not count:
        return None
    return blocks / one.rows


def _is_for_few_rows(launches: Sequence[Launch], one: Pass) -> bool:
    first, last = launches[one.body], launches[one.last]
    gemms, tile_rows = last.gemms - first.gemms, last.tile_rows - first.tile_rows
    attention = any(launch.is_few for launch in launches[one.body : one.last + 1] if launch.role == "attention")
    lookups = [launches[index].is_few for index in lookups_before(launches, one.first)]
    return attention or (gemms > 0 and tile_rows <= max(FEW_ROWS, 2 * one.rows) * gemms) or (bool(lookups) and all(lookups))
