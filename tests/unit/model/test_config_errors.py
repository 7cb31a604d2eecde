"""Bad configs are refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from nsys_pipeline.errors import ModelError, UsageError
from nsys_pipeline.model import Conventions, Model, estimate, known_model_types
from nsys_pipeline.model.fields import class_defaults
from nsys_pipeline.records import Step
from tests.unit.model.configs import llama, mixtral, read_json
from tests.unit.model.test_more_families import ARCTIC, JAIS, MIMO, NAS, OPENELM, STEP

SMALL = read_json("small_configs.json")
TOWERS = read_json("tower_configs.json")


def field_paths(config: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in config.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from field_paths(value, (*above, key))


def with_field(config: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    if len(path) == 1:
        return {**config, path[0]: value}
    return {**config, path[0]: with_field(config[path[0]], path[1:], value)}


REQUIRED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


def without(config: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != name}


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_field_is_named_with_the_model_type(name: str) -> None:
    with pytest.raises(ModelError, match=rf"model type `llama` has no `{name}`"):
        Model.from_config(without(llama(), name))


def test_a_null_size_counts_as_missing() -> None:
    with pytest.raises(ModelError, match="has no `hidden_size`"):
        Model.from_config(llama(hidden_size=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 0}, "`num_hidden_layers` is 0; it must be at least 1"),
        ({"hidden_size": -64}, "`hidden_size` is -64"),
        ({"hidden_size": "big"}, "`hidden_size` is 'big', not an integer"),
        ({"vocab_size": True}, "`vocab_size` is True, not an integer"),
        (
            {"num_attention_heads": 7, "num_key_value_heads": 7},
            "`hidden_size` = 64 is not a multiple of `num_attention_heads` = 7",
        ),
        ({"num_key_value_heads": 3}, "`num_attention_heads` = 8 is not a multiple of `num_key_value_heads` = 3"),
        ({"attention_bias": "yes"}, "`attention_bias` is 'yes', not true or false"),
    ],
)
def test_impossible_numbers_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Model.from_config(llama(**changes))


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("gemma3n", ("audio_config", "sscp_conv_kernel_size"), 3),
        ("nemotron_h_omni", ("downsample_ratio",), 1e-320),
        ("granite4_vision", ("downsample_rate",), "9" * 5000 + "/8"),
    ],
)
def test_impossible_values_of_towers_are_refused(name: str, path: tuple[str, ...], value: Any) -> None:
    config = with_field({"audio_config": {}, **TOWERS[name]["config"]}, path, value)
    with pytest.raises(ModelError, match=path[-1]):
        Model.from_config(config)


def test_more_picked_experts_than_there_are() -> None:
    with pytest.raises(ModelError, match="`num_experts_per_tok` is 9, but there are 8 experts"):
        Model.from_config({**mixtral(), "num_experts_per_tok": 9})


def test_more_picked_experts_than_there_are_of_an_unknown_type() -> None:
    config = {**mixtral(), "model_type": "unheard_of", "num_experts_per_tok": 9}
    with pytest.raises(ModelError, match="`num_experts_per_tok` is 9, but there are 8 experts"):
        Model.from_config(config, approximate=True)
    assert Model.from_config({**config, "num_experts_per_tok": 8}, approximate=True).params


def test_two_numbers_of_experts_must_be_the_same() -> None:
    config = {**llama(), "model_type": "gpt_oss", "head_dim": 8, "sliding_window": 4, "num_experts_per_tok": 2}
    with pytest.raises(ModelError, match="`num_local_experts` is 4, but `num_experts` is 8"):
        Model.from_config({**config, "num_local_experts": 4, "num_experts": 8})
    assert Model.from_config({**config, "num_local_experts": 4, "num_experts": 4}).params
    assert Model.from_config({**config, "num_local_experts": None, "num_experts": 4}).params


def reads_layer_types(name: str) -> bool:
    text = SMALL[name].get("text_config", SMALL[name])
    return "layer_types" in {
        **class_defaults(text.get("model_type", SMALL[name]["model_type"])).get("fields", {}),
        **text,
    }


@pytest.mark.parametrize("name", [name for name in SMALL if reads_layer_types(name)])
def test_an_unknown_kind_of_layer_is_refused_by_name(name: str) -> None:
    text = SMALL[name].get("text_config", SMALL[name])
    text = {**text, "layer_types": ["foo"] * text["num_hidden_layers"]}
    config = {**SMALL[name], "text_config": text} if "text_config" in SMALL[name] else text
    with pytest.raises(ModelError, match=r"layer_types` names kinds that are not known: foo"):
        Model.from_config(config)


def test_kinds_of_layers_that_another_family_has_are_refused() -> None:
    gemma = {**llama(), "model_type": "gemma3_text", "head_dim": 8, "sliding_window": 4}
    with pytest.raises(ModelError, match="not known: foo, sliding; known: full_attention, sliding_attention"):
        Model.from_config({**gemma, "layer_types": ["foo", "sliding", "full_attention"]})
    with pytest.raises(ModelError, match="not known: linear_attention"):
        Model.from_config({**gemma, "layer_types": ["linear_attention"] * 3})
    # The older name, which transformers reads as full attention.
    old, new = (Model.from_config({**gemma, "layer_types": [kind] * 3}) for kind in ("attention", "full_attention"))
    assert old.architecture == new.architecture


@pytest.mark.parametrize("window", [0, -1])
def test_a_window_of_no_tokens_is_refused_where_a_layer_slides(window: int) -> None:
    for changes in (
        {"model_type": "mistral"},
        {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
        {"model_type": "gemma3_text", "head_dim": 8, "layer_types": ["sliding_attention"] + ["full_attention"] * 2},
        {"model_type": "qwen2", "use_sliding_window": True, "max_window_layers": 1},
    ):
        with pytest.raises(ModelError, match=f"`sliding_window` is {window}; it must be at least 1"):
            Model.from_config({**llama(), **changes, "sliding_window": window})
    # As in transformers: nobody looks at it.
    for changes in (
        {"model_type": "qwen2"},
        {"model_type": "gemma3_text", "head_dim": 8, "layer_types": ["full_attention"] * 3},
    ):
        assert Model.from_config({**llama(), **changes, "sliding_window": window}).params


def test_layer_types_must_describe_every_layer() -> None:
    with pytest.raises(ModelError, match="`layer_types` lists 1 layers, but there are 3"):
        Model.from_config(llama(model_type="gemma2", head_dim=8, layer_types=["full_attention"]))


def test_an_unknown_model_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match="`nonesuch` is not known") as caught:
        Model.from_config(llama(model_type="nonesuch"))
    assert caught.value.hint is not None
    assert "--approximate" in caught.value.hint
    assert "deepseek_v3" in caught.value.hint


def test_no_model_type() -> None:
    with pytest.raises(ModelError, match="no `model_type`"):
        Model.from_config(without(llama(), "model_type"))


def test_approximate_is_two_flops_per_active_parameter_and_says_so() -> None:
    model = Model.from_config(llama(model_type="nonesuch"), approximate=True)
    result = estimate(model, Step.uniform(batch=2, q_tokens=5))
    assert result.flops == 2 * model.active_params * 10
    assert result.label == model.label == "approximate"


def test_approximate_leaves_idle_experts_out() -> None:
    config = {**mixtral(), "model_type": "nonesuch"}
    model, exact = Model.from_config(config, approximate=True), Model.from_config(mixtral())
    assert model.params - model.active_params == exact.params - exact.active_params


def test_known_types_stay_exact_with_approximate_allowed() -> None:
    assert Model.from_config(llama(), approximate=True).label == "verified"


def test_sub_configs_take_the_defaults_of_their_class() -> None:
    # As published for llava-1.5-7b: the text config leaves out every size of the 7B Llama.
    vision = {"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14}
    model = Model.from_config(
        {"model_type": "llava", "text_config": {"model_type": "llama", "vocab_size": 32064}, "vision_config": vision}
    )
    decoder = model.architecture.decoder
    assert decoder is not None
    assert (decoder.depth, model.architecture.heads) == (32, 32)


@pytest.mark.parametrize("field", ["attention", "count", "mla", "experts", "logits"])
def test_an_unknown_convention_is_a_usage_error(field: str) -> None:
    with pytest.raises(UsageError, match=f"{field} = `nonsense`"):
        Conventions(**{field: "nonsense"})  # type: ignore[arg-type]


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(ModelError, match="unknown dtype `int3`"):
        Conventions(dtype="int3")


@pytest.mark.parametrize(
    ("conventions", "message"),
    [
        (Conventions(tp=3), "8 attention heads do not divide among 3"),
        (Conventions(pp=4), "3 layers cannot be split into 4"),
        (Conventions(ep=3), "8 experts do not divide among 3"),
    ],
)
def test_impossible_parallel_degrees_are_refused(conventions: Conventions, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        estimate(Model.from_config(mixtral()), Step.uniform(batch=1, q_tokens=1), conventions)


def test_a_degree_below_one_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="`tp` is 0"):
        Conventions(tp=0)


def test_known_model_types_hold_what_people_run() -> None:
    expected = {
        "llama",
        "qwen2",
        "qwen3",
        "mistral",
        "phi3",
        "gpt2",
        "gemma3_text",
        "mixtral",
        "qwen3_moe",
        "deepseek_v3",
    }
    expected |= {
        "glm4_moe",
        "gpt_oss",
        "llama4",
        "qwen3_next",
        "jamba",
        "mamba2",
        "kimi_linear",
        "vit",
        "sam_vision_model",
    }
    expected |= {"clip_vision_model", "deepseek_vl_v2", "deepseek_ocr2", "llava", "qwen2_5_vl", "t5", "whisper"}
    assert expected <= set(known_model_types())


JUNK: tuple[Any, ...] = (
    None, 0, -1, -64, 10**15, 1.5, float("nan"), float("inf"), "64", "big", "", [], [1, 2, 3], ["a"], [None], {},
    {"a": 1}, [[]], True, ["full_attention"],
)  # fmt: skip


OTHERS = read_json("other_configs.json")
AUDIO = read_json("audio_configs.json")
JUNKED: dict[str, Any] = {
    **SMALL,
    **{f"{name} that sees": entry["config"] for name, entry in TOWERS.items()},
    **{f"{name} that hears": entry["config"] for name, entry in AUDIO.items()},
    **{name: entry["config"] for name, entry in OTHERS.items()},
    **{str(config["model_type"]): config for config in (NAS, ARCTIC, MIMO, STEP, OPENELM, JAIS)},
}


@pytest.mark.parametrize("name", sorted(JUNKED))
def test_junk_in_any_field_is_refused_in_one_line_or_makes_a_sound_number(name: str) -> None:
    """Every field of every family's small config, nested ones too, gets a value that it cannot or should not have."""
    rng, refusals = Random(name), list[tuple[Any, Any, str]]()
    for path in field_paths(JUNKED[name]):
        for junk in rng.sample(JUNK, 6):
            try:
                numbers = seen_and_heard(with_field(JUNKED[name], path, junk))
            except (ModelError, UsageError) as error:
                refusals.append((path, junk, error.message))
                continue
            assert all(type(number) is int and number >= 0 for number in numbers), (path, junk)
    assert refusals
    assert [told for told in refusals if "\n" in told[2] or not ("`" in told[2] or "patches" in told[2])] == []


def seen_and_heard(config: dict[str, Any]) -> list[int]:
    """Numbers of two sequences, of which each has an image and a clip, if the model takes them."""
    model = Model.from_config(config)
    grid = tuple(TOWERS[model.model_type]["grids"][0][0]) if model.model_type in TOWERS else (3, 3)
    images = (grid,) * 2 if model.architecture.vision else ()
    step = Step((3, 3), (0, 0), 2, images=images, audio=(37, 52) if model.architecture.audio else ())
    result = estimate(model, step, encoder_tokens=(5, 5))
    heard = [model.architecture.audio.tokens(frames) for frames in step.audio] if model.architecture.audio else []
    return [model.params, model.active_params, result.flops, result.bytes, result.activation_bytes, *heard]


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """`config` and what its class and those of its parts have for fields that it leaves out."""
    usual = class_defaults(str(config.get("model_type", ""))).get("fields", {})
    return {key: completed(value) if isinstance(value, dict) else value for key, value in {**usual, **config}.items()}


@pytest.mark.parametrize("name", [name for name in JUNKED if name.endswith((" that sees", " that hears"))])
def test_what_is_no_number_is_refused_in_every_number_that_counts(name: str) -> None:
    """A number counts if twice as much makes another estimate, or none."""
    config = completed(JUNKED[name])
    try:
        usual = seen_and_heard(config)
    except ModelError:
        # Defaults of a class that contradict small sizes.
        config = JUNKED[name]
        usual = seen_and_heard(config)
    taken: list[tuple[tuple[str, ...], Any]] = []
    for path in field_paths(config):
        told = config
        for part in path:
            told = told[part]
        if type(told) is not int or told < 1 or unless_refused(with_field(config, path, 2 * told)) == usual:
            continue
        junks = ("big", -1, [1, 2, 3])
        taken += [(path, junk) for junk in junks if unless_refused(with_field(config, path, junk)) is not None]
    assert taken == []


def unless_refused(config: dict[str, Any]) -> list[int] | None:
    """What `seen_and_heard` says; None for a config that is refused."""
    try:
        return seen_and_heard(config)
    except (ModelError, UsageError):
        return None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 10**9}, "`num_hidden_layers` is 1000000000, far above any model's"),
        ({"hidden_size": 2**63}, "`hidden_size` is 9223372036854775808, far above any model's"),
        ({"hidden_size": float("nan")}, "`hidden_size` is nan, not an integer"),
        ({"attention_bias": 7}, "`attention_bias` is 7, not true or false"),
    ],
)
def test_impossible_sizes(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match="model type `llama`") as caught:
        Model.from_config(llama(**changes))
    assert message in caught.value.message


def test_sizes_named_after_layers_and_experts_may_be_large() -> None:
    # Qwen2-57B-A14B and Gemma 3n; only numbers of layers and experts are bounded by what can be built.
    qwen = {
        **llama(), "model_type": "qwen2_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 20480,
    }  # fmt: skip
    gemma = {
        **llama(num_hidden_layers=5), "model_type": "gemma3n_text", "head_dim": 8, "num_kv_shared_layers": 1,
        "vocab_size_per_layer_input": 262144,
    }  # fmt: skip
    assert Model.from_config(qwen).params > 3 * 64 * 20480
    assert Model.from_config(gemma).params > 5 * 262144
    with pytest.raises(ModelError, match="num_experts"):
        Model.from_config({**qwen, "num_experts": 20480})


def test_layers_that_differ_are_read_or_refused() -> None:
    plain = {**llama(num_hidden_layers=2), "model_type": "gemma4_text", "head_dim": 8, "sliding_window": 4}
    kinds = {"layer_types": ["sliding_attention", "full_attention"]}
    old = Model.from_config({**plain, **kinds, "global_head_dim": 24})
    new = Model.from_config({**plain, **kinds, "per_layer_config": {"1": {"head_dim": 24}}})
    assert old.architecture == new.architecture
    padded = {"00": {"head_dim": 8}, "01": {"head_dim": 24}}
    assert Model.from_config({**plain, **kinds, "per_layer_config": padded}).architecture == new.architecture
    with pytest.raises(ModelError, match=r"per_layer_config.*twice"):
        Model.from_config({**plain, **kinds, "per_layer_config": {"1": {"head_dim": 24}, "01": {"head_dim": 8}}})
    with pytest.raises(ModelError, match=r"per_layer_config.*not there: 2"):
        Model.from_config({**plain, **kinds, "per_layer_config": {"2": {"head_dim": 24}}})
    with pytest.raises(ModelError, match=r"per_layer_config.*not read: intermediate_size"):
        Model.from_config({**plain, **kinds, "per_layer_config": {"1": {"head_dim": 24, "intermediate_size": 8}}})
    with pytest.raises(ModelError, match=r"per_layer_config.*not supported"):
        Model.from_config({**llama(), "per_layer_config": {"1": {"intermediate_size": 24}}})


def test_the_outer_config_decides_whether_the_table_is_tied() -> None:
    text = {**llama(), "model_type": "cohere2", "tie_word_embeddings": True}
    untied = Model.from_config({"model_type": "cohere2_vision", "tie_word_embeddings": False, "text_config": text})
    tied = Model.from_config({"model_type": "cohere2_vision", "text_config": text})
    assert untied.params - tied.params == 100 * 64
    # Older checkpoints of these say it in the text config.
    old = {"model_type": "video_llama_3", "tie_word_embeddings": False, "text_config": {**text, "model_type": "qwen2"}}
    assert Model.from_config(old).params == Model.from_config({**old, "tie_word_embeddings": True}).params
