"""Marks of vLLM's steps, from scheduler outputs laid out as those of several of its versions."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from nsys_pipeline import markers
from nsys_pipeline.workload.engines import vllm
from tests.unit.workload.engines.recorder import Recorder

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(markers, "_chosen", recorder)
    return recorder


class HfConfig:
    def to_json_string(self, *, use_diff: bool) -> str:
        assert not use_diff
        return json.dumps({"model_type": "qwen3", "hidden_size": 64, "id2label": {"0": "x"}})


def config(**changes: Any) -> SimpleNamespace:
    """The parts of a VllmConfig that are read."""
    parallel = {"tensor_parallel_size": 2, "pipeline_parallel_size": 1, "data_parallel_size": 2, "rank": 1}
    return SimpleNamespace(
        model_config=SimpleNamespace(
            hf_config=HfConfig(), model="models/tiny/", dtype="torch.bfloat16", quantization="fp8", max_model_len=512
        ),
        parallel_config=SimpleNamespace(**(parallel | changes.pop("parallel", {}))),
        cache_config=SimpleNamespace(cache_dtype="fp8_e4m3"),
        scheduler_config=SimpleNamespace(async_scheduling=changes.pop("is_async", False)),
        speculative_config=changes.pop("speculative", None),
    )


def new(name: str, prompt: int, cached: int = 0, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(req_id=name, prompt_token_ids=list(range(prompt)), num_computed_tokens=cached, **more)


def output(
    scheduled: dict[str, int], *, fresh: list[Any] | None = None, cached: dict[str, int] | None = None, **more: Any
) -> SimpleNamespace:
    """A scheduler output of 0.13 to 0.33: `cached` is request → computed tokens."""
    cached = cached or {}
    return SimpleNamespace(
        scheduled_new_reqs=fresh or [],
        scheduled_cached_reqs=SimpleNamespace(
            req_ids=list(cached),
            num_computed_tokens=list(cached.values()),
            resumed_req_ids=more.pop("resumed", set()),
        ),
        num_scheduled_tokens=scheduled,
        total_num_scheduled_tokens=sum(scheduled.values()),
        scheduled_spec_decode_tokens=more.pop("drafts", {}),
        scheduled_encoder_inputs=more.pop("encoded", {}),
        finished_req_ids=more.pop("finished", set()),
        **more,
    )


def old_output(
    scheduled: dict[str, int], *, fresh: list[Any] | None = None, cached: dict[str, int] | None = None
) -> Any:
    """A scheduler output of 0.9, which has a record for each cached request."""
    made = output(scheduled, fresh=fresh)
    made.scheduled_cached_reqs = [
        SimpleNamespace(req_id=name, num_computed_tokens=count, resumed_from_preemption=False)
        for name, count in (cached or {}).items()
    ]
    return made


def flagged_output(
    scheduled: dict[str, int], *, fresh: list[Any] | None = None, cached: dict[str, int] | None = None
) -> Any:
    """A scheduler output of 0.10, which says of each cached request whether it was preempted."""
    made = output(scheduled, fresh=fresh, cached=cached)
    del made.scheduled_cached_reqs.resumed_req_ids
    made.scheduled_cached_reqs.resumed_from_preemption = [False] * len(cached or {})
    return made


def steps_of(*outputs: Any, **runner: Any) -> vllm.VllmSteps:
    steps = vllm.VllmSteps(SimpleNamespace(vllm_config=runner.pop("config", config()), **runner))
    for each in outputs:
        steps.begin(each)
    steps.end()
    return steps


@pytest.mark.parametrize("made", [output, flagged_output, old_output])
def test_chunks_of_a_prompt_then_tokens(recorder: Recorder, made: Callable[..., Any]) -> None:
    steps_of(
        made({"a": 64}, fresh=[new("a", 150)]),
        made({"a": 64}, cached={"a": 64}),
        made({"a": 22}, cached={"a": 128}),
        made({"a": 1}, cached={"a": 150}),
    )
    assert recorder.steps == [
        ("prefill", [64], [0]), ("prefill", [64], [64]), ("prefill", [22], [128]), ("decode", [1], [150]),
    ]  # fmt: skip
    assert recorder.ranges == ["prefill", "prefill", "prefill", "decode"]


def test_what_the_prefix_cache_holds_is_not_computed(recorder: Recorder) -> None:
    steps_of(output({"a": 22}, fresh=[new("a", 150, cached=128)]), output({"a": 1}, cached={"a": 150}))
    assert recorder.steps == [("prefill", [22], [128]), ("decode", [1], [150])]


def test_a_prompt_of_one_token_is_a_prefill(recorder: Recorder) -> None:
    steps_of(output({"a": 1}, fresh=[new("a", 1)]), output({"a": 1}, cached={"a": 1}))
    assert recorder.steps == [("prefill", [1], [0]), ("decode", [1], [1])]


def test_prompts_and_tokens_in_one_step(recorder: Recorder) -> None:
    steps_of(
        output({"a": 5}, fresh=[new("a", 5)]),
        output({"a": 1, "b": 40, "c": 23}, fresh=[new("b", 40), new("c", 30)], cached={"a": 5}),
        output({"a": 1, "b": 1, "c": 7}, cached={"a": 6, "b": 40, "c": 23}),
        output({"a": 1, "b": 1, "c": 1}, cached={"a": 7, "b": 41, "c": 30}),
    )
    assert recorder.steps == [
        ("prefill", [5], [0]),
        ("mixed", [1, 40, 23], [5, 0, 0]),
        ("mixed", [1, 1, 7], [6, 40, 23]),
        ("decode", [1, 1, 1], [7, 41, 30]),
    ]


def test_requests_have_numbers_and_each_name_is_told_once(recorder: Recorder) -> None:
    steps_of(
        output({"a": 5}, fresh=[new("a", 5)]),
        output({"a": 1, "b": 4}, fresh=[new("b", 4)], cached={"a": 5}),
        output({"b": 1}, cached={"b": 4}, finished={"a"}),
        # the name of a request that has ended may come again
        output({"b": 1, "a": 3}, fresh=[new("a", 3)], cached={"b": 5}),
    )
    told = [(mark["ids"], mark.get("new")) for mark in recorder.marks("step")]
    assert told == [([0], {"0": "a"}), ([0, 1], {"1": "b"}), ([1], None), ([1, 2], {"2": "a"})]


def test_a_recording_that_begins_later_hears_everything_again(recorder: Recorder) -> None:
    steps = steps_of(output({"a": 5, "b": 6}, fresh=[new("a", 5), new("b", 6)]))
    recorder.events.clear()
    steps.recording_begins()
    steps.begin(output({"a": 1, "b": 1}, cached={"a": 5, "b": 6}))
    steps.begin(output({"a": 1, "b": 1}, cached={"a": 6, "b": 7}))
    steps.end()
    assert len(recorder.marks("run")) == 1
    assert [mark.get("new") for mark in recorder.marks("step")] == [{"0": "a", "1": "b"}, None]


def test_a_preempted_request_is_computed_again(recorder: Recorder) -> None:
    steps_of(
        output({"a": 5}, fresh=[new("a", 5)]),
        output({"a": 1}, cached={"a": 5}),
        # 7 tokens, all thrown away
        output({"a": 7}, cached={"a": 0}, resumed={"a"}),
        output({"a": 1}, cached={"a": 7}),
    )
    assert recorder.steps == [
        ("prefill", [5], [0]), ("decode", [1], [5]), ("prefill", [7], [0]), ("decode", [1], [7]),
    ]  # fmt: skip
    recorder.events.clear()
    # the newer model runner is sent it as if it were new, with what it had generated
    steps_of(
        output({"a": 5}, fresh=[new("a", 5, prefill_token_ids=list(range(5)))]),
        output({"a": 4}, fresh=[new("a", 5, prefill_token_ids=list(range(7)))]),
        output({"a": 3}, cached={"a": 4}),
        output({"a": 1}, cached={"a": 7}),
    )
    assert [phase for phase, _, _ in recorder.steps] == ["prefill", "prefill", "prefill", "decode"]


def test_guesses_are_verified(recorder: Recorder) -> None:
    drafts = {"a": [-1, -1, -1], "b": [7]}
    steps_of(
        output({"a": 5, "b": 6}, fresh=[new("a", 5), new("b", 6)]),
        output({"a": 4, "b": 2, "c": 9}, fresh=[new("c", 9)], cached={"a": 5, "b": 6}, drafts=drafts),
        output({"a": 4, "b": 2, "c": 1}, cached={"a": 7, "b": 8, "c": 9}, drafts=drafts),
    )
    assert recorder.steps == [
        ("prefill", [5, 6], [0, 0]), ("mixed", [4, 2, 9], [5, 6, 0]), ("verify", [4, 2, 1], [7, 8, 9]),
    ]  # fmt: skip
    marks = recorder.marks("step")
    assert [mark.get("drafts") for mark in marks] == [None, [3, 1, 0], [3, 1, 0]]
    # every position that may be sampled from
    assert [mark["logits"] for mark in marks] == [2, 7, 7]
    assert not any("ahead" in mark for mark in marks)


def test_asynchronous_speculation_counts_guesses_that_may_be_wrong(recorder: Recorder) -> None:
    steps_of(
        output({"a": 5}, fresh=[new("a", 5)]), config=config(is_async=True, speculative=SimpleNamespace(method="x"))
    )
    assert recorder.marks("step")[0]["ahead"] is True
    assert recorder.marks("run")[0]["speculation"] == {"method": "x", "tokens": None}


def test_probabilities_of_the_prompt_want_logits_of_all_but_its_first_token(recorder: Recorder) -> None:
    asked = SimpleNamespace(prompt_logprobs=5)
    steps_of(
        output({"a": 6}, fresh=[new("a", 10, sampling_params=asked)]),
        output({"a": 4}, cached={"a": 6}),
        output({"a": 1}, cached={"a": 10}),
    )
    # 9 of the prompt, and one of each step that is sampled from
    assert [mark["logits"] for mark in recorder.marks("step")] == [7, 4, 1]


def test_a_pooling_model_has_no_logits(recorder: Recorder) -> None:
    steps_of(output({"a": 5}, fresh=[new("a", 5)]), is_pooling_model=True)
    assert recorder.marks("step")[0]["logits"] == 0


def test_adapters_are_counted(recorder: Recorder) -> None:
    adapted = new("a", 5, lora_request=object())
    steps_of(output({"a": 5, "b": 5}, fresh=[adapted, new("b", 5, lora_request=None)]))
    assert recorder.marks("step")[0]["adapters"] == 1


class Grid:
    """A tensor on the host, as far as it is asked."""

    device = "cpu"

    def __init__(self, *values: int) -> None:
        self.values = values

    def flatten(self) -> Grid:
        return self

    def tolist(self) -> list[int]:
        return list(self.values)


class DeviceGrid(Grid):
    device = "cuda:0"

    def tolist(self) -> list[int]:
        raise AssertionError("the GPU was asked")


def test_pictures_that_the_encoder_sees_in_this_step(recorder: Recorder) -> None:
    pictures = [
        SimpleNamespace(data={"image_grid_thw": SimpleNamespace(data=Grid(1, 56, 28))}),
        SimpleNamespace(data={"video_grid_thw": Grid(2, 4, 6)}),
    ]
    seen = new("a", 900, mm_features=pictures)
    steps_of(
        output({"a": 500}, fresh=[seen], encoded={"a": [0]}),
        output({"a": 400}, cached={"a": 500}, encoded={"a": [1]}),
        output({"a": 1}, cached={"a": 900}),
    )
    assert [mark.get("images") for mark in recorder.marks("step")] == [[[56, 28]], [[4, 6], [4, 6]], None]


@pytest.mark.parametrize("role", ["ec_producer", "ec_consumer"])
def test_an_engine_that_encodes_for_others_computes_no_prompt(recorder: Recorder, role: str) -> None:
    described = config()
    described.ec_transfer_config = SimpleNamespace(ec_role=role)
    picture = SimpleNamespace(data={"image_grid_thw": Grid(1, 4, 6)})
    steps_of(
        output({"a": 15}, fresh=[new("a", 15, mm_features=[picture])], encoded={"a": [0]}),
        output({"b": 20}, fresh=[new("b", 20)]),
        config=described,
    )
    if role == "ec_producer":
        assert recorder.steps == [("vision", [], [])]
        assert recorder.marks("step")[0]["images"] == [[4, 6]]
        assert "ids" not in recorder.marks("step")[0]
        assert len(recorder.marks("run")) == 1
    else:
        assert recorder.steps == [("prefill", [15], [0]), ("prefill", [20], [0])]


def test_sides_that_count_tokens_are_those_of_their_patches(recorder: Recorder) -> None:
    described = config()
    described.model_config.hf_config = SimpleNamespace(
        model_type="inkling2",
        vision_config=SimpleNamespace(spatial_merge_size=2),
        to_json_string=HfConfig().to_json_string,
    )
    picture = SimpleNamespace(data={"image_grid_thw": Grid(1, 3, 5)})
    steps_of(output({"a": 15}, fresh=[new("a", 15, mm_features=[picture])], encoded={"a": [0]}), config=described)
    assert recorder.marks("step")[0]["images"] == [[6, 10]]


@pytest.mark.parametrize("data", [{"image_grid_thw": DeviceGrid(1, 2, 2)}, {"pixel_values": 1}, None])
def test_a_picture_of_unknown_size_is_left_out(recorder: Recorder, data: Any) -> None:
    steps_of(output({"a": 5}, fresh=[new("a", 5, mm_features=[SimpleNamespace(data=data)])], encoded={"a": [0]}))
    assert recorder.marks("step")[0]["q"] == 5
    assert "images" not in recorder.marks("step")[0]
    assert recorder.marks("step")[0]["unsized"] == ["images"]


class Mask(Grid):
    """A mask of frames: as many ones as each row of it says."""

    def sum(self, axis: int) -> Grid:
        assert axis == -1
        return Grid(*self.values)


def heard(model_type: str, *clips: dict[str, Any]) -> tuple[Any, Any]:
    """A worker's config, and a request with these clips and a picture."""
    described = config()
    described.model_config.hf_config = SimpleNamespace(model_type=model_type, to_json_string=HfConfig().to_json_string)
    features = [SimpleNamespace(modality="audio", data=data) for data in clips]
    picture = SimpleNamespace(modality="image", data={"image_grid_thw": Grid(1, 4, 6)})
    return described, new("a", 90, mm_features=[*features, picture])


def test_clips_that_the_encoder_hears_in_this_step(recorder: Recorder) -> None:
    described, request = heard(
        "qwen2_5_omni",
        {"audio_feature_lengths": Grid(310), "feature_attention_mask": Mask(3000)},
        {"feature_attention_mask": SimpleNamespace(data=Mask(3000, 500))},
        {"input_features_mask": Mask(77)},
    )
    steps_of(output({"a": 90}, fresh=[request], encoded={"a": [0, 1, 2, 3]}), config=described)
    (mark,) = recorder.marks("step")
    assert (mark["audio"], mark["images"]) == ([310, 3000, 500, 77], [[4, 6]])
    assert "unsized" not in mark


@pytest.mark.parametrize(
    ("model_type", "clip"),
    [
        ("qwen2_audio", {"feature_attention_mask": DeviceGrid(9)}),
        ("qwen2_audio", {"input_features": 1}),
        # What a clip of these is, their masks do not say.
        ("phi4_multimodal", {"feature_attention_mask": Mask(9)}),
        ("voxtral", {"feature_attention_mask": Mask(9)}),
    ],
)
def test_a_clip_of_unknown_length_is_said_beside_those_that_are_known(
    recorder: Recorder, model_type: str, clip: dict[str, Any]
) -> None:
    described, request = heard(model_type, clip)
    steps_of(output({"a": 90}, fresh=[request], encoded={"a": [0, 1]}), config=described)
    (mark,) = recorder.marks("step")
    assert (mark["images"], mark["unsized"]) == ([[4, 6]], ["audio"])
    assert "audio" not in mark


def test_a_step_without_tokens_has_no_range(recorder: Recorder) -> None:
    steps_of(output({"a": 5}, fresh=[new("a", 5)]), output({}, finished={"a"}))
    assert recorder.ranges == ["prefill"]


@pytest.mark.parametrize(
    "strange",
    [
        SimpleNamespace(num_scheduled_tokens={"a": 1}),
        output({"a": 1, "b": 1}, cached={"a": 5}),
        output({"a": 1}, cached={"z": 5}),
        SimpleNamespace(),
    ],
)
def test_an_unknown_layout_is_said_once_and_ends_the_marks(
    recorder: Recorder, strange: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = steps_of(output({"a": 5}, fresh=[new("a", 5)]), strange)
    assert steps.marks.is_off
    assert recorder.ranges == ["prefill"]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "vLLM" in said
    assert "only its own ranges count" in said


@pytest.mark.parametrize(
    ("parallel", "copies"),
    [
        ({"enable_eplb": True, "eplb_config": SimpleNamespace(num_redundant_experts=32)}, 32),
        ({"enable_eplb": True, "num_redundant_experts": 16}, 16),
        ({"enable_eplb": False, "eplb_config": SimpleNamespace(num_redundant_experts=32)}, None),
        ({"enable_eplb": True, "eplb_config": SimpleNamespace(num_redundant_experts=0)}, None),
    ],
)
def test_copies_of_experts(parallel: dict[str, Any], copies: int | None) -> None:
    fields = vllm.run_fields(SimpleNamespace(vllm_config=config(parallel=parallel)))
    assert fields.get("redundant_experts") == copies


@pytest.mark.parametrize(("sizes", "told"), [([8, 1, 2, 4], [1, 2, 4, 8]), ([], None), (None, None), ("all", None)])
def test_batches_that_graphs_are_recorded_for(sizes: Any, told: list[int] | None) -> None:
    described = config()
    described.compilation_config = SimpleNamespace(cudagraph_capture_sizes=sizes)
    assert vllm.run_fields(SimpleNamespace(vllm_config=described)).get("graph_sizes") == told


def test_run_mark(recorder: Recorder) -> None:
    steps_of(output({"a": 5}, fresh=[new("a", 5)]), config=config(parallel={"enable_expert_parallel": True}))
    (run,) = recorder.marks("run")
    told = {name: run[name] for name in ("name", "dtype", "quantization", "kv_dtype", "tp", "pp", "dp", "ep", "rank")}
    assert told == {
        "name": "tiny", "dtype": "bfloat16", "quantization": "fp8", "kv_dtype": "fp8_e4m3",
        "tp": 2, "pp": 1, "dp": 2, "ep": 4, "rank": 1,
    }  # fmt: skip
    assert run["model"] == {"model_type": "qwen3", "hidden_size": 64, "num_labels": 1}
    assert run["max_context"] == 512


def test_a_run_that_cannot_be_described_is_marked_all_the_same(
    recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = steps_of(output({"a": 5}, fresh=[new("a", 5)]), config=SimpleNamespace())
    steps.begin(output({"a": 1}, cached={"a": 5}))
    steps.end()
    assert recorder.ranges == ["prefill", "decode"]
    assert capsys.readouterr().err.count("give --model to `analyze`") == 1


class Worker:
    """The worker of 0.12 and newer: sampling is a call of its own."""

    def __init__(self, runner: Any) -> None:
        self.model_runner = runner

    def load_model(self) -> None:
        markers.push("inside")
        markers.pop()

    def execute_model(self, scheduler_output: Any) -> Any:
        return self.model_runner.execute_model(scheduler_output, None)

    def sample_tokens(self, grammar_output: Any) -> Any:
        return self.model_runner.sample_tokens(grammar_output)

    def execute_dummy_batch(self) -> None:
        pass

    def profile(self, is_start: bool = True) -> None:
        pass


class GPUModelRunner:
    def __init__(self) -> None:
        self.vllm_config = config()
        self.result: Any = None

    def execute_model(self, scheduler_output: Any, intermediate_tensors: Any = None, dummy_run: bool = False) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def _dummy_run(self, num_tokens: int) -> None:
        """As in vllm.v1.worker.gpu.model_runner of 0.24 and 0.32: tokens of requests that nobody has sent."""
        tokens = {f"_dummy_req_{index}": 1 for index in range(num_tokens)}
        self.execute_model(output(tokens), intermediate_tensors=None, dummy_run=True)

    def sample_tokens(self, grammar_output: Any) -> str:
        markers.push("kernel")
        markers.pop()
        if grammar_output == "drafts":
            self.propose_draft_token_ids([])
        return "sampled"

    def propose_draft_token_ids(self, sampled_token_ids: Any) -> None:
        pass


@pytest.fixture
def worker() -> Any:
    """A patched worker with a patched runner, of classes of their own for each test."""
    classes = ModuleType("vllm.v1.worker.stand_in")
    for base in (Worker, GPUModelRunner):
        own = {name: value for name, value in vars(base).items() if name not in ("__dict__", "__weakref__")}
        made = type(base.__name__, (), own)
        made.__module__ = classes.__name__
        setattr(classes, base.__name__, made)
    vllm.patch_worker(classes)
    vllm.patch_runner(classes)
    return classes.Worker(classes.GPUModelRunner())


def test_a_batch_of_no_request_is_no_step(recorder: Recorder, worker: Any) -> None:
    worker.model_runner._dummy_run(32)
    worker.execute_model(output({"a": 5}, fresh=[new("a", 5)]))
    worker.sample_tokens(None)
    assert recorder.ranges == ["prefill", "kernel"]


def test_a_step_lasts_from_its_launch_to_the_end_of_sampling(recorder: Recorder, worker: Any) -> None:
    assert worker.execute_model(output({"a": 5}, fresh=[new("a", 5)])) is None
    assert worker.sample_tokens(None) == "sampled"
    assert [event for event in recorder.events if isinstance(event, str)] == ["+prefill", "+kernel", "-", "-"]


def test_drafts_are_a_phase_of_their_own(recorder: Recorder, worker: Any) -> None:
    worker.execute_model(output({"a": 5}, fresh=[new("a", 5)]))
    worker.sample_tokens("drafts")
    assert recorder.ranges == ["prefill", "kernel", "draft"]


def test_the_newer_runner_keeps_its_drafts_in_a_speculator(recorder: Recorder, worker: Any) -> None:
    runner = worker.model_runner
    runner.speculator = SimpleNamespace(propose=lambda: "guesses")
    worker.execute_model(output({"a": 5}, fresh=[new("a", 5)]))
    assert runner.speculator.propose() == "guesses"
    worker.sample_tokens(None)
    assert recorder.ranges == ["prefill", "draft", "kernel"]


def test_a_result_ends_the_step(recorder: Recorder, worker: Any) -> None:
    worker.model_runner.result = "output"
    assert worker.execute_model(output({"a": 5}, fresh=[new("a", 5)])) == "output"
    assert recorder.ranges == ["prefill"]


def test_a_failing_step_is_closed(recorder: Recorder, worker: Any) -> None:
    worker.model_runner.result = RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        worker.execute_model(output({"a": 5}, fresh=[new("a", 5)]))
    assert recorder.ranges == ["prefill"]


def test_a_step_that_is_never_sampled_ends_where_the_next_begins(recorder: Recorder, worker: Any) -> None:
    worker.execute_model(output({"a": 5}, fresh=[new("a", 5)]))
    worker.execute_model(output({"a": 1}, cached={"a": 5}))
    worker.sample_tokens(None)
    assert [event for event in recorder.events if isinstance(event, str)][:3] == ["+prefill", "-", "+decode"]
    assert recorder.ranges == ["prefill", "decode", "kernel"]


def test_the_runner_alone_is_enough(recorder: Recorder, worker: Any) -> None:
    # as Ray's compiled graphs call it
    worker.model_runner.execute_model(output({"a": 5}, fresh=[new("a", 5)]), None)
    worker.model_runner.sample_tokens(None)
    assert recorder.ranges == ["prefill", "kernel"]


def test_starting_is_warm_up_and_idle_ranks_run_dummies(recorder: Recorder, worker: Any) -> None:
    worker.load_model()
    worker.execute_dummy_batch()
    assert recorder.ranges == ["warmup", "inside", "dummy"]


def test_the_start_of_a_recording_describes_the_run(recorder: Recorder, worker: Any) -> None:
    worker.model_runner.result = "output"
    worker.execute_model(output({"a": 5}, fresh=[new("a", 5)]))
    worker.execute_model(output({"a": 1}, cached={"a": 5}))
    worker.profile()
    worker.execute_model(output({"a": 1}, cached={"a": 6}))
    worker.profile(is_start=False)
    worker.execute_model(output({"a": 1}, cached={"a": 7}))
    assert len(recorder.marks("run")) == 2
    assert [mark.get("new") for mark in recorder.marks("step")] == [{"0": "a"}, None, {"0": "a"}, None]


def test_requests_of_an_engine_that_encodes_for_others_are_no_clients(recorder: Recorder) -> None:
    class EngineCore:
        vllm_config = SimpleNamespace(is_mm_encoder_only=True)

        def add_request(self, _request: Any) -> None: ...

        def abort_requests(self, _requests: Any) -> None: ...

    vllm.patch_core(SimpleNamespace(EngineCore=EngineCore))  # type: ignore[arg-type]
    EngineCore().add_request(SimpleNamespace(request_id="a"))
    assert not recorder.events


def test_an_arriving_request_is_marked(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    class EngineCore:
        def add_request(self, request: Any, request_wave: int = 0) -> int:
            return request_wave

        def abort_requests(self, request_ids: list[str]) -> list[str]:
            return request_ids

    vllm.patch_core(SimpleNamespace(EngineCore=EngineCore))  # type: ignore[arg-type]
    monkeypatch.setattr(time, "time", lambda: 1000.25)
    request = SimpleNamespace(request_id="cmpl-1", num_prompt_tokens=17, arrival_time=1000.0)
    assert EngineCore().add_request(request, 3) == 3
    assert EngineCore().add_request(SimpleNamespace(request_id="cmpl-2")) == 0
    assert EngineCore().abort_requests(["cmpl-1"]) == ["cmpl-1"]
    assert recorder.marks("request") == [
        {"id": "cmpl-1", "prompt": 17, "waited_ms": 250.0}, {"id": "cmpl-2", "prompt": None, "waited_ms": 0.0},
        {"id": "cmpl-1", "given_up": True},
    ]  # fmt: skip


class Process:
    """A process that ends while it is waited for."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def is_alive(self) -> bool:
        return "join" not in self.log

    def terminate(self) -> None:
        self.log.append("terminate")

    def join(self, timeout: float) -> None:
        assert 0 < timeout <= 60
        self.log.append("join")


def test_processes_get_the_time_to_write_their_events_out() -> None:
    killed: list[Any] = []

    def shutdown(procs: list[Process], timeout: float | None = None) -> None:
        killed.extend(process for process in procs if process.is_alive())

    class MultiprocExecutor:
        @staticmethod
        def _ensure_worker_termination(worker_procs: list[Process]) -> None:
            killed.extend(process for process in worker_procs if process.is_alive())

    module = SimpleNamespace(shutdown=shutdown, MultiprocExecutor=MultiprocExecutor)
    vllm.patch_shutdown(module)  # type: ignore[arg-type]
    vllm.patch_executor(module)  # type: ignore[arg-type]
    engine, worker = Process(), Process()
    module.shutdown([engine], timeout=0)
    MultiprocExecutor._ensure_worker_termination([worker])
    assert (engine.log, worker.log, killed) == (["terminate", "join"], ["join"], [])


@pytest.mark.parametrize("has_nvtx", [True, False])
def test_its_own_ranges_are_not_asked_for_where_it_cannot_make_them(
    has_nvtx: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "VLLM_NVTX_SCOPES_FOR_PROFILING"
    monkeypatch.setenv(name, "1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object() if has_nvtx else None)
    vllm.patch_environment(ModuleType("vllm.envs"))
    assert os.environ.get(name) == ("1" if has_nvtx else None)


def test_the_import_hook_finds_the_engine(tmp_path: Path) -> None:
    """A package laid out as vLLM's is patched as it is imported, in a process without anything of ours."""
    package = tmp_path / "vllm" / "v1" / "worker"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").write_text("__version__ = '0.99'\n")
    (package / "gpu_worker.py").write_text(
        "class Worker:\n    def execute_model(self, scheduler_output):\n        return 'output'\n"
    )
    program = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]\n"
        "from nsys_pipeline import markers\n"
        "log = []\n"
        "class Recorder:\n"
        "    def push(self, name): log.append(name)\n"
        "    def pop(self): log.append('-')\n"
        "    def mark(self, text): log.append(text.split('{')[0].strip())\n"
        "markers._chosen = Recorder()\n"
        "from nsys_pipeline.workload import auto\n"
        "auto.install()\n"
        "from types import SimpleNamespace as N\n"
        "from vllm.v1.worker.gpu_worker import Worker\n"
        "worker = Worker()\n"
        "worker.model_runner = N(vllm_config=N())\n"
        "new = N(req_id='a', prompt_token_ids=[1, 2], num_computed_tokens=0)\n"
        "step = N(scheduled_new_reqs=[new], scheduled_cached_reqs=N(req_ids=[], num_computed_tokens=[]),\n"
        "         num_scheduled_tokens={'a': 2}, scheduled_spec_decode_tokens={}, scheduled_encoder_inputs={},\n"
        "         finished_req_ids=set())\n"
        "assert worker.execute_model(step) == 'output'\n"
        "print(log)\n"
    )
    done = subprocess.run([sys.executable, "-S", "-I", "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "['prefill', 'llmperf.step', '-']\n", done.stderr
    assert "vLLM 0.99 does not describe its run as llmperf expects" in done.stderr


def test_latents_that_a_backend_packs_although_the_option_says_fp8() -> None:
    def stored(*layers: str) -> str:
        named = {str(number): SimpleNamespace(kv_cache_dtype=name) for number, name in enumerate(layers)}
        config = SimpleNamespace(
            cache_config=SimpleNamespace(cache_dtype="fp8"),
            compilation_config=SimpleNamespace(static_forward_context=named | {"moe": SimpleNamespace()}),
        )
        return vllm._cache_dtype(config)

    assert (stored("auto", "fp8_ds_mla"), stored("fp8"), stored()) == ("fp8_ds_mla", "fp8", "fp8")
