"""Two stacks in a trace: what the encoder has read is charged where it ran, and looked at by each later pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline import markers
from nsys_pipeline.inputs import AnalysisOptions, ImageOptions, RequestShape
from nsys_pipeline.model import Estimator, Model
from nsys_pipeline.records import Step
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.trace_builder import TraceBuilder
from tests.unit.model.configs import read_json

MS = 1_000_000
CONFIGS = read_json("image_pass_configs.json")
T5GEMMA2 = Model.from_config(CONFIGS["t5gemma2"]["config"], "t5gemma2")
UDOP = Model.from_config(CONFIGS["udop"]["config"], "udop")
T5 = Model.from_config(read_json("other_configs.json")["t5"]["config"], "t5")


def flops(folder: Path, model: Model, *passes: tuple[str, str | None], **options: Any) -> list[int | None]:
    """FLOPs of each pass, a phase with its mark, of one request."""
    return analyzed(folder, model, *passes, **options)[0]


def analyzed(
    folder: Path, model: Model, *passes: tuple[str, str | None], **options: Any
) -> tuple[list[int | None], list[str]]:
    """The same, and the codes of the findings."""
    builder = TraceBuilder().gpu()
    main = builder.process().thread()
    main.push(0, 100 * MS, "request", domain="llmperf")
    for place, (name, mark) in enumerate(passes):
        start = place * 20 * MS + 10
        main.push(start, start + 19 * MS, name, domain="llmperf")
        if mark:
            main.mark(start + 1, f"{markers.STEP_MARK} {mark}", domain="llmperf")
        main.launch(start + 10, gpu=(start + 20, start + 18 * MS))
    with open_trace(
        builder.write(folder / f"{len(list(folder.iterdir()))}.sqlite"), TraceOptions(use_cache=False)
    ) as opened:
        opened.describe(AnalysisOptions(model=model, **options))
        opened.build("views.phases", "views.phase_summary", "views.findings")
        rows = opened.connection.execute("SELECT flops FROM views.phases ORDER BY start_ns").fetchall()
        told = opened.connection.execute("SELECT code FROM views.findings").fetchall()
        # What no GPU ran is too much in HFU, too; tokens are not.
        flags = "is_upper_bound, is_hfu_upper_bound, is_tokens_upper_bound"
        too_much = opened.connection.execute(
            f"SELECT {flags} FROM views.phase_summary WHERE phase = 'prefill'"
        ).fetchall()
        is_told = ("encoder_in_prefill",) in told
        assert all(row == (is_told, is_told, False) for row in too_much)
        return [row[0] for row in rows], [row[0] for row in told]


def alone(model: Model, tokens: int, images: tuple[tuple[int, int], ...] = (), **lengths: Any) -> list[int]:
    """FLOPs of the pass of the encoder, of the decoder's first pass after it, and of a decode step."""
    seen = images if model.architecture.appends_images else ()
    encoder = Step((tokens,), (0,), 0, images=images, is_encoder=True)
    first, later = (Step((1,), (kv,), 1, seen_images=seen, seen_encoder_tokens=(tokens,)) for kv in (0, 1))
    return [Estimator(model).estimate(step).flops for step in (encoder, first, later)]


@pytest.mark.parametrize(
    ("model", "images"),
    [pytest.param(T5GEMMA2, ((4, 4), (4, 4)), id="t5gemma2"), pytest.param(UDOP, ((3, 3),), id="udop"), (T5, ())],
)
def test_an_encoder_that_runs_first_has_its_flops(
    tmp_path: Path, model: Model, images: tuple[tuple[int, int], ...]
) -> None:
    told = f',"images":{[list(grid) for grid in images]}' if images else ""
    marked = (
        ("encoder", f'{{"q":9,"kv":0,"b":1,"logits":0{told}}}'),
        ("prefill", '{"q":1,"kv":0,"b":1}'),
        ("decode", '{"q":1,"kv":1,"b":1}'),
    )
    apart = alone(model, 9, images)
    assert flops(tmp_path, model, *marked) == apart
    # The same in one pass.
    whole = f'{{"q":1,"kv":0,"b":1,"encoder":[9]{told}}}'
    assert flops(tmp_path, model, ("prefill", whole), marked[2]) == [apart[0] + apart[1], apart[2]]


def test_a_prompt_that_options_tell_is_the_encoders(tmp_path: Path) -> None:
    options = {"shapes": (RequestShape.parse("1x9+1"),), "images": ImageOptions(2, ())}
    apart = alone(T5GEMMA2, 9, ((4, 4),) * 2)
    passes = (("prefill", None), ("decode", None))
    assert flops(tmp_path, T5GEMMA2, *passes, **options) == [apart[0] + apart[1], apart[2]]


def test_images_of_options_go_to_the_encoder_that_runs_first(tmp_path: Path) -> None:
    marked = (("encoder", '{"q":9,"kv":0,"b":1,"logits":0}'), ("prefill", '{"q":1,"kv":0,"b":1}'))
    found = flops(tmp_path, T5GEMMA2, *marked, images=ImageOptions(2, ()))
    assert found == alone(T5GEMMA2, 9, ((4, 4),) * 2)[:2]


def test_beams_share_what_was_encoded(tmp_path: Path) -> None:
    marked = (("encoder", '{"q":[9,7],"kv":0,"logits":0}'), ("prefill", '{"q":1,"kv":0,"b":4}'))
    beams = Step.uniform(batch=4, q_tokens=1)
    lengths = (9, 9, 7, 7)
    expected = Estimator(T5).estimate(beams, encoder_tokens=lengths).flops
    encoder = sum(op.layers * op.flops_model for op in _encoder_ops(lengths))
    assert flops(tmp_path, T5, *marked)[1] == expected - encoder


WHISPER = Model.from_config(read_json("other_configs.json")["whisper"]["config"], "whisper")


def test_an_encoder_whose_phase_says_nothing_is_told(tmp_path: Path) -> None:
    rest = (("prefill", '{"q":1,"kv":0,"b":1}'), ("decode", '{"q":1,"kv":1,"b":1}'))
    found, told = analyzed(tmp_path, WHISPER, ("encoder", None), *rest)
    apart, marked = analyzed(tmp_path, WHISPER, ("encoder", '{"q":30,"kv":0,"b":1,"logits":0}'), *rest)
    alone = Estimator(WHISPER).estimate(Step((30,), (0,), 0, is_encoder=True)).flops
    assert apart[0] == alone
    assert found == [None, alone + (apart[1] or 0), apart[2]]
    assert "encoder_in_prefill" in told
    assert "encoder_in_prefill" not in marked


def test_images_of_another_size_than_the_configs_are_told(tmp_path: Path) -> None:
    config = read_json("other_configs.json")["vision-encoder-decoder+trocr"]["config"]
    model = Model.from_config(config, "trocr")

    def told(height: int) -> list[str]:
        mark = f'{{"q":[],"kv":[],"logits":0,"images":[[{height},4]]}}'
        return analyzed(tmp_path, model, ("vision", mark), ("prefill", '{"q":1,"kv":0,"b":1}'))[1]

    assert "images_of_other_size" in told(5)
    assert "images_of_other_size" not in told(4)


def _encoder_ops(lengths: tuple[int, ...]) -> list[Any]:
    step = Step.uniform(batch=len(lengths), q_tokens=1)
    ops = Estimator(T5).estimate(step, encoder_tokens=lengths).ops
    return [op for op in ops if op.layer.startswith("encoder.")]


def test_tokens_of_an_encoder_that_are_none_are_no_step() -> None:
    for encoder in ("[9,9]", "9", '["a"]', "[-1]"):
        with pytest.raises(ValueError, match="not a step"):
            markers.decode_step(f'{{"q":1,"kv":0,"b":1,"encoder":{encoder}}}')
    step = Step((1, 1), (0, 0), 2, encoder_tokens=(9, 7))
    assert markers.decode_step(markers.encode_step(step).removeprefix(markers.STEP_MARK)) == step
