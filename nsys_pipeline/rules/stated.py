"""What the text of an engine's range says about the lengths of its requests, and the steps that this may be.

Engines write how many requests and tokens a step has, at best with sums over the requests. The products of a step
follow from the tokens; attention needs the length of each request. Full causal attention needs the sums alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from nsys_pipeline.records import MAX_BATCH, MAX_TOKENS, LengthSums, Step

MAX_DIGITS = 15
# As good as any: what does not change with the context is the same at two of them.
_SOME_CONTEXT = 4096


def number(text: str | None) -> int | None:
    """What a group of a pattern says, None where it is no number, or one of more digits than anything is counted in."""
    return int(text) if text and text.isdecimal() and len(text) <= MAX_DIGITS else None


@attrs.frozen
class StatedRequests:
    """Requests of one kind. `tokens`: new ones, None where the text does not say; `sums` where it does.

    `is_begun`: they generate, so that each has at least one token in the cache. `is_of_any_kind`: nobody says which of
    them do.
    """

    count: int
    tokens: int | None
    sums: LengthSums | None = None
    is_begun: bool = False
    is_of_any_kind: bool = False

    @classmethod
    def read(cls, groups: Mapping[str, str | None], kind: str) -> StatedRequests | None:
        """From the groups `KIND_requests`, `KIND_tokens`, `KIND_keys`, `KIND_squares` and `KIND_products` of a rule.

        Keys and products count new tokens too. None where the pattern has no such requests, or no sensible number.
        """
        count, tokens = (number(groups.get(f"{kind}_{what}")) for what in ("requests", "tokens"))
        if count is None or count > MAX_BATCH:
            return None
        if tokens is not None and (tokens > count * MAX_TOKENS or tokens < count):
            tokens = None
        if tokens is None and groups.get(f"{kind}_tokens"):
            return None
        if not count:
            return cls(0, 0, is_begun=kind == "generation")
        sums = _sums(count, tokens, groups, kind)
        return cls(count, tokens, sums, is_begun=kind == "generation", is_of_any_kind=kind == "all")

    @property
    def has_known_lengths(self) -> bool:
        """Whether it is certain how many new tokens each request has."""
        return self.tokens is not None and (self.count <= 1 or self.tokens == self.count)

    @property
    def least_context(self) -> int:
        """Tokens of its longest sequence, new ones included, at least."""
        cached = self.sums.cached if self.sums else self.count * self.is_begun
        return -(-((self.tokens or self.count) + cached) // self.count) if self.count else 0

    def least(self) -> tuple[list[int], list[int]]:
        """New and cached tokens of each request that make the cheapest attention."""
        new = _split(self.count if self.tokens is None else self.tokens, self.count)
        if self.sums is None:
            return new, [int(self.is_begun)] * self.count
        if not self.has_known_lengths:
            return new, [0] * self.count
        # A window sees least where one request has all that is cached.
        return new, [self.sums.cached, *[0] * (self.count - 1)][: self.count]

    def most(self, max_context: int | None) -> tuple[list[int], list[int]] | None:
        """The same for the dearest, None where nothing limits it. `max_context`: tokens of the longest sequence.

        Attention is convex in the new tokens of a request that begins, and concave in those of one that ends at the
        limit: both extremes split the tokens evenly.
        """
        if self.tokens is None:
            return None
        new = _split(self.tokens, self.count)
        if self.sums is not None:
            even = self.has_known_lengths
            return new, _split(self.sums.cached, self.count) if even else [self.sums.cached] * self.count
        if max_context is None or max(new, default=0) > max_context:
            return None if new else ([], [])
        return new, [max_context - tokens for tokens in new]


@attrs.frozen
class StatedBatch:
    """Sums over the requests of a step, None where the text leaves them out.

    `prefill_requests`: those that the engine calls context, `prefill_tokens` theirs; `decode_tokens`: of the others.
    """

    requests: int | None = None
    prefill_requests: int | None = None
    prefill_tokens: int | None = None
    decode_tokens: int | None = None
    cached_tokens: int | None = None


@attrs.frozen
class StatedStep:
    """What a text says about one step."""

    requests: tuple[StatedRequests, ...]

    @classmethod
    def read(cls, groups: Mapping[str, str | None]) -> StatedStep | None:
        """From the groups of a rule's pattern; None where it has none."""
        kinds = [kind for kind in ("context", "generation", "all") if groups.get(f"{kind}_requests")]
        found = [StatedRequests.read(groups, kind) for kind in kinds]
        known = tuple(requests for requests in found if requests is not None)
        return cls(known) if known and len(known) == len(found) and sum(part.count for part in known) else None

    @property
    def new_tokens(self) -> int | None:
        """Tokens that go through the model, None where the text leaves out those of some requests."""
        return _tokens(self.requests)

    @property
    def batch(self) -> StatedBatch:
        """What it says about the batch as a whole."""
        requests, sums = sum(part.count for part in self.requests), self._sums()
        cached = None if sums is None else sums.cached
        if any(part.is_of_any_kind for part in self.requests):
            return StatedBatch(requests, cached_tokens=cached)
        prompts, others = ([part for part in self.requests if part.is_begun is begun] for begun in (False, True))
        prefill_requests = sum(part.count for part in prompts)
        return StatedBatch(requests, prefill_requests, _tokens(prompts), _tokens(others), cached)

    @property
    def least_context(self) -> int:
        """Tokens of the longest sequence, new ones included, at least."""
        return max(part.least_context for part in self.requests)

    def step(self, max_context: int | None = None) -> Step:
        """The cheapest step that this may be, with the dearest as its `upper`."""
        sums = self._sums()
        # Every guess of a request that generates wants logits; a prompt wants those of its last token.
        logits = sum(part.tokens or part.count if part.is_begun else part.count for part in self.requests)
        least = _joined([part.least() for part in self.requests])
        dearest = [part.most(max_context) for part in self.requests]
        known = [most for most in dearest if most is not None]
        is_known = all(part.has_known_lengths for part in self.requests)
        if len(known) < len(dearest):
            new, cached = least
            dearer = Step(new, [tokens + _SOME_CONTEXT for tokens in cached], logits, sums=sums)
            upper = None if self.new_tokens is None else dearer
            return Step(*least, logits, sums=sums, upper=upper, is_unlimited=True, q_is_known=is_known)
        most = _joined(known)
        if most == least:
            return Step(*least, logits)
        return Step(*least, logits, sums=sums, upper=Step(*most, logits, sums=sums), q_is_known=is_known)

    def _sums(self) -> LengthSums | None:
        parts = [part.sums for part in self.requests if part.count]
        known = [sums for sums in parts if sums is not None]
        if len(known) < len(parts):
            return None
        return LengthSums(*(sum(column) for column in zip(*map(attrs.astuple, known), strict=True)))


def _sums(count: int, tokens: int | None, groups: Mapping[str, str | None], kind: str) -> LengthSums | None:
    keys, squares, products = (number(groups.get(f"{kind}_{what}")) for what in ("keys", "squares", "products"))
    if tokens is None or keys is None or squares is None or products is None:
        return None
    sums = LengthSums(keys - tokens, squares, products - squares)
    # Sums of no requests that there can be say nothing: by Cauchy, and because no length is negative.
    is_possible = tokens * tokens <= count * squares <= count * tokens * tokens
    return sums if is_possible and 0 <= sums.cached <= sums.products <= sums.cached * tokens else None


def _tokens(parts: Sequence[StatedRequests]) -> int | None:
    tokens = [part.tokens for part in parts]
    return None if None in tokens else sum(count for count in tokens if count is not None)


def _split(total: int, parts: int) -> list[int]:
    share, rest = divmod(total, parts) if parts else (0, 0)
    return [share + 1] * rest + [share] * (parts - rest)


def _joined(parts: Sequence[tuple[list[int], list[int]]]) -> tuple[list[int], list[int]]:
    return [q for new, _ in parts for q in new], [kv for _, cached in parts for kv in cached]
