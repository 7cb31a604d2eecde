"""Which versions of a package a test is for."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest


def _is_old() -> bool:
    try:
        return tuple(map(int, version("transformers").split(".")[:2])) < (5, 24)
    except PackageNotFoundError:
        return False


#: FLOPs of whole passes equal torch's count of the code that transformers has now. Older code multiplies more, or less,
#: beside what a model needs: frequencies of rotary positions, tokens that are projected again.
counted_with_the_newest = pytest.mark.skipif(
    _is_old(), reason="FLOPs are compared with those of transformers 5.24's code"
)
