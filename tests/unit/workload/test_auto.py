"""Phase and shape of a forward pass, from what the host knows."""

from __future__ import annotations

import pytest

from nsys_pipeline.workload.auto import _cached_tokens, _count_tokens, _kept_positions, phase_of


@pytest.mark.parametrize(
    ("q_tokens", "kv_tokens", "expected"),
    [(128, 0, "prefill"), (1, 0, "prefill"), (1, 128, "decode"), (64, 64, "prefill"), (1, None, "decode")],
)
def test_phases_of_a_loop_of_one_s_own(q_tokens: int, kv_tokens: int | None, expected: str) -> None:
    assert phase_of(q_tokens=q_tokens, kv_tokens=kv_tokens) == expected


@pytest.mark.parametrize(
    ("q_tokens", "kv_tokens", "is_prefilled", "expected"),
    [
        (128, 0, False, "prefill"),
        # the last chunk of a prompt may be one token
        (1, 128, False, "prefill"),
        (1, 129, True, "decode"),
        # several tokens that were guessed
        (5, 129, True, "verify"),
        # no cache: everything once more
        (130, 0, True, "decode"),
    ],
)
def test_phases_inside_generate(q_tokens: int, kv_tokens: int, is_prefilled: bool, expected: str) -> None:
    assert phase_of(q_tokens=q_tokens, kv_tokens=kv_tokens, is_prefilled=is_prefilled) == expected


class DynamicCache:
    def get_seq_length(self) -> int:
        return 7


class StaticCache:
    """Its count is on the device: asking for it would stop the host."""

    def get_seq_length(self) -> int:
        raise AssertionError("the GPU was asked")

    def reset(self) -> str:
        return "reset"


def test_cached_tokens() -> None:
    assert _cached_tokens(None) == 0
    assert _cached_tokens(DynamicCache()) == 7


def test_a_static_cache_is_counted_here() -> None:
    cache = StaticCache()
    assert _cached_tokens(cache) == 0
    _count_tokens(cache, 10)
    _count_tokens(cache, 11)
    assert _cached_tokens(cache) == 11
    assert cache.reset() == "reset"
    assert _cached_tokens(cache) == 0


@pytest.mark.parametrize(("arguments", "expected"), [({}, 9), ({"logits_to_keep": 0}, 9), ({"logits_to_keep": 1}, 1)])
def test_kept_positions(arguments: dict[str, int], expected: int) -> None:
    assert _kept_positions(arguments, 9) == expected
