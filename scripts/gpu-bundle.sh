#!/usr/bin/env bash
# Packs what a machine with a GPU and no Rust needs to run the GPU suite: the library, its tests, the suite's programs, the
# stand-in driver to compare with.
#
#   scripts/gpu-bundle.sh [OUT.tar.gz]     default: build/gpubuf-gpu.tar.gz
#
# The suite has to start where the C library is older than here: what the packed files need of it is in the MANIFEST, and more
# than the version below is a failure.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
gpubuf_setup test
cd "$gpubuf_root"

out="${1:-build/gpubuf-gpu.tar.gz}"
newest_glibc=2.34
most_bytes=$((50 * 1024 * 1024))
stage=build/gpu-bundle/gpubuf-gpu
build=build/gpu-bundle/cmake
cargo_dir="$gpubuf_root/build/cargo"
rust_tests=(contract slots slots_copies buffers pools sides published pinned workspace tensor staged graph_holds failures lifetimes stress)

rm -rf "$stage"
mkdir -p "$stage"/{bin,lib/standin,tests/rust,tests/cpp,suite,docs,examples} "$(dirname "$out")"

# The C++ runtime goes into the programs: that of the other machine may be older. What it wants of this glibc comes
# along. The unwinder stays shared: a static one wants _dl_find_object of glibc 2.35, and libgpubuf.so takes the shared one anyhow.
mkdir -p "$build"
cc -O2 -Wall -Wextra -c scripts/gpu/arc4random.c -o "$build/arc4random.o"
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGPUBUF_CARGO_TARGET_DIR="$cargo_dir" -DCMAKE_SKIP_RPATH=ON \
  -DCMAKE_EXE_LINKER_FLAGS="-static-libstdc++ -shared-libgcc" \
  -DCMAKE_CXX_STANDARD_LIBRARIES="$gpubuf_root/$build/arc4random.o" -DGPUBUF_BUILD_TESTS=ON -DGPUBUF_BUILD_EXAMPLES=ON \
  -DGPUBUF_BUILD_BENCHES=ON -DGPUBUF_BUILD_STANDIN=ON -DGPUBUF_BUILD_GPU_SUITE=ON >/dev/null
# Discovering tests runs the programs, which then need the library.
LD_LIBRARY_PATH="$gpubuf_root/$build/lib" cmake --build "$build"

messages="$build/cargo-tests.json"
CARGO_TARGET_DIR="$cargo_dir" cargo test --locked --release --no-run -p gpubuf "${rust_tests[@]/#/--test=}" --message-format=json >"$messages"
for test in "${rust_tests[@]}"; do
  file="$(grep -o "\"executable\":\"[^\"]*/$test-[0-9a-f]*\"" "$messages" | tail -n 1 | cut -d'"' -f4)"
  cp "$file" "$stage/tests/rust/$test"
done

cp -a "$build"/lib/libgpubuf.so* "$stage/lib/"
rm -f "$stage"/lib/*.sha256
cp "$build/standin/libcuda.so.1" "$stage/lib/standin/"
cp -r include "$stage/include"
cp "$build"/scripts/gpu/gpu_{info,conformance,race,bandwidth,step} "$build/benches/spine" "$stage/bin/"
cp "$build"/examples/{quickstart,own_stream,probe,decode_replay} "$stage/examples/"
trace="$gpubuf_root/../shared/traces/azure_llm_2023_code.csv"
if [ -e "$trace" ]; then cp "$trace" "$stage/examples/"; fi
find "$build/cpp_tests" -maxdepth 1 -type f -executable -name '*_test' -exec cp {} "$stage/tests/cpp/" \;
# These are no GoogleTest programs; they run on the host backend.
rm -f "$stage"/tests/cpp/{abi,exit,static_link}_test
cp scripts/gpu/suite/*.{py,txt} docs/reuse-contract.md "$stage/suite/"
cp docs/gpu-results/README.md "$stage/docs/gpu-results.md"
cp scripts/gpu/run-gpu-suite LICENSE-MIT LICENSE-APACHE "$stage/"

binaries=()
while IFS= read -r file; do
  if [ "$(head -c 4 "$file" | tail -c 3)" = ELF ]; then binaries+=("$file"); fi
done < <(find "$stage" -type f ! -name '*.csv')
strip "${binaries[@]}"

# What they need: of glibc the newest version, of libraries the names.
glibc=0
libraries=()
for file in "${binaries[@]}"; do
  version="$(objdump -T "$file" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -uV | tail -n 1)"
  if [ "$(printf '%s\n' "$glibc" "$version" | sort -V | tail -n 1)" != "$glibc" ]; then
    glibc="$version"
    neediest="${file#"$stage"/}"
  fi
  mapfile -t -O "${#libraries[@]}" libraries < <(readelf -d "$file" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p')
done
echo "bundle: ${#binaries[@]} binaries need glibc $glibc ($neediest) and $(printf '%s\n' "${libraries[@]}" | sort -u | tr '\n' ' ')"
if [ "$(printf '%s\n' "$glibc" "$newest_glibc" | sort -V | tail -n 1)" != "$newest_glibc" ]; then
  echo "bundle: that is newer than $newest_glibc. The symbols:" >&2
  for file in "${binaries[@]}"; do objdump -T "$file" | grep "GLIBC_$glibc" | sed "s|^|  ${file#"$stage"/}: |" >&2 || true; done
  exit 1
fi

changed="$(git status --porcelain 2>/dev/null | grep -vc '^??' || true)"
cat >"$stage/MANIFEST" <<MANIFEST
commit: $(git rev-parse HEAD 2>/dev/null || echo unknown)
changed files: $changed
version: $(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
glibc: $glibc
libraries: $(printf '%s\n' "${libraries[@]}" | sort -u | tr '\n' ' ')
rust: $(rustc --version)
c++: $(c++ --version | head -n 1)
built on: $(uname -sm), glibc $(getconf GNU_LIBC_VERSION | cut -d' ' -f2)
built at: $(date -u +%Y-%m-%dT%H:%M:%SZ)
MANIFEST
(cd "$stage" && find . -type f ! -name MANIFEST -printf '%P %s\n' | sort | sed 's/^/file: /') >>"$stage/MANIFEST"

tar -C "$(dirname "$stage")" -czf "$out" "$(basename "$stage")"
bytes="$(stat -c %s "$out")"
echo "bundle: $out, $bytes bytes, glibc $glibc"
if [ "$bytes" -gt "$most_bytes" ]; then
  echo "bundle: that is more than $most_bytes bytes" >&2
  exit 1
fi
