# What a person does here. `just` lists it.
default:
    @just --list

# unit, SQL and command-line tests, the slow ones too; no network, no GPU, no nsys
test *ARGS:
    python -m pytest -m "not e2e and not gpu" -n auto {{ARGS}}

# what tests compare with an independent answer on random input, on a thousand instead of a few (an hour)
examples *ARGS:
    LLMPERF_EXAMPLES=many python -m pytest -m "not e2e and not gpu" -n auto tests/sql/test_causes.py tests/unit/budget tests/unit/infer \
        tests/unit/model/test_random_configs.py tests/unit/test_reference.py tests/unit/trace {{ARGS}}

# tests that run a real nsys on the CPU (scripts/install_nsys.sh brings one)
e2e *ARGS:
    python -m pytest -m e2e {{ARGS}}

# tests that capture on a real GPU, and on two where there are two
gpu *ARGS:
    python -m pytest -m gpu tests/gpu {{ARGS}}

# ruff, mypy and the checker of the SQL modules
lint:
    ruff check .
    ruff format --check .
    mypy
    python scripts/check_sql_modules.py

# reformat in place
format:
    ruff check --fix .
    ruff format .

# everything that must pass before a merge, from scratch in build/ci
ci:
    .ci/run

# the whole analysis on the H100 trace that ships with llmperf
demo:
    python -m nsys_pipeline demo

# rewrite every golden result (review the diff); the FLOP goldens need torch and transformers
golden: golden-reference golden-recipes
    python scripts/golden_flops.py
    python scripts/golden_towers.py
    python scripts/golden_processors.py
    python scripts/golden_audio.py

# rewrite what the brute-force reference says about the real traces; `--check` only compares
golden-reference *ARGS:
    python scripts/reference_goldens.py {{ARGS}} tests/traces/*.sqlite.xz

# rewrite what the recipes answer on three real traces (review the diff)
golden-recipes:
    python scripts/golden_recipes.py

# rewrite docs/sql.md, docs/cli.md, docs/metrics.md, docs/schemas and the macro of kernel families; `--check` only compares
docs *ARGS:
    python scripts/generate_references.py {{ARGS}}

# run the commands of the tutorial and the how-tos and store their outputs
howto:
    python scripts/shown_commands.py --write docs/tutorial.md docs/howto/*.md

# the documents as a site in build/site (needs the extra `docs`); a broken link or anchor fails
site:
    NO_MKDOCS_2_WARNING=1 mkdocs build --strict

# a release in a clean checkout: changelog, version, build, a try of the wheel in a new environment, commit and tag
release VERSION:
    python scripts/release.py {{VERSION}}

# how much of the package the quick tests run, and which lines they do not
coverage *ARGS:
    python -m pytest -n auto --cov=nsys_pipeline --cov-report=term-missing:skip-covered {{ARGS}}

# take the screenshots of README again (needs chromium and the extra `browser`)
screenshots:
    python scripts/screenshots.py

# run the notebook and store its outputs
notebook:
    python scripts/run_notebook.py --write docs/tour.ipynb

# measure llmperf beside its floor and nsys stats (minutes), and rewrite docs/benchmarks.md
bench *ARGS:
    python scripts/bench.py {{ARGS}}
