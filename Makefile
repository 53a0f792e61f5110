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

# First clips with known truth: scored, ranked, evaluated. Then the loop: candidates of the toy generator, rewards, pairs,
# fine-tuning with the critic's rewards, and what the oracle says of clips of held-out prompts before and after.
LOOP = $(DEMO)/loop
KNOWN = --prompts $(LOOP)/prompts-train.json
HELDOUT = --prompts $(LOOP)/prompts-heldout.json
SAMPLE = $(BIN)/worldcritic sample --generator toyworld --num 4 --batch_size 32 --overwrite
demo: setup
	$(BIN)/worldcritic toyworld --out $(DEMO) --num 16 --candidates 4 --seed 0 --overwrite
	$(BIN)/worldcritic score --critic toyworld --prompts $(DEMO)/prompts.json --videos $(DEMO)/videos --out $(DEMO)/scores.jsonl --overwrite
	$(BIN)/worldcritic rank --scores $(DEMO)/scores.jsonl --out $(DEMO)/best.jsonl --overwrite
	$(BIN)/worldcritic evaluate --scores $(DEMO)/scores.jsonl --prompts $(DEMO)/prompts.json --out $(DEMO)/report.json --overwrite
	$(BIN)/python -m toyworld.repertoire --out $(LOOP) --overwrite
	$(SAMPLE) $(KNOWN) --out $(LOOP)/rollouts
	$(BIN)/worldcritic score --critic toyworld $(KNOWN) --videos $(LOOP)/rollouts --out $(LOOP)/scores.jsonl --overwrite
	$(BIN)/worldcritic mine --scores $(LOOP)/scores.jsonl --videos $(LOOP)/rollouts --out $(LOOP)/pairs --overwrite
	$(BIN)/worldcritic nft --config configs/nft.yaml $(KNOWN) --judge_prompts $(LOOP)/prompts-heldout.json --steps 120 --out $(LOOP)/nft --overwrite
	$(SAMPLE) $(HELDOUT) --out $(LOOP)/before
	$(SAMPLE) $(HELDOUT) --lora $(LOOP)/nft/last --out $(LOOP)/after
	for part in before after; do $(BIN)/worldcritic score --critic oracle $(HELDOUT) --videos $(LOOP)/$$part --out $(LOOP)/$$part.jsonl --overwrite || exit; done
	$(BIN)/worldcritic report --scores $(LOOP)/scores.jsonl $(KNOWN) --pairs $(LOOP)/pairs --training $(LOOP)/nft --before $(LOOP)/before.jsonl --after $(LOOP)/after.jsonl --out $(LOOP)/report.html --overwrite
	for part in before after; do echo; echo "$$part fine-tuning, by the oracle:"; $(BIN)/worldcritic evaluate --scores $(LOOP)/$$part.jsonl $(HELDOUT) --out $(LOOP)/$$part.json --overwrite || exit; done
	@echo; echo "videos: $(DEMO)/videos   scores: $(DEMO)/scores.jsonl   best of 4: $(DEMO)/best.jsonl   page: $(LOOP)/report.html   LoRA: $(LOOP)/nft/last"

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

clean:
	rm -rf .venv demo
