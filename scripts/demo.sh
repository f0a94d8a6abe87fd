#!/usr/bin/env bash
# make demo: the main job end to end on the data in data/demo, offline. Leaves its workspace in demo/.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf demo
mkdir demo
cd demo

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

run cli init --train ../data/demo/train.csv --test ../data/demo/test.csv --sample ../data/demo/sample_submission.csv \
    --name goemotions-demo
run cli train ../recipes/linear.toml
run cli train ../recipes/bert-mini.toml
run cli train ../recipes/bert-mini-pieces.toml
run cli score --input ../data/demo/test.csv
run cli blend
run python ../scripts/demo_truth.py
run cli report
printf '\nThe workspace is in demo/: runs/, submissions/v0002-blend/submission.csv. Try `cd demo && cli jobs`.\n'
printf 'Everything on one page, for any browser: %s/report.html\n' "$PWD"
