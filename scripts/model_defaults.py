"""Rewrite nsys_pipeline/model/defaults.json: the defaults of transformers' config classes, per model type.

Checkpoints leave fields out of config.json where they equal the class's default, sub-configs nearly always. Needs
transformers (extra `verify`); prints the version it read. Usage: python scripts/model_defaults.py
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from nsys_pipeline.model.families import NESTED, known_model_types

TARGET = Path(__file__).parent.parent / "nsys_pipeline" / "model" / "defaults.json"
# Fields that change no shape.
IRRELEVANT = re.compile(
    r"_token|dropout|initializer|init_|rope_param|rope_theta|rope_scaling|eps$|epsilon|aux_loss|use_cache|max_position|output_|^hidden_act|"
    r"pretraining|jitter|id2label|label2id|chunk_size_feed|problem_type|return_dict|architectures|^transformers|"
    r"activation|_pdrop|summary_|torch|dtype|_plan|scal|_coef|theta|range|processor|timesteps|time_step|^is_encoder"
)


def shape_fields(config_class: Any) -> dict[str, Any]:
    """Defaults of the class's own fields that are plain JSON values."""
    result = {}
    for field in dataclasses.fields(config_class):
        default = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if IRRELEVANT.search(field.name) or default is dataclasses.MISSING:
            continue
        if isinstance(default, bool | int | float | str | type(None)) or (
            isinstance(default, list | tuple) and len(json.dumps(default)) < 200
        ):
            result[field.name] = default
    return result


def find_class(model_type: str) -> Any:
    """The config class of a model type; sub-configs are found by the class's own `model_type`. None: there is none."""
    try:
        return CONFIG_MAPPING[model_type]
    except KeyError:
        for name in dir(transformers):
            if name.endswith("Config") and getattr(getattr(transformers, name), "model_type", None) == model_type:
                return getattr(transformers, name)
    return None


def main() -> None:
    base = {field.name for field in dataclasses.fields(transformers.PreTrainedConfig)} - {"tie_word_embeddings"}
    table = {}
    for model_type in sorted([*known_model_types(), *NESTED]):
        config_class = find_class(model_type)
        if config_class is None:
            continue
        fields = {name: value for name, value in shape_fields(config_class).items() if name not in base}
        aliases = {key: value for key, value in config_class.attribute_map.items() if isinstance(value, str)}
        table[model_type] = {"fields": fields, "aliases": aliases}
    data = {"source": f"config classes of transformers {transformers.__version__}", "types": table}
    text = json.dumps(data, indent=1, sort_keys=True)
    text = re.sub(r"\n\s{6,}", " ", text)
    TARGET.write_text(text + "\n", encoding="utf-8")
    print(f"{len(table)} model types from transformers {transformers.__version__}")


if __name__ == "__main__":
    main()
