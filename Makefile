# Needs nothing but Python >= 3.11: make setup | demo | test | lint | format | acceptance | bench | docs
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MANIFESTS := pyproject.toml requirements-dev.txt $(wildcard kernels/pyproject.toml modalities/*/pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format acceptance bench docs

help:
	@echo "make setup | demo | test | lint | format | acceptance | bench | docs"

setup: $(STAMP)

$(STAMP): $(MANIFESTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gencore needs Python 3.11 or newer: make setup PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -r requirements-dev.txt
	@touch $@

demo: $(STAMP)
	$(BIN)/python examples/gallery.py -o demo
	$(BIN)/gencore generate images --label 3 -n 16 --seed 0 --steps 50 --sampler dpmpp -o demo/threes.png --force
	$(BIN)/gencore reproduce demo/threes.png

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

acceptance: docs
	$(BIN)/python -m pytest -q -m acceptance

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py

docs: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -r docs/requirements.txt
	$(BIN)/mkdocs build --strict
