# Two commands do everything on a fresh machine with Python 3.11+:  make run   and   make test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where this is set, each of the suite's hundred programs would translate all of Parley again: a second each.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: install install-test run test suite calls lint style types bench clean

install: $(VENV)/.installed
install-test: $(VENV)/.installed-test

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Without --compile: of the vendors' packages only what is used is ever translated.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "Installing Parley into $(VENV) (about half a minute the first time)"
	$(PIP) install --no-compile --editable ".[all]"
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	@echo "Installing Parley and what its tests need into $(VENV) (about a minute the first time)"
	$(PIP) install --no-compile --editable ".[all,test]"
	@touch $(VENV)/.installed $@

run: install
	$(BIN)/parley serve

# Much of the suite waits for sockets and child processes: more workers than cores. Calls and browsers by the
# clock on the wall come afterwards, two at a time: they sleep much, and types are checked in their pauses.
WORKERS ?= $(shell expr 2 \* $$(nproc 2>/dev/null || echo 2) + 1)

ifdef ARGS
test: install-test lint
	$(BIN)/python -m pytest $(ARGS)
else
test: install-test
	@$(MAKE) --no-print-directory style suite
	@$(MAKE) --no-print-directory -j2 types calls LOW="nice -n 19"
	$(BIN)/python -m pytest -n 2 --dist worksteal -m real_time tests/browser
endif

suite: install-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not real_time"

calls: install-test
	$(BIN)/python -m pytest -n 2 --dist worksteal -m real_time tests/calls

lint: style types

style: install-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install-test
	$(LOW) $(BIN)/mypy

bench: install-test
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
