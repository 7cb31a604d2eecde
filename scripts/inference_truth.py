#!/usr/bin/env python
"""Compare inferred phases with marked ones: each trace loses its ranges, and its launches must tell them again.

    python scripts/inference_truth.py                    tests/traces and tests/loops: a table for docs/inference.md
    python scripts/inference_truth.py TRACE.sqlite …     other traces that hold ranges (.sqlite or .sqlite.xz)
    python scripts/inference_truth.py --repeats …        without what is known of language models: only what repeats

An occurrence counts as found if one inferred occurrence holds at least nine in ten of its launches, and of its marked
launches at least nine in ten are of that occurrence. Work that no mark holds, such as what engines do between two
steps, counts neither way. A name that is neither the marked one nor `repeat …` is wrong.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nsys_pipeline.infer import Inference  # noqa: E402
from nsys_pipeline.trace import TraceOptions, open_trace  # noqa: E402
from tests.support.real_traces import unpack  # noqa: E402

#: Share of the launches of an occurrence that must be in the right one.
FOUND_RATIO = 0.9
# Rules know an engine's `step`, which may be anything.
ANY_NAME = ("step", "warmup")
_WORK = """
    SELECT w.op_id, w.occurrence_id, p.phase
    FROM attribute.gpu_work AS w JOIN attribute.phase_ranges AS p USING (occurrence_id)
"""


@attrs.define
class Score:
    """Occurrences of one phase: how many are marked, found, and called what; launches in the right occurrence."""

    trace: str
    phase: str
    marked: int = 0
    found: int = 0
    named: int = 0
    unnamed: int = 0
    wrong: int = 0
    launches: int = 0
    right_launches: int = 0
    held_launches: int = 0

    @property
    def recall(self) -> float:
        """Share of the phase's launches that are in the right inferred occurrence."""
        return self.right_launches / max(self.launches, 1)

    @property
    def precision(self) -> float:
        """Share of the marked launches in these inferred occurrences that belong there."""
        return self.right_launches / max(self.held_launches, 1)


Work = dict[int, tuple[int, str]]


def scores(path: Path, *, knows_models: bool = True) -> list[Score]:
    """One score for each marked phase of the trace at `path`.

    Without `knows_models` only what repeats is inferred, as in a trace whose kernels tell no pass of a language model.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain = unpack(path, Path(folder))
        truth = _work(plain, infers=False)
        _remove_ranges(plain)
        inferred = _work(plain, infers=None, knows_models=knows_models)
    return list(compare(path.name.removesuffix(".xz").removesuffix(".sqlite"), truth, inferred))


def compare(trace: str, truth: Work, inferred: Work) -> Iterator[Score]:
    """Scores of `inferred` against `truth`: operation → its occurrence and phase."""
    sizes = Counter(occurrence for occurrence, _ in truth.values())
    phases = dict(truth.values())
    names = dict(inferred.values())
    held: Counter[int] = Counter()
    both: dict[int, Counter[int]] = defaultdict(Counter)
    for operation, (occurrence, _) in truth.items():
        if operation in inferred:
            held[inferred[operation][0]] += 1
            both[occurrence][inferred[operation][0]] += 1
    by_phase: dict[str, Score] = {}
    for occurrence, phase in sorted(phases.items()):
        score = by_phase.setdefault(phase, Score(trace, phase))
        score.marked += 1
        score.launches += sizes[occurrence]
        for best, right in both[occurrence].most_common(1):
            score.right_launches += right
            score.held_launches += held[best]
            score.found += right >= FOUND_RATIO * sizes[occurrence] and right >= FOUND_RATIO * held[best]
            if names[best] == phase or phase in ANY_NAME:
                score.named += 1
            elif names[best].startswith("repeat "):
                score.unnamed += 1
            else:
                score.wrong += 1
    yield from (by_phase[phase] for phase in sorted(by_phase))


def table(rows: Iterable[Score]) -> str:
    """The scores as Markdown."""
    lines = [
        "| trace | phase | marked | found | launches: recall | precision | named | unnamed | wrong |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| `{row.trace}` | {row.phase} | {row.marked} | {row.found} | {row.recall:.3f} | {row.precision:.3f} | "
            f"{row.named} | {row.unnamed} | {row.wrong} |"
        )
    return "\n".join(lines)


def _work(path: Path, *, infers: bool | None, knows_models: bool = True) -> Work:
    with open_trace(path, TraceOptions(use_cache=False, infers=infers)) as trace:
        if not knows_models:
            trace.inputs.passes = Inference((), reason="not looked for")
        trace.build("attribute.gpu_work", "attribute.phase_ranges")
        return {op: (occurrence, phase) for op, occurrence, phase in trace.connection.execute(_WORK).fetchall()}


def _remove_ranges(path: Path) -> None:
    with sqlite3.connect(path) as con:
        con.execute("DELETE FROM NVTX_EVENTS")
    con.close()


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 if a name is wrong."""
    knows_models = "--repeats" not in arguments
    given = [Path(one) for one in arguments if one != "--repeats"]
    paths = given or [
        path for name in ("traces", "loops") for path in sorted((ROOT / "tests" / name).glob("*.sqlite.xz"))
    ]
    rows = [row for path in paths for row in scores(path, knows_models=knows_models)]
    print(table(rows))
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
