"""Render the JSON of `llmperf flops` as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any, TextIO

from nsys_pipeline.report.tables import plain_table, wide_console
from nsys_pipeline.report.units import bytes_text, flops_text, time_text

#: Below this width a terminal would break the lines of the full tables; they then lose the columns named here.
_FULL_WIDTH = 104
_TOTALS_LEFT_OUT = ("weights", "KV read", "KV written")
_OPS_LEFT_OUT = ("layers", "m x n x k", "dtype")


def render_flops(data: Mapping[str, Any], out: TextIO, *, verify: Sequence[Mapping[str, Any]] | None = None) -> None:
    """Write totals, conventions and ops of both phases to `out`; with `verify`, the comparison op by op."""
    console = wide_console(out)
    conv = data["convention"]
    label = conv["label"]
    console.print(
        f"[bold]{data['model']}[/bold]  {data['params']:,} parameters{_whose(conv)}, "
        f"{data['active_params']:,} active per token"
    )
    console.print(_convention_line(conv))
    for line in _caveats(conv):
        console.print(line, markup=False)
    console.print()
    _totals(console, data, label)
    for phase in ("prefill", "decode"):
        ops = [op for op in data["ops"] if op["phase"] == phase]
        if data[phase] is not None and ops:
            console.print()
            _ops(console, phase, ops)
    if verify is not None:
        console.print()
        _verify(console, verify)


def _whose(conv: Mapping[str, Any]) -> str:
    return "" if conv["params_of"] == "model" else f" of the {conv['params_of']}"


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
    if conv["kv_dtype"] != conv["dtype"]:
        parts.append(f"KV {conv['kv_dtype']}")
    parts += [f"{key} {conv[key]}" for key in ("tp", "pp", "ep") if conv[key] > 1]
    return "; ".join(parts)


def _products(conv: Mapping[str, Any]) -> str:
    """In which dtype products run, of the roles for which it is not that of the activations."""
    dtypes = set(conv["products"].values())
    if len(dtypes) == 1 and set(conv["products"]) == set(conv["weights"]):
        return f"their products in {dtypes.pop()}"
    return "products " + ", ".join(f"{role} in {dtype}" for role, dtype in sorted(conv["products"].items()))


def _totals(console: Any, data: Mapping[str, Any], label: str) -> None:
    conv = data["convention"]
    table = plain_table(f"whole batch of {conv['batch']}, {label}")
    columns = ["phase", "tokens", "FLOPs", "minimum bytes", "weights", "KV read", "KV written", "FLOPs/byte"]
    timed = "sol_ns" in data["prefill"]
    columns += ["SOL time"] if timed else []
    shown = [not (console.width < _FULL_WIDTH and column in _TOTALS_LEFT_OUT) for column in columns]
    for column in compress(columns, shown):
        table.add_column(column, justify="left" if column == "phase" else "right")
    shapes = {
        "prefill": f"{conv['prompt_tokens']}" + (f" after {conv['cached_tokens']}" if conv["cached_tokens"] else ""),
        "decode": f"1 after {conv['context']}",
    }
    for phase, shape in shapes.items():
        row = data[phase]
        if row is None:
            continue
        cells = [phase, shape, flops_text(row["flops"])]
        cells += [bytes_text(row[key]) for key in ("bytes", "weight_bytes", "kv_read_bytes", "kv_write_bytes")]
        cells.append(f"{row['flops'] / row['bytes']:.1f}" if row["bytes"] else "–")
        if timed:
            cells.append("–" if row["sol_ns"] is None else time_text(row["sol_ns"]))
        table.add_row(*compress(cells, shown))
    console.print(table)
    shares = [
        f"{phase} {flops_text(data[phase]['gpu_flops'])}, {bytes_text(data[phase]['gpu_bytes'])}"
        for phase in shapes
        if data[phase] is not None and "gpu_flops" in data[phase]
    ]
    if shares:
        console.print("one GPU's share: " + "; ".join(shares))
        if timed:
            console.print("SOL time is that of one pass, through all stages in turn, without communication")


def _ops(console: Any, phase: str, ops: Sequence[Mapping[str, Any]]) -> None:
    total = sum(op["flops"] for op in ops)
    table = plain_table(f"{phase}, by op, summed over layers")
    columns = ("layer", "layers", "op", "m x n x k", "dtype", "FLOPs", "share", "weights", "KV")
    shown = [not (console.width < _FULL_WIDTH and column in _OPS_LEFT_OUT) for column in columns]
    for column in compress(columns, shown):
        table.add_column(column, justify="left" if column in ("layer", "op", "dtype") else "right")
    for op in ops:
        if op["kind"] in ("norm", "embedding") and not op["flops"]:
            continue
        cells = (
            op["layer"],
            str(op["layers"]),
            op["name"],
            _product(op),
            op["dtype"],
            flops_text(op["flops"]),
            f"{op['flops'] / total:.1%}" if total else "–",
            bytes_text(op["weight_bytes"]),
            bytes_text(op["kv_read_bytes"] + op["kv_write_bytes"]),
        )
        table.add_row(*compress(cells, shown))
    console.print(table)


def _product(op: Mapping[str, Any]) -> str:
    product = f"{op['m']} x {op['n']} x {op['k']}"
    return f"{op['batch']} of {product}" if op["batch"] > 1 else product


def _verify(console: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    table = plain_table("against torch's FlopCounterMode on the meta device")
    for column in ("phase", "op", "llmperf", "torch", "difference"):
        table.add_column(column, justify="left" if column in ("phase", "op") else "right")
    for row in rows:
        difference = row["estimated"] - row["counted"]
        table.add_row(
            row["phase"],
            row["op"],
            f"{row['estimated']:,}",
            f"{row['counted']:,}",
            f"{difference:+,}" if difference else "0",
        )
    console.print(table)
