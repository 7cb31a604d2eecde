"""Closed forms against the mask itself, counted cell by cell."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nsys_pipeline.model.masks import bidirectional_pairs, cached_keys, causal_pairs, double_pairs

small = st.integers(0, 40)
width = st.one_of(st.none(), st.integers(1, 20))


def visible(query: int, key: int, window: int | None, chunk: int | None) -> bool:
    if key > query:
        return False
    if chunk is not None:
        return key // chunk == query // chunk
    return window is None or query - key < window


@given(q=small, cached=small, window=width)
def test_a_causal_window_counts_the_cells_of_its_mask(q: int, cached: int, window: int | None) -> None:
    cells = sum(visible(i, j, window, None) for i in range(cached, cached + q) for j in range(cached + q))
    assert causal_pairs(q, cached, window) == cells


@given(q=small, cached=small, chunk=st.integers(1, 20))
def test_chunks_count_the_cells_of_their_mask(q: int, cached: int, chunk: int) -> None:
    cells = sum(visible(i, j, None, chunk) for i in range(cached, cached + q) for j in range(cached + q))
    assert causal_pairs(q, cached, chunk=chunk) == cells


@given(q=st.integers(1, 40), cached=small, window=width)
def test_cached_keys_are_those_that_some_new_token_sees(q: int, cached: int, window: int | None) -> None:
    seen = {j for i in range(cached, cached + q) for j in range(cached) if visible(i, j, window, None)}
    assert cached_keys(cached, window) == len(seen)


@given(tokens=small, window=st.integers(1, 20))
def test_a_window_to_both_sides_counts_the_cells_of_its_mask(tokens: int, window: int) -> None:
    cells = sum(abs(i - j) < window for i in range(tokens) for j in range(tokens))
    assert bidirectional_pairs(tokens, window) == (cells if tokens else 0)


@given(tokens=small, chunk=st.integers(1, 20))
def test_blocks_count_the_cells_of_their_mask(tokens: int, chunk: int) -> None:
    cells = sum(i // chunk == j // chunk for i in range(tokens) for j in range(tokens))
    assert bidirectional_pairs(tokens, chunk=chunk) == cells


def test_conventions_differ_only_in_the_square_of_new_tokens() -> None:
    assert double_pairs("exact", 4, 10) == 2 * (4 * 10 + 10)
    assert double_pairs("half", 4, 10) == 2 * 4 * 10 + 16
    assert double_pairs("full", 4, 10) == 2 * 4 * 14


def test_full_keeps_a_windows_cache_but_ignores_its_mask() -> None:
    assert double_pairs("full", 16, 0, window=4) == 2 * 16 * 16
    assert double_pairs("full", 1, 16, window=4) == 2 * 4
    assert double_pairs("exact", 1, 16, window=4) == 2 * 4


def test_without_a_causal_mask_conventions_agree() -> None:
    assert {double_pairs(mode, 5, 0, causal=False) for mode in ("exact", "half", "full")} == {50}
