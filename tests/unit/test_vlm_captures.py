"""The commands that capture vision-language models: `llmperf capture` takes each option once."""

from __future__ import annotations

from pathlib import Path

from scripts import vlm_captures as script


def test_what_is_typed_replaces_a_default() -> None:
    argv = script.command("RUN", Path("config.json"), ["--gpu-metrics", "--repeats", "3", "--max-new-tokens=6"])

    end = ["--device", "cuda", "-o", "RUN", "--gpu-metrics", "--repeats", "3", "--max-new-tokens=6"]
    assert argv[-len(end) :] == end
    assert argv.count("--repeats") == 1
