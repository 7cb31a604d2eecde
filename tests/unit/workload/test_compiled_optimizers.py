"""`--auto` marks an optimizer's step that runs as one graph: nothing inside it can."""

from __future__ import annotations

import pytest

from tests.unit.workload.conftest import Recorder

torch = pytest.importorskip("torch")


# torch's own, while it compiles.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("is_compiled", [True, False])
def test_micro_batches_before_an_optimizer_are_one_step(is_compiled: bool, marked: Recorder) -> None:
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    step = torch.compile(optimizer.step, backend="eager") if is_compiled else optimizer.step
    for _ in range(2):
        for _ in range(3):
            (weight * 2).sum().backward()
        step()
        optimizer.zero_grad()
    assert [name.split()[0] for name in marked.passes] == ["backward", "backward", "backward", "optimizer"] * 2
    # Three gradients of 2, twice, at half of that.
    assert weight.tolist() == [1 - 2 * 3 * 2 * 0.5] * 4
