# make demo | test | check | bench | bench-gpu; everything runs in .venv, which the first of them makes.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench bench-gpu bench-search faults clean

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/.ready  ## The main job end to end, offline: init, three runs, score, submission
	PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/demo.sh

test: .venv/.ready  ## All tests
	$(BIN)/pytest --numprocesses 2

check: .venv/.ready  ## Format, lint, types, direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.ready  ## Our engine and its peers in one run
	$(BIN)/python -m benchmarks.score
	$(BIN)/python -m benchmarks.similarity

bench-gpu: .venv/.ready  ## On a machine with a CUDA device: GPU tests, the engine, whole jobs (benchmarks/gpu.md)
	$(BIN)/python -m benchmarks.gpu right engine
	$(BIN)/python -m benchmarks.gpu whole

bench-search: .venv/.ready  ## The search and its peers in one run, then `cli blend` on a million rows
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks.search
	$(BIN)/python -m benchmarks.blend_command

faults: .venv/.ready  ## Hostile tables, damaged files, kills, crowds: benchmarks/FAULTS.md was made by this
	$(BIN)/python -m benchmarks.faults

clean:
	rm -rf .venv demo
