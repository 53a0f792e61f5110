#!/usr/bin/env bash
# Train a critic of the toy world from nothing, with the project's own commands, into toy-critic/. SEED chooses
# another one of it. The finished critic is toy-critic/run/critic. Of these commands toyworld, label and dataset have been
# run as they stand here, the others only on smaller data: the base still needs a better recipe, and no critic ships yet.
set -euo pipefail
SEED=${SEED:-0}
export OMP_NUM_THREADS=1

# A base model that sees and talks, as a large one comes pretrained.
python -m toyworld.pretrain --out toy-critic/base --seed "$SEED"

# Videos to learn from, to choose and calibrate by: other seeds, so other prompts' clips. Their ids get a prefix each.
worldcritic toyworld --out toy-critic/train --num 3000 --seed $((1000 + SEED)) --prefix train
worldcritic toyworld --out toy-critic/calibration --num 500 --seed $((2000 + SEED)) --prefix calibration

# The teacher here is the truth; with real videos it would be a model behind an API.
for part in train calibration; do
  worldcritic label --teacher truth --prompts "toy-critic/$part/prompts.json" --videos "toy-critic/$part/videos" \
    --out "toy-critic/labels-$part"
done
worldcritic dataset --labels toy-critic/labels-train --out toy-critic/sft --validation 0.05 --test 0 --balance none \
  --mismatched 1 --mismatched_p 0 --mismatched_weight 0.5
worldcritic sft --config configs/toyworld/sft-critic.yaml
worldcritic calibrate --critic toy-critic/run/critic --labels toy-critic/labels-calibration --out toy-critic/calibration-report
python benchmarks/critic.py --critic toy-critic/run/critic
