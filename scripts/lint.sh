#!/usr/bin/env bash
# Formatting and lints, with nothing let through. Every finding is shown before it fails.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
gpubuf_setup build
cd "$gpubuf_root"

for component in fmt clippy; do
  if ! cargo "$component" --version >/dev/null 2>&1; then
    echo "lint: cargo $component is missing. Get it with: rustup component add rustfmt clippy" >&2
    exit 1
  fi
done
failed=0
cargo fmt --all --check || failed=1
cargo clippy --locked --workspace --exclude gpubuf-weak --exclude gpubuf-models --all-targets --all-features -- -D warnings || failed=1
# These two compile the library's sources once more: the tests inside those are linted, and run, where they are.
cargo clippy --locked -p gpubuf-weak -p gpubuf-models --lib --tests -- -D warnings || failed=1
for script in scripts/*.sh scripts/gpu/run-gpu-suite cpp_tests/*.sh .ci/run; do
  bash -n "$script" || failed=1
done
if [ "$failed" -eq 0 ]; then echo "lint: clean"; fi
exit "$failed"
