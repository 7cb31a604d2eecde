"""The JSON of `llmperf flops` as a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nsys_pipeline.report.document import Block, Column, Document, Note, Notes, Section, Table
from nsys_pipeline.report.numbers import UNKNOWN, prefixed


def flops_document(data: Mapping[str, Any], *, verify: Sequence[Mapping[str, Any]] | None = None) -> Document:
    """Totals, conventions and ops of both phases; with `verify`, the comparison op by op."""
    conv = data["convention"]
    whose = "" if conv["params_of"] == "model" else f" of the {conv['params_of']}"
    title = f"{data['model']}  {data['params']:,} parameters{whose}, {data['active_params']:,} active per token"
    sections = [_totals(data)]
    for phase in ("prefill", "decode"):
        ops = [op for op in data["ops"] if op["phase"] == phase]
        if data[phase] is not None and ops:
            sections.append(_ops(phase, ops))
    if verify is not None:
        sections.append(_verify(verify))
    return Document(title, (_convention_line(conv), *_caveats(conv)), tuple(sections))


def training_document(data: Mapping[str, Any]) -> Document:
    """FLOPs of a training step, conventions, and the ops of its forward."""
    conv, train = data["convention"], data["train"]
    title = f"{data['model']}  {data['params']:,} parameters, {conv['trained_params']:,} trained"
    parts = ("forward", "backward", "recomputed", "step")
    flops = [train[part]["flops"] for part in parts]
    ratio = [each / flops[0] if flops[0] else None for each in flops]
    columns = [
        Column.text("", parts),
        Column.prefixed("FLOPs", flops, "F"),
        Column("x forward", [UNKNOWN if each is None else f"{each:.3f}" for each in ratio], ratio, unit="ratio"),
    ]
    notes = [
        *_shares(train),
        Note("", f"MFU of the step is of {prefixed(train['step']['required_flops'], 'F')}: nothing recomputed"),
        Note("", f"{conv['optimizer']} reads and writes {prefixed(train['optimizer']['bytes'], 'B')}"),
    ]
    heading = f"a training step of {conv['batch']} x {conv['prompt_tokens']} tokens, {conv['label']}"
    lines = (f"{_convention_line(conv)}; checkpointing {conv['checkpointing']}; trained: {conv['trained']}",)
    sections = [
        Section("training", (Table(columns), Notes(notes)), title=heading),
        _ops("forward", data["ops"], train["forward"]["flops"]),
    ]
    return Document(title, (*lines, *_caveats(conv)), tuple(sections))


def _shares(train: Mapping[str, Any]) -> list[Note]:
    """What one GPU has of a step that several share: the mean over all of them."""
    if "gpus" not in train:
        return []
    parts = [
        f"{part} {prefixed(train[part]['gpu_flops'], 'F')}" for part in ("forward", "backward", "recomputed", "step")
    ]
    optimizer = train["optimizer"]
    if "gpu_bytes" in optimizer:
        parts.append(f"optimizer {prefixed(optimizer['gpu_bytes'], 'B')}")
    if "sharded_gpu_bytes" in optimizer:
        parts.append(f"optimizer {prefixed(optimizer['sharded_gpu_bytes'], 'B')} with FSDP or ZeRO")
    return [Note("", f"one GPU's share, of {train['gpus']:,}: {', '.join(parts)}")]


def _caveats(conv: Mapping[str, Any]) -> list[str]:
    """What is not in the numbers, and what was not read."""
    lines = []
    if conv["not_counted"]:
        lines.append(f"not counted, neither FLOPs nor bytes nor parameters: {', '.join(conv['not_counted'])}")
    return [*lines, *(f"note: {note}" for note in conv["notes"])]


def _convention_line(conv: Mapping[str, Any]) -> str:
    parts = [f"attention {conv['attention']}", f"count {conv['count']}", f"logits {conv['logits']}"]
    parts += [f"{key} {conv[key]}" for key in ("mla", "experts") if conv[key]]
    parts.append(f"dtype {conv['dtype']}" + (" (assumed)" if conv["dtype_assumed"] else ""))
    if conv["weights"]:
        parts.append("weights " + ", ".join(f"{role} {name}" for role, name in sorted(conv["weights"].items())))
    if conv["products"]:
        parts.append(_products(conv))
    if conv.get("kv_dtype", conv["dtype"]) != conv["dtype"]:
        parts.append(f"KV {conv['kv_dtype']}")
    if conv.get("state_dtype"):
        parts.append(f"states {conv['state_dtype']}")
    parts += [f"{key} {conv[key]}" for key in ("tp", "pp", "ep", "dp") if conv.get(key, 1) > 1]
    return "; ".join(parts)


def _products(conv: Mapping[str, Any]) -> str:
    """In which dtype products run, of the roles for which it is not that of the activations."""
    dtypes = set(conv["products"].values())
    if len(dtypes) == 1 and set(conv["products"]) == set(conv["weights"]):
        return f"their products in {dtypes.pop()}"
    return "products " + ", ".join(f"{role} in {dtype}" for role, dtype in sorted(conv["products"].items()))


def _totals(data: Mapping[str, Any]) -> Section:
    conv = data["convention"]
    cached = f" after {conv['cached_tokens']}" if conv["cached_tokens"] else ""
    shapes = {"prefill": f"{conv['prompt_tokens']}{cached}", "decode": f"1 after {conv['context']}"}
    phases = [phase for phase in shapes if data[phase] is not None]
    rows = [data[phase] for phase in phases]
    intensity = [row["flops"] / row["bytes"] if row["bytes"] else None for row in rows]
    is_timed = "sol_ns" in data["prefill"]
    tokens = [shapes[phase] for phase in phases]
    columns = [
        Column.text("phase", phases),
        Column("tokens", tokens, tokens),
        Column.prefixed("FLOPs", [row["flops"] for row in rows], "F"),
        Column.prefixed("minimum bytes", [row["bytes"] for row in rows], "B"),
        Column.prefixed("weights", [row["weight_bytes"] for row in rows], "B", is_optional=True),
        Column.prefixed("KV read", [row["kv_read_bytes"] for row in rows], "B", is_optional=True),
        Column.prefixed("KV written", [row["kv_write_bytes"] for row in rows], "B", is_optional=True),
        Column("FLOPs/byte", [UNKNOWN if each is None else f"{each:.1f}" for each in intensity], intensity),
    ]
    if is_timed:
        columns.append(Column.prefixed("SOL time", [row["sol_ns"] for row in rows], "ns"))
    shares = [
        f"{phase} {prefixed(data[phase]['gpu_flops'], 'F')}, {prefixed(data[phase]['gpu_bytes'], 'B')}"
        for phase in phases
        if "gpu_flops" in data[phase]
    ]
    notes = [Note("", f"one GPU's share: {'; '.join(shares)}")] if shares else []
    if shares and is_timed:
        notes.append(Note("", "SOL time is that of one pass, through all stages in turn, without communication"))
    blocks: list[Block] = [Table(columns)]
    if notes:
        blocks.append(Notes(notes))
    return Section("totals", blocks, title=f"whole batch of {conv['batch']}, {conv['label']}")


def _ops(phase: str, ops: Sequence[Mapping[str, Any]], total: int | None = None) -> Section:
    total = sum(op["flops"] for op in ops) if total is None else total
    rows = [op for op in ops if op["flops"] or op["kind"] not in ("norm", "embedding")]
    share = [op["flops"] / total if total else None for op in rows]
    products = [_product(op) for op in rows]
    columns = [
        Column.text("layer", [op["layer"] for op in rows]),
        Column.count("layers", [op["layers"] for op in rows], is_optional=True),
        Column.text("op", [op["name"] for op in rows]),
        Column("m x n x k", products, products, is_optional=True),
        Column.text("dtype", [op["dtype"] for op in rows], is_optional=True),
        Column.prefixed("FLOPs", [op["flops"] for op in rows], "F"),
        Column("share", [UNKNOWN if each is None else f"{each:.1%}" for each in share], share, unit="ratio"),
        Column.prefixed("weights", [op["weight_bytes"] for op in rows], "B"),
        Column.prefixed("KV", [op["kv_read_bytes"] + op["kv_write_bytes"] for op in rows], "B"),
        *(
            [Column.prefixed("sent", [op["comm_bytes"] for op in rows], "B")]
            if any(op["comm_bytes"] for op in rows)
            else []
        ),
    ]
    return Section(phase, (Table(columns),), title=f"{phase}, by op, summed over layers")


def _product(op: Mapping[str, Any]) -> str:
    if not op["m"]:
        # A message between GPUs computes nothing.
        return UNKNOWN
    product = f"{op['m']} x {op['n']} x {op['k']}"
    return f"{op['batch']} of {product}" if op["batch"] > 1 else product


def _verify(rows: Sequence[Mapping[str, Any]]) -> Section:
    differences = [row["estimated"] - row["counted"] for row in rows]
    columns = [
        Column.text("phase", [row["phase"] for row in rows]),
        Column.text("op", [row["op"] for row in rows]),
        Column.count("llmperf", [row["estimated"] for row in rows]),
        Column.count("torch", [row["counted"] for row in rows]),
        Column("difference", [f"{each:+,}" if each else "0" for each in differences], differences),
    ]
    return Section("torch", (Table(columns),), title="against torch's FlopCounterMode on the meta device")
