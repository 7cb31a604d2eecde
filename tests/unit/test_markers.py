"""The marker vocabulary and what a program that is not profiled pays for it: nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from nsys_pipeline import markers
from nsys_pipeline.nvtx_injection import INJECTION_VARIABLE, InjectedDomain, InjectionError
from nsys_pipeline.records import Step

ROOT = Path(__file__).resolve().parents[2]


class Recorder:
    """A backend that remembers."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def push(self, name: str) -> None:
        self.events.append(f"push {name}")

    def pop(self) -> None:
        self.events.append("pop")

    def mark(self, text: str) -> None:
        self.events.append(text)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(markers, "_chosen", recorder)
    monkeypatch.setattr(markers, "_described", {})
    return recorder


@pytest.mark.parametrize(
    "step",
    [
        Step.uniform(batch=4, q_tokens=1, kv_tokens=1024),
        Step.uniform(batch=1, q_tokens=7, logits=7),
        Step.ragged([5, 1], [0, 99]),
        Step.ragged([], []),
        Step((9, 1), (0, 7), 2, experts=61.25),
    ],
)
def test_steps_survive_the_trip(step: Step) -> None:
    text = markers.encode_step(step)
    assert markers.decode_step(text.removeprefix(markers.STEP_MARK)) == step


@pytest.mark.parametrize("experts", ["true", '"8"', "-1", "0", "0.5", "NaN", "1e30", "[8]"])
def test_a_count_of_experts_that_is_none_is_refused(experts: str) -> None:
    with pytest.raises(ValueError, match=r"not a step|no number of experts"):
        markers.decode_step(f'{{"q":1,"experts":{experts}}}')


@pytest.mark.parametrize(
    "sizes", ['"q":1,"b":0', '"q":[512,100],"b":9', '"q":[1,2],"kv":[1,2,3]', '"q":3,"kv":[],"b":1']
)
def test_batches_that_disagree_or_are_none_are_refused(sizes: str) -> None:
    with pytest.raises(ValueError, match="not a step: a batch of"):
        markers.decode_step(f"{{{sizes}}}")


def test_equal_values_are_one_number() -> None:
    assert markers.encode_step(Step.uniform(batch=2, q_tokens=3)) == 'llmperf.step {"q":3,"kv":0,"b":2,"logits":2}'
    counted = Step((3, 3), (0, 0), 2, experts=7.5)
    assert markers.encode_step(counted) == 'llmperf.step {"q":3,"kv":0,"b":2,"logits":2,"experts":7.5}'
    assert markers.encode_step(Step.ragged([3, 4], [0, 1])) == 'llmperf.step {"q":[3,4],"kv":[0,1],"logits":2}'


def test_phase_with_its_shape(recorder: Recorder) -> None:
    with markers.phase("prefill", Step.uniform(batch=1, q_tokens=8)):
        pass
    assert recorder.events == ["push prefill", 'llmperf.step {"q":8,"kv":0,"b":1,"logits":1}', "pop"]


def test_step_in_numbers(recorder: Recorder) -> None:
    markers.step(8, batch=2)
    markers.step([1, 1, 1], [5, 6, 7], logits=3)
    assert [json.loads(text.split(" ", 1)[1]) for text in recorder.events] == [
        {"q": 8, "kv": 0, "b": 2, "logits": 2},
        {"q": 1, "kv": [5, 6, 7], "logits": 3},
    ]


def test_lengths_must_agree(recorder: Recorder) -> None:
    with pytest.raises(ValueError, match="cannot hold batches of"):
        markers.step([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="cannot hold batches of"):
        markers.step([1, 2], batch=3)


def test_a_range_is_closed_when_its_body_fails(recorder: Recorder) -> None:
    with pytest.raises(KeyError), markers.phase("decode"):
        raise KeyError("x")
    assert recorder.events == ["push decode", "pop"]


def test_run_mark(recorder: Recorder) -> None:
    markers.run(model={"hidden_size": 64}, dtype="bfloat16")
    name, payload = recorder.events[0].split(" ", 1)
    assert (name, json.loads(payload)) == ("llmperf.run", {"v": 1, "model": {"hidden_size": 64}, "dtype": "bfloat16"})


def test_the_first_step_of_a_window_says_again_what_runs(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """nsys records from cudaProfilerStart on: what came before is in no trace."""
    calls: list[str] = []
    runtime = types.SimpleNamespace(cudaProfilerStart=lambda: calls.append("start"))
    monkeypatch.setitem(sys.modules, "torch._C", types.SimpleNamespace(_cudart=runtime))
    markers.run(dtype="bfloat16")
    markers.run(dtype="float16")
    markers.step(8)
    before = list(recorder.events)

    runtime.cudaProfilerStart()
    markers.step(1)
    markers.step(2)

    assert calls == ["start"]
    assert [text.split(" ")[0] for text in before] == ["llmperf.run", "llmperf.run", "llmperf.step"]
    step, run, last = recorder.events[3:]
    assert run == before[1]
    assert ('"q":1,' in step, '"q":2,' in last) == (True, True)


def test_nothing_happens_without_a_profiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(INJECTION_VARIABLE, raising=False)
    monkeypatch.delenv("NSYS_PROFILING_SESSION_ID", raising=False)
    monkeypatch.setattr(markers, "_chosen", markers._UNSET)
    with markers.phase("prefill"):
        markers.step([1], [2, 3])
    assert not markers.profiled()
    assert markers.backend_name() is None


def test_a_profiler_that_cannot_be_reached_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(INJECTION_VARIABLE, str(tmp_path / "missing.so"))
    with pytest.raises(InjectionError, match="cannot load"):
        InjectedDomain.connect("llmperf")
    assert markers.choose_backend("injection") is None
    assert markers.choose_backend("off") is None


def test_only_the_standard_library_is_needed() -> None:
    # -S -I: no site-packages at all, as in a foreign environment
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from nsys_pipeline.markers import phase, step\n"
        "with phase('decode'): step(1, 5)\n"
        "from nsys_pipeline.workload import auto\n"
        "auto.install()\n"
        "print(sorted({'attrs', 'attr', 'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-S", "-I", "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
