# `make test` checks everything, `make demo` runs the whole life of a future; each sets up .venv
# first when it is missing or older than what it is built from.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS := 2
SOURCES := pyproject.toml setup.py $(wildcard cython_ext/*.pyx cython_ext/*.pxd)
BENCHES := $(filter-out measure load soak hostile,$(basename $(notdir $(wildcard bench/*.py))))

# Nothing of the caller's Python reaches into .venv.
unexport PYTHONPATH PYTHONHOME PYTHONOPTIMIZE SAHARA_PURE_PYTHON
export PYTHONNOUSERSITE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.PHONY: help setup test demo devnet bench fuzz clean

help:
	@echo "make demo    one command: a devnet, paid calls, futures on them, settlement, checks"
	@echo "make devnet  four validators on this machine, until Ctrl-C"
	@echo "make test    every check and every test"
	@echo "make bench   speeds, each as a ratio to a limit measured in the same run"
	@echo "make fuzz    one fuzzer for a while: TARGET=frames SECONDS=600"
	@echo "make clean   remove $(VENV) and everything built"

setup: $(READY)

$(READY): $(SOURCES) tools/setup.sh
	@bash tools/setup.sh $(VENV)
	@touch $@

test: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(TESTS)

demo: setup
	$(BIN)/sahara demo $(DEMO)

devnet: setup
	$(BIN)/sahara devnet $(DEVNET)

bench: setup
	@missed=0; for name in $(BENCHES); do $(BIN)/python -m bench.$$name || missed=1; done; exit $$missed

# The fuzzer is an extra of its own: nothing else needs it.
fuzz: setup
	@$(BIN)/python -c 'import atheris' 2>/dev/null \
		|| $(BIN)/python -m pip install -q --editable '.[fuzz]'
	$(BIN)/python -m fuzz $(TARGET) --seconds $(or $(SECONDS),600)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -f cython_ext/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
