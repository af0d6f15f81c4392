# One command: `make test`. See CONTRIBUTING.md.
#
# Everything runs in .venv, made from Python 3.11 or newer (PYTHON=… names another one). Each of the other targets is
# one part of `make test`, or something that takes longer.

PYTHON ?=
BIN := .venv/bin
CHECKS := tools/run_checks.sh
JOBS ?= 2
SCHEDULES ?= 100000
RECIPES ?=

.DEFAULT_GOAL := help
.PHONY: help test prepare format lint types style unit conformance matrix process pythons sim bench demo protos clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: prepare ## everything: lint, types, unit tests, conformance against etcd 3.4 and 3.5, matrix, processes
	@JOBS=$(JOBS) RECIPES=$(RECIPES) $(CHECKS) lint types unit conformance matrix process pythons

prepare: ## .venv with everything, and a real etcd
	@PYTHON="$(PYTHON)" tools/prepare.sh

format: prepare ## format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: prepare ## format and lint
	@$(CHECKS) lint

types: prepare ## mypy and pyright
	@$(CHECKS) types

style: prepare ## lengths, layers, exports, parity
	@$(CHECKS) style

unit: prepare ## all tests without real servers and processes
	@JOBS=$(JOBS) $(CHECKS) unit

conformance: prepare ## the wire protocol against bundled, etcd 3.4 and etcd 3.5
	@JOBS=$(JOBS) $(CHECKS) conformance

matrix: prepare ## every recipe x face x server x what may happen, as a table (RECIPES=lock,registry)
	@JOBS=$(JOBS) RECIPES=$(RECIPES) $(CHECKS) matrix

process: prepare ## kill, pause, torn files, full disks
	@$(CHECKS) process

pythons: prepare ## unit tests on the other Pythons found here
	@JOBS=$(JOBS) $(CHECKS) pythons

sim: prepare ## simulated schedules of the lock, and a twentieth as many of each other recipe (SCHEDULES=100000)
	@SCHEDULES=$(SCHEDULES) JOBS=$(JOBS) $(CHECKS) sim

bench: prepare ## benchmarks; takes minutes, wants an idle machine
	@$(BIN)/python -m benchmarks

demo: ## a tour: what coord does, on a server of its own
	@PYTHON="$(PYTHON)" tools/prepare.sh library && $(BIN)/python tools/demo.py

protos: ## regenerate the protobuf messages
	@tools/generate_protos.sh

clean: ## remove environments, caches and builds
	@rm -rf .venv .venv-* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
