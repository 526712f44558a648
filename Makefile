PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SELECT := $(if $(CI),,-m "not slow")
SOURCES := simulator envs agents controllers experiments tests

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(VENV)/.installed  ## make the environment

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@begin=$$(date +%s); \
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0 hatchling editables && \
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e '.[all,dev]' && \
	echo $$(( $$(date +%s) - begin )) > $@

demo: setup  ## train, judge and report, from nothing
	@SETPOINT_SETUP_SECONDS=$$(cat $(VENV)/.installed) $(BIN)/setpoint demo --out build/demo

test: lint types contracts unit  ## all checks

lint: setup  ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## static types
	$(BIN)/mypy

contracts: setup  ## which folder may import which
	$(BIN)/lint-imports

unit: setup  ## tests; with CI=true the slow ones, too
	$(BIN)/python -m pytest -n 2 $(SELECT)

bench: setup  ## figures beside their peers' in the same run
	$(BIN)/python -m experiments.bench build/bench.json

clean:  ## remove what was built
	rm -rf build dist $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: help setup demo test lint types contracts unit bench clean
