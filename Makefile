# Every target works from a fresh clone: Python 3.11 or newer, pip and make are all it takes.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check

# Prefect's own telemetry has no business in a demo or a test run.
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

# Where `make up` listens, on this machine alone.
PORT           ?= 4200
SIMULATOR_PORT ?= 8765

# Each process runs whole files; on two cores three of them wait for each other least.
PROCESSES ?= 3
PYTEST := $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder --durations 20 --durations-min 1

.PHONY: demo test test-all cluster crowd up down deploy check bench bench-fleet lock clean help

help:  ## Say what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.simulator: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[simulator]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.simulator

demo: $(VENV)/.simulator  ## Renew a token against the built-in simulator, and show it
	$(BIN)/etrade-session demo

test: $(VENV)/.dev  ## Run the tests that prove each capability once, in a few minutes
	$(PYTEST) -m "not thorough" $(ARGS)

test-all: $(VENV)/.dev  ## Run every test; Redis, PostgreSQL and Chromium must be there
	$(PYTEST) $(ARGS)

cluster: $(VENV)/.dev  ## Kill the parts of a cluster one at a time; CLUSTER_MINUTES=60 goes on for an hour
	$(BIN)/python -m pytest tests/cluster/test_topology.py -s $(ARGS)

crowd: $(VENV)/.dev  ## Start 200 pipelines at once on a cluster; takes some ten minutes
	$(BIN)/python -m pytest tests/cluster/crowd.py -s $(ARGS)

up: $(VENV)/.dev  ## Bring up a server, a worker and the simulator, with runs that appear by themselves
	$(BIN)/python deployments/local.py up --port $(PORT) --simulator-port $(SIMULATOR_PORT)

down: $(VENV)/.dev  ## End everything that `make up` started
	$(BIN)/python deployments/local.py down

deploy: $(VENV)/.dev  ## Make the work pool and all deployments on the Prefect server in use
	$(BIN)/prefect work-pool inspect etrade > /dev/null || $(BIN)/prefect work-pool create etrade --type process
	$(BIN)/prefect --no-prompt deploy --all

check: $(VENV)/.dev  ## Lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy deployments/local.py deployments/pipelines
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(VENV)/.dev  ## Print the costs that matter, as ratios measured side by side
	$(BIN)/python benchmarks/run.py

bench-fleet: $(VENV)/.dev  ## Print what a token of a fleet costs; SIZES="100 500 2000" unless given
	$(BIN)/python benchmarks/fleet.py $(SIZES)

lock: pyproject.toml  ## Remake constraints.txt from what the index serves today
	@rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip --disable-pip-version-check install --quiet --editable '.[dev]'
	@{ echo '# The whole tree, pinned; remade by `make lock`. Versions only: no addresses, no hashes.'; \
	   $(VENV)-lock/bin/python -m pip freeze --exclude-editable --exclude prefect-etrade; } > constraints.txt
	@rm -rf $(VENV)-lock

clean:  ## Remove what the targets made
	rm -rf $(VENV) $(VENV)-lock dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage .hypothesis
