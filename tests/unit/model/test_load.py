"""A model is found as a preset, a file, a directory or in the hub's cache; otherwise the error says what to pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import Model, load_model, preset_names
from tests.unit.model.configs import llama

PRESETS = Path(__file__).parents[3] / "nsys_pipeline" / "model" / "presets"


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_names_its_source(name: str) -> None:
    assert load_model(name).params > 0
    assert "_source" not in load_model(name).config
    assert json.loads((PRESETS / f"{name}.json").read_text(encoding="utf-8"))["_source"]


def test_a_config_file_and_the_directory_that_holds_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(llama()), encoding="utf-8")
    by_file, by_directory = load_model(str(tmp_path / "config.json")), load_model(str(tmp_path))
    assert by_file.params == by_directory.params == Model.from_config(llama()).params
    assert by_file.name == tmp_path.name


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_a_hub_id_is_read_from_the_local_cache(hub_cache: Path) -> None:
    repo = hub_cache / "models--someone--model"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc", encoding="utf-8")
    (repo / "snapshots" / "abc").mkdir(parents=True)
    (repo / "snapshots" / "abc" / "config.json").write_text(json.dumps(llama()), encoding="utf-8")
    assert load_model("someone/model").name == "someone/model"


def test_a_hub_id_that_is_not_cached_says_so_and_what_to_pass_instead(hub_cache: Path) -> None:
    with pytest.raises(ModelError, match="not in the local Hugging Face cache") as caught:
        load_model("someone/else")
    assert caught.value.hint is not None
    assert "config.json" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not JSON"), ("[]", "holds no JSON object"), ("\udcff", "cannot read|is not JSON")],
)
def test_a_damaged_file(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=message):
        load_model(str(path))


def test_a_directory_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("ref", ["nonesuch.json", "./nonesuch", "a/b/c"])
def test_a_path_that_is_not_there(ref: str) -> None:
    with pytest.raises(ModelError, match="no such file"):
        load_model(ref)


def test_a_name_that_is_nothing_lists_the_presets() -> None:
    with pytest.raises(ModelError, match="neither a preset nor a file") as caught:
        load_model("nonesuch")
    assert caught.value.hint is not None
    assert "llama-3-8b" in caught.value.hint


def test_a_name_that_is_almost_a_preset_names_it() -> None:
    with pytest.raises(ModelError, match="neither a preset nor a file") as caught:
        load_model("llama3")
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("did you mean `llama-3-8b` or ")


def test_a_hub_id_whose_model_is_a_preset_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="not in the local Hugging Face cache") as caught:
        load_model("meta-llama/Llama-3.1-8B")
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("`llama-3.1-8b` is a preset; or pass a config.json")
