"""What an engine's run mark says about how the model is run."""

from __future__ import annotations

from typing import Any

import pytest

from nsys_pipeline.inputs.run import RunDescription
from nsys_pipeline.model import Conventions, load_model


def conventions(given: Conventions | None = None, **fields: Any) -> Conventions:
    return RunDescription(fields).conventions(given or Conventions())


def test_cache_and_weights_as_they_are_loaded() -> None:
    found = conventions(dtype="bfloat16", kv_dtype="fp8_e4m3", quantization="fp8", tp=2, pp=1)
    assert (found.dtype, found.kv_dtype, found.weight, found.tp) == ("bf16", "fp8", "fp8", 2)


def test_the_user_knows_better() -> None:
    given = Conventions(kv_dtype="bf16", weight="int8", dtype="fp16")
    found = conventions(given, dtype="bfloat16", kv_dtype="fp8", quantization="fp8")
    assert (found.dtype, found.kv_dtype, found.weight) == ("fp16", "bf16", "int8")


def test_a_config_that_says_it_itself() -> None:
    found = conventions(quantization="fp8", model={"quantization_config": {"quant_method": "fp8"}})
    assert found.weight is None


@pytest.mark.parametrize(
    "strange", [{"kv_dtype": "turbo3"}, {"kv_dtype": 8}, {"quantization": "gguf"}, {"quantization": []}]
)
def test_what_is_not_known_changes_nothing(strange: dict[str, Any]) -> None:
    assert conventions(**strange) == Conventions()


@pytest.mark.parametrize(
    ("model", "told", "expected", "is_said"),
    [("deepseek-v3", "fp8_ds_mla", "fp8_ds_mla", False), ("llama-3-8b", "fp8_ds_mla", "fp8", True),
     ("llama-3-8b", "int4_per_token_head", "int4", True), ("llama-3-8b", "turboquant_k8v4", None, True),
     ("llama-3-8b", "nvfp4", "nvfp4", False), ("llama-3-8b", "fp4_e2m1", "nvfp4", False),
     ("llama-3-8b", "fp8_e5m2", "fp8", False)],
)  # fmt: skip
def test_formats_of_the_cache(model: str, told: str, expected: str | None, is_said: bool) -> None:
    run = RunDescription({"kv_dtype": told})

    found, notices = run.cache_format(run.conventions(Conventions()), load_model(model))

    assert found.kv_dtype == expected
    assert [one.code for one in notices] == ["cache_format_not_read"] * is_said
    assert run.cache_format(Conventions(kv_dtype="q8_0"), load_model(model)) == (Conventions(kv_dtype="q8_0"), [])


@pytest.mark.parametrize(("told", "expected"), [(4096, 4096), (0, None), (True, None), ("4096", None), (None, None)])
def test_longest_sequence(told: object, expected: int | None) -> None:
    assert RunDescription({"max_context": told}).max_context(None) == expected


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"rank": 1, "max_context": 9}, None),
        ({"tp": 1, "pp": None}, None),
        ({"model": {"model_type": "llama", "hidden_size": 8, "use_cache": False, "more": 1}}, None),
        ({"model": None}, None),
        ({"dtype": None}, None),
        ({"model": {"model_type": "llama", "hidden_size": 9}}, "model"),
        ({"tp": 2}, "parallel degree"),
        ({"kv_dtype": "fp8"}, "format"),
        ({"dtype": "float16"}, "format"),
    ],
)
def test_runs_differ_in_what_estimates_rest_on(other: dict[str, Any], expected: str | None) -> None:
    fields = {"model": {"model_type": "llama", "hidden_size": 8, "use_cache": True}, "dtype": "bfloat16", "rank": 0}
    run = RunDescription(fields)

    assert run.differs(RunDescription(fields | other), is_degree_told=False) == expected
    if expected == "parallel degree":
        assert run.differs(RunDescription(fields | other), is_degree_told=True) is None
