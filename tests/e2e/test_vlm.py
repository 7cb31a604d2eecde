"""The workload `vlm` under a real nsys on the CPU, with real image files, one of them broken."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.nsys import Nsys
from nsys_pipeline.workload.vlm.request import ProfileRequest
from tests.e2e.markers_in import llmperf_events
from tests.e2e.run_llmperf import llmperf
from tests.support.tiny_vlms import DEEPSEEK_OCR2, QWEN

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("workload_extra")]


def pictures(folder: Path, **sizes: tuple[int, int]) -> Path:
    """Images of noise, height and width of each; and `broken.png`, the first half of one."""
    image = pytest.importorskip("PIL.Image")
    folder.mkdir()
    noise = random.Random(0)
    for name, (height, width) in sizes.items():
        image.frombytes("RGB", (width, height), noise.randbytes(3 * height * width)).save(folder / f"{name}.png")
    whole = (folder / f"{next(iter(sizes))}.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.mark.parametrize(
    ("config", "sizes", "images", "stages"),
    [
        (
            QWEN,
            {"page": (112, 140), "small": (56, 56)},
            {(50 + 32 + 2 - 30): [(8, 10)], 38: [(4, 4)]},
            {"tower": None, "merger": "tower", "rest": None},
        ),
        (
            DEEPSEEK_OCR2,
            {"page": (60, 90)},
            {256 + 1 + 32: [(64, 64)]},
            {"tower": None, "sam": "tower", "encoder": "tower", "projector": None, "rest": None},
        ),
    ],
    ids=["qwen2_5_vl", "deepseek_ocr2"],
)
def test_stages_and_repeats_of_real_images(
    nsys: Nsys,
    tmp_path: Path,
    config: dict[str, Any],
    sizes: dict[str, tuple[int, int]],
    images: dict[int, list[tuple[int, int]]],
    stages: dict[str, str | None],
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    folder = pictures(tmp_path / "images", **sizes)
    options = ("--repeats", "2", "--warmup", "1", "--max-new-tokens", "2", "--device", "cpu")

    done = llmperf(
        "capture", "--workload", "vlm", "--model", "config.json", "--input-dir", "images", *options, "-o", "run",
        cwd=tmp_path,
    )  # fmt: skip

    # The run goes on without the broken one, and says so.
    assert done.code == 0, done.stderr
    assert f"1 of {len(sizes) + 1} images could not be read and were skipped: broken.png" in " ".join(
        done.stdout.split()
    )
    # Each image is a request: its passes have its tokens and patches, and the stages run inside the prefill.
    ranges, runs = llmperf_events(tmp_path / "run" / "trace.sqlite")
    measured = [each for each in ranges if each.name == "prefill" and "warmup" not in each.parents]
    assert [(step.q_tokens[0], list(step.images)) for each in measured for step in each.steps] == [*images.items()] * 2
    assert runs[0]["images"]["found"] == len(sizes)
    inside = {each.name: each.parents for each in ranges if each.name.startswith("vision.")}
    assert set(inside) == {f"vision.{stage}" for stage in stages if stage != "rest"}
    assert all("prefill" in parents for parents in inside.values())
    # The report has stages with FLOPs that are the whole pass's, and repeats of each shape.
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    rows = {row["stage"]: row for row in report["stages"]}
    assert {stage: row["parent"] for stage, row in rows.items()} == stages
    assert sum(row["own_wall_ns"] for row in rows.values()) == sum(
        rows[one]["wall_ns"] for one in rows if not stages[one]
    )
    if all(phase["cold_occurrences"] == 0 for phase in report["phases"]):
        prefill = next(phase for phase in report["phases"] if phase["name"] == "prefill")
        assert sum(rows[stage]["flops"] for stage in rows if stages[stage] is None) == prefill["flops"] > 0
    repeated = {(row["phase"], row["stage"]): row["repeats"] + row["cold"] for row in report["repeats"]}
    wanted = [("prefill", None), ("decode", None), *(("prefill", stage) for stage in stages if stage != "rest")]
    assert repeated == dict.fromkeys(wanted, 2)
    assert "stages, warm-up left out" in done.stdout
    # What ran is written down, and could be run again.
    run = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    request = ProfileRequest.read(tmp_path / "run" / "request.json")
    assert (request.input_dir, request.repeats) == (str(folder), 2)
    assert ProfileRequest.from_json(run["request"]) == request
