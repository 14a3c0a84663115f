# Everything here needs Python 3.11 or newer and make; a Docker Engine is used where one answers.
# The first target that needs it makes .venv from requirements-dev.lock, which pins every package by hash.

ifndef PYTHON
PYTHON := $(firstword $(foreach v,3.13 3.12 3.11 3.14,$(shell python$(v) -c 'print("python$(v)")' 2>/dev/null)) python3)
endif
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest -q

.DEFAULT_GOAL := help
.PHONY: help demo up test test-all check unit bench bench-quick lock clean

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Lambent needs Python 3.11 or newer; make PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-dev.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

demo: $(READY) ## Deploy and call a real function, from zero to zero
	$(BIN)/python examples/demo/run.py

up: $(READY) ## Run the platform on this machine (lambent up)
	$(BIN)/lambent up

test: $(READY) ## Run the tests: unit, conformance, integration, end to end
	$(PYTEST) tests

test-all: $(READY) ## The same with every runtime that can be had, and tests that kill things
	LAMBENT_TEST_ALL=1 $(PYTEST) tests

check: $(READY) ## Form, types, layers and unit tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) tests/unit

bench: $(READY) ## Measure: warm and cold calls, memory at rest
	$(BIN)/python bench/run.py

bench-quick: $(READY) ## One short run of the same
	$(BIN)/python bench/run.py --quick

lock: $(READY) ## Make the lock files again from pyproject.toml
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --python-version 3.11 \
	  --extra dev pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
	  -c requirements-dev.lock pyproject.toml -o requirements.lock

clean: ## Remove what these targets made here (not your data folder)
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
