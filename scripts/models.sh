#!/usr/bin/env bash
# The models at larger bounds than in scripts/test.sh: docs/verification.md says what they are.
#
#   scripts/models.sh [PREEMPTIONS [RANDOM [SEED]]]    default: 2 preemptions, 50 times the plans by lot, seed 1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export GPUBUF_MODEL_PREEMPTIONS="${1:-2}" GPUBUF_MODEL_RANDOM="${2:-50}" GPUBUF_MODEL_SEED="${3:-1}"
cargo test --locked -p gpubuf-weak -- --nocapture
cargo test --locked -p gpubuf-models -- --nocapture
