"""Images of requests: from the marks, or from options, counted in the phase in which the tower runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from nsys_pipeline import markers
from nsys_pipeline.analyze import analyze
from nsys_pipeline.errors import UsageError
from nsys_pipeline.inputs import AnalysisOptions, ImageOptions, RequestShape
from nsys_pipeline.model import Estimator, Model
from nsys_pipeline.records import Report, Step
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.cli.run import run
from tests.support.trace_builder import TraceBuilder
from tests.unit.model.configs import read_json
from tests.unit.model.test_image_cross_attention import MLLAMA
from tests.unit.model.test_images import LLAVA, QWEN

MS = 1_000_000
SHAPES = (RequestShape.parse("1x40+1"),)


def trace(folder: Path, *names: str, mark: str | None = None) -> Path:
    """A request of passes, each with a kernel; `mark` stands in the first."""
    builder = TraceBuilder().gpu()
    main = builder.process().thread()
    main.push(0, 100 * MS, "request", domain="llmperf")
    for place, name in enumerate(names):
        start = place * 20 * MS + 10
        main.push(start, start + 19 * MS, name, domain="llmperf")
        if mark and not place:
            main.mark(start + 1, f"{markers.STEP_MARK} {mark}", domain="llmperf")
        main.launch(start + 10, gpu=(start + 20, start + 18 * MS))
    return builder.write(folder / "trace.sqlite")


def report_of(path: Path, **options: Any) -> Report:
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        return analyze(opened, AnalysisOptions(**{"model": QWEN, **options}))


def flops(report: Report) -> dict[str, int | None]:
    return {phase.name: phase.flops for phase in report.phases}


def counted(path: Path, **options: Any) -> tuple[dict[str, int | None], set[str]]:
    """FLOPs of each phase, and codes of notices: less work than a report."""
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        opened.describe(AnalysisOptions(**{"model": QWEN, **options}))
        opened.build("views.phase_summary")
        rows = opened.connection.execute("SELECT phase, flops FROM views.phase_summary").fetchall()
        return dict(rows), {notice.code for notice in opened.inputs.steps.notices}


def expected(*grids: tuple[int, int]) -> tuple[int, int]:
    """FLOPs of the prefill without images, and of the tower."""
    text = Step.uniform(batch=1, q_tokens=40)
    bare = Estimator(QWEN).estimate(text).flops
    return bare, Estimator(QWEN).estimate(attrs.evolve(text, images=grids)).flops - bare


def test_options_put_images_into_the_first_pass_of_each_request(tmp_path: Path) -> None:
    path = trace(tmp_path, "prefill", "decode")
    text, tower = expected((4, 4), (6, 10))
    images = ImageOptions(None, ("4x4", "6x10"))

    bare, seen = report_of(path, shapes=SHAPES), report_of(path, shapes=SHAPES, images=images)

    assert (flops(bare)["prefill"], flops(seen)["prefill"]) == (text, text + tower)
    assert flops(bare)["decode"] == flops(seen)["decode"]
    assert [phase.is_lower_bound for phase in bare.phases] == [True, False]
    assert [phase.is_lower_bound for phase in seen.phases] == [False, False]
    assert seen.model is not None
    assert seen.model.convention["images"] == [[4, 4], [6, 10]]
    assert seen.model.not_counted == []


def test_a_tower_that_runs_before_the_prompt_has_its_flops(tmp_path: Path) -> None:
    path = trace(tmp_path, "vision", "prefill", "decode")
    text, tower = expected((4, 4))

    found, _ = counted(path, shapes=SHAPES, images=ImageOptions(1, ("4x4",)))

    assert (found["vision"], found["prefill"]) == (tower, text)


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("prefill", '{"q":40,"kv":0,"b":1,"logits":1,"images":[[6,10]]}'),
        ("vision", '{"q":[],"kv":[],"images":[[6,10]]}'),
    ],
)
def test_marks_say_it_themselves(tmp_path: Path, name: str, mark: str) -> None:
    path = trace(tmp_path, name, mark=mark)
    text, tower = expected((6, 10))

    found, notices = counted(path, images=ImageOptions(1, ("4x4",)))

    assert found == {name: tower + (text if name == "prefill" else 0)}
    assert "images_ignored" in notices


def test_an_image_of_unknown_size_makes_a_lower_bound_of_what_is_known(tmp_path: Path) -> None:
    text, tower = expected((6, 10))
    shape = '"q":40,"kv":0,"b":1,"logits":1,"images":[[6,10]]'
    marks = {"known": f"{{{shape}}}", "partly": f'{{{shape},"unsized":["images"]}}'}
    for name in marks:
        (tmp_path / name).mkdir()
    known, partly = (report_of(trace(tmp_path / name, "prefill", mark=mark)) for name, mark in marks.items())

    assert flops(known) == flops(partly) == {"prefill": text + tower}
    assert [one.model.not_counted for one in (known, partly) if one.model] == [
        [],
        ["vision tower of images of unknown size"],
    ]
    assert [one.phases[0].is_lower_bound for one in (known, partly)] == [False, True]
    found = [finding.message for finding in partly.findings if finding.code == "parts_not_counted"]
    assert found == [
        f"vision tower of images of unknown size of {QWEN.name} is not counted: FLOPs, bytes, MFU and MBU of prefill"
        " are lower bounds"
    ]


def test_a_marked_image_that_the_tower_cannot_run_on_is_told_and_not_counted(tmp_path: Path) -> None:
    text, tower = expected((6, 10))
    mark = '{"q":40,"kv":0,"b":1,"logits":1,"images":[[6,10],[5,7]]}'
    seen = report_of(trace(tmp_path, "prefill", mark=mark))

    assert flops(seen) == {"prefill": text + tower}
    assert seen.phases[0].is_lower_bound
    messages = {finding.code: finding.message for finding in seen.findings}
    assert messages["images_not_whole"] == (
        f"a pass has images that cannot be, which are not counted: the tower of `{QWEN.name}` merges 2x2 patches, and"
        " 5x7 are no multiples of it"
    )
    assert "parts_not_counted" in messages


def test_the_size_of_images_that_a_mark_has_wrong_may_be_told(tmp_path: Path) -> None:
    path = trace(tmp_path, "prefill", mark='{"q":40,"kv":0,"b":1,"logits":1,"images":[[5,7]]}')
    found, notices = counted(path, images=ImageOptions(1, ("6x10",)))
    assert (found["prefill"], notices) == (sum(expected((6, 10))), {"images_not_whole"})


def test_the_size_of_images_that_a_mark_does_not_know_may_be_told(tmp_path: Path) -> None:
    path = trace(tmp_path, "prefill", mark='{"q":40,"kv":0,"b":1,"logits":1,"unsized":["images"]}')
    told = report_of(path, images=ImageOptions(1, ("6x10",)))
    assert told.model is not None
    assert (flops(told)["prefill"], told.model.not_counted) == (sum(expected((6, 10))), [])


def test_every_pass_of_a_request_looks_at_its_images(tmp_path: Path) -> None:
    path = trace(tmp_path, "vision", "prefill", "decode", "decode")
    options = AnalysisOptions(model=MLLAMA, shapes=(RequestShape.parse("1x7+2"),), images=ImageOptions(1, ("6x6",)))
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        opened.describe(options)
        opened.build("views.phase_summary")
        found = dict(opened.connection.execute("SELECT phase, flops FROM views.phase_summary").fetchall())

    seen, estimator = ((6, 6),), Estimator(MLLAMA)
    tower = estimator.estimate(Step((), (), 0, images=seen)).flops
    steps = [Step.uniform(batch=1, q_tokens=1, kv_tokens=kv) for kv in (7, 8)]
    decode = sum(estimator.estimate(attrs.evolve(step, seen_images=seen)).flops for step in steps)
    prompt = estimator.estimate(attrs.evolve(Step.uniform(batch=1, q_tokens=7), seen_images=seen)).flops
    assert decode > sum(estimator.estimate(step).flops for step in steps)
    assert found["decode"] == decode
    assert (found["prefill"], found["vision"]) == (prompt, tower)


def test_decode_steps_know_the_prompt_that_the_window_of_unlimited_ocr_keeps(tmp_path: Path) -> None:
    path = trace(tmp_path, "prefill", "decode", "decode", "decode")
    model = Model.from_config(read_json("small_configs.json")["unlimited_ocr"])
    options = AnalysisOptions(model=model, shapes=(RequestShape.parse("1x9+3"),))
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        opened.describe(options)
        opened.build("views.phase_summary")
        found = dict(opened.connection.execute("SELECT phase, flops FROM views.phase_summary").fetchall())

    steps = [attrs.evolve(Step.uniform(batch=1, q_tokens=1, kv_tokens=kv), prompts=(9,)) for kv in range(9, 9 + 3)]
    assert found["decode"] == sum(Estimator(model).estimate(step).flops for step in steps)


def test_passes_that_do_not_say_where_a_prompt_ends_have_no_flops(tmp_path: Path) -> None:
    marks = (
        ("prefill", '{"q":9,"kv":0,"b":1,"logits":1}'),
        ("decode", '{"q":1,"kv":9,"b":1,"logits":1}'),
        # Of another sequence, whose prompt nobody knows, alone and beside a prompt.
        ("verify", '{"q":1,"kv":300,"b":1,"logits":1}'),
        ("mixed", '{"q":[1,9],"kv":[300,0],"logits":2}'),
        ("mixed", '{"q":[1,9],"kv":[3,0],"logits":2}'),
    )
    builder = TraceBuilder().gpu()
    main = builder.process().thread()
    for place, (name, mark) in enumerate(marks):
        start = place * 20 * MS + 10
        main.push(start, start + 19 * MS, name, domain="llmperf")
        main.mark(start + 1, f"{markers.STEP_MARK} {mark}", domain="llmperf")
        main.launch(start + 10, gpu=(start + 20, start + 18 * MS))
    path = builder.write(tmp_path / "trace.sqlite")
    model = Model.from_config(read_json("small_configs.json")["unlimited_ocr"])
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        opened.describe(AnalysisOptions(model=model))
        opened.build("estimate.occurrence_costs")
        found = opened.connection.execute(
            "SELECT phase, flops FROM attribute.phase_ranges LEFT JOIN estimate.occurrence_costs USING (occurrence_id) "
            "ORDER BY start_ns"
        ).fetchall()
        said = [notice.message for notice in opened.inputs.steps.notices if notice.code == "no_estimate"]

    estimator = Estimator(model)
    first = Step.uniform(batch=1, q_tokens=9)
    costs = [
        estimator.estimate(attrs.evolve(first, prompts=(9,))).flops,
        estimator.estimate(attrs.evolve(Step.uniform(batch=1, q_tokens=1, kv_tokens=9), prompts=(9,))).flops,
        None,
        None,
        estimator.estimate(Step((1, 9), (3, 0), 2)).flops,
    ]
    assert [flops for _, flops in found] == costs
    assert said == [
        "2 passes have no FLOPs: the decoder sees the prompt and 5 tokens behind it, and a step after 300 tokens does"
        " not say where its prompt ends"
    ]


def test_images_that_no_prompt_can_hold_are_refused(tmp_path: Path) -> None:
    path = trace(tmp_path, "prefill", "decode")
    with pytest.raises(UsageError, match="are 784 tokens, but the prompts have 40"):
        counted(path, shapes=SHAPES, images=ImageOptions(1, ("56x56",)))


@pytest.mark.parametrize(
    "images", ["[[0,4]]", "[[4]]", "[4,4]", "[[4,true]]", '"4x4"', "[[4,-4]]", "[[4,4.5]]", "[[99999999,4]]", "{}"]
)
def test_a_mark_with_images_that_are_none_is_no_step(images: str) -> None:
    with pytest.raises(ValueError, match="not a step"):
        markers.decode_step(f'{{"q":4,"images":{images}}}')


@pytest.mark.parametrize("told", ['"images"', '["video"]', "[1]", "{}"])
def test_a_mark_of_what_has_no_size_names_images_and_audio(told: str) -> None:
    with pytest.raises(ValueError, match="not a step"):
        markers.decode_step(f'{{"q":4,"unsized":{told}}}')


def test_marks_carry_images_there_and_back() -> None:
    step = Step((40,), (0,), 1, images=[(6, 10), (4, 4)], unsized=["audio"])
    text = markers.encode_step(step)
    assert json.loads(text.removeprefix(markers.STEP_MARK))["images"] == [[6, 10], [4, 4]]
    assert markers.decode_step(text.removeprefix(markers.STEP_MARK)) == step
    assert LLAVA.architecture.vision_lengths(step.images) == (61, 17)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ('{"found":2,"skipped":["a.png: broken"]}', "1 of 3 images could not be read and were skipped: a.png: broken"),
        (
            '{"found":1,"skipped":["a","b","c","d","e"]}',
            "5 of 6 images could not be read and were skipped: a; b; c; and 2",
        ),
        ('{"found":2,"skipped":[]}', None),
        ('{"found":"2","skipped":3}', None),
        ('"all"', None),
    ],
)
def test_images_that_the_run_skipped_are_told(tmp_path: Path, told: str, message: str | None) -> None:
    builder = TraceBuilder().gpu()
    main = builder.process().thread()
    main.mark(1, f'{markers.RUN_MARK} {{"v":1,"images":{told}}}', domain="llmperf")
    main.push(10, 90, "prefill", domain="llmperf").launch(20, gpu=(30, 80))
    with open_trace(builder.write(tmp_path / "run.sqlite"), TraceOptions(use_cache=False)) as opened:
        opened.build("load.nvtx_marks", "attribute.step_marks", "attribute.step_sequences", "attribute.written_tokens")
        found = [notice.message for notice in opened.inputs.run.notices if notice.code == "images_skipped"]
    assert found[0].startswith(message) if message else not found, found


def test_every_verb_that_takes_a_model_takes_images(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, config = trace(tmp_path, "prefill", "decode"), tmp_path / "config.json"
    config.write_text(json.dumps(QWEN.config), encoding="utf-8")
    verbs: dict[str, tuple[object, ...]] = {
        "analyze": (path,),
        "sql": (path, "from phases"),
        "diff": (path, path),
        "ncu": (path, "--phase", "prefill"),
        "fleet": (path, "--out", tmp_path / "fleet", "--workers", 1),
    }
    for verb, rest in verbs.items():
        code, _, errors = run(
            capsys, verb, *rest, "--model", config, "--shape", "1x3+1", "--images", 1, "--image-patches", "4x4"
        )
        assert "are 4 tokens, but the prompts have 3" in errors, verb
        assert code in (1, 2), verb

    grown = ("--model", config, "--shape", "1x40+1", "--images", 1, "--image-patches", "4x4")
    whole = sum(expected((4, 4)))
    rules = [f"prefill.flops < {whole}", f"prefill.flops <= {whole}"]
    assert [run(capsys, "diff", path, path, *grown, "--fail-if", rule)[0] for rule in rules] == [0, 1]


HEARING = Model.from_config(read_json("audio_configs.json")["qwen2_audio"]["config"])


def test_clips_of_sound_are_counted_in_the_prompt(tmp_path: Path) -> None:
    path = trace(tmp_path, "prefill", "decode")
    step = Step.uniform(batch=1, q_tokens=40)

    report = report_of(path, model=HEARING, shapes=SHAPES, audio_seconds="0.4,0.3")

    assert flops(report)["prefill"] == Estimator(HEARING).estimate(attrs.evolve(step, audio=(40, 30))).flops
    assert Estimator(HEARING).estimate(step).flops < Estimator(HEARING).estimate(attrs.evolve(step, audio=(1,))).flops
    assert report.model is not None
    assert report.model.not_counted == []
    assert report.model.convention["audio_frames"] == [30, 40]
    assert not any(phase.is_lower_bound for phase in report.phases)


def test_clips_that_cannot_be_are_refused_and_those_of_marks_win(tmp_path: Path) -> None:
    path = trace(tmp_path, "prefill", mark='{"q":40,"kv":0,"b":1,"logits":1,"audio":[30]}')
    found, codes = counted(path, model=HEARING, audio_seconds="0.4")
    heard = attrs.evolve(Step.uniform(batch=1, q_tokens=40), audio=(30,))
    assert found["prefill"] == Estimator(HEARING).estimate(heard).flops
    assert codes & {"audio_ignored", "images_ignored"} == {"audio_ignored"}

    (tmp_path / "plain").mkdir()
    with open_trace(trace(tmp_path / "plain", "prefill"), TraceOptions(use_cache=False)) as opened:
        opened.build("views.phase_summary")
        for model, seconds, message in (
            (HEARING, "0.6,0.6,0.6", "are 45 tokens, but the prompts have 40"),
            (QWEN, "1", "has no audio encoder that is counted"),
            (None, "1", "depends on the model"),
        ):
            shapes = (RequestShape.parse("1x40"),)
            opened.describe(AnalysisOptions(model=model, shapes=shapes, audio_seconds=seconds))
            with pytest.raises(UsageError, match=message):
                _ = opened.inputs.steps
