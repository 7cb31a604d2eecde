"""How many tokens a cache holds, from what the host knows."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from nsys_pipeline.workload.caches import count_tokens, find_cache, held_tokens


class DynamicCache:
    def get_seq_length(self) -> int:
        return 7


class OnTheDevice:
    """A tensor: to read it, the host would have to wait."""

    def __int__(self) -> int:
        raise AssertionError("the GPU was asked")


class StaticCache:
    def __init__(self) -> None:
        self.log: list[str] = []

    def get_seq_length(self) -> int:
        raise AssertionError("the GPU was asked")

    def reset(self) -> str:
        self.log.append("reset")
        return "reset"

    def crop(self, length: int) -> None:
        self.log.append(f"crop {length}")


class StaticLayer:
    pass


class LayeredCache:
    """As transformers 5 has it: one class for all, and layers that are static or grow."""

    def __init__(self, *layers: Any) -> None:
        self.layers = layers

    def get_seq_length(self) -> Any:
        return OnTheDevice()


class MambaCache:
    """A state without a length."""


class TwoStacks:
    def __init__(self, decoder: Any) -> None:
        self.self_attention_cache = decoder

    def get_seq_length(self) -> int:
        return int(self.self_attention_cache.get_seq_length())


class Keys:
    shape = (2, 4, 9, 8)


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        (None, 0),
        (DynamicCache(), 7),
        (TwoStacks(DynamicCache()), 7),
        ((), 0),
        (((Keys(), Keys()), (Keys(), Keys())), 9),
        ((Keys(), Keys()), 9),
        (((None, None),), None),
        (StaticCache(), 0),
        (LayeredCache(StaticLayer()), 0),
        (MambaCache(), None),
        (LayeredCache(), None),
    ],
)
def test_held_tokens(cache: Any, expected: int | None) -> None:
    assert held_tokens(cache) == expected


@pytest.mark.parametrize("make", [StaticCache, lambda: LayeredCache(StaticLayer()), MambaCache])
def test_what_cannot_tell_is_counted(make: Any) -> None:
    cache, other = make(), make()
    count_tokens(cache, 10)
    count_tokens(cache, 11)
    assert held_tokens(cache) == 11
    assert held_tokens(other) in (0, None)
    assert held_tokens(copy.deepcopy(cache)) == 11


def test_the_count_follows_what_the_program_does_with_the_cache() -> None:
    cache = StaticCache()
    count_tokens(cache, 12)
    copied = copy.deepcopy(cache)
    cache.crop(-2)
    assert held_tokens(cache) == 10
    cache.crop(4)
    assert held_tokens(cache) == 4
    cache.crop(8)
    assert held_tokens(cache) == 4
    assert cache.reset() == "reset"
    assert held_tokens(cache) == 0
    # the program's calls reached the cache that they were meant for
    assert cache.log == ["crop -2", "crop 4", "crop 8", "reset"]
    assert (held_tokens(copied), copied.log) == (12, [])


def test_a_count_does_not_hide_what_a_cache_says() -> None:
    cache = DynamicCache()
    count_tokens(cache, 3)
    assert held_tokens(cache) == 7


@pytest.mark.parametrize("name", ["cache", "past_key_values", "cache_params", "a_name_of_tomorrow"])
def test_a_cache_is_found_by_what_it_can_do(name: str) -> None:
    cache = DynamicCache()
    arguments = {"input_ids": [[1]], "use_cache": True, "encoder_past_key_values": TwoStacks(None), name: cache}
    assert find_cache(arguments) is cache


def test_what_is_no_cache() -> None:
    assert (
        find_cache({"input_ids": [[1]], "use_cache": True, "past_key_values": None, "encoder_outputs": (1, 2)}) is None
    )
