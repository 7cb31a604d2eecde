"""Find a model's config: a preset, a file, a directory, or the local Hugging Face cache."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model.model import Model
from nsys_pipeline.nearest import nearest

_PRESETS = Path(__file__).parent / "presets"


def preset_names() -> list[str]:
    """Names of the shipped presets, sorted."""
    return sorted(path.stem for path in _PRESETS.glob("*.json"))


def load_model(ref: str, *, allow_network: bool = False, approximate: bool = False) -> Model:
    """The model that `ref` names: a preset, a config.json, a directory with one, or a hub id in the local cache.

    Raises ModelError if there is no such model here, or its config cannot be used. The network is used only for a hub
    id, and only if `allow_network`.
    """
    name, config = load_config(ref, allow_network=allow_network)
    return Model.from_config(config, name, approximate=approximate)


def load_config(ref: str, *, allow_network: bool = False) -> tuple[str, Mapping[str, Any]]:
    """Name and config dict behind `ref`; see `load_model`."""
    path = Path(ref).expanduser()
    if path.is_dir():
        return path.resolve().name, _read(path / "config.json")
    if path.is_file():
        name = path.stem if path.stem != "config" else path.resolve().parent.name
        return name, _read(path)
    preset = _PRESETS / f"{ref.lower()}.json"
    if ref and "/" not in ref and preset.is_file():
        return ref.lower(), {key: value for key, value in _read(preset).items() if key != "_source"}
    if ref.endswith(".json") or ref.startswith((".", "/", "~")) or ref.count("/") > 1:
        raise ModelError(f"no such file: `{ref}`", hint="pass a config.json or a directory that holds one")
    if "/" not in ref:
        raise ModelError(
            f"no model `{ref}`: it is neither a preset nor a file",
            hint=nearest(ref, preset_names(), f"presets: {', '.join(preset_names())}; or pass a config.json"),
        )
    return ref, _hub(ref, allow_network=allow_network)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"`{path.parent}` holds no config.json", hint="pass the directory of a checkpoint") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read `{path}`: {error}") from error
    except json.JSONDecodeError as error:
        raise ModelError(f"`{path}` is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ModelError(f"`{path}` holds no JSON object")
    return data


def _hub_cache() -> Path:
    """The hub's cache directory, from the variables that huggingface_hub reads."""
    if cache := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "huggingface" / "hub"


def _hub(ref: str, *, allow_network: bool) -> dict[str, Any]:
    repo = _hub_cache() / f"models--{ref.replace('/', '--')}"
    main = repo / "refs" / "main"
    if main.is_file():
        config = repo / "snapshots" / main.read_text(encoding="utf-8").strip() / "config.json"
        if config.is_file():
            return _read(config)
    for config in sorted(repo.glob("snapshots/*/config.json")):
        return _read(config)
    if allow_network:
        return _download(ref)
    hint = "pass a config.json, a directory or a preset name; `llmperf flops --allow-network` downloads the config"
    name = ref.rpartition("/")[2].lower()
    raise ModelError(
        f"`{ref}` is not in the local Hugging Face cache, and the network is not used unless allowed",
        hint=f"`{name}` is a preset; or {hint}" if name in preset_names() else hint,
    )


def _download(ref: str) -> dict[str, Any]:
    url = f"https://huggingface.co/{ref}/resolve/main/config.json"
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            data = json.load(response)
    except (urllib.error.URLError, TimeoutError, OSError, ValueError) as error:
        raise ModelError(
            f"cannot download the config of `{ref}`: {error}", hint="pass a config.json or a preset name instead"
        ) from error
    if not isinstance(data, dict):
        raise ModelError(f"the config of `{ref}` is no JSON object")
    return data
