"""What the run mark says about a Hugging Face model. Standard library only."""

from __future__ import annotations

import json
import os
from typing import Any

# Label names say nothing about shapes and can be tens of kilobytes.
_DROPPED = ("id2label", "label2id", "task_specific_params")


def config_fields(config: Any, *, is_quantized: bool) -> dict[str, Any]:
    """Return `config`, a Hugging Face one, as the dictionary that its config.json would hold, defaults included.

    A quantization that the config announces but the model does not have, as with random weights, is left out: it
    would say the wrong thing about the bytes that are read.
    """
    fields: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    dropped = _DROPPED if is_quantized else (*_DROPPED, "quantization_config")
    return {name: value for name, value in fields.items() if name not in dropped}


def model_name(model: Any) -> dict[str, str]:
    """Return `name` as the user called the model: its hub id or its folder's name; empty for one made from a config."""
    name = str(getattr(model, "name_or_path", "") or "").rstrip("/")
    if not name:
        return {}
    return {"name": name if name.count("/") == 1 and not name.startswith((".", "~")) else name.rpartition("/")[2]}


def ranks() -> dict[str, int]:
    """Return rank and world size as torchrun gives them, or those of a single process."""
    return {"rank": int(os.environ.get("RANK", "0")), "world": int(os.environ.get("WORLD_SIZE", "1"))}
