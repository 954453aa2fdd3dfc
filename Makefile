# Two commands do everything on a fresh machine with Python 3.11+:  make run   and   make test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where this is set, each of the suite's hundred programs would translate all of Parley again: a second each.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: install install-test run test lint bench clean

install: $(VENV)/.installed
install-test: $(VENV)/.installed-test

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "Installing Parley into $(VENV) (about half a minute the first time)"
	$(PIP) install --editable ".[all]"
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) install --editable ".[all,test]"
	@touch $@

run: install
	$(BIN)/parley serve

# Much of the suite waits for sockets and child processes: more workers than cores. Calls and browsers by the
# clock on the wall come afterwards, two at a time.
WORKERS ?= $(shell expr 2 \* $$(nproc 2>/dev/null || echo 2))

test: install-test lint
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not real_time"
	$(BIN)/python -m pytest -n 2 --dist loadfile -m real_time tests/calls tests/browser
endif

lint: install-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install-test
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
