"""Sequences that have ended while others of their batch go on: what each step computes for them is padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from nsys_pipeline.records import Step

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def steps_without_ended(con: DuckDBPyConnection, steps: Mapping[int, Step]) -> dict[int, Step]:
    """Those of `steps` whose request's mark says which of their sequences had ended, without these."""
    rows = con.execute("SELECT occurrence_id, written, tokens FROM attribute.written_tokens").fetchall()
    found: dict[int, Step] = {}
    for occurrence, written, tokens in rows:
        step = steps.get(occurrence)
        if step is not None and tokens and step.batch % len(tokens) == 0:
            found[occurrence] = without_ended(step, written, tokens)
    return found


def without_ended(step: Step, written: int, tokens: Sequence[int]) -> Step:
    """`step` with nothing new of the sequences that wrote no more than `written` tokens; `padded` has what it computes.

    Where the batch is several times larger than `tokens`, so many of its sequences stand behind each other for each.
    """
    times = step.batch // len(tokens)
    goes_on = [total > written for total in tokens for _ in range(times)]
    step = attrs.evolve(step, may_have_ended=False)
    if all(goes_on):
        return step
    run = step.padded or step
    kept = run.logits // run.batch
    q_tokens = [new if live else 0 for new, live in zip(step.q_tokens, goes_on, strict=True)]
    return attrs.evolve(step, q_tokens=q_tokens, logits=sum(min(kept, new) for new in q_tokens), padded=run)
