"""The engines of the built-in workload, with torch on the CPU and without nsys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nsys_pipeline.errors import CheckError, ModelError, UsageError
from nsys_pipeline.workload.generate import EagerEngine, GraphEngine, check_static_cache, token_picker
from nsys_pipeline.workload.options import Shape, WorkloadOptions

if TYPE_CHECKING:
    import torch

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("workload_extra")]

SHAPE = Shape(2, 9, 6)


@pytest.fixture
def model(tiny_llama: Path) -> Any:
    import torch

    from nsys_pipeline.workload.models import build_model

    return build_model(WorkloadOptions(config=tiny_llama, shapes=(SHAPE,)), torch.device("cpu"))


class Replayed(GraphEngine):
    """The graph engine with the captured graph replaced by what it would replay; the CPU has no CUDA graphs."""

    fault = 0.0

    def _capture(self, prompt: torch.Tensor) -> tuple[Any, torch.Tensor, torch.Tensor]:
        import torch

        self._token.copy_(self.prefill(prompt))
        logits = torch.empty_like(self._eager_step())
        chosen = torch.empty_like(self._token)
        engine = self

        class Graph:
            def replay(self) -> None:
                logits.copy_(engine._eager_step()).add_(engine.fault)
                chosen.copy_(engine._pick(logits))

        return Graph(), chosen, logits


def generate(engine: Any, prompt: torch.Tensor) -> list[list[int]]:
    engine.reset()
    token = engine.prefill(prompt)
    tokens = [token.clone()]
    for _ in range(SHAPE.new_tokens):
        token = engine.decode(token)
        tokens.append(token.clone())
    return [row.flatten().tolist() for row in tokens]


def test_static_cache_generates_what_the_growing_one_does(model: Any) -> None:
    import torch

    prompt = torch.randint(0, 256, (SHAPE.batch, SHAPE.prompt_tokens))
    pick = token_picker(sample=False)
    with torch.inference_mode():
        expected = generate(EagerEngine(model, pick), prompt)
        static = Replayed(model, pick, SHAPE, prompt)
        assert generate(static, prompt) == expected
        # and again: a request starts from an empty cache
        assert generate(static, prompt) == expected


def test_a_graph_that_computes_something_else_is_refused(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(Replayed, "fault", 1.0)
    prompt = torch.randint(0, 256, (SHAPE.batch, SHAPE.prompt_tokens))
    with torch.inference_mode(), pytest.raises(CheckError, match="does not compute what the eager step computes"):
        Replayed(model, token_picker(sample=False), SHAPE, prompt)


def test_windows_that_a_graph_would_freeze() -> None:
    from transformers import LlamaConfig, MistralConfig

    check_static_cache(LlamaConfig(), 100_000)
    check_static_cache(MistralConfig(sliding_window=4096), 4096)
    with pytest.raises(UsageError, match="window of 4096 tokens"):
        check_static_cache(MistralConfig(sliding_window=4096), 4097)


def test_a_config_that_is_none(tmp_path: Path) -> None:
    import torch

    from nsys_pipeline.workload.models import build_model

    bad = tmp_path / "config.json"
    bad.write_text('{"hidden_size": 64}')
    with pytest.raises(ModelError, match="names no model_type"):
        build_model(WorkloadOptions(config=bad, shapes=(SHAPE,)), torch.device("cpu"))


@pytest.mark.parametrize(
    ("attn", "install"),
    [("flash_attention_2", "pip install flash-attn "), ("flash_attention_4", "pip install --pre flash-attn-4")],
)
def test_missing_flash_attention_names_the_install_line(tiny_llama: Path, attn: str, install: str) -> None:
    import importlib.metadata

    import torch

    from nsys_pipeline.workload.models import build_model

    installed = {distribution.metadata["Name"] for distribution in importlib.metadata.distributions()}
    if installed & {"flash-attn", "flash-attn-4"}:
        pytest.skip("a flash-attn is installed")
    with pytest.raises(UsageError, match=f"attention `{attn}` needs the package") as caught:
        build_model(WorkloadOptions(config=tiny_llama, shapes=(SHAPE,), attn=attn), torch.device("cpu"))
    assert caught.value.hint is not None
    assert install in caught.value.hint


@pytest.mark.parametrize(("has_sdpa", "attn"), [(True, "sdpa"), (False, "eager")])
def test_the_run_mark_says_the_attention_that_transformers_chose(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, *, has_sdpa: bool, attn: str
) -> None:
    import torch
    from transformers import LlamaForCausalLM

    from nsys_pipeline.workload.models import build_model, run_description

    monkeypatch.setattr(LlamaForCausalLM, "_supports_sdpa", has_sdpa)
    options, device = WorkloadOptions(config=tiny_llama, shapes=(SHAPE,)), torch.device("cpu")
    assert options.attn == "auto"
    assert run_description(build_model(options, device), options, device)["attn"] == attn
