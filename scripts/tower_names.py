"""Write `nsys_pipeline/model/tower_names.toml`: what transformers calls the weights of the small configs' towers.

Needs torch and transformers; models are built without memory for their weights. A tower is written if its layers, what
stands around them and its projector each have as many parameters as the estimate describes; others are left out.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import Model
from nsys_pipeline.model.architecture import Stack
from nsys_pipeline.model.blocks import Around, Block
from nsys_pipeline.model.quantization import TOWERS
from nsys_pipeline.model.towers import is_projector, label_of, tower_key
from nsys_pipeline.model.verify import multimodal_class

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.golden_totals import quieten
from scripts.weight_names import small_configs, wrapped

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "nsys_pipeline" / "model" / "tower_names.toml"
HEAD = """\
# What transformers calls the weights of towers of images and sound, written by scripts/tower_names.py: of the layers of
# a label (`under` what they lie), of what stands around them, of the projector; `types` are those of model and tower.
"""
_SOUND = re.compile(r"audio|speech|sound")
_TOWER = re.compile(r"vis(ion|ual)|vit|image|audio|speech|sound|projector|connector|merger|aligner|sam_model")
_OTHER = re.compile(r"\b(mtp|draft|talker|code2wav|token2wav|vqmodel|vocoder)\b|(^|\.)language_model\b|lm_head")
_PROJECTOR = re.compile(r"projector|connector|merger|aligner")
_LAYER = re.compile(r"^(?P<under>.*?\b(?:layers|layer|blocks|block))\.(?P<layer>\d+)\.(?P<rest>.*)$")


def main() -> None:
    quieten()
    groups: dict[str, set[str]] = defaultdict(set)
    for name, config in small_configs().items():
        try:
            model = Model.from_config(config, name)
            towers = [stack for stack in model.architecture.stacks if stack.name in TOWERS]
            towers = towers or [stack for stack in model.architecture.stacks if config["model_type"] == "whisper"][:1]
            if not towers or model.architecture.text_only:
                continue
            with torch.device("meta"):
                hf_config = transformers.AutoConfig.for_model(**config)
                module = multimodal_class(transformers, type(hf_config)).from_config(hf_config)
        except (ModelError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError) as error:
            print(f"{name}: {type(error).__name__}", file=sys.stderr)
            continue
        for stack in towers:
            text = described(stack, dict(module.named_parameters()), alone=len(towers) == 1)
            if text is None:
                print(f"{name}: {stack.name} is left out", file=sys.stderr)
                continue
            for one in (config, hf_config.to_dict()):
                groups[text].add(tower_key(one, stack.name))
    lines = [HEAD]
    for text, kinds in sorted(groups.items(), key=lambda one: sorted(one[1])):
        lines.append(f'[[towers]]\ntypes = """\n{wrapped(sorted(kinds))}"""\n{text}')
    TARGET.write_text("\n".join(lines), encoding="utf-8")


def described(stack: Stack, named: Mapping[str, Any], *, alone: bool) -> str | None:
    """The tower's table; None if its weights are not told apart."""
    own = {
        name: value
        for name, value in named.items()
        if (_TOWER.search(name) or (stack.name == "encoder" and name.startswith("model.encoder.")))
        and not _OTHER.search(name)
        and (alone or bool(_SOUND.search(name)) == (stack.name == "audio"))
    }
    layers: dict[str, dict[str, Any]] = defaultdict(dict)
    projector, around = {}, {}
    for name, value in own.items():
        match = _LAYER.match(name)
        if _PROJECTOR.search(name):
            projector[name] = value
        elif match:
            if _LAYER.search(match["rest"]):
                return None
            layers[match["under"]][name] = value
        else:
            around[name] = value
    wanted: dict[str, int] = defaultdict(int)
    behind = 0
    for label, ids, blocks in stack.parts():
        for block in blocks:
            if ids:
                wanted[label_of(label)] += len(ids) * block.params
            else:
                behind += sum(one.params for one in _flat(block) if is_projector(one))
    if size(projector) != behind or size(own) != stack.params or len(wanted) != len(layers):
        return None
    lines = [*table(around), *table(projector, "projector_")]
    for (label, params), (under, weights) in zip(wanted.items(), layers.items(), strict=True):
        if size(weights) != params:
            return None
        below = {name.removeprefix(f"{under}.").partition(".")[2]: value for name, value in weights.items()}
        lines += ["[[towers.layers]]", f'label = "{label}"', f'under = "{under}"', *table(below)]
    return "\n".join(lines) + "\n"


def _flat(block: Block) -> Iterator[Block]:
    for one in block.blocks if isinstance(block, Around) else ():
        yield from _flat(one)
    if not isinstance(block, Around):
        yield block


def size(named: Mapping[str, Any]) -> int:
    return sum(value.numel() for value in named.values())


def table(named: Mapping[str, Any], kind: str = "") -> Iterator[str]:
    weights = {
        name.removesuffix(".weight"): value
        for name, value in named.items()
        if name.endswith(".weight") or (value.ndim > 1 and not name.endswith("bias"))
    }
    for title, is_norm in (("weights", False), ("norms", True)):
        found = [name for name, value in weights.items() if (value.ndim == 1) == is_norm]
        yield f'{kind}{title} = """\n{wrapped(found)}"""' if found else f'{kind}{title} = ""'


if __name__ == "__main__":
    main()
