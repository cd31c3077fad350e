# Every target works from a fresh clone. It needs only Python 3.11 or newer, pip and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check

# No demo and no test run sends Prefect's telemetry.
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

# Where `make up` listens, only on this machine.
PORT           ?= 4200
SIMULATOR_PORT ?= 8765

# Each process runs whole files. On two cores, three processes finish first.
PROCESSES ?= 3
PYTEST := $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder --durations 20 --durations-min 1

.PHONY: demo test test-all endurance cluster crowd up down deploy check bench bench-fleet lock clean help

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.simulator: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[simulator]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.simulator

# Ray is large, and only one test needs it.
$(VENV)/.all: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev,ray]'
	@touch $@ $(VENV)/.dev $(VENV)/.simulator

demo: $(VENV)/.simulator  ## Show a token's whole day against the built-in simulator
	$(BIN)/etrade-session demo

test: $(VENV)/.dev  ## Run the tests that prove each capability once, in a few minutes
	$(PYTEST) -m "not thorough" $(ARGS)

test-all: $(VENV)/.all  ## Run every test but those of endurance; needs Redis, PostgreSQL and Chromium
	$(PYTEST) -m "not endurance" $(ARGS)

endurance: $(VENV)/.dev  ## Run random days, weeks, thousands of callers and locks, a cluster that is killed
	$(PYTEST) -m endurance $(ARGS)

cluster: $(VENV)/.dev  ## Kill the parts of a cluster one at a time; CLUSTER_MINUTES=60 runs for an hour
	$(BIN)/python -m pytest tests/cluster/test_topology.py -s $(ARGS)

crowd: $(VENV)/.dev  ## Start 200 pipelines at once on a cluster; takes about ten minutes
	$(BIN)/python -m pytest tests/cluster/crowd.py -s $(ARGS)

up: $(VENV)/.dev  ## Start a server, a worker and the simulator, with a run every minute
	$(BIN)/python deployments/local.py up --port $(PORT) --simulator-port $(SIMULATOR_PORT)

down: $(VENV)/.dev  ## Stop everything that `make up` started
	$(BIN)/python deployments/local.py down

deploy: $(VENV)/.dev  ## Create the work pool and all deployments on your Prefect server
	$(BIN)/prefect work-pool inspect etrade > /dev/null || $(BIN)/prefect work-pool create etrade --type process
	$(BIN)/prefect --no-prompt deploy --all

check: $(VENV)/.dev  ## Lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy deployments/local.py deployments/pipelines
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(VENV)/.dev  ## Print the main costs, as ratios measured side by side
	$(BIN)/python benchmarks/run.py

bench-fleet: $(VENV)/.dev  ## Print what each token of a fleet costs; SIZES="100 500 2000" by default
	$(BIN)/python benchmarks/fleet.py $(SIZES)

lock: pyproject.toml  ## Rewrite constraints.txt with the index's newest versions
	@rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip --disable-pip-version-check install --quiet --editable '.[dev,ray]'
	@{ echo '# The whole tree, pinned; remade by `make lock`. Versions only: no addresses, no hashes.'; \
	   $(VENV)-lock/bin/python -m pip freeze --exclude-editable --exclude prefect-etrade; } > constraints.txt
	@rm -rf $(VENV)-lock

clean:  ## Remove everything the targets created
	rm -rf $(VENV) $(VENV)-lock dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage .hypothesis
