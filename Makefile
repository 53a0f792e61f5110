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

demo: setup
	$(BIN)/worldcritic toyworld --out $(DEMO) --num 16 --candidates 4 --seed 0 --overwrite
	$(BIN)/worldcritic score --critic toyworld --prompts $(DEMO)/prompts.json --videos $(DEMO)/videos --out $(DEMO)/scores.jsonl --overwrite
	$(BIN)/worldcritic rank --scores $(DEMO)/scores.jsonl --out $(DEMO)/best.jsonl --overwrite
	$(BIN)/worldcritic evaluate --scores $(DEMO)/scores.jsonl --prompts $(DEMO)/prompts.json --out $(DEMO)/report.json --overwrite
	@echo; echo "videos: $(DEMO)/videos   scores: $(DEMO)/scores.jsonl   best of 4: $(DEMO)/best.jsonl   report: $(DEMO)/report.json"

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check
	$(BIN)/pytest

clean:
	rm -rf .venv demo
