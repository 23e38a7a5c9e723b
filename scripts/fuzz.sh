#!/usr/bin/env bash
# fuzz.sh [HOURS] [calls|recording]: fuzzes sequences of calls on the emulated device, or the reader of recordings, with libFuzzer and the
# address sanitizer. HOURS may be a fraction; 0.25 without it. New inputs go to target/fuzz/corpus, what fails to target/fuzz/failures, and
# the last line says what was done. GPUBUF_FUZZ_MINIMIZE=1 writes the corpus in crates/fuzz/corpus anew.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
gpubuf_setup build
cd "$gpubuf_root"

hours="${1:-0.25}"
target="${2:-calls}"
case "$target" in
  calls | recording) ;;
  *) echo "fuzz: $target is neither calls nor recording" >&2; exit 2 ;;
esac
seconds="$(awk -v hours="$hours" 'BEGIN { printf "%d", hours * 3600 }')"
if [ "$seconds" -lt 1 ]; then echo "fuzz: $hours hours is too short" >&2; exit 2; fi

host=x86_64-unknown-linux-gnu
# What libFuzzer has to know of the branches taken, which is only an unstable flag of the compiler.
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$gpubuf_root/target/fuzz"
export RUSTFLAGS="-Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=4"
cargo build --locked --release --target "$host" --manifest-path crates/fuzz/libfuzzer/Cargo.toml --bin "$target"
program="$CARGO_TARGET_DIR/$host/release/$target"

corpus="$CARGO_TARGET_DIR/corpus/$target"
failures="$CARGO_TARGET_DIR/failures"
committed="crates/fuzz/corpus/$target"
mkdir -p "$corpus" "$failures"
# Faults of the emulated device are asked for, and sizes too large for any memory: neither is a fault here.
export ASAN_OPTIONS="allocator_may_return_null=1:detect_leaks=0:${ASAN_OPTIONS:-}"
export GPUBUF_BACKEND=host
log="$CARGO_TARGET_DIR/$target.log"
flags=(-timeout=60 -rss_limit_mb=4096 -malloc_limit_mb=0 -max_len=4096 -print_final_stats=1 "-artifact_prefix=$failures/")
status=0
"$program" "${flags[@]}" "-max_total_time=$seconds" "$corpus" "$committed" >"$log" 2>&1 || status=$?
if [ "${GPUBUF_FUZZ_MINIMIZE:-0}" = 1 ] && [ "$status" -eq 0 ]; then
  rm -rf "$committed.new"
  mkdir "$committed.new"
  "$program" "${flags[@]}" -merge=1 "$committed.new" "$committed" "$corpus" >>"$log" 2>&1
  rm -rf "$committed"
  mv "$committed.new" "$committed"
fi
executions="$(awk '/stat::number_of_executed_units/ { print $2 }' "$log" | head -1)"
coverage="$(awk '{ for (i = 1; i < NF; i++) if ($i == "cov:") last = $(i + 1) } END { print last }' "$log")"
echo "fuzz: $target: ${executions:-?} executions in $seconds s, ${coverage:-?} edges, $(find "$corpus" -type f | wc -l) inputs, status $status: $log"
exit "$status"
