"""Sequences of a batch that end before others in `generate`, against what the returned tokens say."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from nsys_pipeline.workload.caches import cache_keyword
from nsys_pipeline.workload.ended import Ends
from tests.support.tiny_models import build, prompt
from tests.unit.workload.conftest import Recorder

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

ENDS = [8, 9, 21, 22, 37, 38, 55, 56, 71, 72, 88, 89]
"""Of 100 tokens: a sequence that is sampled ends after eight tokens, as a mean."""
PROMPT = 5


def sampled(name: str = "llama", *, rows: int = 4, **settings: Any) -> Any:
    """What a model writes of its own accord; the seed makes sequences end one by one."""
    model = build(name)
    ids = torch.cat([prompt(1, PROMPT) + row for row in range(rows)])
    torch.manual_seed(1)
    given = {"eos_token_id": ENDS, "pad_token_id": 0, "do_sample": True, "max_new_tokens": 12, **settings}
    return model.generate(ids, attention_mask=torch.ones_like(ids), **given)


def by_hand(ids: Any, *, first: int = PROMPT, ends: Sequence[int] = ENDS) -> list[int]:
    """Tokens of each row up to the first that ends it."""
    counts = []
    for row in ids[:, first:].tolist():
        count = 0
        for token in row:
            count += 1
            if token in ends:
                break
        counts.append(count)
    return counts


def decoded(marked: Recorder) -> list[tuple[int, ...]]:
    """New tokens of each sequence in each step after the prompt's."""
    return [step.q_tokens for step, name in zip(marked.useful, marked.passes, strict=True) if name.startswith("decode")]


def steps_of(counts: Sequence[int], *, steps: int | None = None) -> list[tuple[int, ...]]:
    """What each step computes of use: step k makes token k + 1 of the sequences that have one."""
    return [tuple(int(count > step) for count in counts) for step in range(1, max(counts) if steps is None else steps)]


def assert_told(marked: Recorder, counts: Sequence[int]) -> None:
    assert len(set(counts)) > 1, "the case shows nothing"
    assert decoded(marked) == steps_of(counts)
    assert not any(step.may_have_ended or step.is_unread for step in marked.useful)
    assert sum(step.new_tokens for step in marked.useful[1:]) == sum(counts) - len(counts)
    # as it ran: every sequence in every step
    assert {step.executed.new_tokens for step in marked.useful[1:]} == {len(counts)}


def test_sequences_that_end_one_by_one(marked: Recorder) -> None:
    counts = by_hand(sampled())
    assert_told(marked, counts)
    assert list(marked.written.values()) == [counts]
    heads = [(step.logits, step.executed.logits) for step in marked.useful[1:]]
    assert heads == [(sum(live), 4) for live in steps_of(counts)]


@pytest.mark.parametrize(
    "settings",
    [
        {"min_new_tokens": 3},
        {"pad_token_id": 8},
        {"use_cache": False},
        {"cache_implementation": "static"},
        {"return_dict_in_generate": True, "output_scores": True},
        {"num_return_sequences": 2, "rows": 2},
        {"max_time": 3600.0},
        {"repetition_penalty": 1.2},
    ],
    ids=str,
)
def test_ways_to_generate(marked: Recorder, settings: dict[str, Any]) -> None:
    made = sampled(**settings)
    counts = by_hand(made if isinstance(made, torch.Tensor) else made.sequences)
    if settings.get("use_cache") is False:
        lengths = [tuple(min(1, new) for new in step) for step in decoded(marked)]
        assert lengths == steps_of(counts)
        assert all(new in (0, step.executed.q_tokens[0]) for step in marked.useful for new in step.q_tokens)
    else:
        assert_told(marked, counts)
    assert list(marked.written.values()) == [counts]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_flops_are_those_of_each_sequence_alone(marked: Recorder, name: str) -> None:
    """torch's own counter sees each sequence by itself: its prompt, then a token at a time until its last."""
    from torch.utils.flop_counter import FlopCounterMode

    from nsys_pipeline.model import Conventions, Estimator, Model

    made = sampled(name)
    counts, useful = by_hand(made), list(marked.useful)
    assert len(set(counts)) > 1
    model = build(name)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for row, count in zip(made, counts, strict=True):
            output = model(row[None, :PROMPT], **{keyword_of_logits(model): 1}, use_cache=True)
            for at in range(PROMPT, PROMPT + count - 1):
                kept = {cache_keyword(model): output.past_key_values}
                output = model(row[None, at : at + 1], **kept, use_cache=True)
    estimator = Estimator(Model.from_config(model.config.to_dict()), Conventions(count="executed", attention="full"))
    # transformers makes the angles of rotary embeddings with a product of 8 FLOPs a token, which the counter may see
    rotary = 0 if name == "gpt2" else 8 * sum(PROMPT + count - 1 for count in counts)
    assert sum(one.flops for one in estimator.totals(useful)) == pytest.approx(counter.get_total_flops(), abs=rotary)


def keyword_of_logits(model: Any) -> str:
    """How its head runs for the last token alone; before transformers 4.48 under another name, or not at all."""
    taken = inspect.signature(type(model).forward).parameters
    names = (name for name in ("logits_to_keep", "num_logits_to_keep") if name in taken)
    found = next(names, None)
    if found is None:
        pytest.skip("this model's head runs for all tokens")
    return found


def test_settings_in_a_config_that_is_given_by_place(marked: Recorder) -> None:
    from transformers import GenerationConfig

    ids = torch.cat([prompt(1, PROMPT) + row for row in range(4)])
    config = GenerationConfig(eos_token_id=ENDS, pad_token_id=0, do_sample=True, max_new_tokens=12)
    torch.manual_seed(1)
    assert_told(marked, by_hand(build("llama").generate(ids, config)))


def test_a_padded_prompt(marked: Recorder) -> None:
    """Its padding stays out, too, and the cache of a sequence that has ended is not read."""
    ids = torch.cat([prompt(1, 6), prompt(1, 6) + 1])
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    torch.manual_seed(3)
    made = build("llama").generate(
        ids, attention_mask=mask, eos_token_id=ENDS, pad_token_id=0, do_sample=True, max_new_tokens=12
    )
    counts = by_hand(made, first=6)
    assert_told(marked, counts)
    assert [step.kv_tokens for step in marked.useful] == [
        (0, 0), *((6 + more, 2 + more) for more in range(max(counts) - 1))
    ]  # fmt: skip
    assert marked.useful[-1].executed.kv_tokens == (4 + max(counts),) * 2


def test_a_prompt_of_embeddings_is_not_returned(marked: Recorder) -> None:
    model = build("llama")
    embedded = model.get_input_embeddings()(torch.cat([prompt(1, PROMPT) + row for row in range(3)]))
    torch.manual_seed(1)
    made = model.generate(
        inputs_embeds=embedded, attention_mask=torch.ones(3, PROMPT, dtype=torch.long), eos_token_id=ENDS,
        pad_token_id=0, do_sample=True, max_new_tokens=12,
    )  # fmt: skip
    assert_told(marked, by_hand(made, first=0))


def test_two_stacks(marked: Recorder) -> None:
    counts = by_hand(sampled("t5"), first=1)
    useful = [step for step, name in zip(marked.useful, marked.passes, strict=True) if name.startswith("decode")]
    assert [step.q_tokens for step in useful] == steps_of(counts)
    assert len(set(counts)) > 1


class Even:
    """A criterion of one's own, which notes what it decided: an even token ends a sequence, but not the first ones."""

    def __init__(self, *, after: int) -> None:
        self.after = after
        self.ended: dict[int, int] = {}

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        new = input_ids.shape[1] - PROMPT
        decided = (input_ids[:, -1] % 2 == 0) & (new >= self.after)
        for row, (is_end, token) in enumerate(zip(decided.tolist(), input_ids[:, -1].tolist(), strict=True)):
            if is_end or token in ENDS:
                self.ended.setdefault(row, new)
        return decided


@pytest.mark.parametrize("padding", [0, 8, 41])
def test_a_criterion_of_one_s_own(marked: Recorder, padding: int) -> None:
    """Padding may itself be what ends sequences, or what one wrote last."""
    from transformers import StoppingCriteriaList

    criterion = Even(after=3)
    made = sampled(pad_token_id=padding, stopping_criteria=StoppingCriteriaList([criterion]))
    steps = made.shape[1] - PROMPT
    counts = [criterion.ended.get(row, steps) for row in range(4)]
    assert list(marked.written.values()) == [counts]
    assert_told(marked, counts)


def test_padding_that_a_sequence_wrote_itself(marked: Recorder) -> None:
    """The token of padding, written before the end, is not padding; the criterion alone knows."""
    from transformers import LogitsProcessorList, StoppingCriteriaList

    written = torch.tensor([[7, 41, 41, 41, 41, 41], [7, 41, 43, 45, 47, 49]])

    def forced(input_ids: Any, scores: Any) -> Any:
        at = input_ids.shape[1] - PROMPT
        return torch.full_like(scores, -1e9).scatter_(1, written[:, at : at + 1], 0.0)

    class Fourth:
        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            return torch.tensor([input_ids.shape[1] - PROMPT == 4, False])

    made = sampled(
        rows=2, pad_token_id=41, max_new_tokens=6, logits_processor=LogitsProcessorList([forced]),
        stopping_criteria=StoppingCriteriaList([Fourth()]),
    )  # fmt: skip
    assert made[:, PROMPT:].tolist() == written.tolist()
    assert list(marked.written.values()) == [[4, 6]]


def test_without_a_token_that_ends_sequences_they_go_on(marked: Recorder) -> None:
    """transformers pads nothing then: all that a criterion ends is the request, when it has ended each sequence."""
    from transformers import StoppingCriteriaList

    made = sampled(eos_token_id=None, stopping_criteria=StoppingCriteriaList([Even(after=3)]))
    assert {step.new_tokens for step in marked.useful[1:]} == {4}
    assert marked.written == {}
    assert made.shape[1] - PROMPT == len(marked.steps)


def test_stop_strings(marked: Recorder) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GenerationConfig, PreTrainedTokenizerFast

    if not hasattr(GenerationConfig(), "stop_strings"):
        pytest.skip("this transformers does not know them")
    letters = [*map(chr, range(33, 127)), *map(chr, range(161, 167))]
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    stops = [21, 22, 37, 38, 55, 56, 71, 72]
    made = sampled(
        eos_token_id=[8], pad_token_id=8, stop_strings=[letters[end] for end in stops],
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=tokenizer),
    )  # fmt: skip
    counts = by_hand(made, ends=[8, *stops])
    assert list(marked.written.values()) == [counts]
    assert_told(marked, counts)


def test_requests_follow_each_other(marked: Recorder) -> None:
    counts = [by_hand(sampled()), by_hand(sampled(max_new_tokens=6)), by_hand(sampled(rows=3))]
    assert list(marked.written.values()) == counts
    assert decoded(marked) == [step for each in counts for step in steps_of(each)]


@pytest.mark.parametrize(
    ("rows", "settings"),
    [(1, {}), (2, {"eos_token_id": None}), (2, {"min_new_tokens": 12}), (4, {"max_new_tokens": 1})],
)
def test_nothing_is_read_that_nobody_needs(marked: Recorder, rows: int, settings: dict[str, Any]) -> None:
    sampled(rows=rows, **settings)
    assert marked.written == {}
    assert not any(step.may_have_ended for step in marked.steps)


@pytest.mark.parametrize("use_cache", [True, False])
def test_guidance_of_sequences_that_have_ended(marked: Recorder, use_cache: bool) -> None:
    counts = by_hand(sampled(guidance_scale=1.5, use_cache=use_cache))
    guided = [
        tuple(min(new, 1) for new in step.q_tokens)
        for step, name in zip(marked.useful, marked.passes, strict=True)
        if name.startswith("guidance")
    ]
    assert guided == [(1,) * 4, *steps_of(counts)]


def test_candidates_of_a_contrastive_search(marked: Recorder) -> None:
    """Three candidates of each sequence run in a step; those of a sequence that has ended are padding."""
    import transformers

    if int(transformers.__version__.partition(".")[0]) > 4:
        pytest.skip("this transformers has it from elsewhere")
    made = sampled(rows=3, do_sample=False, penalty_alpha=0.6, top_k=3, eos_token_id=list(range(0, 100, 7)))
    counts = by_hand(made, ends=range(0, 100, 7))
    assert len(set(counts)) > 1
    assert list(marked.written.values()) == [counts]
    # Candidates of the first token run, too.
    assert decoded(marked) == [
        tuple(int(count > step) for count in counts for _ in range(3)) for step in range(max(counts))
    ]


@pytest.mark.parametrize(("rows", "may_have_ended"), [(1, False), (2, True)])
def test_beams_are_told_of(marked: Recorder, rows: int, may_have_ended: bool) -> None:
    """Which prompts are done with is decided on the GPU, and is in nothing that is returned."""
    sampled(rows=rows, num_beams=2, do_sample=False)
    assert {step.may_have_ended for step in marked.useful[1:]} == {may_have_ended}
    assert marked.written == {}


def test_guesses_of_a_draft(marked: Recorder) -> None:
    """One sequence alone: nothing of it is padded."""
    draft = build("llama")
    sampled(rows=1, assistant_model=draft, do_sample=False)
    assert marked.written == {}
    assert not any(step.may_have_ended for step in marked.steps)


def test_a_request_that_fails_says_nothing(marked: Recorder) -> None:
    from transformers import StoppingCriteriaList

    class Fails:
        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            if input_ids.shape[1] == PROMPT + 4:
                raise RuntimeError("out of patience")
            return torch.zeros(len(input_ids), dtype=torch.bool)

    with pytest.raises(RuntimeError, match="patience"):
        sampled(stopping_criteria=StoppingCriteriaList([Fails()]))
    assert marked.written == {}
    assert marked.useful[-1].may_have_ended


class OnDevice:
    """A tensor that is not on the host, with a list of what is copied from it inside which ranges."""

    def __init__(self, values: Any, copied: list[tuple[str, ...]], recorder: Recorder) -> None:
        self.values, self.copied, self.recorder = values, copied, recorder
        self.device, self.shape, self.ndim = SimpleNamespace(type="cuda"), values.shape, values.ndim

    def __len__(self) -> int:
        return len(self.values)

    def cpu(self) -> Any:
        self.copied.append(tuple(self.recorder.open))
        return self.values

    def tolist(self) -> Any:
        self.copied.append(tuple(self.recorder.open))
        return self.values.tolist()


def test_a_gpu_is_asked_for_copies_in_a_range_of_their_own(marked: Recorder) -> None:
    """Two of four sequences end by a criterion: the tokens, and what was decided at the ends."""
    copied: list[tuple[str, ...]] = []
    ends, tokens = Ends(), torch.tensor([[5, 7, 1, 1, 1], [5, 7, 8, 1, 1], [5, 7, 8, 9, 1], [5, 7, 8, 9, 7]])
    # Behind the end of the second, a criterion says something of its padding.
    decided = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]).bool()
    for width, row in enumerate(decided, 2):
        seen = OnDevice(tokens[:, :width], copied, marked)
        ends.see([SimpleNamespace(eos_token_id=None)], seen, OnDevice(row, copied, marked))
    assert copied == []
    ends.is_wanted = True
    ends.tell()
    assert marked.written == {ends.number: [1, 2, 4, 4]}
    assert set(copied) == {("llmperf",)}
    assert marked.open == []


def test_passes_for_the_sake_of_other_ranks(marked: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank that has finished runs on until all have: none of it is of use, even of one sequence."""
    from transformers.generation.utils import GenerationMixin

    more = iter([True, True, False])

    def unfinished(self: Any, this_peer_finished: bool, *_: Any, **__: Any) -> bool:
        return next(more) if this_peer_finished else True

    monkeypatch.setattr(GenerationMixin, "_has_unfinished_sequences", unfinished)
    made = sampled(rows=1, synced_gpus=True, max_new_tokens=3, eos_token_id=[99])
    assert made.shape[1] == PROMPT + 3
    assert [step.new_tokens for step in marked.useful] == [PROMPT, 1, 1, 0, 0]
    assert [step.executed.new_tokens for step in marked.useful] == [PROMPT, 1, 1, 1, 1]
