"""Marks of transformers' continuous batching: stand-ins, and the real one on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from nsys_pipeline import markers
from nsys_pipeline.workload.engines import transformers
from tests.unit.workload.engines.recorder import Recorder

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(markers, "_chosen", recorder)
    monkeypatch.setattr(transformers, "_description", lambda model: {"model": {"model_type": "llama"}})
    return recorder


@pytest.fixture
def module() -> Any:
    class ContinuousBatchProcessor:
        def __init__(self, inputs_and_outputs: Any) -> None:
            self.inputs_and_outputs = inputs_and_outputs

        def _generation_step(self, model: Any) -> str:
            return "done"

        def warmup(self, model: Any) -> None:
            markers.push("pass")
            markers.pop()

    class ContinuousBatchingManager:
        def add_request(self, input_ids: list[int], request_id: str | None = None) -> str | None:
            return request_id

    made = ModuleType("stand_in")
    made.ContinuousBatchProcessor = ContinuousBatchProcessor  # type: ignore[attr-defined]
    made.ContinuousBatchingManager = ContinuousBatchingManager  # type: ignore[attr-defined]
    transformers.patch_batching(made)
    return made


def future(name: str, prompt: int, q: int, offset: int, *, has_token: bool = True) -> SimpleNamespace:
    state = SimpleNamespace(request_id=name, initial_tokens=[0] * prompt, position_offset=offset)
    return SimpleNamespace(state=state, query_length=q, has_new_token=has_token)


KEEPS = SimpleNamespace(_supports_logits_to_keep=lambda: True)


def test_prompts_and_tokens(recorder: Recorder, module: Any) -> None:
    prepared = SimpleNamespace(requests_in_batch=[future("a", 10, 6, 6, has_token=False)])
    processor = module.ContinuousBatchProcessor(prepared)
    assert processor._generation_step(KEEPS) == "done"
    prepared.requests_in_batch = [future("a", 10, 4, 10), future("b", 3, 3, 3)]
    processor._generation_step(KEEPS)
    prepared.requests_in_batch = [future("a", 10, 1, 11), future("c", 5, 5, 5)]
    processor._generation_step(SimpleNamespace())
    prepared.requests_in_batch = [future("a", 10, 1, 12), future("c", 5, 1, 6)]
    processor._generation_step(KEEPS)
    assert recorder.steps == [
        ("prefill", [6], [0]), ("prefill", [4, 3], [6, 0]), ("mixed", [1, 5], [10, 0]), ("decode", [1, 1], [11, 5]),
    ]  # fmt: skip
    # a prompt that goes on needs no logits; a model that cannot leave any out computes all
    assert [mark["logits"] for mark in recorder.marks("step")] == [0, 2, 6, 2]
    assert recorder.ranges == ["prefill", "prefill", "mixed", "decode"]


def test_the_one_of_two_batches_whose_turn_it_is(recorder: Recorder, module: Any) -> None:
    pairs = [
        SimpleNamespace(host_io=SimpleNamespace(requests_in_batch=[future(name, 4, 4, 4)])) for name in ("old", "now")
    ]
    processor = module.ContinuousBatchProcessor(SimpleNamespace(io_pairs=pairs, current_pair=1, requests_in_batch=[]))
    processor._generation_step(KEEPS)
    assert recorder.marks("step")[0]["new"] == {"0": "now"}


def test_warm_up_and_arrivals(recorder: Recorder, module: Any) -> None:
    module.ContinuousBatchProcessor(None).warmup(KEEPS)
    assert recorder.ranges == ["warmup", "pass"]
    manager = module.ContinuousBatchingManager()
    assert manager.add_request([1, 2, 3], "a") == "a"
    # a rank that takes no requests
    assert manager.add_request([1, 2, 3]) is None
    assert recorder.marks("request") == [{"id": "a", "prompt": 3, "waited_ms": 0.0}]


def test_further_texts_of_a_prompt_arrive_with_it(recorder: Recorder, module: Any) -> None:
    manager = module.ContinuousBatchingManager()
    manager.num_return_sequences = 3
    manager.add_request([1, 2], "a")
    assert [mark["id"] for mark in recorder.marks("request")] == ["a", "a__child#0", "a__child#1"]


def test_another_layout_runs_on(recorder: Recorder, module: Any, capsys: pytest.CaptureFixture[str]) -> None:
    processor = module.ContinuousBatchProcessor(SimpleNamespace())
    assert [processor._generation_step(KEEPS) for _ in range(2)] == ["done", "done"]
    assert recorder.ranges == []
    assert capsys.readouterr().err.count("only its own ranges count") == 1


def test_the_real_one() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers", minversion="5.20")
    program = f"""
import json, sys
sys.path.insert(0, {str(ROOT)!r})
from nsys_pipeline import markers
log = []
class Recorder:
    def push(self, name): log.append("+" + name)
    def pop(self): log.append("-")
    def mark(self, text): log.append(text)
markers._chosen = Recorder()
from nsys_pipeline.workload import auto
auto.install()
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.generation import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig
sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=96, **sizes)).eval()
settings = GenerationConfig(max_new_tokens=4, do_sample=False, eos_token_id=-1, pad_token_id=0)
limits = ContinuousBatchingConfig(num_blocks=16, max_batch_tokens=16)
prompts = [list(range(1, 21)), list(range(30, 36))]
model.generate_batch(prompts, generation_config=settings, continuous_batching_config=limits, progress_bar=False)
steps = [json.loads(text.split(" ", 1)[1]) for text in log if text.startswith("llmperf.step")]
print("STEPS", json.dumps(steps))
print("RANGES", json.dumps(sorted({{text for text in log if text.startswith("+")}})))
print("RUNS", sum(text.startswith("llmperf.run") for text in log))
print("ARRIVALS", sum(text.startswith("llmperf.request") for text in log))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "llmperf:" not in done.stderr
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.split(" ", 1)[0].isupper())
    computed: dict[str, list[tuple[int, int]]] = {}
    for mark in json.loads(said["STEPS"]):
        step = markers.decode_step(json.dumps(mark))
        for number, q, kv in zip(mark["ids"], step.q_tokens, step.kv_tokens, strict=True):
            computed.setdefault(str(number), []).append((q, kv))
    # 20 tokens do not fit a batch of 16; three of the four new tokens are computed again
    totals = sorted(sum(q for q, _ in each) for each in computed.values())
    assert totals == [6 + 3, 20 + 3]
    for each in computed.values():
        assert [kv for _, kv in each] == [sum(q for q, _ in each[:index]) for index in range(len(each))]
    assert int(said["ARRIVALS"]) == 2
    assert int(said["RUNS"]) >= 1
