"""scripts/auto_oracle.py: it finds nothing in a model that is marked as it runs, and finds what is marked wrongly."""

from __future__ import annotations

import pytest

from nsys_pipeline.workload import auto, caches
from tests.support.versions import counted_with_the_newest
from tests.unit.workload.conftest import Recorder

pytest.importorskip("torch")
pytest.importorskip("transformers")


@counted_with_the_newest
def test_a_mark_that_is_wrong_is_found(marked: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    from scripts.auto_oracle import WAYS, build, differences

    model = build("llama")
    assert differences(model, WAYS["below the head"]) == []
    assert differences(model, WAYS["loop"]) == []
    held = caches.held_tokens
    monkeypatch.setattr(auto, "held_tokens", lambda cache: (held(cache) or 0) + (cache is not None))
    # of three passes, two have tokens before them
    assert [line.split()[0] for line in differences(model, WAYS["loop"])] == ["decode", "decode"]
