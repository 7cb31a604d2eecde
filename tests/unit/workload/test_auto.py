"""Phase and shape of a forward pass, from what the host knows."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from nsys_pipeline.workload import auto
from nsys_pipeline.workload.auto import _kept_positions, phase_of


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


@pytest.mark.parametrize(("arguments", "expected"), [({}, 9), ({"logits_to_keep": 0}, 9), ({"logits_to_keep": 1}, 1)])
def test_kept_positions(arguments: dict[str, int], expected: int) -> None:
    assert _kept_positions(arguments, 9) == expected


@pytest.mark.parametrize(
    ("version", "rank", "is_told"),
    [
        ("5.24.0", "0", False),
        ("5.24.3", "0", False),
        ("4.46.3", "0", False),
        ("5.25.0.dev0", "0", True),
        ("5.100.0", "0", True),
        ("6.0.0", "0", True),
        ("6.0.0", "3", False),
        ("unknown", "0", False),
    ],
)
def test_a_transformers_newer_than_tried_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], version: str, rank: str, is_told: bool
) -> None:
    module = ModuleType("transformers")
    module.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", module)
    monkeypatch.setattr(auto, "NEWEST_TRIED", (5, 24))
    # set here, so that monkeypatch takes it away again
    monkeypatch.setenv(auto._WARNED, "")
    monkeypatch.setenv("RANK", rank)
    for _ in range(2):
        auto._warn_if_untried()
    expected = f"llmperf: transformers {version} is newer than 5.24, the newest that `--auto` was tried with\n"
    assert capsys.readouterr().err == (expected if is_told else "")


def test_the_installed_transformers_was_tried() -> None:
    """When this fails, run the tests of `--auto` with it, repair what they find, then raise NEWEST_TRIED."""
    transformers = pytest.importorskip("transformers")
    assert tuple(map(int, transformers.__version__.split(".")[:2])) <= auto.NEWEST_TRIED


def test_the_document_names_the_newest_that_was_tried() -> None:
    tried = ".".join(map(str, auto.NEWEST_TRIED))
    document = Path(__file__).parents[3] / "docs" / "capture.md"
    assert f"newer than the newest that was tried ({tried})" in document.read_text()
