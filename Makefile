# flowbridge: one way to do each thing. Every target sets up what it needs; second runs install nothing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo test live bench chaos threats lint lock docs clean services browser

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## Make the environment in .venv

$(READY): requirements.lock pyproject.toml .ci/system
	@.ci/system python
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## Run the demo: the bridge, a sample business app, an LTI tool and an LRS
	@exec $(BIN)/flowbridge demo

test: $(READY) services browser lint ## Lint, then run every test, on real systems
	@$(BIN)/python -m tests.live.systems install
	@$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

live: $(READY) services ## Only what runs on real systems: Kolibri, Tryton, LTI tools, Learning Locker
	@$(BIN)/python -m tests.live.systems install
	@$(BIN)/pytest tests/live -s

bench: $(READY) services ## Measure, beside peers and bounds; NAME=lti for one benchmark
	@$(BIN)/python -m tests.live.systems install
	@$(BIN)/python -m tests.benchmarks $(NAME)

chaos: $(READY) services ## Break everything while 20,000 statements are forwarded, and count; RUN=rabbitmq for one set-up
	@$(BIN)/python -m tests.chaos $(RUN)

threats: $(READY) ## Attack both LTI roles of the running app; CASES=file.json for other cases
	@$(BIN)/python -m tests.threats $(CASES)

lint: $(READY) ## Format check, lint, types, import rules
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

docs: $(READY) ## Write the pages that are made from the code
	@$(BIN)/python -m bridge.connector_docs docs/connectors
	@$(BIN)/python -m bridge.xapi.profile > docs/xapi-profile.jsonld

services: ## PostgreSQL, RabbitMQ, Redis on their standard local ports, and Node.js
	@.ci/system services

browser: ## Chromium for the browser tests
	@.ci/system browser

lock: $(READY) ## Write requirements.lock anew from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --all-extras --group dev \
		--upgrade pyproject.toml -o requirements.lock

clean: ## Remove the environment and everything that was made
	@rm -rf $(VENV) .live .flowbridge dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
