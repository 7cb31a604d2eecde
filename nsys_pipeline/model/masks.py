"""How many (query, key) pairs an attention layer computes, in closed form."""

from __future__ import annotations


def triangle(count: int) -> int:
    """1 + 2 + … + count."""
    return count * (count + 1) // 2


def causal_pairs(q: int, cached: int, window: int | None = None, chunk: int | None = None) -> int:
    """Pairs that a causal mask lets through for `q` new tokens over `cached` ones.

    The token at position p sees min(p + 1, window) keys, or the keys of its own chunk up to itself.
    """
    if chunk is not None:
        return _chunked(cached + q, chunk) - _chunked(cached, chunk)
    if window is None:
        return q * cached + triangle(q)
    return _windowed(cached + q, window) - _windowed(cached, window)


def _windowed(tokens: int, window: int) -> int:
    inside = min(tokens, window)
    return triangle(inside) + (tokens - inside) * window


def _chunked(tokens: int, chunk: int) -> int:
    return (tokens // chunk) * triangle(chunk) + triangle(tokens % chunk)


def cached_keys(cached: int, window: int | None = None, chunk: int | None = None) -> int:
    """Cached keys that at least one new token can see: those before the window of the first new token are dropped."""
    if chunk is not None:
        return cached % chunk
    if window is not None:
        return min(cached, window - 1)
    return cached


def double_pairs(
    mode: str, q: int, cached: int, window: int | None = None, chunk: int | None = None, *, causal: bool = True
) -> int:
    """Twice the pairs charged under the attention convention `mode` (`half` of an odd square is not an integer).

    ``exact`` counts what the mask lets through. ``full`` is every new token against every key held: a sliding layer's
    cache holds window - 1 tokens before the new ones. ``half`` charges half of the square that the new tokens form
    among themselves. Without a causal mask all three are the same.
    """
    if not causal:
        return 2 * q * (cached + q)
    if mode == "exact":
        return 2 * causal_pairs(q, cached, window, chunk)
    # transformers keeps chunked layers in a sliding cache of the chunk's length.
    held = cached_keys(cached, window if chunk is None else chunk)
    if mode == "half":
        return 2 * q * held + q * q
    return 2 * q * (held + q)
