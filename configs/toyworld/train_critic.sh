#!/usr/bin/env bash
# Train a critic of the toy world from nothing, with the project's own commands, into toy-critic/. SEED chooses another
# one of it, GENERATOR another maker of clips. The finished critic is toy-critic/run/critic: an hour and a half on a
# busy core. The critic that ships is that of SEED=1 (benchmarks/RESULTS.md, Toy critic).
set -euo pipefail
SEED=${SEED:-0}
GENERATOR=${GENERATOR:-toyworld}
export OMP_NUM_THREADS=1
OUT=toy-critic

# A base model that sees and talks, as a large one comes pretrained.
python -m toyworld.pretrain --out $OUT/base --seed "$SEED"

# Videos to learn from, to choose and to calibrate by: other seeds, so other prompts' clips. Their ids get a prefix each.
# To learn from, two questions of each prompt are about something that is not there.
worldcritic toyworld --out $OUT/train --num 2400 --seed $((1000 + SEED)) --prefix train --absent 2
worldcritic toyworld --out $OUT/train-small --num 1600 --size 32 --frames 9 --seed $((1500 + SEED)) --prefix small \
  --absent 2
worldcritic toyworld --out $OUT/calibration --num 500 --seed $((2000 + SEED)) --prefix calibration
worldcritic toyworld --out $OUT/calibration-small --num 300 --size 32 --frames 9 --seed $((2500 + SEED)) --prefix calsmall

# A generator's own clips as well: blurred, drifting, wrong in ways that no renderer is.
python -m toyworld.repertoire --out $OUT/prompts --overwrite
worldcritic sample --generator "$GENERATOR" --prompts $OUT/prompts/prompts-train.json --num 9 --seed $((77 + SEED)) \
  --batch_size 32 --out $OUT/generated

# The teacher here is the truth, or for generated clips the oracle; with real videos it would be a model behind an API.
for part in train train-small calibration calibration-small; do
  worldcritic label --teacher truth --prompts "$OUT/$part/prompts.json" --videos "$OUT/$part/videos" \
    --out "$OUT/labels-$part"
done
worldcritic label --teacher oracle --prompts $OUT/prompts/prompts-train.json --videos $OUT/generated \
  --out $OUT/labels-generated

worldcritic dataset --labels $OUT/labels-train $OUT/labels-train-small $OUT/labels-generated --out $OUT/sft \
  --validation 0.04 --test 0 --balance none --mismatched 1 --mismatched_p 0 --mismatched_weight 0.5 --frozen 0.04
worldcritic sft --config configs/toyworld/sft-critic.yaml
worldcritic calibrate --critic $OUT/run/critic --labels $OUT/labels-calibration $OUT/labels-calibration-small \
  --out $OUT/calibration-report
python benchmarks/critic.py --critic $OUT/run/critic
