# Everything that a person or a machine does with this repository. `make help` lists it.
PYTHON ?= python3
BIN := .venv/bin
SET_UP := $(PYTHON) services/stenoflow_cli/set_up.py
PYTEST := $(BIN)/python -m pytest
CODE := shared services tests load_tests k8s docs

.PHONY: help run test check fmt bench load reference faults browser js lint types layers clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run:  ## the whole stack on this machine, with a spoken sample; the page stays open (PORT=8010: not on 8000)
	@$(SET_UP) run
	@$(BIN)/stenoflow up --sample $(if $(PORT),--port $(PORT))

test: setup lint types layers js  ## all checks: lint, types, layers, tests
	$(PYTEST) -n 2 --dist loadfile -m "not faults and not browser" tests
	$(PYTEST) -m "faults or browser" tests

check: setup lint types layers  ## the quick part of the tests (under 3 minutes)
	$(PYTEST) -n 2 -q tests/unit tests/wire

setup:
	@$(SET_UP) test

lint:
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types:
	$(BIN)/mypy

layers:
	$(BIN)/lint-imports

js:
	@if [ -d gateway-js/node_modules ]; then cd gateway-js && npm run --silent check && npm test --silent; \
	else echo "SKIPPED gateway-js: node is missing"; fi

fmt:  ## format and mend what can be mended
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

bench: setup  ## print the figures that docs/benchmarks.md holds
	$(BIN)/python -m load_tests.bench

load: setup  ## play a load test until the service level breaks (SCENARIO=storm, or a file; report in build/load)
	$(BIN)/python -m load_tests.ladder $(SCENARIO)

reference: setup  ## write docs/reference/ from the code
	$(BIN)/python -m docs.make_reference

faults: setup  ## only the tests that kill real processes
	$(PYTEST) -m faults tests

browser: setup  ## only the tests in a real browser
	$(PYTEST) -m browser tests

clean:  ## remove the environment and all caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis gateway-js/node_modules
