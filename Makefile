# Every target is one line over the command `pilotlight` or over a tool; `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
RECIPE ?= examples/recommender/models.yaml

.PHONY: help setup repo demo up down logs images repo-image audit docs test test-gpu check lint suite bench-sidecar bench-gateway bench-release bench-judge bench-generator client constraints

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: .venv/.stamp ## Virtual environment .venv with everything in it, the command pilotlight too

.venv/.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Pilotlight needs Python 3.11 or newer; set PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv || { echo "on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "installing PyTorch, ONNX Runtime and the rest into .venv: 2 GB, more where PyTorch brings CUDA; minutes"
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,huggingface,charts,otel,docs,dev]'
	@touch $@

repo: setup ## Build model_repository/ from RECIPE
	$(BIN)/pilotlight build $(RECIPE)

demo: setup ## The whole story on real servers, proven
	$(BIN)/pilotlight demo

up: ## The product in Docker; EMBEDDED=1 without NVIDIA's image; without Docker: pilotlight up
	@EMBEDDED=$(EMBEDDED) deploy/bin/up

down: ## Stop it; volumes and models stay
	@deploy/bin/compose --profile observability down --remove-orphans
	@echo "models, secrets and state stay; 'make up' goes on from there"

logs: ## Follow what it says
	@deploy/bin/compose logs --follow --tail 100

images: ## Build our images, with a list of what is in each under dist/sbom/
	@deploy/bin/images
	@deploy/bin/images --sbom

audit: ## Known vulnerabilities of what is pinned, as the package index tells them
	@$(PYTHON) -m venv .pilotlight/audit
	@.pilotlight/audit/bin/pip install --quiet pip-audit==2.10.1
	.pilotlight/audit/bin/pip-audit --no-deps --disable-pip --requirement constraints.txt

repo-image: ## Build model_repository/ with the generator's image, without a Python here
	@deploy/bin/prepare
	@deploy/bin/compose run --rm generator

check: setup lint ## Lint, types, layers, unit tests: under a minute
	$(BIN)/pytest -q -m "not triton and not build" tests/unit tests/properties tests/scenarios

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup ## Everything that runs without a GPU
	@$(MAKE) --no-print-directory --jobs=2 lint suite

# A machine that stands still for seconds may fail a test of real servers. That one is asked once
# more, on servers of its own, and the closing lines name it; one that hangs is not.
suite: setup
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/gpu --once-more

test-gpu: setup ## What a GPU serves; with PILOTLIGHT_TRITON=host:port, in that server too
	$(BIN)/pytest tests/gpu/test_formats.py $(if $(PILOTLIGHT_TRITON),tests/gpu/test_server.py)

docs: setup ## The documentation as a site, in .pilotlight/docs
	$(BIN)/sphinx-build -q -W --keep-going -n docs .pilotlight/docs

bench-sidecar: setup repo ## What the sidecar costs: planner, loop, memory, restart
	$(BIN)/python -m bench.sidecar

bench-gateway: setup repo ## What the gateway costs: hot and cold requests, changes of routes, size
	$(BIN)/python -m bench.gateway

bench-release: setup ## Releases under load: promotions, rollbacks, first requests, our share
	$(BIN)/python -m bench.release

bench-judge: setup ## How often the judge is right, by simulation
	$(BIN)/python -m bench.judge --plot docs/images/judge.png

bench-generator: setup ## Builds: seconds, memory, first requests, next to what others offer
	$(BIN)/python -m bench.generator

client: setup ## Write the client's bodies and the JSON Schemas anew, from the code
	$(BIN)/python -m tests.unit.pilotlight.client.bodies
	$(BIN)/python -m pilotlight.schema.generate

constraints: ## Write constraints.txt from what is installed
	$(BIN)/pip freeze --exclude-editable --exclude pip --exclude setuptools | sed 's/+cpu//' > constraints.txt
