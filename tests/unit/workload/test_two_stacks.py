"""Models of two stacks that nobody marked, with random weights: each phase of the analysis has the FLOPs that torch
counts in it, whatever is encoded once and decoded for several sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline import markers
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.model import Model, images
from nsys_pipeline.model.families import flattened_patches
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.tiny_models import known
from tests.support.trace_builder import TraceBuilder
from tests.support.versions import counted_with_the_newest
from tests.unit.model.configs import read_json
from tests.unit.workload.conftest import Recorder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

MS = 1_000_000


class Passes:
    """The requests of a program, and of each its phases: name, text of its mark, FLOPs that torch counts."""

    def __init__(self, recorder: Recorder, counter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[list[list[Any]]] = []
        push, pop, mark = recorder.push, recorder.pop, recorder.mark

        def pushed(name: str) -> None:
            push(name)
            if name == markers.REQUEST:
                self.requests.append([])
            elif "." not in name:
                self.requests[-1].append([name, None, counter.get_total_flops()])

        def popped() -> None:
            name = recorder.open[-1]
            if name != markers.REQUEST and "." not in name:
                self.requests[-1][-1][2] = counter.get_total_flops() - self.requests[-1][-1][2]
            pop()

        def marked(text: str) -> None:
            mark(text)
            if text.startswith(markers.STEP_MARK):
                self.requests[-1][-1][1] = text

        for name, spy in (("push", pushed), ("pop", popped), ("mark", marked)):
            monkeypatch.setattr(recorder, name, spy)

    def counted(self) -> list[tuple[str, int]]:
        return [(name, flops) for request in self.requests for name, _, flops in request]

    def analyzed(self, folder: Path, model: Model) -> tuple[list[tuple[str, int | None]], list[str]]:
        """FLOPs that each phase executes, as the analysis has them of a trace with these marks; what it tells."""
        builder = TraceBuilder().gpu()
        main, at = builder.process().thread(), 0
        for request in self.requests:
            main.push(at, at + (len(request) + 1) * MS, "request", domain="llmperf")
            for name, text, _ in request:
                main.push(at + 10, at + MS, name, domain="llmperf")
                if text:
                    main.mark(at + 11, text, domain="llmperf")
                main.launch(at + 20, gpu=(at + 30, at + MS - 10))
                at += MS + 1
            at += 2 * MS
        with open_trace(builder.write(folder / "trace.sqlite"), TraceOptions(use_cache=False)) as trace:
            trace.describe(AnalysisOptions(model=model, keep_cold=True))
            trace.build("estimate.occurrence_costs", "input.notices")
            rows = trace.connection.execute(
                "SELECT p.phase, c.executed_flops FROM attribute.phase_ranges p "
                "LEFT JOIN estimate.occurrence_costs c USING (occurrence_id) ORDER BY p.start_ns"
            ).fetchall()
            told = trace.connection.execute("SELECT code FROM input.notices").fetchall()
        return rows, [code for (code,) in told]


def build(config: dict[str, Any], kind: str) -> Any:
    torch.manual_seed(0)
    made = transformers.AutoConfig.for_model(**config)
    model = getattr(transformers, kind)
    made._attn_implementation = "eager"
    model = model._from_config(made) if hasattr(model, "_from_config") else model.from_config(made)
    return model.eval().requires_grad_(False)


def compare(
    recorder: Recorder, folder: Path, monkeypatch: pytest.MonkeyPatch, module: Any, model: Model, **inputs: Any
) -> Passes:
    """Run `generate` and see that each phase of the analysis has what torch counts in it."""
    from torch.utils.flop_counter import FlopCounterMode

    settings = {"max_new_tokens": 3, "min_new_tokens": 3, "pad_token_id": 0}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        passes = Passes(recorder, counter, monkeypatch)
        module.generate(**(settings | inputs))
    found, told = passes.analyzed(folder, model)
    assert found == passes.counted()
    assert not {"encoder_in_prefill", "images_of_other_size", "no_estimate"} & set(told)
    return passes


MANY: dict[str, dict[str, Any]] = {
    "one": {"do_sample": False},
    "beams": {"num_beams": 4, "num_return_sequences": 2, "do_sample": False},
    "samples": {"num_return_sequences": 2, "do_sample": True},
    "no cache": {"use_cache": False, "do_sample": False},
}
START: dict[str, Any] = {"decoder_start_token_id": 0}
OTHERS = read_json("other_configs.json")


@pytest.mark.parametrize("many", MANY)
def test_whispers_encoder_has_its_flops_where_it_ran(
    many: str, marked: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = OTHERS["whisper"]["config"]
    module = build(config, "WhisperForConditionalGeneration")
    sound = torch.randn(2, 20, 60)
    passes = compare(
        marked, tmp_path, monkeypatch, module, Model.from_config(config), input_features=sound, **START, **MANY[many]
    )
    assert [name for name, _ in passes.counted()] == ["encoder", "prefill", "decode", "decode"]


@counted_with_the_newest
@pytest.mark.parametrize(
    ("name", "many"), [("trocr", "one"), ("donut", "one"), ("gpt2", "beams"), ("bridge", "samples")]
)
def test_encoders_of_images_have_their_flops_where_they_ran(
    name: str, many: str, marked: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = OTHERS[f"vision-encoder-decoder+{name}"]["config"]
    module = build(config, "VisionEncoderDecoderModel")
    size = config["encoder"]["image_size"]
    pixels = torch.randn(2, 3, *(size if isinstance(size, list) else (size, size)))
    passes = compare(
        marked, tmp_path, monkeypatch, module, Model.from_config(config), pixel_values=pixels, **START, **MANY[many]
    )
    assert [name for name, _ in passes.counted()] == ["vision", "prefill", "decode", "decode"]


IMAGES = read_json("image_pass_configs.json")


@counted_with_the_newest
@pytest.mark.parametrize(
    ("name", "many"),
    [
        ("idefics", "beams"),
        ("pix2struct", "beams"),
        ("pix2struct", "samples"),
        ("kosmos-2.5", "beams"),
        ("t5gemma2", "beams"),
        ("udop", "beams"),
        ("pp_formulanet", "samples"),
    ],
)
def test_sequences_share_an_image(
    name: str, many: str, marked: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.unit.workload.test_image_encoders import inputs_of

    if not known(name):
        pytest.skip(f"this transformers has no {name}")
    for kind, patches in (("pix2struct", "PIX2STRUCT_PATCHES"), ("kosmos-2.5", "KOSMOS_PATCHES")):
        monkeypatch.setattr(flattened_patches, patches, 64)
        monkeypatch.setitem(images._VIEWS, kind, images._flattened(64))
    config = IMAGES[name]["config"]
    module = build(config, "AutoModelForImageTextToText")
    inputs = inputs_of(name, module.config)
    start = {"decoder_start_token_id": 0} if name == "udop" else {}
    compare(marked, tmp_path, monkeypatch, module, Model.from_config(config), **inputs, **MANY[many], **start)


@pytest.mark.parametrize("many", ["one", "beams"])
def test_decoders_run_over_what_the_encoders_batch_is_padded_with(
    many: str, marked: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = OTHERS["t5"]["config"]
    module = build(config, "AutoModelForSeq2SeqLM")
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 5:] = 0
    inputs = {"input_ids": torch.ones(2, 9, dtype=torch.long), "attention_mask": mask, **START}
    compare(marked, tmp_path, monkeypatch, module, Model.from_config(config), **inputs, **MANY[many])
