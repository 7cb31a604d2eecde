"""What the run mark says about a Hugging Face model. Standard library only."""

from __future__ import annotations

import json
import os
from typing import Any

# Label names say nothing about shapes and can be tens of kilobytes.
_DROPPED = ("id2label", "label2id", "task_specific_params")


def config_fields(config: Any) -> dict[str, Any]:
    """Return the config of a model as the dictionary that its config.json would hold, defaults included."""
    fields: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return {name: value for name, value in fields.items() if name not in _DROPPED}


def ranks() -> dict[str, int]:
    """Return rank and world size as torchrun gives them, or those of a single process."""
    return {"rank": int(os.environ.get("RANK", "0")), "world": int(os.environ.get("WORLD_SIZE", "1"))}
