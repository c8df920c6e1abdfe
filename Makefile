.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-servers lint bench lock clean distclean

BIN := .venv/bin
# How many tests run at once. Each worker starts its own servers.
WORKERS ?= 2
# Tests without servers wait for processes and clocks of their own a good part of the time.
FAST_WORKERS ?= 3
# What they write is gone when they end: in memory, where there is a gigabyte of it, nobody waits for a disk.
IN_MEMORY := $(shell df -m /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 1024 { print "PYTEST_DEBUG_TEMPROOT=/dev/shm" }')
# Passed on: make demo ARGS="--keep", make test ARGS="-k accounts", make bench ARGS="--size-mb 500".
ARGS ?=
ENGINE ?=

# Each worker, and each service that a test starts, would compile every module anew: seconds of CPU per process.
unexport PYTHONDONTWRITEBYTECODE

WITHOUT_NETWORK := tests/unit tests/contract tests/property tests/golden
WITH_SERVERS := tests/integration tests/faults tests/compat tests/acceptance
PYTEST := $(BIN)/pytest -q --dist worksteal

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## an accident and the way back to just before it on a private MariaDB, in under a minute (ENGINE=, ARGS=)
	@scripts/prepare demo
	@$(BIN)/tidewind demo $(if $(ENGINE),--engine $(ENGINE)) $(ARGS)

test: ## everything, on real Kafka, MariaDB and S3 servers, which are fetched first
	@scripts/prepare test
	$(IN_MEMORY) $(PYTEST) -o tmp_path_retention_policy=none -n $(FAST_WORKERS) $(WITHOUT_NETWORK) $(ARGS)
	$(PYTEST) -n $(WORKERS) $(WITH_SERVERS) $(ARGS)

test-fast: ## the tests that need no server, in half a minute
	@scripts/ensure-venv.sh dev
	$(IN_MEMORY) $(PYTEST) -o tmp_path_retention_policy=none -n $(FAST_WORKERS) $(WITHOUT_NETWORK) $(ARGS)

test-servers: ## the tests that need servers
	@scripts/prepare test
	$(PYTEST) -n $(WORKERS) $(WITH_SERVERS) $(ARGS)

lint: ## style, types and import rules
	@scripts/ensure-venv.sh dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: ## speed beside mydumper, and the limits we promise; writes build/bench.json
	@scripts/prepare bench
	$(BIN)/python -m benchmarks $(ARGS)

lock: ## compile requirements/*.lock again (ARGS=--upgrade takes the newest)
	@scripts/lock.sh $(ARGS)

clean: ## remove what builds and tests leave in the tree
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
	find tidewind schemas services tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## also the environment; the servers in the user's cache stay
	rm -rf .venv
