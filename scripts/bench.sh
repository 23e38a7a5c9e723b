#!/usr/bin/env bash
# Builds and runs the benchmarks in benches/, in release mode. Arguments go to the benchmarks.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
gpubuf_setup build
cd "$gpubuf_root"

echo "machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, $(uname -sm), $(rustc --version)"
found=false
if compgen -G 'benches/*.rs' >/dev/null; then
  found=true
  cargo bench --locked -p gpubuf --benches -- "$@"
fi
if [ -e benches/CMakeLists.txt ]; then
  found=true
  cmake -S . -B build/bench -G Ninja -DCMAKE_BUILD_TYPE=Release -DGPUBUF_CARGO_TARGET_DIR="$gpubuf_root/build/cargo" \
    -DGPUBUF_BUILD_TESTS=OFF -DGPUBUF_BUILD_EXAMPLES=OFF -DGPUBUF_BUILD_BENCHES=ON >/dev/null
  cmake --build build/bench
  while IFS= read -r program; do
    echo
    echo "== ${program##*/}"
    "$program" "$@"
  done < <(find build/bench/benches -maxdepth 1 -type f -executable | sort)
fi
if ! $found; then
  echo "bench: there are no benchmarks in benches/" >&2
  exit 1
fi
