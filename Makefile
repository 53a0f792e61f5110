# Everything runs in .venv, which each target makes if it is not there. PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
DEMO ?= demo

.PHONY: setup demo test check clean

setup: .venv/installed

# torch first: a range would draw the newest build, and the rest is pinned to what was tested (constraints.txt).
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("worldcritic needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,distill,rl,teacher]'
	touch $@

# The whole loop on the toy world, offline; DEMO is where it goes. Stopped, it goes on with the first unfinished stage.
demo: setup
	$(BIN)/worldcritic demo --out $(DEMO)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

clean:
	rm -rf .venv demo
