#!/usr/bin/env bash
# Every test that runs without a GPU. Goes on after a failure; the last lines say what was run and what came out.
#
#   scripts/test.sh           the tests
#   scripts/test.sh --lint    the lints (scripts/lint.sh) and the tests
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$gpubuf_root" || exit 1
gpubuf_setup test || exit 1

logs=build/logs
mkdir -p "$logs"
ran=()
passed=0
failed=0

# section NAME COMMAND...: runs it, adds up the results of cargo test and ctest in its output.
section() {
  local name="$1" log rc counts section_passed section_failed section_skipped skipped=''
  shift
  log="$logs/${name// /-}.log"
  echo
  echo "== $name"
  "$@" </dev/null 2>&1 | tee "$log"
  rc=${PIPESTATUS[0]}
  counts="$(awk '
    /^test result: / { for (i = 2; i < NF; i++) { if ($(i + 1) == "passed;") p += $i; if ($(i + 1) == "failed;") f += $i } }
    /^ *[0-9]+\/[0-9]+ Test .*\*\*\*Skipped/ { s++; not_run++ }
    /^test .* \.\.\. ignored/ { s++ }
    /tests passed, [0-9]+ tests failed out of [0-9]+/ {
      sub(/^.*tests passed, /, ""); f += $1; p += $NF - $1 - not_run; not_run = 0
    }
    END { print p + 0, f + 0, s + 0 }' "$log")"
  read -r section_passed section_failed section_skipped <<<"$counts"
  # A failure that no test reported (a build, a script) counts as one.
  if [ "$rc" -ne 0 ] && [ "$section_failed" -eq 0 ]; then section_failed=1; fi
  if [ "$section_skipped" -ne 0 ]; then skipped=", $section_skipped skipped"; fi
  passed=$((passed + section_passed))
  failed=$((failed + section_failed))
  if [ "$rc" -eq 0 ]; then ran+=("$name: ok$skipped"); else ran+=("$name: FAILED$skipped ($log)"); fi
}

cpp_tests() {
  cmake -S . -B build/tests -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DGPUBUF_CARGO_TARGET_DIR="$gpubuf_root/build/cargo" -DGPUBUF_BUILD_TESTS=ON -DGPUBUF_BUILD_EXAMPLES=ON \
    -DGPUBUF_BUILD_GPU_SUITE=ON >/dev/null &&
    cmake --build build/tests &&
    ctest --test-dir build/tests --output-on-failure --no-tests=error
}

# With the feature mutants a test can switch off one check of the contract, to see that it notices. These builds have a
# directory of their own, for cargo gives the shared library the same name with and without the feature.
mutants() {
  local rc=0
  export GPUBUF_BACKEND=host CARGO_TARGET_DIR="$gpubuf_root/target/mutants"
  cargo test --locked -p gpubuf --features mutants --no-fail-fast --tests || rc=1
  # A fault inside every function.
  cargo test --locked -p gpubuf-calls --features mutants --test misuse with_a_broken_object || rc=1
  return "$rc"
}

# The same tests with a CUDA driver below them that simulates: the library does not know the difference. One at a time, since
# a device that one test loses is lost to the whole process.
on_the_standin() {
  local tests=(contract graph_holds slots slots_copies slots_tokens slots_binding slots_source buffers blocks pools sides published pinned workspace tensor report predictor lifetimes failures faults shutdown stress hammer c_api c_api_allocations slots_allocation_free)
  GPUBUF_BACKEND=cuda GPUBUF_CUDA_DRIVER="${CARGO_TARGET_DIR:-$gpubuf_root/target}/debug/deps/libgpubuf_standin_cuda.so" \
    RUST_TEST_THREADS=1 GPUBUF_STRESS_STEPS=1000 \
    cargo test --locked -p gpubuf --no-fail-fast "${tests[@]/#/--test=}"
}

if [ "${1:-}" = --lint ]; then
  section "lint" scripts/lint.sh
fi
section "cargo test" env GPUBUF_BACKEND=host cargo test --locked --workspace --no-fail-fast
section "cargo test on the stand-in driver" on_the_standin
section "cargo test with mutants" mutants
# Half a minute of each target of the fuzzer, from the inputs that are kept.
section "fuzz" scripts/fuzz.sh --bounded
# Each C++ test on both devices. Among them the header matrix: every header alone, under several compilers and standards.
section "ctest" cpp_tests
section "package" scripts/check-package.sh

echo
echo "Ran:"
printf '  %s\n' "${ran[@]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
