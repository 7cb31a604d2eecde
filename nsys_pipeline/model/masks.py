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


def pooled_pairs(tokens: int, rate: int, most: int | None = None) -> int:
    """Pairs of the first `tokens` positions with pools of `rate` keys: p sees (p + 1) // rate of them, at most `most`.

    Algorithm: positions fall into runs of `rate` that see 0, 1, 2, … pools; past most · rate all see `most`.
    """
    growing = tokens if most is None else min(tokens, most * rate)
    runs, rest = divmod(growing, rate)
    return rate * runs * (runs - 1) // 2 + runs * (rest + 1) + (tokens - growing) * (most or 0)


def bidirectional_pairs(tokens: int, window: int | None = None, chunk: int | None = None) -> int:
    """Pairs without a causal mask: all, those at most `window` - 1 apart, or those within blocks of `chunk` tokens."""
    if chunk is not None:
        return (tokens // chunk) * chunk**2 + (tokens % chunk) ** 2
    if window is None:
        return tokens * tokens
    reach = min(window, tokens) - 1
    return tokens * (2 * reach + 1) - reach * (reach + 1)


def image_pairs(tokens: int, window: int | None = None) -> int:
    """Pairs that an image of `tokens` tokens adds to those of a causal mask: each of them sees all of them."""
    return tokens * tokens - causal_pairs(tokens, 0, window)


def tile_pairs(height: int, width: int, tile: int) -> int:
    """Pairs in an image of so many patches, each of which sees the patches of its own square of `tile` on a side.

    Squares at the right and lower edge are what is left: Σ (h · w)² over all of them is a product of two sums.
    """
    rows, columns = (side // tile * tile**2 + (side % tile) ** 2 for side in (height, width))
    return rows * columns


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
        # Blocks of tokens are run as sequences of their own; a window is a mask, which `full` ignores.
        masked = chunk is not None or (mode == "exact" and not cached)
        return 2 * (bidirectional_pairs(q, window, chunk) if masked else q * (cached + q))
    if mode == "exact":
        return 2 * causal_pairs(q, cached, window, chunk)
    # transformers keeps chunked layers in a sliding cache of the chunk's length.
    held = cached_keys(cached, window if chunk is None else chunk)
    if mode == "half":
        return 2 * q * held + q * q
    return 2 * q * (held + q)
