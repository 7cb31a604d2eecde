"""Fixtures of the tests that run a real nsys. Without one they skip and say so; CI sets LLMPERF_REQUIRE_NSYS=1."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.errors import NsysError
from nsys_pipeline.nsys import Nsys, find_nsys

TINY_LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}


# What no installation changes: the rights of the user, and an nsys that is newer than a test is about.
_BEYOND_CI = ("this user cannot mount", "understands every nvtx", "vLLM is not installed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything has to run, as in CI, a skipped test is a failed one."""
    report = yield
    if report.skipped and os.environ.get("LLMPERF_REQUIRE_NSYS"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(text in reason for text in _BEYOND_CI):
            report.outcome = "failed"
            report.longrepr = f"{reason}, and LLMPERF_REQUIRE_NSYS is set"
    return report


@pytest.fixture(scope="session")
def nsys() -> Nsys:
    try:
        return find_nsys()
    except NsysError as error:
        pytest.skip(error.message)


@pytest.fixture(scope="session")
def workload_extra() -> None:
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (pip install '.[workload]')")


@pytest.fixture
def tiny_llama(tmp_path: Path) -> Path:
    path = tmp_path / "tiny-llama.json"
    path.write_text(json.dumps(TINY_LLAMA))
    return path
