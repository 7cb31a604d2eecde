"""Find a model's config: a preset, a file, a directory, or the local Hugging Face cache."""

from __future__ import annotations

import contextlib
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
#: Files beside config.json in which tools say how the weights are stored, where config.json does not: Model Optimizer,
#: AutoGPTQ, AutoAWQ, AutoRound.
_QUANTIZATION_FILES = (
    "hf_quant_config.json", "quantize_config.json", "quant_config.json", "quantization_config.json",
)  # fmt: skip
#: What Model Optimizer writes beside hf_quant_config.json where layers differ.
_LAYER_FILE = "quant_cfg.json"
_ADAPTER = "adapter_config.json"


def preset_names() -> list[str]:
    """Names of the shipped presets, sorted."""
    return sorted(path.stem for path in _PRESETS.glob("*.json"))


def load_model(ref: str, *, allow_network: bool = False, approximate: bool = False) -> Model:
    """The model that `ref` names: a preset, a config.json, a directory with one, or a hub id in the local cache.

    Raises ModelError if there is no such model here, or its config cannot be used. The network is used only for a hub
    id, and only if `allow_network`. What lies beside the config.json of a checkpoint counts, too: how its weights are
    stored, if config.json does not say, and adapters.
    """
    name, config, folder = _find(ref, allow_network=allow_network)
    adapters: list[str] = []
    if folder is not None:
        config, adapters = _with_neighbours(config, folder)
    return Model.from_config(config, name, approximate=approximate, beside=adapters)


def load_config(ref: str, *, allow_network: bool = False) -> tuple[str, Mapping[str, Any]]:
    """Name and config dict behind `ref`, without what lies beside it; see `load_model`."""
    name, config, _ = _find(ref, allow_network=allow_network)
    return name, config


def find_checkpoint(ref: str) -> tuple[Path, Mapping[str, Any]]:
    """The absolute path of the directory or config file behind `ref`, and its config; see `load_model`."""
    _, config, folder = _find(ref, allow_network=False)
    path = Path(ref).expanduser()
    if path.exists():
        return path.resolve(), config
    return (folder or _PRESETS / f"{ref.lower()}.json").resolve(), config


def _find(ref: str, *, allow_network: bool) -> tuple[str, Mapping[str, Any], Path | None]:
    """Name, config, and the folder of the checkpoint, if `ref` is one."""
    path = Path(ref).expanduser()
    if path.is_dir():
        if (path / _ADAPTER).is_file() and not (path / "config.json").is_file():
            raise _no_model(path)
        return path.resolve().name, _read(path / "config.json"), path
    if path.is_file():
        if path.name == _ADAPTER:
            raise _no_model(path.parent)
        name = path.stem if path.stem != "config" else path.resolve().parent.name
        return name, _read(path), path.parent if path.name == "config.json" else None
    preset = _PRESETS / f"{ref.lower()}.json"
    if ref and "/" not in ref and preset.is_file():
        return ref.lower(), {key: value for key, value in _read(preset).items() if key != "_source"}, None
    if ref.endswith(".json") or ref.startswith((".", "/", "~")) or ref.count("/") > 1:
        raise ModelError(f"no such file: `{ref}`", hint="pass a config.json or a directory that holds one")
    if "/" not in ref:
        raise ModelError(
            f"no model `{ref}`: it is neither a preset nor a file",
            hint=nearest(ref, preset_names(), f"presets: {', '.join(preset_names())}; or pass a config.json"),
        )
    config, folder = _hub(ref, allow_network=allow_network)
    return ref, config, folder


def _no_model(folder: Path) -> ModelError:
    """The error for a folder with an adapter and no model."""
    adapter = _read(folder / _ADAPTER)
    base = adapter.get("base_model_name_or_path")
    named = f" of `{base}`" if isinstance(base, str) and base else ""
    return ModelError(
        f"`{folder}` holds an adapter ({_adapter_kind(adapter)}){named}, not a model",
        hint=f"pass the model that it was trained for: `{base}`" if named else "pass the model that it was trained for",
    )


def _adapter_kind(adapter: Mapping[str, Any]) -> str:
    kind, rank = adapter.get("peft_type"), adapter.get("r")
    return f"{kind or 'PEFT'}, rank {rank}" if isinstance(rank, int) else str(kind or "PEFT")


def _with_neighbours(config: Mapping[str, Any], folder: Path) -> tuple[Mapping[str, Any], list[str]]:
    """The config with what the files beside it say of its weights, and the adapters beside it."""
    adapters = []
    if (folder / _ADAPTER).is_file():
        kind = _adapter_kind(_read(folder / _ADAPTER))
        adapters.append(f"adapter beside the config ({kind})")
    found = next((folder / name for name in _QUANTIZATION_FILES if (folder / name).is_file()), None)
    if found is None:
        return config, adapters
    stored = _read(found)
    inner = stored.get("quantization")
    if isinstance(inner, Mapping) and (folder / _LAYER_FILE).is_file():
        stored = {**stored, "quantization": {**inner, **_read(folder / _LAYER_FILE)}}
    own = config.get("quantization_config")
    if not own:
        return {**config, "quantization_config": {**stored, "_file": found.name}}, adapters
    cache = inner.get("kv_cache_quant_algo") if isinstance(inner, Mapping) else None
    if cache and isinstance(own, Mapping) and not own.get("kv_cache_scheme"):
        return {**config, "quantization_config": {"kv_cache_quant_algo": cache, **own}}, adapters
    return config, adapters


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


def _hub(ref: str, *, allow_network: bool) -> tuple[dict[str, Any], Path | None]:
    repo = _hub_cache() / f"models--{ref.replace('/', '--')}"
    main = repo / "refs" / "main"
    if main.is_file():
        config = repo / "snapshots" / main.read_text(encoding="utf-8").strip() / "config.json"
        if config.is_file():
            return _read(config), config.parent
    for config in sorted(repo.glob("snapshots/*/config.json")):
        return _read(config), config.parent
    if adapter := next(iter(sorted(repo.glob(f"snapshots/*/{_ADAPTER}"))), None):
        raise _no_model(adapter.parent)
    if allow_network:
        return _download(ref), None
    hint = "pass a config.json, a directory or a preset name; `llmperf flops --allow-network` downloads the config"
    name = ref.rpartition("/")[2].lower()
    # Tuned models have the config of the base.
    presets = sorted((preset for preset in preset_names() if name.startswith(preset)), key=len)
    raise ModelError(
        f"`{ref}` is not in the local Hugging Face cache, and the network is not used unless allowed",
        hint=f"`{presets[-1]}` is a preset; or {hint}" if presets else hint,
    )


def _download(ref: str) -> dict[str, Any]:
    """The config of a hub id, with the file beside it that says how the weights are stored, if config.json does not."""
    data = _download_file(ref, "config.json")
    if not data.get("quantization_config"):
        for name in _QUANTIZATION_FILES[:3]:
            with contextlib.suppress(ModelError):
                return {**data, "quantization_config": {**_download_file(ref, name), "_file": name}}
    return data


def _download_file(ref: str, name: str) -> dict[str, Any]:
    url = f"https://huggingface.co/{ref}/resolve/main/{name}"
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            data = json.load(response)
    except (urllib.error.URLError, TimeoutError, OSError, ValueError) as error:
        raise ModelError(
            f"cannot download the config of `{ref}`: {error}", hint="pass a config.json or a preset name instead"
        ) from error
    if not isinstance(data, dict):
        raise ModelError(f"{name} of `{ref}` is no JSON object")
    return data
