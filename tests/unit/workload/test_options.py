"""The workload's command line, without torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.workload.options import Shape, WorkloadOptions


def test_shape() -> None:
    assert Shape.parse("8x512+32") == Shape(8, 512, 32)
    assert str(Shape(8, 512, 32)) == "8x512+32"
    # a prefill and nothing else; and as many new tokens as another option says
    assert Shape.parse("8x512+0") == Shape(8, 512, 0)
    assert Shape.parse("8x512", new_tokens=7) == Shape(8, 512, 7)
    assert Shape.parse("8x512+3", new_tokens=7) == Shape(8, 512, 3)


@pytest.mark.parametrize("text", ["", "8x512", "8*512+32", "0x512+32", "8x0+1", "-1x2+3"])
def test_no_shape(text: str) -> None:
    with pytest.raises(ValueError, match="is no shape"):
        Shape.parse(text)


@pytest.mark.parametrize(
    "options",
    [
        WorkloadOptions(config=Path("c.json"), shapes=(Shape(1, 2, 3),)),
        WorkloadOptions(
            model="some/model",
            name="model",
            weights="pretrained",
            shapes=(Shape(1, 2, 3), Shape(4, 5, 6)),
            repeats=7,
            warmup=0,
            dtype="float16",
            device="cuda:1",
            attn="eager",
            compile=True,
            cuda_graphs=True,
            sample=True,
            sync="request",
            layers=True,
            ops=True,
            capture_range="nvtx",
            parallel="tensor",
            seed=3,
            result=Path("r.json"),
        ),
    ],
)
def test_options_survive_the_command_line(options: WorkloadOptions) -> None:
    assert WorkloadOptions.parse(options.argv()) == options


@pytest.mark.parametrize("arguments", [[], ["--config", "c"], ["--config", "c", "--shape", "1x1+1", "--repeats", "0"]])
def test_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        WorkloadOptions.parse(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err
