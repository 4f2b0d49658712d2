# Everything that a person or a machine does with this repository. `make help` lists it.
PYTHON ?= python3
BIN := .venv/bin
SET_UP := $(PYTHON) services/stenoflow_cli/set_up.py
# A comma inside $(if …).
, := ,
PYTEST := $(BIN)/python -m pytest
CODE := shared services tests load_tests k8s docs compose requirements
IMAGES := gateway features acoustic decoder second-pass
TAG := dev

.PHONY: help run test check fmt bench load reference faults browser js lint types layers clean setup images wheels locks \
  rules sbom docker-test

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run:  ## the whole stack on this machine, with a spoken sample; the page stays open (PORT=8010: not on 8000)
	@$(SET_UP) run
	@$(BIN)/stenoflow up --sample $(if $(PORT),--port $(PORT))

test: setup lint types layers js  ## all checks: lint, types, layers, tests
	$(PYTEST) -n 2 --dist loadfile -m "not faults and not browser and not docker" tests
	$(PYTEST) -m "faults or browser or docker" tests

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

images:  ## build the images (WHEELS=folder: without a registry; CA=file: behind a certificate authority of one's own)
	@set -e; for image in $(IMAGES); do \
	  docker build --target $$image --tag stenoflow/$$image:$(TAG) \
	    --build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
	    $(if $(WHEELS),--build-context wheels=$(WHEELS)) $(if $(CA),--secret id=ca$(,)src=$(CA)) .; done

wheels:  ## a folder of all wheels that the images need (build/wheels), for `make images WHEELS=build/wheels`
	@set -e; for lock in $(IMAGES) tools silero-vad; do \
	  $(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --python-version 3.11 \
    --only-binary :all: --dest build/wheels -r requirements/$$lock.lock; done

locks:  ## lock the images' packages anew (IMAGES=gateway: one of them), at their newest versions
	$(PYTHON) requirements/make_locks.py $(if $(filter command line,$(origin IMAGES)),$(IMAGES))

sbom:  ## write what is in each image to build/sbom, as CycloneDX
	docker build --target sboms --output build/sbom \
	  $(if $(WHEELS),--build-context wheels=$(WHEELS)) $(if $(CA),--secret id=ca$(,)src=$(CA)) .

rules:  ## take the alert rules for compose's Prometheus out of k8s/
	$(PYTHON) compose/make_rules.py

docker-test: setup wheels  ## only the tests that need a Docker engine: images, compose, Redis in containers
	$(PYTEST) -m docker tests
	$(PYTEST) tests/contract tests/pipeline/test_loop_over_redis.py

clean:  ## remove the environment and all caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis gateway-js/node_modules
