#!/usr/bin/env bash
# The whole fault matrix (docs/faults.md), on the host backend and on the stand-in driver: each operation, of each function of the
# driver's hundreds of calls, and many pairs. Takes several minutes on two cores; scripts/test.sh runs a sample of it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export GPUBUF_FAULTS=all RUST_TEST_THREADS=1
cargo build --locked -p gpubuf-standin
GPUBUF_BACKEND=host cargo test --locked -p gpubuf --test faults --test faults_heap -- --nocapture
GPUBUF_BACKEND=cuda GPUBUF_CUDA_DRIVER="${CARGO_TARGET_DIR:-$PWD/target}/debug/deps/libgpubuf_standin_cuda.so" \
  cargo test --locked -p gpubuf --test faults -- --nocapture
