PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-seconds
BUILD_CONTROL_PLANE := $(if $(KUBEBUILDER_ASSETS),,$(if $(filter true,$(CI))$(filter 1,$(KUBE)),control-plane))
SELECT := $(if $(filter true,$(CI)),,-m "not slow")

help:  ## list these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; \
	do printf '%-22s %s\n' "$$name" "$$text"; done

setup: $(STAMP)  ## install setpoint and its tools into .venv, where something changed

# Build requirements come first and without isolation, so that they are pinned, too.
$(STAMP): pyproject.toml constraints.txt
	@begin=$$(date +%s); set -ex; \
	$(PYTHON) -m venv $(VENV); \
	$(BIN)/python -m pip install --quiet -c constraints.txt hatchling editables; \
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e '.[all,dev]'; \
	set +x; echo $$(($$(date +%s) - begin)) > $@; \
	echo "set up in $$(cat $@) s"

demo: setup  ## train, judge and report from nothing, into build/demo
	SETPOINT_SETUP_SECONDS=$$(cat $(STAMP)) $(BIN)/setpoint demo --out build/demo

test: lint types contracts unit  ## all checks; with CI=true the slow tests, too

lint: setup  ## style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## static types
	$(BIN)/mypy

contracts: setup  ## which module may import which
	$(BIN)/lint-imports

unit: setup $(BUILD_CONTROL_PLANE)  ## tests; with CI=true the slow ones, too
	$(BIN)/python -m pytest -n 2 $(SELECT)

control-plane:  ## what tests against a real Kubernetes need, into a cache: minutes the first time
	tests/control_plane/build.sh

bench: setup  ## figures beside their peers' in the same run, into build/bench.json
	$(BIN)/python -m experiments.bench build/bench.json

clean:  ## remove the environment, outputs and caches
	rm -rf build dist $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: help setup demo test lint types contracts unit control-plane bench clean
