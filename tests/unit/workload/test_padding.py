"""Real lengths of padded and packed batches, against the same sequences run alone, without padding."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from nsys_pipeline.records import Step
from nsys_pipeline.workload.caches import cache_keyword
from nsys_pipeline.workload.moved import remembering
from nsys_pipeline.workload.padding import READING, UNREAD, Mask, read_ends
from tests.support.tiny_models import build, known, prompt
from tests.unit.workload.conftest import Recorder

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

LENGTHS = (3, 7, 5)


def batch_of(lengths: Sequence[int], *, side: str = "left") -> dict[str, Any]:
    """A batch that is padded to its longest prompt, and its mask."""
    width = max(lengths)
    ids, mask = torch.zeros((len(lengths), width), dtype=torch.long), torch.zeros(len(lengths), width, dtype=torch.long)
    for row, length in enumerate(lengths):
        columns = slice(width - length, width) if side == "left" else slice(0, length)
        ids[row, columns] = prompt(1, length)[0]
        mask[row, columns] = 1
    return {"input_ids": ids, "attention_mask": mask}


def tokens(steps: Sequence[Step]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(step.q_tokens, step.kv_tokens) for step in steps]


def padded(steps: Sequence[Step]) -> list[str]:
    return ["" if one is None else f"{one.batch}x{one.q_tokens[0]}+{one.kv_tokens[0]}" for one in (
        step.padded for step in steps
    )]  # fmt: skip


def last_logits(model: Any) -> dict[str, int]:
    """Have the head run for the last token alone; before transformers 4.48 under another name."""
    taken = inspect.signature(type(model).forward).parameters
    return {next(name for name in ("logits_to_keep", "num_logits_to_keep") if name in taken): 1}


def longer(lengths: Sequence[int], by: int) -> tuple[int, ...]:
    return tuple(length + by for length in lengths)


def generate(model: Any, **inputs: Any) -> None:
    model.generate(**{"max_new_tokens": 3, "do_sample": False, **inputs})


EACH_ONE = (1, 1, 1)
GENERATED = [(LENGTHS, (0, 0, 0)), (EACH_ONE, LENGTHS), (EACH_ONE, longer(LENGTHS, 1))]


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3_text"])
def test_a_padded_batch_has_the_lengths_of_its_prompts(marked: Recorder, name: str) -> None:
    if not known(name):
        pytest.skip(f"this transformers has no {name}")
    generate(build(name), **batch_of(LENGTHS))
    assert tokens(marked.steps) == GENERATED
    assert padded(marked.steps) == ["3x7+0", "3x1+7", "3x1+8"]
    assert [step.padding_tokens for step in marked.steps] == [6, 0, 0]
    assert not any(step.is_unread for step in marked.steps)


def test_flops_are_those_of_the_sequences_alone(marked: Recorder) -> None:
    """torch's own counter, which knows nothing of masks, sees each prompt in a pass of its own."""
    from torch.utils.flop_counter import FlopCounterMode

    from nsys_pipeline.model import Conventions, Estimator, Model

    model = build("llama")
    batch = batch_of(LENGTHS)
    generate(model, **batch, max_new_tokens=1)
    alone = 0
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(ids[mask.bool()][None], **last_logits(model))
        alone += counter.get_total_flops()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**batch, **last_logits(model))
    described = Model.from_config(model.config.to_dict())
    estimator = Estimator(described, Conventions(count="executed", attention="full"))
    step = marked.steps[0]
    real, run = estimator.totals([step, step.executed])
    # transformers makes the angles of rotary embeddings with a product of 8 FLOPs a token, which the counter may see
    assert real.flops == pytest.approx(alone, abs=8 * 15)
    assert run.flops == pytest.approx(counter.get_total_flops(), abs=8 * 7)
    assert real.flops < run.flops


def test_beams_share_the_padding_of_their_prompt(marked: Recorder) -> None:
    generate(build("llama"), **batch_of((2, 6)), num_beams=2)
    assert tokens(marked.steps)[:2] == [((2, 2, 6, 6), (0,) * 4), ((1,) * 4, (2, 2, 6, 6))]


def test_without_a_cache_the_padding_is_in_each_step(marked: Recorder) -> None:
    generate(build("llama"), **batch_of(LENGTHS), use_cache=False)
    assert tokens(marked.steps) == [(longer(LENGTHS, more), (0, 0, 0)) for more in range(3)]
    assert [step.padding_tokens for step in marked.steps] == [6, 6, 6]


def test_a_static_cache(marked: Recorder) -> None:
    generate(build("llama"), **batch_of(LENGTHS), cache_implementation="static")
    assert tokens(marked.steps) == GENERATED


def test_a_padded_prompt_in_chunks(marked: Recorder) -> None:
    from transformers import DynamicCache, GenerationConfig

    if not hasattr(GenerationConfig(), "prefill_chunk_size"):
        pytest.skip("this transformers does not know chunks")
    model = build("llama")
    generate(model, **batch_of(LENGTHS), prefill_chunk_size=3, **{cache_keyword(model): DynamicCache()})
    # columns 0-2, 3-5 and 6 of a batch of 7: by hand
    chunks = [((0, 3, 1), (0, 0, 0)), ((2, 3, 3), (0, 3, 1)), ((1, 1, 1), (2, 6, 4))]
    assert tokens(marked.steps) == [*chunks, *GENERATED[1:]]


def test_generate_finds_padding_in_the_tokens(marked: Recorder) -> None:
    model = build("llama")
    generate(model, input_ids=batch_of(LENGTHS)["input_ids"])
    # a token that also ends sequences is no padding to it
    generate(model, input_ids=batch_of(LENGTHS)["input_ids"], eos_token_id=[0])
    assert tokens(marked.steps)[:3] == GENERATED
    assert tokens(marked.steps)[3] == ((7, 7, 7), (0, 0, 0))


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_loop_of_one_s_own(marked: Recorder, side: str) -> None:
    model = build("llama")
    batch = batch_of(LENGTHS, side=side)
    with torch.no_grad():
        made = model(**batch, **last_logits(model))
        mask = torch.cat([batch["attention_mask"], torch.ones((3, 1), dtype=torch.long)], dim=1)
        model(prompt(3, 1), attention_mask=mask, **{cache_keyword(model): made.past_key_values})
    assert tokens(marked.steps) == GENERATED[:2]
    assert [step.logits for step in marked.steps] == [3, 3]


def test_the_encoder_of_two_stacks(marked: Recorder) -> None:
    generate(build("t5"), **batch_of(LENGTHS, side="right"), max_new_tokens=2)
    assert marked.passes[0] == "encoder"
    assert tokens(marked.steps)[0] == (LENGTHS, (0, 0, 0))
    assert [step.padded is None for step in marked.steps] == [False, True, True]


def test_training_on_a_padded_batch(marked: Recorder) -> None:
    model = build("llama").train()
    batch = batch_of(LENGTHS, side="right")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    model(**batch, labels=labels).loss.backward()
    assert marked.passes == ["forward", "backward"]
    (step,) = marked.steps
    assert (step.q_tokens, step.logits, step.padding_tokens) == (LENGTHS, 15, 6)
    assert step.executed.logits == 21


def positions(lengths: Sequence[int]) -> Any:
    return torch.cat([torch.arange(length) for length in lengths])[None]


def test_the_second_of_two_stacks_reads_the_labels(marked: Recorder) -> None:
    """The model shifts them by one; the encoder's tokens and their mask are another length."""
    model, labels, mask = build("t5").train(), prompt(2, 6), torch.ones(2, 8, dtype=torch.long)
    labels[1, 4:] = -100
    mask[0, 5:] = 0
    model(input_ids=prompt(2, 8), attention_mask=mask, labels=labels).loss.backward()
    model(input_ids=prompt(2, 8), labels=prompt(2, 6)).loss.backward()
    assert [(step.q_tokens, step.logits) for step in marked.steps] == [((6, 4), 10), ((6, 6), 12)]


def test_the_second_of_two_stacks_reads_tokens_that_are_shifted_already(marked: Recorder) -> None:
    """As a collator that knows the model hands them over: with the labels, or without, if the trainer has the loss."""
    model, labels = build("t5").train(), prompt(3, 6).clamp(min=3)
    # A prompt that no loss is about is no padding.
    labels[0, :2] = labels[1, 4:] = labels[2, 2:] = -100
    tokens = torch.nn.functional.pad(labels, (1, -1)).clamp(min=0)
    batch = {"input_ids": prompt(3, 8), "decoder_input_ids": tokens, "labels": labels}
    model(**batch).loss.backward()
    model(input_ids=batch["input_ids"], decoder_input_ids=tokens).logits.sum().backward()
    # Behind the last label, or behind the last token: the one that ends a sequence is read, and predicts nothing.
    assert [step.q_tokens for step in marked.steps] == [(6, 4, 2), (6, 5, 3)]
    assert [step.executed.q_tokens for step in marked.steps] == [(6, 6, 6)] * 2

    move = remembering(lambda data, device: {name: value.to(device) for name, value in data.items()}, READING)
    moved = move(batch, "meta")
    masks = [read_ends(moved["labels"], -100), read_ends(moved["decoder_input_ids"], 0)]
    assert [mask.lengths(3, 6, 0) for mask in masks if isinstance(mask, Mask)] == [
        ([6, 4, 2], [0, 0, 0]), ([6, 5, 3], [0, 0, 0]),
    ]  # fmt: skip
    assert read_ends(labels.to("meta"), -100) is UNREAD
    assert read_ends(prompt(2, 4).clamp(min=3), 0) is None


def test_packed_sequences(marked: Recorder) -> None:
    model = build("llama").train()
    ids = prompt(1, 15)
    starts = torch.tensor([0, 3, 10, 15], dtype=torch.int32)
    model(ids, position_ids=positions(LENGTHS))
    both = {"cu_seq_lens_q": starts, "cu_seq_lens_k": starts, "max_length_q": 7, "max_length_k": 7}
    model(ids, position_ids=positions(LENGTHS), **both)
    model(ids, position_ids=torch.arange(15)[None])
    assert [(step.q_tokens, step.logits) for step in marked.steps] == [(LENGTHS, 15), (LENGTHS, 15), ((15,), 15)]
    assert [step.padded for step in marked.steps] == [None] * 3


class Silent(torch.Tensor):  # type: ignore[misc, name-defined]
    """On a device without memory, so that its values cannot be read, and with a list of what was tried."""

    asked: list[str] = []  # noqa: RUF012 - one list for all

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in {"item", "tolist", "cpu", "numpy", "__bool__", "to", "long", "any", "all", "sum", "__index__"}:
            cls.asked.append(name)
        return super().__torch_function__(func, types, args, kwargs or {})


@functools.cache
def runner() -> Any:
    """A model whose pass does nothing."""
    from transformers import LlamaForCausalLM

    class Nothing(LlamaForCausalLM):  # type: ignore[misc]
        def forward(self, *_args: Any, **_kwargs: Any) -> Any:
            return {}

    return Nothing(build("llama").config).eval()


def silent(tensors: Any) -> dict[str, Any]:
    return {name: each.to("meta").as_subclass(Silent) for name, each in tensors.items()}


def by_tokenizer(batch: dict[str, Any]) -> dict[str, Any]:
    from transformers import BatchEncoding

    return dict(BatchEncoding(batch).to("meta"))


def by_processor(batch: dict[str, Any]) -> dict[str, Any]:
    from transformers import BatchFeature

    return dict(BatchFeature(batch).to("meta"))


def by_accelerate(batch: dict[str, Any]) -> dict[str, Any]:
    operations = pytest.importorskip("accelerate.utils.operations")
    moved: dict[str, Any] = remembering(operations.send_to_device, READING)(batch, torch.device("meta"))
    return moved


@pytest.mark.parametrize("move", [by_tokenizer, by_processor, by_accelerate])
def test_a_mask_that_was_moved_is_known(marked: Recorder, move: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    runner()(**move(batch_of(LENGTHS)))
    runner()(**move({"input_ids": prompt(1, 15), "position_ids": positions(LENGTHS)}))
    assert [(step.q_tokens, step.is_unread) for step in marked.steps] == [(LENGTHS, False)] * 2


def test_what_moves_a_batch_takes_what_it_took() -> None:
    """By name, and in a graph without a break, as accelerate's hooks in compiled models use it."""
    operations = pytest.importorskip("accelerate.utils.operations")
    move = remembering(operations.send_to_device, READING)
    batch = {"attention_mask": torch.ones(2, 3), "other": torch.ones(2)}
    assert move(device=torch.device("meta"), tensor=batch)["attention_mask"].device.type == "meta"
    assert move(tensor=[batch["other"]], device="cpu")[0] is batch["other"]

    def step(inputs: dict[str, Any]) -> Any:
        return move(inputs, "cpu")["other"] + 1

    assert torch.compile(step, backend="eager", fullgraph=True)(batch).tolist() == [2, 2]


def test_a_mask_on_the_device_alone_is_not_asked(marked: Recorder) -> None:
    Silent.asked.clear()
    runner()(**silent(batch_of(LENGTHS)))
    runner()(**silent({"input_ids": prompt(1, 15), "position_ids": positions(LENGTHS)}))
    runner()(**silent({"input_ids": prompt(2, 4)}))
    assert [step.is_unread for step in marked.steps] == [True, True, False]
    assert tokens(marked.steps) == [((7,) * 3, (0,) * 3), ((15,), (0,)), ((4, 4), (0, 0))]
    assert Silent.asked == []


def test_a_mask_that_was_changed_since_is_not_believed(marked: Recorder) -> None:
    moved, origin = batch_of(LENGTHS), batch_of(LENGTHS)
    on_device = by_tokenizer(moved)
    on_device["attention_mask"].fill_(1)
    runner()(**on_device)
    on_device = by_tokenizer(origin)
    origin["attention_mask"].fill_(1)
    runner()(**on_device)
    assert [step.is_unread for step in marked.steps] == [True, True]


def test_a_mask_without_values_loses_no_pass(marked: Recorder) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        mask = torch.ones((2, 4), dtype=torch.long)
    runner()(input_ids=prompt(2, 4), attention_mask=mask)
    assert [(step.q_tokens, step.is_unread) for step in marked.steps] == [((4, 4), True)]


def test_a_mask_of_four_dimensions_is_not_read(marked: Recorder) -> None:
    runner()(input_ids=prompt(2, 4), attention_mask=torch.ones(2, 1, 4, 4))
    assert [step.is_unread for step in marked.steps] == [True]


def test_later_tokens_stand_behind_known_padding(marked: Recorder) -> None:
    from transformers import DynamicCache

    kept = cache_keyword(runner())
    cache = DynamicCache()
    runner()(**by_tokenizer(batch_of(LENGTHS)), **{kept: cache})
    cache.update(torch.zeros(3, 1, 7, 2), torch.zeros(3, 1, 7, 2), 0)
    more = silent({"input_ids": prompt(3, 1), "attention_mask": torch.ones((3, 8))})
    runner()(**more, **{kept: cache})
    # several tokens may have padding of their own
    more = silent({"input_ids": prompt(3, 2), "attention_mask": torch.ones((3, 9))})
    runner()(**more, **{kept: cache})
    assert tokens(marked.steps)[:2] == GENERATED[:2]
    assert [step.is_unread for step in marked.steps] == [False, False, True]
