"""Marks of SGLang's passes, from batches laid out as its scheduler's and its workers'."""

from __future__ import annotations

import json
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from nsys_pipeline import markers
from nsys_pipeline.workload.engines import sglang
from tests.unit.workload.engines.recorder import Recorder


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(markers, "_chosen", recorder)
    monkeypatch.setattr(sglang, "_process", None)
    return recorder


class HfConfig:
    def to_json_string(self, *, use_diff: bool) -> str:
        return json.dumps({"model_type": "qwen3", "hidden_size": 64})


class Tensor:
    """On the host, or on a GPU that must not be asked."""

    def __init__(self, *values: int, device: str = "cpu") -> None:
        self.values, self.device = list(values), device

    def tolist(self) -> list[int]:
        assert self.device == "cpu", "the GPU was asked"
        return self.values


def runner() -> SimpleNamespace:
    arguments = {"tp_size": 2, "pp_size": 1, "dp_size": 1, "ep_size": 2, "kv_cache_dtype": "fp8_e5m2"}
    return SimpleNamespace(
        server_args=SimpleNamespace(**arguments, model_path="models/tiny", quantization=None, attention_backend="fa3"),
        model_config=SimpleNamespace(hf_config=HfConfig(), dtype="torch.bfloat16", context_len=4096),
        tp_rank=1,
    )


def batch(mode: str, *rids: str, **fields: Any) -> SimpleNamespace:
    """A ScheduleBatch; with `spec_info`, one of a scheduler that speculates."""
    is_none = "spec_info" not in fields
    return SimpleNamespace(
        forward_mode=SimpleNamespace(name=mode),
        reqs=[SimpleNamespace(rid=rid) for rid in rids],
        spec_algorithm=SimpleNamespace(is_none=lambda: is_none),
        seq_lens=Tensor(1, device="cuda:0"),
        **fields,
    )


def extend(**requests: tuple[int, int]) -> SimpleNamespace:
    """Request → new and cached tokens."""
    q, kv = [q for q, _ in requests.values()], [kv for _, kv in requests.values()]
    return batch("EXTEND", *requests, extend_lens=q, prefix_lens=kv)


def decode(**lengths: int) -> SimpleNamespace:
    return batch("DECODE", *lengths, seq_lens_cpu=Tensor(*lengths.values()))


@pytest.fixture
def scheduler() -> Any:
    """A patched scheduler with a patched worker, of classes of their own for each test."""

    class TpModelWorker:
        def __init__(self, is_draft_worker: bool = False) -> None:
            self.is_draft_worker = is_draft_worker
            self.model_runner = runner()
            markers.push("load")
            markers.pop()

        def forward_batch_generation(self, batch: Any, forward_batch: Any = None) -> str:
            if getattr(batch, "is_broken", False):
                raise RuntimeError("out of memory")
            return "result"

    class Scheduler:
        def __init__(self) -> None:
            self.tp_worker = TpModelWorker()
            self.draft_worker = TpModelWorker(is_draft_worker=True)
            self.queue: list[Any] = []

        def run_batch(self, batch: Any) -> str:
            if batch.spec_algorithm.is_none():
                return self.tp_worker.forward_batch_generation(batch)
            self.draft_worker.forward_batch_generation(batch)
            verified = SimpleNamespace(**vars(batch))
            del verified.reqs
            verified.rids = [req.rid for req in batch.reqs]
            result = self.tp_worker.forward_batch_generation(None, forward_batch=verified)
            self.draft_worker.forward_batch_generation(batch)
            return result

        def _add_request_to_queue(self, req: Any, is_retracted: bool = False) -> None:
            self.queue.append(req)

    module = ModuleType("sglang.stand_in")
    module.Scheduler, module.TpModelWorker = Scheduler, TpModelWorker  # type: ignore[attr-defined]
    sglang.patch_scheduler(module)
    sglang.patch_worker(module)
    return Scheduler()


def test_chunks_cached_prefixes_and_tokens(recorder: Recorder, scheduler: Any) -> None:
    recorder.events.clear()
    for each in (extend(a=(100, 0)), extend(a=(20, 100), b=(4, 60)), decode(a=121, b=65), decode(b=66)):
        assert scheduler.run_batch(each) == "result"
    assert recorder.steps == [
        ("prefill", [100], [0]), ("prefill", [20, 4], [100, 60]), ("decode", [1, 1], [120, 64]), ("decode", [1], [65]),
    ]  # fmt: skip
    assert recorder.ranges == ["prefill", "prefill", "decode", "decode"]
    told = [(mark["ids"], mark.get("new"), mark["logits"]) for mark in recorder.marks("step")]
    assert told == [([0], {"0": "a"}, 1), ([0, 1], {"1": "b"}, 2), ([0, 1], None, 2), ([1], None, 1)]


def test_prompts_and_tokens_in_one_batch(recorder: Recorder, scheduler: Any) -> None:
    recorder.events.clear()
    scheduler.run_batch(batch("MIXED", "a", "b", extend_lens=[50, 1], prefix_lens=[0, 30]))
    assert recorder.steps == [("mixed", [50, 1], [0, 30])]


def test_what_a_worker_makes_of_a_batch(recorder: Recorder, scheduler: Any) -> None:
    recorder.events.clear()
    forward = batch("EXTEND", extend_seq_lens_cpu=[7], extend_prefix_lens_cpu=[2])
    del forward.reqs
    forward.rids = ["a"]
    scheduler.tp_worker.forward_batch_generation(forward)
    older = batch("EXTEND", "b", extend_seq_lens=[3], extend_prefix_lens=[1])
    scheduler.tp_worker.forward_batch_generation(older)
    assert recorder.steps == [("prefill", [7], [2]), ("prefill", [3], [1])]


def test_guesses_are_verified_between_drafts(recorder: Recorder, scheduler: Any) -> None:
    recorder.events.clear()
    guesses = SimpleNamespace(draft_token_num=4)
    scheduler.run_batch(batch("TARGET_VERIFY", "a", "b", seq_lens_cpu=Tensor(50, 70), spec_info=guesses))
    assert recorder.ranges == ["draft", "verify", "draft"]
    assert recorder.steps == [("verify", [4, 4], [50, 70])]
    (mark,) = recorder.marks("step")
    assert (mark["drafts"], mark["logits"]) == ([3, 3], 8)


def test_probabilities_of_the_prompt_want_logits(recorder: Recorder, scheduler: Any) -> None:
    asked = batch("EXTEND", "a", "b", extend_lens=[10, 5], prefix_lens=[0, 0], return_logprob=True)
    asked.extend_logprob_start_lens = [4, 5]
    scheduler.run_batch(asked)
    assert recorder.marks("step")[0]["logits"] == 7


def test_models_that_embed_compute_no_logits(recorder: Recorder, scheduler: Any) -> None:
    asked = batch("EXTEND", "a", "b", extend_lens=[10, 5], prefix_lens=[0, 0])
    asked.model_config = SimpleNamespace(is_generation=False)
    scheduler.run_batch(asked)
    assert recorder.marks("step")[0]["logits"] == 0


def test_ranks_without_requests_run_dummies(recorder: Recorder, scheduler: Any) -> None:
    recorder.events.clear()
    scheduler.run_batch(batch("IDLE"))
    assert recorder.ranges == ["dummy"]


def test_checks_of_health_are_no_requests(recorder: Recorder, scheduler: Any) -> None:
    recorder.events.clear()
    scheduler._add_request_to_queue(SimpleNamespace(rid="HEALTH_CHECK_17", origin_input_ids=[0]))
    scheduler.run_batch(extend(HEALTH_CHECK_17=(1, 0)))
    assert recorder.ranges == ["dummy"]
    assert not recorder.marks("request")
    assert not recorder.marks("step")


def test_starting_is_warm_up(recorder: Recorder, scheduler: Any) -> None:
    assert recorder.ranges == ["warmup", "load"] * 2


def test_a_failing_batch_is_closed(recorder: Recorder, scheduler: Any) -> None:
    recorder.events.clear()
    broken = decode(a=5)
    broken.is_broken = True
    with pytest.raises(RuntimeError, match="out of memory"):
        scheduler.run_batch(broken)
    assert recorder.ranges == ["decode"]


def test_a_batch_that_another_thread_launches(recorder: Recorder, scheduler: Any) -> None:
    """As older versions overlap: the mark stands where the launch is."""
    recorder.events.clear()
    thread = threading.Thread(target=scheduler.tp_worker.forward_batch_generation, args=(decode(a=5),))
    thread.start()
    thread.join()
    assert recorder.steps == [("decode", [1], [4])]
    assert recorder.ranges == ["decode"]


def test_requests_arrive_once(recorder: Recorder, scheduler: Any) -> None:
    recorder.events.clear()
    request = SimpleNamespace(rid="a", origin_input_ids=[1, 2, 3])
    scheduler._add_request_to_queue(request)
    scheduler._add_request_to_queue(request, is_retracted=True)
    # A preempted request comes back like a new one.
    scheduler._add_request_to_queue(request)
    assert recorder.marks("request") == [{"id": "a", "prompt": 3, "waited_ms": 0.0}]
    assert len(scheduler.queue) == 3


@pytest.mark.parametrize("samples", [1, 3])
def test_requests_for_several_texts_say_so(samples: int, recorder: Recorder, scheduler: Any) -> None:
    recorder.events.clear()
    asked = SimpleNamespace(n=samples)
    scheduler._add_request_to_queue(SimpleNamespace(rid="a", origin_input_ids=[1, 2, 3], sampling_params=asked))
    (mark,) = recorder.marks("request")
    assert mark.get("samples") == (3 if samples > 1 else None)


def test_run_mark(recorder: Recorder, scheduler: Any) -> None:
    scheduler.run_batch(decode(a=5))
    (run,) = recorder.marks("run")
    told = {name: run[name] for name in ("name", "dtype", "kv_dtype", "tp", "ep", "rank", "max_context", "attn")}
    assert told == {
        "name": "tiny", "dtype": "bfloat16", "kv_dtype": "fp8_e5m2", "tp": 2, "ep": 2, "rank": 1, "max_context": 4096,
        "attn": "fa3",
    }  # fmt: skip
    assert run["model"]["model_type"] == "qwen3"


def test_latents_that_sparse_attention_packs_although_the_option_says_fp8() -> None:
    def stored(**pool: bool) -> str:
        return str(
            sglang.run_fields(SimpleNamespace(**vars(runner()), token_to_kv_pool=SimpleNamespace(**pool)))["kv_dtype"]
        )

    assert stored(dsa_kv_cache_store_fp8=True) == "fp8_ds_mla"
    assert stored(nsa_kv_cache_store_fp8=True) == "fp8_ds_mla"
    assert (stored(dsa_kv_cache_store_fp8=False), stored()) == ("fp8_e5m2", "fp8_e5m2")


@pytest.mark.parametrize(
    "strange",
    [
        batch("DECODE", "a"),
        batch("DECODE", "a", "b", seq_lens_cpu=Tensor(5)),
        batch("EXTEND", "a"),
        SimpleNamespace(forward_mode=3, spec_algorithm=SimpleNamespace(is_none=lambda: True)),
    ],
)
def test_lengths_that_only_the_gpu_knows_end_the_marks(
    recorder: Recorder, scheduler: Any, strange: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder.events.clear()
    scheduler.run_batch(decode(a=5))
    assert scheduler.run_batch(strange) == "result"
    assert scheduler.run_batch(decode(a=6)) == "result"
    assert recorder.ranges == ["decode"]
    assert capsys.readouterr().err.count("only its own ranges count") == 1


def test_names_of_requests_that_are_gone_are_forgotten(recorder: Recorder, scheduler: Any) -> None:
    for index in range(5000):
        scheduler.run_batch(decode(**{f"r{index}": 5}))
    assert len(sglang._state().numbers._numbers) <= 4097


@pytest.mark.parametrize(
    ("changes", "tp", "dp", "ep"),
    [
        ({"tp_size": 8, "dp_size": 4, "ep_size": 1, "enable_dp_attention": True}, 2, 4, 8),
        ({"tp_size": 8, "dp_size": 8, "ep_size": 8, "enable_dp_attention": True}, 1, 8, 8),
        ({"tp_size": 8, "dp_size": 2, "ep_size": 4, "enable_dp_attention": False}, 8, 2, 4),
    ],
)
def test_attention_of_ranks_with_batches_of_their_own(
    scheduler: Any, changes: dict[str, Any], tp: int, dp: int, ep: int
) -> None:
    # a rank of a group that splits batches runs whole passes over its own tokens, divided among the group alone
    worker = scheduler.tp_worker
    arguments = getattr(worker, "model_runner", worker).server_args
    for name, value in changes.items():
        setattr(arguments, name, value)

    fields = sglang.run_fields(worker)

    assert (fields["tp"], fields["dp"], fields["ep"], fields["world"]) == (tp, dp, ep, 8)


@pytest.mark.parametrize(("told", "copies"), [(32, 32), (0, None)])
def test_copies_of_experts(told: int, copies: int | None) -> None:
    worker = runner()
    worker.server_args.ep_num_redundant_experts = told
    assert sglang.run_fields(worker).get("redundant_experts") == copies


@pytest.mark.parametrize(("sizes", "told"), [([1, 2, 4, 8], [1, 2, 4, 8]), (None, None)])
def test_batches_that_graphs_are_recorded_for(sizes: Any, told: list[int] | None) -> None:
    worker = runner()
    worker.server_args.cuda_graph_bs = sizes
    assert sglang.run_fields(worker).get("graph_sizes") == told
