#!/usr/bin/env bash
# Rebuild the embedded critic from nothing, with the project's own commands, into toy-critic/: about 70 minutes on one
# CPU core. SEED chooses another one of it. The finished critic is toy-critic/run/critic.
set -euo pipefail
SEED=${SEED:-0}
export OMP_NUM_THREADS=1

# A base model that sees and talks, as a large one comes pretrained.
python -m toyworld.pretrain --out toy-critic/base --seed "$SEED"

# Videos to learn from, to choose and calibrate by: other seeds, so other prompts' clips. Their ids get a letter each.
worldcritic toyworld --out toy-critic/train --num 3000 --seed $((1000 + SEED)) --prefix train
worldcritic toyworld --out toy-critic/calibration --num 500 --seed $((2000 + SEED)) --prefix calibration

# The teacher here is the truth; with real videos it would be a model behind an API.
for part in train calibration; do
  worldcritic label --teacher truth --truth_file "toy-critic/$part/truth.jsonl" \
    --prompts "toy-critic/$part/prompts.json" --videos "toy-critic/$part" --out "toy-critic/labels-$part"
done
worldcritic dataset --labels toy-critic/labels-train/labels.jsonl --out toy-critic/sft
worldcritic sft --config configs/toyworld/sft-critic.yaml
worldcritic calibrate --critic toy-critic/run/critic --labels toy-critic/labels-calibration/labels.jsonl
python benchmarks/critic.py --critic toy-critic/run/critic
