"""FLOPs and elements of the framework's operators, from the shapes of their inputs."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from nsys_pipeline.duck import create_from_rows

if TYPE_CHECKING:
    from nsys_pipeline.inputs.inputs import Inputs

Shape = tuple[int, ...]
Cost = tuple[int, int]
"""FLOPs, and elements of inputs and outputs, each once."""

_MAX_TEXT = 4_000
_LARGEST = 1 << 62


def create_operator_shapes(inputs: Inputs) -> None:
    """`input.operator_shapes`: cost of each distinct operator and shapes. Needs attribute.operator_ranges."""
    types = {
        "operator": "VARCHAR", "shapes": "VARCHAR", "arguments": "VARCHAR", "flops": "BIGINT", "elements": "BIGINT",
    }  # fmt: skip
    found = inputs.connection.execute(
        "SELECT DISTINCT operator, shapes, arguments FROM attribute.operator_ranges "
        "WHERE shapes IS NOT NULL AND list_contains(?::VARCHAR[], operator) ORDER BY ALL",
        [list(_COSTS)],
    ).fetchall()
    rows = []
    for operator, shapes, arguments in found:
        cost = operator_cost(operator, shapes, arguments or "")
        if cost is not None:
            rows.append((operator, shapes, arguments, *cost))
    create_from_rows(inputs.connection, "input.operator_shapes", types, rows)


def operator_cost(operator: str, shapes: str, arguments: str = "") -> Cost | None:
    """FLOPs and elements of one call; None if the shapes do not say them, or fit no such operator.

    `shapes`: as `emit_nvtx` writes them, `[[4, 8], [8, 2]]`. `arguments`: `is_causal = True`, or `stride = [1, 1],
    padding = [0, 0], dilation = [1, 1], transposed = False`. A product of m × k by k × n has 2mkn FLOPs, as
    torch's FlopCounterMode counts; causal attention has the pairs of tokens that the mask leaves.
    """
    if operator not in _COSTS or len(shapes) > _MAX_TEXT:
        return None
    try:
        inputs = [tuple(map(int, one)) for one in ast.literal_eval(shapes)]
        flops, elements = _COSTS[operator](inputs, arguments)
    except (ValueError, TypeError, LookupError, SyntaxError, RecursionError, MemoryError, ZeroDivisionError):
        return None
    return (flops, elements) if 0 <= flops < _LARGEST and 0 <= elements < _LARGEST else None


def _matrices(a: Shape, b: Shape) -> Cost:
    """(…, m, k) by (…, k, n)."""
    *batch, m, k = a
    *other, inner, n = b
    if batch != other or inner != k:
        raise ValueError(f"{a} and {b} have no product")
    count = math.prod(batch)
    return 2 * count * m * k * n, count * (m * k + k * n + m * n)


def _product(first: int) -> Callable[[Sequence[Shape], str], Cost]:
    def cost(inputs: Sequence[Shape], _: str) -> Cost:
        return _matrices(inputs[first], inputs[first + 1])

    return cost


def _scaled(inputs: Sequence[Shape], _: str) -> Cost:
    """As a product, but shapes of fp4 count pairs of values along k (`torch.float4_e2m1fn_x2`), which scales give away.

    One scale is of a tensor, a row, 128 or 32 values of fp8, or of 32 or 16 values of fp4. Scales of 32 or 16 may be
    padded to 128 rows and 4 columns.
    """
    (m, k), (inner, n) = inputs[:2]
    scales = math.prod(inputs[2]) if len(inputs) > 2 else 1

    def blocks(size: int) -> set[int]:
        columns = -(-k // size)
        return {m * columns, -(-m // 128) * 128 * -(-columns // 4) * 4}

    is_fp8 = scales in {1, m, m * -(-k // 128), -(-m // 128) * -(-k // 128)} | blocks(32)
    is_fp4 = scales in blocks(16) | blocks(8)
    if is_fp8 and is_fp4 and scales > 1:
        raise ValueError("the scales fit both")
    return _matrices((m, 2 * k), (2 * inner, n)) if is_fp4 and not is_fp8 else _matrices((m, k), (inner, n))


def _vector(first: int) -> Callable[[Sequence[Shape], str], Cost]:
    def cost(inputs: Sequence[Shape], _: str) -> Cost:
        return _matrices(inputs[first], (*inputs[first + 1], 1))

    return cost


def _dot(inputs: Sequence[Shape], _: str) -> Cost:
    return _matrices((1, *inputs[0]), (*inputs[1], 1))


def _grouped(inputs: Sequence[Shape], _: str) -> Cost:
    """Rows of (m, k), each by the (k, n) of its group, of which there are g: (g, k, n).

    Groups without rows are not read: of more groups than rows, at most as many as rows.
    """
    (m, k), (groups, inner, n) = inputs[0], inputs[1]
    if inner != k:
        raise ValueError("no product")
    return 2 * m * k * n, m * k + min(m, groups) * k * n + m * n


def _attention(inputs: Sequence[Shape], arguments: str) -> Cost:
    """Queries (b, h, s, d), keys (b, h', t, d), values (b, h', t, e)."""
    query, key, value = inputs[:3]
    pairs, others = _pairs(query, key, value, arguments)
    return 2 * pairs * (query[3] + value[3]), others + math.prod(query[:3]) * value[3]


def _attention_backward(inputs: Sequence[Shape], arguments: str) -> Cost:
    """Gradient of the output, then as in `_attention`: scores and the gradients of all three, each a product."""
    gradient, query, key, value = inputs[:4]
    pairs, others = _pairs(query, key, value, arguments)
    return 2 * pairs * (3 * query[3] + 2 * value[3]), 2 * others + 2 * math.prod(gradient)


def _pairs(query: Shape, key: Shape, value: Shape, arguments: str) -> tuple[int, int]:
    (batch, heads, new, size), (other_batch, key_heads, tokens, key_size) = query, key
    if (batch, size) != (other_batch, key_size) or value[:3] != key[:3] or heads % key_heads:
        raise ValueError("no attention")
    pairs = new * tokens
    if "is_causal = True" in arguments:
        # Of the query i, the keys 0 to i.
        seen = min(new, tokens)
        pairs = seen * (seen + 1) // 2 + (new - seen) * tokens
    return batch * heads * pairs, math.prod(query) + math.prod(key) + math.prod(value)


def _convolution(inputs: Sequence[Shape], arguments: str) -> Cost:
    """Input (b, c, …), weight (o, c / groups, …); transposed: (c, o / groups, …)."""
    data, weight = inputs[:2]
    told = {name: ast.literal_eval(value) for name, value in _ARGUMENT.findall(arguments)}
    dimensions = len(data) - 2
    stride, padding, dilation = (
        list(told[name]) * (dimensions if len(told[name]) == 1 else 1) for name in ("stride", "padding", "dilation")
    )
    kernel = weight[2:]
    if told["transposed"]:
        # Every element of the input meets the whole kernel of its channel.
        return 2 * math.prod(data) * math.prod(weight[1:]), math.prod(data) + math.prod(weight)
    output = [
        (data[2 + i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(dimensions)
    ]
    produced = data[0] * weight[0] * math.prod(output)
    return 2 * produced * math.prod(weight[1:]), math.prod(data) + math.prod(weight) + produced


_ARGUMENT = re.compile(r"(\w+) = (\[[\d, ]*\]|True|False)")

_ATTENTION = "aten::_scaled_dot_product_"
_COSTS: Mapping[str, Callable[[Sequence[Shape], str], Cost]] = {
    "aten::mm": _product(0), "aten::bmm": _product(0), "aten::addmm": _product(1), "aten::baddbmm": _product(1),
    "aten::_int_mm": _product(0), "aten::_scaled_mm": _scaled, "aten::_addmm_activation": _product(1),
    "aten::mv": _vector(0), "aten::addmv": _vector(1), "aten::dot": _dot, "aten::vdot": _dot,
    "aten::_grouped_mm": _grouped, "aten::_scaled_grouped_mm": _grouped,
    f"{_ATTENTION}flash_attention": _attention, f"{_ATTENTION}flash_attention_for_cpu": _attention,
    f"{_ATTENTION}efficient_attention": _attention, f"{_ATTENTION}cudnn_attention": _attention,
    f"{_ATTENTION}fused_attention_overrideable": _attention,
    f"{_ATTENTION}flash_attention_backward": _attention_backward,
    f"{_ATTENTION}efficient_attention_backward": _attention_backward,
    f"{_ATTENTION}cudnn_attention_backward": _attention_backward,
    "aten::convolution": _convolution,
}  # fmt: skip
