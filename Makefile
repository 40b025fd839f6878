# `make demo` and `make test` work from a bare clone: both make .venv first.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help venv check test demo bench torture lock format

RUN := .venv/bin
SOURCES := $(wildcard cachemgr tests benchmarks)
SCRIPTS := .ci/run .ci/*.sh tests/services/*.sh
UV := $(RUN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --python-version 3.11 \
	--custom-compile-command "make lock"
# Real services share two cores with whatever else runs: the tests that start some run one after the other.
FAST := -m "not integration and not e2e"
SLOW := -m "integration or e2e"
TORTURE := 10

help:  ## say what each word does
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile

venv:  ## make .venv with the pinned dependencies
	@.ci/venv.sh

check: venv  ## format, lint, types, import contracts, house limits, fast tests
	$(RUN)/ruff format --check $(SOURCES)
	$(RUN)/ruff check $(SOURCES)
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/hadolint Dockerfile
	$(RUN)/shellcheck -x $(wildcard $(SCRIPTS))
	$(RUN)/pytest -q -n auto $(FAST)

test: venv  ## install the tests' real parts (root on Debian) and run all tests
	@.ci/parts.sh
	$(RUN)/pytest -q -n auto $(FAST)
	$(RUN)/pytest -q $(SLOW)

demo: venv  ## watch one worker do the whole job, on loopback
	$(RUN)/python -m tests.demo

bench: venv  ## measure against the peers and print the distance to each goal
	$(RUN)/python -m benchmarks

torture: venv  ## run the loops that kill and race at full count, for an hour or more
	@.ci/parts.sh
	$(RUN)/pytest -v -m torture --torture $(TORTURE)

lock: venv  ## resolve the dependencies again and pin them with hashes
	$(UV) --upgrade -o requirements.lock pyproject.toml
	$(UV) --upgrade -o requirements-build.lock --group build
	$(UV) --upgrade -o requirements-dev.lock pyproject.toml --group dev --constraints requirements.lock

format: venv  ## put the code into its form
	$(RUN)/ruff format $(SOURCES)
	$(RUN)/ruff check --fix $(SOURCES)
