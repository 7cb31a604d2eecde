"""Write `nsys_pipeline/model/weight_names.toml`: what transformers calls the weights of the small configs' model types.

Needs torch and transformers; models are built without memory for their weights. Names that `modules.toml` lacks are
left out: nothing of the estimate goes by them.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
import transformers

from nsys_pipeline.model.modules import module_names
from nsys_pipeline.model.verify import multimodal_class

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.golden_totals import quieten, read_configs

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "nsys_pipeline" / "model" / "weight_names.toml"
HEAD = """\
# What transformers calls the weights of model types, written by scripts/weight_names.py: `layers` is what the layers of
# the decoder lie under, `weights` the names of `modules.toml` that it has, below a layer or outside of all.
"""
#: Parts beside the decoder.
_ELSEWHERE = re.compile(r"vis(ion|ual)|image|audio|speech|projector|connector|merger|aligner|qformer|talker|mtp")
_LAYER = re.compile(r"^(?P<before>.*?)\.\d+\.(?P<rest>.*)$")


def main() -> None:
    quieten()
    known = {name for ops in module_names().values() for parts in ops.values() for part in parts for name in part}
    found: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for config in small_configs().values():
        try:
            with torch.device("meta"):
                fields = {key: value for key, value in config.items() if key != "torch_dtype"}
                model = built(transformers.AutoConfig.for_model(**fields))
        except (ValueError, AttributeError, ImportError):  # one that transformers, or what it needs, lacks
            continue
        layers, weights = found[config["model_type"]]
        for parameter, _ in model.named_parameters():
            name = parameter.removesuffix(".weight")
            if _ELSEWHERE.search(name):
                continue
            match = _LAYER.match(name)
            rest = match["rest"] if match else name
            if rest in known:
                weights.add(rest)
                if match:
                    layers.add(match["before"])
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for kind, (layers, weights) in found.items():
        if len(layers) == 1:
            groups[layers.pop(), tuple(sorted(weights))].append(kind)
    lines = [HEAD]
    for (layers_at, names), kinds in sorted(groups.items(), key=lambda one: one[1]):
        lines.append("[[names]]")
        for key, value in (("types", sorted(kinds)), ("weights", names)):
            lines.append(f'{key} = """\n' + wrapped(value) + '"""')
        lines.append(f'layers = "{layers_at}"\n')
    TARGET.write_text("\n".join(lines), encoding="utf-8")


def small_configs() -> dict[str, dict[str, Any]]:
    """The small configs by kind and name: of text, of images, of sound, and whisper's."""
    found: dict[str, dict[str, Any]] = {}
    for kind in ("small", "tower", "audio"):
        read = read_configs(f"{kind}_configs.json")
        found |= {f"{kind} {name}": value.get("config", value) for name, value in read.items()}
    return found | {"whisper": read_configs("other_configs.json")["whisper"]["config"]}


def built(config: Any) -> Any:
    try:
        return transformers.AutoModelForCausalLM.from_config(config)
    except ValueError:  # a model of several parts
        return multimodal_class(transformers, type(config)).from_config(config)


def wrapped(words: list[str] | tuple[str, ...]) -> str:
    return textwrap.fill(" ".join(words), 118, break_on_hyphens=False)


if __name__ == "__main__":
    main()
