"""Columns of numbers of which some are known within bounds only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from nsys_pipeline.records import Bound
from nsys_pipeline.report.document import Column, Value
from nsys_pipeline.report.numbers import signed


def bounded(
    exact: Sequence[Value],
    least: Sequence[Value],
    most: Sequence[Value],
    make: Callable[[list[Value]], Column],
    signs: Sequence[Bound | None],
) -> Column:
    """A column of exact numbers where they are known, else of their bounds; `signs`: of those that are not exact."""
    # All of them in one column have equally many decimals.
    column = make([*exact, *least, *most])
    size = len(exact)
    cells = list(column.cells[:size])
    for index in range(size):
        sign = signs[index]
        if exact[index] is None and least[index] is not None:
            low, high = column.cells[size + index], column.cells[2 * size + index]
            if sign is Bound.neither or (sign is Bound.most and most[index] is None):
                cells[index] = signed(low, Bound.neither)
            elif sign is Bound.most:
                cells[index] = signed(high, sign)
            else:
                is_open = most[index] is None or sign is Bound.least
                cells[index] = signed(low, Bound.least) if is_open else f"{low}–{high}"
        elif exact[index] is not None:
            cells[index] = signed(cells[index], sign)
    values = [low if value is None else value for value, low in zip(exact, least, strict=True)]
    return attrs.evolve(column, cells=cells, values=values)
