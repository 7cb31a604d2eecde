"""What the run mark says about a Hugging Face model. Standard library only."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

# Label names say nothing about shapes and can be tens of kilobytes.
_DROPPED = ("id2label", "label2id", "task_specific_params")
_USUAL_LABELS = 2
#: Where classes of models are: transformers' own, and those that checkpoints bring.
_CLASSES = ("transformers.models.", "transformers_modules.")
#: Classes with an LM head. Whether a pass runs it, the logits of its mark say.
_GENERATING = re.compile(r"ForCausalLM$|LMHeadModel$|ForConditionalGeneration$")
#: Classes with a head of their own, such as `BertForQuestionAnswering`.
_TASK = re.compile(r"For[A-Z]\w*$")


def config_fields(config: Any, *, is_quantized: bool) -> dict[str, Any]:
    """Return `config`, a Hugging Face one, as the dictionary that its config.json would hold, defaults included.

    A quantization that the config announces but the model does not have, as with random weights, is left out: it
    would say the wrong thing about the bytes that are read. Of labels their number is kept, if it is not the usual two.
    """
    fields: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    dropped = _DROPPED if is_quantized else (*_DROPPED, "quantization_config")
    labels = fields.get("id2label")
    count = {"num_labels": len(labels)} if labels and len(labels) != _USUAL_LABELS else {}
    return {name: value for name, value in fields.items() if name not in dropped} | count


def with_class(fields: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """`fields` of a config whose `architectures` name the class that `model` is, where its head is another one.

    They name the class that the checkpoint was saved from, and another one may be made from it; a config of one's own
    names none. What generates text needs no other name to be used without its head: such passes have no logits.
    """
    name = next((kind.__name__ for kind in type(model).__mro__ if kind.__module__.startswith(_CLASSES)), None)
    if name is None or (not _GENERATING.search(name) and not _TASK.search(name) and may_generate(fields)):
        return dict(fields)
    return {**fields, "architectures": [name]}


def may_generate(fields: Mapping[str, Any]) -> bool:
    """Whether an LM head is counted for those passes of the config's model that have logits."""
    return all(_GENERATING.search(str(one)) for one in fields.get("architectures") or ())


def model_name(model: Any) -> dict[str, str]:
    """Return `name` as the user called the model: its hub id or its folder's name; empty for one made from a config."""
    name = str(getattr(model, "name_or_path", "") or "").rstrip("/")
    if not name:
        return {}
    return {"name": name if name.count("/") == 1 and not name.startswith((".", "~")) else name.rpartition("/")[2]}


def ranks() -> dict[str, int]:
    """Return rank and world size as torchrun gives them, or those of a single process."""
    return {"rank": int(os.environ.get("RANK", "0")), "world": int(os.environ.get("WORLD_SIZE", "1"))}
