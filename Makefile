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

# The whole loop on the toy world: candidates, rewards, best of N, pairs, fine-tuning, and the oracle's verdict.
HELDOUT := $(DEMO)/prompts/prompts-heldout.json
TRAIN := $(DEMO)/prompts/prompts-train.json
demo: setup
	$(BIN)/python -m toyworld.repertoire --out $(DEMO)/prompts --overwrite
	$(BIN)/worldcritic sample --generator toyworld --prompts $(TRAIN) --num 4 --batch_size 32 --out $(DEMO)/rollouts --overwrite
	$(BIN)/worldcritic score --critic toyworld --prompts $(TRAIN) --videos $(DEMO)/rollouts --out $(DEMO)/scores.jsonl --overwrite
	$(BIN)/worldcritic rank --scores $(DEMO)/scores.jsonl --out $(DEMO)/best.jsonl --overwrite
	$(BIN)/worldcritic mine --scores $(DEMO)/scores.jsonl --videos $(DEMO)/rollouts --out $(DEMO)/pairs --overwrite
	$(BIN)/worldcritic nft --config configs/nft.yaml --prompts $(TRAIN) --judge_prompts $(HELDOUT) --steps 120 --out $(DEMO)/nft --overwrite
	$(BIN)/worldcritic sample --generator toyworld --prompts $(HELDOUT) --num 4 --batch_size 32 --out $(DEMO)/before --overwrite
	$(BIN)/worldcritic sample --generator toyworld --lora $(DEMO)/nft/last --prompts $(HELDOUT) --num 4 --batch_size 32 --out $(DEMO)/after --overwrite
	for part in before after; do $(BIN)/worldcritic score --critic oracle --prompts $(HELDOUT) --videos $(DEMO)/$$part --out $(DEMO)/oracle-$$part.jsonl --overwrite; done
	$(BIN)/worldcritic report --scores $(DEMO)/scores.jsonl --prompts $(TRAIN) --pairs $(DEMO)/pairs --training $(DEMO)/nft --before $(DEMO)/oracle-before.jsonl --after $(DEMO)/oracle-after.jsonl --out $(DEMO)/report.html --overwrite
	for part in before after; do echo; echo "$$part fine-tuning, held-out prompts, by the oracle:"; $(BIN)/worldcritic evaluate --scores $(DEMO)/oracle-$$part.jsonl --prompts $(HELDOUT) --out $(DEMO)/oracle-$$part.json --overwrite; done
	@echo; echo "page to look at: $(DEMO)/report.html   best of 4: $(DEMO)/best.jsonl   LoRA: $(DEMO)/nft/last"

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

clean:
	rm -rf .venv demo
