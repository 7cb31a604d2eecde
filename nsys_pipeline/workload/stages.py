"""Which modules of a model see: the parts of its vision side, marked as ranges `vision.<part>` where they run.

Standard library only: `--auto` loads it into any program.
"""

from __future__ import annotations

import functools
import re
import weakref
from collections.abc import Callable
from typing import Any

from nsys_pipeline import markers
from nsys_pipeline.workload.grids import ROWS

PREFIX = "vision."

# Names of modules, as transformers' models have them: the last part of a module's path → part of the vision side.
_TOWER = re.compile(
    r"^(vision_tower|visual|vision_model|vision_encoder|image_encoder|vision_backbone|sam_model|vit|vlm_vit|vpm"
    r"|high_res_vision_encoder|vision_embed_tokens|embed_patches)$"
)
_PROJECTOR = re.compile(
    r"^(multi_modal_projector|mm_projector|connector|modality_projection|projector|aligner|embed_vision|image_proj\w*"
    r"|vision_projection|resampler|perceiver_resampler|image_to_text_projection|visual_projection|vision_proj|mlp1|mlp_AR|pre_mm_projector_norm)$"
)
_INSIDE = (
    (re.compile(r"^(sam_encoder|sam|sam_model)$"), "sam"),
    (re.compile(r"^(vision_encoder|encoder|transformer|clip|qwen2_model)$"), "encoder"),
    (re.compile(r"^(merger|patch_merger|deepstack_merger_list\.\d+|vision_adapter)$"), "merger"),
    (re.compile(r"^multi_modal_projector$"), "projector"),
)
# Modules that hold text; nothing below them sees.
_TEXT = re.compile(r"(^|\.)(language_model|text_model|lm_head|llm|decoder)(\.|$)")
_LIST_ITEM = re.compile(r"(\w+\.\d+|\w+)$")


def find_stages(model: Any) -> dict[str, str]:
    """Path of each module of the vision side → its part: tower, projector, and inside them sam, encoder and merger.

    Outermost modules win: a tower inside a tower is a part of it. Empty for a model that sees nothing.
    """
    stages: dict[str, str] = {}
    for path, module in model.named_modules():
        if not path or _TEXT.search(path):
            continue
        name = path.rpartition(".")[2]
        item = _LIST_ITEM.search(path)
        around = next((outer for outer in reversed(stages) if path.startswith(f"{outer}.")), None)
        if around is None:
            if _TOWER.search(name) or (name == "encoder" and _sees(module)):
                stages[path] = "tower"
            elif _PROJECTOR.search(name):
                stages[path] = "projector"
            continue
        part = next((part for known, part in _INSIDE if known.search(item[1] if item else name)), None)
        # A part within a part of the same kind says nothing more.
        if part is not None and all(not path.startswith(f"{outer}.") or stages[outer] != part for outer in stages):
            stages[path] = part
    sees = "tower" in stages.values() or getattr(getattr(model, "config", None), "vision_config", None) is not None
    # What projects sound has the same names.
    return stages if sees else {}


def _sees(encoder: Any) -> bool:
    """Whether the first of two stacks is a tower: it gets rows of patches, or pixels and has the projector inside."""
    given = getattr(encoder, "main_input_name", None)
    return given == ROWS or (given == "pixel_values" and hasattr(encoder, "multi_modal_projector"))


_names: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
_marked: set[type] = set()


def mark_stages(model: Any) -> dict[str, str]:
    """Put a range `vision.<part>` around each stage that runs, and return what was found.

    The methods of the modules' classes are wrapped, once each, and not those of the modules: a copy of the model is
    then a model without marks, and not one that runs the original's modules.
    """
    stages = find_stages(model)
    modules = dict(model.named_modules())
    for path, part in stages.items():
        _names[modules[path]] = PREFIX + part
        _mark_class(type(modules[path]))
    return stages


def _mark_class(kind: type[Any]) -> None:
    if kind in _marked:
        return
    _marked.add(kind)
    kind.forward = _in_range(kind.forward)


def _in_range(forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def marked(self: Any, *args: Any, **kwargs: Any) -> Any:
        name = _names.get(self)
        if name is None or _is_compiling():
            return forward(self, *args, **kwargs)
        with markers.phase(name):
            return forward(self, *args, **kwargs)

    return marked


def _is_compiling() -> bool:
    import torch

    return bool(torch.compiler.is_compiling())
