"""How many tokens each sequence of a batch wrote in `generate`, which pads those that have ended until all have.

While the steps run, only the GPU knows which have ended. What transformers decides after each token is kept as it is,
and read when `generate` has returned and the range of the request is closed. Standard library only.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from typing import Any

from nsys_pipeline import markers

_numbers = itertools.count(1)
#: They end all sequences of a batch at once, or, in the last case, those with a token that the tokens show.
_PLAIN = frozenset({"MaxLengthCriteria", "MaxTimeCriteria", "EosTokenCriteria"})
#: What transformers pads for: without such a criterion, sequences that have ended go on.
_ENDS = "eos_token_id"


class Ends:
    """What is known of the ends of a request's sequences.

    `number` names the request in marks. `written`: tokens that each sequence has by now, with padding behind its end.
    `is_wanted`: whether a pass was marked that may have run for sequences that had ended.
    """

    def __init__(self) -> None:
        self.number = next(_numbers)
        self.written = 0
        self.is_wanted = False
        self._first = 0
        self._ids: Any = None
        self._criteria: Sequence[Any] = ()
        self._is_plain = True
        self._decided: list[Any] = []

    def see(self, criteria: Sequence[Any], ids: Any, decided: Any) -> None:
        """Take note that `criteria` have `decided` which sequences of `ids` end with their last token."""
        if not self.written:
            self._first = int(ids.shape[1]) - 1
            self._criteria = criteria
            self._is_plain = all(type(each).__name__ in _PLAIN for each in criteria)
        self.written += 1
        self._ids = ids
        if not self._is_plain:
            self._decided.append(decided)

    def tell(self) -> None:
        """Mark how many tokens each sequence wrote, if that is asked for and can be known."""
        ids = self._ids
        if not self.is_wanted or ids is None or ids.ndim != 2 or ids.shape[1] != self._first + self.written:
            # Candidates of beams, or several guessed tokens at once.
            return
        with contextlib.ExitStack() as own:
            if ids.device.type != "cpu":
                # What reading costs is no work of the program: it has a row of its own, and is not measured.
                own.enter_context(markers.phase(markers.OWN))
            lengths = self._lengths()
        markers.written(self.number, lengths)

    def _lengths(self) -> list[int]:
        """Tokens of each sequence, the one that ends it included. Copies whole tensors, which takes no kernel."""
        rows = len(self._ids)
        if rows == 1 or not any(hasattr(each, _ENDS) for each in self._criteria):
            return [self.written] * rows
        written = self._ids.cpu()[:, self._first :].tolist()
        if self._is_plain:
            ends = {end for each in self._criteria if hasattr(each, _ENDS) for end in getattr(each, _ENDS).tolist()}
            return [next((at for at, one in enumerate(row, 1) if one in ends), len(row)) for row in written]
        return [self._length(place, row) for place, row in enumerate(written)]

    def _length(self, place: int, row: Sequence[int]) -> int:
        """Where a sequence was decided to end.

        Behind its end there is only padding: the last tokens that are all the same hold all of it, so that the end is
        the token before them or one of them.
        """
        same = next((at for at, one in enumerate(reversed(row)) if one != row[-1]), len(row))
        for length in range(max(1, len(row) - same), len(row)):
            if self._decided[length - 1].tolist()[place]:
                return length
        return len(row)
