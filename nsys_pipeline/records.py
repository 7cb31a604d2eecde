"""Frozen records that the rooms hand each other. No logic beyond named constructors and derived numbers."""

from __future__ import annotations

from collections.abc import Sequence

import attrs


def _same_length(instance: Step, _attribute: object, value: tuple[int, ...]) -> None:
    if len(value) != len(instance.q_tokens):
        raise ValueError(f"{len(instance.q_tokens)} query lengths but {len(value)} cached lengths")


def _token_counts(_instance: object, attribute: attrs.Attribute[tuple[int, ...]], value: tuple[int, ...]) -> None:
    if any(count < 0 for count in value):
        raise ValueError(f"{attribute.name} holds a negative token count")


@attrs.frozen
class Step:
    """The shape of one forward pass: per sequence, how many tokens are new and how many are already cached.

    ``logits`` is the number of positions, summed over the batch, for which the LM head is computed.
    """

    q_tokens: tuple[int, ...] = attrs.field(converter=tuple, validator=_token_counts)
    kv_tokens: tuple[int, ...] = attrs.field(converter=tuple, validator=[_same_length, _token_counts])
    logits: int

    @classmethod
    def uniform(cls, *, batch: int, q_tokens: int, kv_tokens: int = 0, logits: int | None = None) -> Step:
        """`batch` sequences of one shape; the LM head runs once per sequence unless `logits` says otherwise."""
        return cls((q_tokens,) * batch, (kv_tokens,) * batch, batch if logits is None else logits)

    @classmethod
    def ragged(cls, q_tokens: Sequence[int], kv_tokens: Sequence[int], logits: int | None = None) -> Step:
        """Sequences of different lengths in one pass; the LM head runs once per sequence unless told otherwise."""
        return cls(tuple(q_tokens), tuple(kv_tokens), len(q_tokens) if logits is None else logits)

    @property
    def batch(self) -> int:
        return len(self.q_tokens)

    @property
    def new_tokens(self) -> int:
        """Tokens that go through the layers in this pass."""
        return sum(self.q_tokens)
