#!/usr/bin/env bash
# Builds gpubuf with its examples and runs them: the quickstart, then the decode replay with the arguments given here
# (three rounds of all ways, with delays and without: about a minute; --rounds 1 --delays on is the shortest).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
gpubuf_setup build
cd "$gpubuf_root"

cmake -S . -B build/demo -G Ninja -DCMAKE_BUILD_TYPE=Release -DGPUBUF_CARGO_TARGET_DIR="$gpubuf_root/build/cargo" \
  -DGPUBUF_BUILD_TESTS=OFF -DGPUBUF_BUILD_EXAMPLES=ON >/dev/null
cmake --build build/demo

echo
echo "== quickstart"
build/demo/examples/quickstart
echo
echo "== decode_replay $*"
build/demo/examples/decode_replay "$@"
