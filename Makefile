# What there is to do here. Everything runs from .venv, which is built when it is missing or pyproject.toml is newer.
PYTHON := .venv/bin/python
ENV := .venv/.built
CODE := $(wildcard swarmproxy tests benchmarks)
QUICK := $(wildcard tests/unit tests/store)
REAL := $(wildcard tests/engines tests/clients tests/faults)

help:            ## this list
	@sed -n 's/^\([a-z]*\): .*## */make \1\t/p' Makefile

up: $(ENV)       ## a cluster of real Docker engines on this machine (root), or this machine's own engine
	@$(PYTHON) -m swarmproxy lab up

down: $(ENV)     ## remove it
	@$(PYTHON) -m swarmproxy lab down

check: $(ENV)    ## format, lint, types, quick tests; needs neither root nor Docker
	@$(MAKE) --no-print-directory -j3 --output-sync=target lint types quick

lint: $(ENV)
	$(PYTHON) -m ruff format --check -q $(CODE)
	$(PYTHON) -m ruff check -q $(CODE)

types: $(ENV)
	$(PYTHON) -m mypy --strict swarmproxy

quick: $(ENV)
	$(PYTHON) -m pytest -q -n 3 --dist loadfile $(QUICK)

test: check      ## check, then real engines, real clients, faults (root; minutes)
	$(if $(REAL),$(PYTHON) -m pytest -q $(REAL))

bench: $(ENV)    ## measure against a bare engine and named peers (root; minutes)
	$(PYTHON) -m benchmarks

$(ENV): pyproject.toml bootstrap.sh
	@sh bootstrap.sh

.PHONY: help up down check lint types quick test bench
