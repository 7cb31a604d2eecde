"""Two requests of each of several models, one process for each, which writes down what its attention computed."""

import json
import subprocess
import sys
from pathlib import Path

FAMILIES = ["qwen3", "llama", "gemma3_text", "gemma2", "mixtral", "qwen3_moe", "gpt2", "t5"]


def main(folder: Path, family: str) -> None:
    from tests.support.tiny_models import build, known, prompt, witness

    if not known(family):
        return
    model = build(family)
    with witness(model) as passes:
        for batch, tokens in ((1, 5), (3, 9)):
            model.generate(prompt(batch, tokens), max_new_tokens=5, do_sample=False)
    (folder / f"{family}.json").write_text(json.dumps(passes))


if len(sys.argv) == 3:
    main(Path(sys.argv[1]), sys.argv[2])
else:
    for each in FAMILIES:
        subprocess.run([sys.executable, __file__, sys.argv[1], each], check=True)
