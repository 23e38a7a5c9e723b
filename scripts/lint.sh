#!/usr/bin/env bash
# Formatting and lints, with nothing let through.
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
cargo fmt --all --check
cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
for script in scripts/*.sh cpp_tests/*.sh .ci/run; do
  if [ -e "$script" ]; then bash -n "$script"; fi
done
echo "lint: clean"
