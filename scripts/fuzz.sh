#!/usr/bin/env bash
# fuzz.sh [HOURS] [calls|recording]: fuzzes sequences of calls on the emulated device, or the reader of recordings, with libFuzzer and the
# address sanitizer. HOURS may be a fraction; 0.25 without it. New inputs go to target/fuzz/corpus, what fails to target/fuzz/failures, and
# the last line says what was done. GPUBUF_FUZZ_MINIMIZE=1 writes the corpus in crates/fuzz/corpus anew.
#
# fuzz.sh --bounded: what the tests run: the inputs in crates/fuzz/corpus, then changes of them with a fixed seed, of each target for
# GPUBUF_FUZZ_SECONDS (30). Nothing is kept but what fails.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
gpubuf_setup build
cd "$gpubuf_root"

host="$(rustc -vV | sed -n 's/^host: //p')"
# What libFuzzer has to know of the branches taken, which is only an unstable flag of the compiler.
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$gpubuf_root/target/fuzz"
export RUSTFLAGS="-Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
# Faults of the emulated device are asked for, and sizes too large for any memory: neither is a fault here. Short traces of who
# allocated, and no copy of each frame of the stack: they cost more than the calls themselves.
export ASAN_OPTIONS="allocator_may_return_null=1:detect_leaks=0:malloc_context_size=8:detect_stack_use_after_return=0:${ASAN_OPTIONS:-}"
export GPUBUF_BACKEND=host
failures="$CARGO_TARGET_DIR/failures"
flags=(-timeout=60 -rss_limit_mb=4096 -malloc_limit_mb=0 -max_len=4096 -print_final_stats=1 "-artifact_prefix=$failures/")
mkdir -p "$failures"

build() {
  cargo build --locked --release --target "$host" --manifest-path crates/fuzz/libfuzzer/Cargo.toml "${@/#/--bin=}"
}

# fuzz TARGET SECONDS FOLDER FLAGS...: new inputs go to the folder. Says what was done.
fuzz() {
  local target="$1" seconds="$2" folder="$3" log="$CARGO_TARGET_DIR/$1.log" status=0 executions speed coverage
  shift 3
  "$CARGO_TARGET_DIR/$host/release/$target" "${flags[@]}" "$@" "-max_total_time=$seconds" "$folder" "crates/fuzz/corpus/$target" \
    >"$log" 2>&1 || status=$?
  executions="$(awk '/stat::number_of_executed_units/ { print $2 }' "$log" | head -1)"
  speed="$(awk '/stat::average_exec_per_sec/ { print $2 }' "$log" | head -1)"
  coverage="$(awk '{ for (i = 1; i < NF; i++) if ($i == "cov:") last = $(i + 1) } END { print last }' "$log")"
  [ "$status" -eq 0 ] || tail -n 60 "$log"
  echo "fuzz: $target: ${executions:-?} executions in $seconds s, ${speed:-?} a second, ${coverage:-?} edges," \
    "$(find "$folder" -type f | wc -l) new inputs, status $status: $log"
  return "$status"
}

if [ "${1:-}" = --bounded ]; then
  build calls recording
  folder="$(mktemp -d)"
  trap 'rm -rf "$folder"' EXIT
  failed=0
  for target in calls recording; do
    mkdir "$folder/$target"
    fuzz "$target" "${GPUBUF_FUZZ_SECONDS:-30}" "$folder/$target" -seed=1 || failed=1
  done
  exit "$failed"
fi

hours="${1:-0.25}"
target="${2:-calls}"
case "$target" in
  calls | recording) ;;
  *) echo "fuzz: $target is neither calls nor recording" >&2; exit 2 ;;
esac
seconds="$(awk -v hours="$hours" 'BEGIN { printf "%d", hours * 3600 }')"
if [ "$seconds" -lt 1 ]; then echo "fuzz: $hours hours is too short" >&2; exit 2; fi

build "$target"
corpus="$CARGO_TARGET_DIR/corpus/$target"
mkdir -p "$corpus"
fuzz "$target" "$seconds" "$corpus"
if [ "${GPUBUF_FUZZ_MINIMIZE:-0}" = 1 ]; then
  committed="crates/fuzz/corpus/$target"
  rm -rf "$committed.new"
  mkdir "$committed.new"
  "$CARGO_TARGET_DIR/$host/release/$target" "${flags[@]}" -merge=1 "$committed.new" "$committed" "$corpus" >>"$CARGO_TARGET_DIR/$target.log" 2>&1
  rm -rf "$committed"
  mv "$committed.new" "$committed"
fi
