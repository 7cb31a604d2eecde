"""Unmodified programs that hear, under `--auto` and a real nsys: clips of two lengths in a batch, FLOPs as torch's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from nsys_pipeline.model import Conventions, Model, estimate
from nsys_pipeline.nsys import Nsys
from tests.e2e.markers_in import llmperf_events
from tests.e2e.run_llmperf import PROGRAMS, ROOT, llmperf

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("workload_extra")]

PROGRAM = PROGRAMS / "auto" / "sound.py"


@pytest.mark.parametrize(
    ("kind", "frames"),
    [
        ("qwen2_audio", (50, 31)),
        ("qwen2_5_omni_thinker", (50, 31)),
        # Whole windows, as its encoder gets them.
        ("voxtral", (60, 60)),
    ],
)
def test_clips_of_two_lengths(nsys: Nsys, tmp_path: Path, kind: str, frames: tuple[int, ...]) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if kind not in CONFIG_MAPPING_NAMES:
        pytest.skip(f"this transformers has no {kind}")
    command = (sys.executable, PROGRAM, kind, ROOT)
    done = llmperf("capture", "--no-analyze", "--auto", "-o", "run", "--", *command, cwd=tmp_path)
    assert done.code == 0, done.stderr
    ranges, runs = llmperf_events(tmp_path / "run" / "trace.sqlite")
    passes = [each for each in ranges if each.name != "request"]
    assert [(each.name, *(step.audio for step in each.steps)) for each in passes] == [
        ("prefill", frames), ("decode", ()), ("decode", ()),
    ]  # fmt: skip

    model, (step,) = Model.from_config(runs[0]["model"]), passes[0].steps
    counted = subprocess.run(
        [sys.executable, PROGRAM, kind, ROOT, "count"], capture_output=True, text=True, check=True, timeout=300
    )
    whole = Conventions(attention="full", count="executed")
    assert estimate(model, step, whole).flops == int(counted.stdout.split()[-1])

    report = json.loads(llmperf("analyze", "run", "--format", "json", cwd=tmp_path).stdout)
    prefill = next(phase for phase in report["phases"] if phase["name"] == "prefill")
    assert prefill["flops"] == estimate(model, step).flops > estimate(model, attrs.evolve(step, audio=())).flops
    assert report["model"]["convention"]["audio_frames"] == sorted(set(frames))
    assert not [part for part in report["model"]["not_counted"] if "audio" in part]
