# Every target is one line over the command `pilotlight` or over a tool; `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
RECIPE ?= examples/recommender/models.yaml

.PHONY: help setup repo demo serve test check lint bench-sidecar bench-gateway bench-release bench-judge constraints

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: .venv/.stamp ## Virtual environment with everything in it

.venv/.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Pilotlight needs Python 3.11 or newer; set PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv || { echo "on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[generator,charts,otel,dev]'
	@touch $@

repo: setup ## Build model_repository/ from RECIPE
	$(BIN)/pilotlight build $(RECIPE)

demo: setup ## The whole story on real servers, proven
	$(BIN)/pilotlight demo

serve: setup ## Two embedded Tritons, the gateway and the sidecar, until ctrl-C
	$(BIN)/pilotlight up

check: setup lint ## Lint, types, layers, unit tests: under a minute
	$(BIN)/pytest -q -m "not triton and not build" tests/unit tests/properties tests/scenarios

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup lint ## Everything that runs without a GPU
	$(BIN)/pytest

bench-sidecar: setup repo ## What the sidecar costs: planner, loop, memory, restart
	$(BIN)/python -m bench.sidecar

bench-gateway: setup repo ## What the gateway costs: hot and cold requests, changes of routes, size
	$(BIN)/python -m bench.gateway

bench-release: setup ## Releases under load: promotions, rollbacks, first requests, our share
	$(BIN)/python -m bench.release

bench-judge: setup ## How often the judge is right, by simulation
	$(BIN)/python -m bench.judge --plot docs/images/judge.png

constraints: ## Write constraints.txt from what is installed
	$(BIN)/pip freeze --exclude-editable --exclude pip --exclude setuptools | sed 's/+cpu//' > constraints.txt
