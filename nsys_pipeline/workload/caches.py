"""What the cache of a transformers model holds, whatever it is called and without a question to the GPU.

A cache is known by what it can do, not by the argument that hands it on: `past_key_values` became `cache` in
transformers 5.24, and so did `cache_params` of recurrent models. A growing cache knows its length from the shapes of
its tensors. A static one keeps its count on the device, and the state of a recurrent model is as large after one token
as after many: for both, the tokens that went through are counted here.

Standard library only, so that it can be loaded into any program.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# Looked at in this order, before any other argument. transformers 5.24 has the first, 4.46 to 5.23 the others.
_NAMES = ("cache", "past_key_values", "cache_params")
# Static caches of transformers 4, whose names do not say so.
_STATIC = frozenset({"HybridCache", "HybridChunkedCache", "OffloadedHybridCache", "SlidingWindowCache"})
_COUNT = "_llmperf_tokens"


def find_cache(arguments: Mapping[str, Any]) -> Any:
    """Return the cache among the arguments of a forward pass, or among the fields of its output; None without one."""
    for name in _NAMES:
        value = arguments.get(name)
        if _is_cache(value) or (isinstance(value, (tuple, list)) and value):
            return value
    # The state of another part of the model (an encoder's, a codec's) bears that part's name.
    others = (value for name, value in arguments.items() if "_cache" not in name and "_past" not in name)
    return next((value for value in others if _is_cache(value)), None)


def cache_keyword(model: Any) -> str:
    """By what name the forward pass of `model` takes its cache."""
    taken = inspect.signature(type(model).forward).parameters
    return next((name for name in _NAMES if name in taken), _NAMES[1])


def held_tokens(cache: Any) -> int | None:
    """How many tokens of each sequence `cache` holds; None where the host cannot know, 0 without a cache."""
    if cache is None:
        return 0
    if isinstance(cache, (tuple, list)):
        return _tuple_tokens(cache)
    cache = _decoder_side(cache)
    if getattr(cache, "has_previous_state", None) is False:
        # A hybrid of transformers 4: what it allocates before the first token is not empty.
        return 0
    is_static = _is_static(cache)
    if not is_static:
        with contextlib.suppress(Exception):
            tokens = cache.get_seq_length()
            # A tensor would have to be waited for.
            if isinstance(tokens, int):
                return tokens
    counted: int | None = getattr(cache, _COUNT, 0 if is_static else None)
    return counted


def allocated_tokens(cache: Any) -> int | None:
    """How many positions of each sequence a static `cache` has, filled or not; None of other caches."""
    if cache is None or isinstance(cache, (tuple, list)):
        return None
    cache = _decoder_side(cache)
    if not _is_static(cache):
        return None
    owners: Iterable[Any] = (cache, *(getattr(cache, "layers", None) or ()))
    sizes = [getattr(owner, "max_cache_len", None) for owner in owners]
    return max((size for size in sizes if isinstance(size, int)), default=None)


def count_tokens(cache: Any, tokens: int) -> None:
    """Remember that `cache` holds `tokens` of each sequence, if it cannot tell itself."""
    if cache is None or isinstance(cache, (tuple, list)):
        return
    cache = _decoder_side(cache)
    if not _is_static(cache):
        with contextlib.suppress(Exception):
            if isinstance(cache.get_seq_length(), int):
                return
    # On the object, so that a deep copy (a prompt that several requests begin with) has it, too.
    setattr(cache, _COUNT, tokens)
    _follow(type(cache))


def has_gradients(cache: Any) -> bool:
    """Whether the keys that `cache` begins with have gradients, as those of prefix tuning."""
    with contextlib.suppress(Exception):
        if not isinstance(cache, (tuple, list)):
            cache = _decoder_side(cache)
            layers = getattr(cache, "layers", None)
            return bool((layers[0].keys if layers else cache.key_cache[0]).requires_grad)
        return bool(_first_keys(cache).requires_grad)
    return False


def _is_cache(value: Any) -> bool:
    return hasattr(value, "get_seq_length") or type(value).__name__.endswith("Cache")


def _decoder_side(cache: Any) -> Any:
    """Of two stacks, the cache that grows with each token; the other one holds the encoder's output."""
    return getattr(cache, "self_attention_cache", cache)


def _is_static(cache: Any) -> bool:
    if getattr(cache, "is_compileable", False):
        return True
    layers: Iterable[Any] = getattr(cache, "layers", None) or ()
    return any(map(_is_named_static, {type(cache), *map(type, layers)}))


@functools.cache
def _is_named_static(kind: type) -> bool:
    return any(each.__name__ in _STATIC or "Static" in each.__name__ for each in kind.__mro__)


def _first_keys(cache: tuple[Any, ...] | list[Any]) -> Any:
    """Keys of the first layer in the tuples of tensors that transformers 4 hands on."""
    return cache[0][0] if isinstance(cache[0], (tuple, list)) else cache[0]


def _tuple_tokens(cache: tuple[Any, ...] | list[Any]) -> int | None:
    """Tokens in such tuples: (…, tokens, size) for each layer's keys."""
    with contextlib.suppress(Exception):
        return int(_first_keys(cache).shape[-2])
    return None if cache else 0


_followed: set[type] = set()


def _follow(cache_class: type) -> None:
    """Have `reset` and `crop` of this class keep the count."""
    if cache_class in _followed:
        return
    _followed.add(cache_class)
    for name, counted in (("reset", lambda _held, *_: 0), ("crop", _after_crop)):
        method = getattr(cache_class, name, None)
        if method is not None:
            setattr(cache_class, name, _counting(method, counted))


def _counting(method: Callable[..., Any], counted: Callable[..., int]) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        # Taken first: a method of a base class may count, too.
        held = getattr(self, _COUNT, None)
        result = method(self, *args, **kwargs)
        if held is not None:
            with contextlib.suppress(Exception):
                setattr(self, _COUNT, counted(held, *args, *kwargs.values()))
        return result

    return wrapped


def _after_crop(held: int, length: int) -> int:
    """`crop` is told the length to keep, or a negative number of tokens to remove."""
    return max(0, held + length) if length < 0 else min(held, length)
