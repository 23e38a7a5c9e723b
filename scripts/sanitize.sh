#!/usr/bin/env bash
# The tests under sanitizers. First a planted bug on each side of the C boundary, which the sanitizer must find: else nothing
# that it says counts. Then the Rust tests and the gtest suite.
#
#   scripts/sanitize.sh asan       AddressSanitizer: the Rust tests, and the gtest suite over a library that is built with it
#   scripts/sanitize.sh gtests     of these the gtest suite alone
#   scripts/sanitize.sh memcheck   valgrind over the gtest suite, as it is built
#   scripts/sanitize.sh tsan       ThreadSanitizer over the Rust tests that use threads; needs the standard library's sources
#   scripts/sanitize.sh planted    only whether asan and memcheck find planted bugs, without the library: seconds
#   scripts/sanitize.sh            asan, memcheck, and tsan where it can be had
#
# GPUBUF_SANITIZE_TESTS names Rust tests (default: all that need no stand-in driver), GPUBUF_SANITIZE_GTESTS gtest programs. The gtest
# suite runs on the host backend and on the stand-in driver; GPUBUF_SANITIZE_BACKENDS names one (host, cuda).
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$gpubuf_root" || exit 1
gpubuf_setup test || exit 1

target=x86_64-unknown-linux-gnu
[ "$(uname -m)" = aarch64 ] && target=aarch64-unknown-linux-gnu
out="$gpubuf_root/build/sanitize"
mkdir -p "$out"
# Sanitizers are switches of the compiler that a stable one takes only so.
# Of the debug information only the lines: less to build, and for valgrind to read again for each program.
export RUSTC_BOOTSTRAP=1 RUST_BACKTRACE=0 CARGO_PROFILE_DEV_DEBUG=line-tables-only
all_tests='contract slots slots_copies slots_tokens slots_binding buffers blocks pools published pinned workspace tensor tiers staged report
predictor pressure lifetimes failures graph_holds stress hammer c_api'
read -r -a tests <<<"$(tr '\n' ' ' <<<"${GPUBUF_SANITIZE_TESTS:-$all_tests}")"
there=()
for test in "${tests[@]}"; do [ -e "tests/$test.rs" ] && there+=("--test=$test"); done
failed=()

fail() {
  echo "sanitize: $*" >&2
  failed+=("$*")
}

# must_find NAME PATTERN COMMAND...: the command must fail and say so.
must_find() {
  local name="$1" pattern="$2" said
  shift 2
  said="$("$@" 2>&1)" && { fail "$name: the planted bug was not found"; return 1; }
  grep -q "$pattern" <<<"$said" || { fail "$name: it failed, but not for the planted bug: $(tail -n 3 <<<"$said")"; return 1; }
  echo "sanitize: $name finds the planted bug"
}

# planted_rust FLAGS OUT: a program of a few lines with a bug of each kind, chosen by its argument.
planted_rust() {
  cat >"$out/planted.rs" <<'RUST'
use std::hint::black_box;
fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("memory") => {
            let block = Box::into_raw(Box::new([7u8; 64]));
            unsafe { drop(Box::from_raw(block)) };
            println!("{}", unsafe { black_box(block as *const u8).add(8).read_volatile() });
        }
        _ => {
            static mut SHARED: u64 = 0;
            let add = || (0..100_000).for_each(|_| unsafe { *black_box(&raw mut SHARED) += 1 });
            // Many times: of two threads that come to run one after the other it does not always remember the first.
            for _ in 0..50 {
                let other = std::thread::spawn(add);
                add();
                other.join().unwrap();
            }
        }
    }
}
RUST
  rustc --edition 2024 --target "$target" $1 -o "$2" "$out/planted.rs"
}

planted_cpp() {
  cat >"$out/planted.cpp" <<'CPP'
#include <cstdlib>
#ifdef WITH_LIBRARY
#include <cstdio>
#include <gpubuf/gpubuf.hpp>
#endif
int main() {
#ifdef WITH_LIBRARY
  // The library is loaded, and called.
  std::printf("%s\n", gpubuf_version_string());
#endif
  volatile char* block = static_cast<char*>(std::malloc(64));
  std::free(const_cast<char*>(block));
  return block[8];
}
CPP
  c++ -std=c++17 -O1 -g $1 -Iinclude "$out/planted.cpp" -o "$2" $3
}

# by_its_soname LIBRARY: makes it found by programs that are linked with it.
by_its_soname() {
  ln -sf "$(basename "$1")" "$(dirname "$1")/$(readelf -d "$1" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')"
}

# The gtest programs, from the sources, over a library that is there already. Not: the one for the static library, the one that runs an
# example, and that of fork, in whose child nothing points any more to what the parent's threads had: that counts as lost.
build_gtests() {
  local flags="$1" folder="$2" library="$3" test
  mkdir -p "$folder"
  for test in cpp_tests/*_test.cpp; do
    local name
    name="$(basename "$test" .cpp)"
    case "$name" in fork_test | static_link_test | classic_race_test) continue ;; esac
    [ -z "${GPUBUF_SANITIZE_GTESTS:-}" ] || grep -qw "$name" <<<"$GPUBUF_SANITIZE_GTESTS" || continue
    [ "$folder/$name" -nt "$test" ] && [ "$folder/$name" -nt "$library" ] && continue
    # shellcheck disable=SC2086 # lists of flags
    c++ -std=c++17 -g1 $flags -Iinclude -Icpp_tests "$test" -o "$folder/$name" "$library" -Wl,-rpath,"$(dirname "$library")" \
      -lgtest_main -lgtest -lpthread || { fail "$name does not build"; return 1; }
  done
}

# run_gtests NAME FOLDER DRIVER COMMAND...: on each backend. On the stand-in driver each test has a process of its own, since a device that
# is lost is lost to the whole process.
run_gtests() {
  local name="$1" folder="$2" driver="$3" backends="${GPUBUF_SANITIZE_BACKENDS:-host cuda}" program
  shift 3
  export GPUBUF_CUDA_DRIVER="$driver"
  for program in "$folder"/*_test; do
    if [[ $backends == *host* ]]; then
      GPUBUF_BACKEND=host run_gtest "$name" "$program.log" "$@" "$program" --gtest_brief=1
    fi
    if [[ $backends == *cuda* ]]; then
      local test
      for test in $("$program" --gtest_list_tests 2>/dev/null | awk '/^[^ ]/ { suite = $1 } /^ / { print suite $1 }'); do
        GPUBUF_BACKEND=cuda run_gtest "$name on the stand-in" "$program.$test.log" "$@" "$program" --gtest_brief=1 "--gtest_filter=$test"
      done
    fi
  done
  unset GPUBUF_CUDA_DRIVER
}

# run_gtest NAME LOG COMMAND...
run_gtest() {
  local name="$1" log="$2"
  shift 2
  "$@" >"$log" 2>&1 || { fail "$name: $(basename "$log" .log) (see $log)"; tail -n 5 "$log"; }
}

asan() {
  export CARGO_TARGET_DIR="$out/asan" ASAN_OPTIONS=detect_leaks=0:abort_on_error=0
  planted_rust -Zsanitizer=address "$out/planted-asan" || { fail "asan: the planted program does not build"; return; }
  must_find "asan (Rust)" heap-use-after-free "$out/planted-asan" memory || return
  [ "$1" = gtests ] || asan_rust
  asan_gtests
  unset CARGO_TARGET_DIR ASAN_OPTIONS
}

asan_rust() {
  # The flags are for the programs in C and C++ that some tests compile and link with the library.
  CFLAGS=-fsanitize=address CXXFLAGS=-fsanitize=address RUSTFLAGS=-Zsanitizer=address \
    cargo test --locked -p gpubuf --target "$target" --lib "${there[@]}" --no-fail-fast ||
    fail "asan: Rust tests"
}

asan_gtests() {
  RUSTFLAGS=-Zsanitizer=address cargo build --locked -p gpubuf -p gpubuf-standin --target "$target" --lib || { fail "asan: the library"; return; }
  local library="$CARGO_TARGET_DIR/$target/debug/libgpubuf.so" driver="$CARGO_TARGET_DIR/$target/debug/libgpubuf_standin_cuda.so" built
  for built in "$library" "$driver"; do
    grep -q __asan_ <<<"$(nm -D --undefined-only "$built")" || { fail "asan: $(basename "$built") was built without it"; return; }
  done
  by_its_soname "$library"
  planted_cpp "-fsanitize=address -DWITH_LIBRARY" "$out/planted-asan-cpp" "$library -Wl,-rpath,$(dirname "$library")" || { fail "asan: the planted program does not build"; return; }
  must_find "asan (C++)" heap-use-after-free "$out/planted-asan-cpp" || return
  # Some tests call with addresses that are nobody's, to be refused: they are never read.
  build_gtests -fsanitize=address "$out/gtest-asan" "$library" && ASAN_OPTIONS=detect_leaks=1 \
    LSAN_OPTIONS=suppressions="$gpubuf_root/scripts/lsan.supp:print_suppressions=0" run_gtests asan "$out/gtest-asan" "$driver" env
}

memcheck() {
  command -v valgrind >/dev/null || { fail "memcheck: valgrind is missing: apt-get install valgrind"; return; }
  # A block of the worker's own storage that outlives it counts as possibly lost: only what is lost for sure is an error.
  local check=(valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite
    --suppressions=scripts/memcheck.supp)
  export CARGO_TARGET_DIR="$out/plain"
  cargo build --locked -p gpubuf -p gpubuf-standin --lib || { fail "memcheck: the library"; return; }
  local library="$CARGO_TARGET_DIR/debug/libgpubuf.so" driver="$CARGO_TARGET_DIR/debug/libgpubuf_standin_cuda.so"
  by_its_soname "$library"
  planted_rust -g "$out/planted-plain" || { fail "memcheck: the planted program does not build"; return; }
  must_find "memcheck (Rust)" 'Invalid read' "${check[@]}" "$out/planted-plain" memory
  planted_cpp -DWITH_LIBRARY "$out/planted-plain-cpp" "$library -Wl,-rpath,$(dirname "$library")" || { fail "memcheck: the planted program does not build"; return; }
  must_find "memcheck (C++)" 'Invalid read' "${check[@]}" "$out/planted-plain-cpp"
  build_gtests '' "$out/gtest" "$library" && run_gtests memcheck "$out/gtest" "$driver" "${check[@]}"
  unset CARGO_TARGET_DIR
}

# tsan_is_here: whether the standard library can be built with it, which it must be.
tsan_is_here() { [ -e "$(rustc --print sysroot)/lib/rustlib/src/rust/library/std/Cargo.toml" ]; }

tsan() {
  if ! tsan_is_here; then
    echo "sanitize: tsan is skipped: it needs the sources of Rust's standard library, to build that with it as well (rustup component add rust-src);"
    echo "sanitize:   without them it reports races inside the standard library that are none. crates/models and crates/weak look for races without it."
    [ "$1" = asked ] && fail "tsan: rust-src is missing"
    return
  fi
  # The threads of emulated streams are ended, not joined, where the process ends.
  export CARGO_TARGET_DIR="$out/tsan" TSAN_OPTIONS=halt_on_error=1:report_thread_leaks=0
  local build=(-Zbuild-std --target "$target")
  mkdir -p "$out/planted-tsan/src" && planted_rust '' /dev/null 2>/dev/null
  cp "$out/planted.rs" "$out/planted-tsan/src/main.rs"
  printf '[package]\nname = "planted"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n' >"$out/planted-tsan/Cargo.toml"
  RUSTFLAGS=-Zsanitizer=thread cargo build "${build[@]}" --manifest-path "$out/planted-tsan/Cargo.toml" || { fail "tsan: the planted program does not build"; return; }
  must_find "tsan (Rust)" 'data race' "$CARGO_TARGET_DIR/$target/debug/planted" race || return
  # The programs of c_api are C, which the compiler of C would have to link with the same sanitizer; the property tests, and those of arenas,
  # use one thread and take it many times as long.
  local test those=()
  for test in "${there[@]}"; do [ "$test" = --test=c_api ] || those+=("$test"); done
  RUSTFLAGS=-Zsanitizer=thread cargo test --locked -p gpubuf "${build[@]}" --lib "${those[@]}" --no-fail-fast -- --skip properties --skip arena ||
    fail "tsan: Rust tests"
  unset CARGO_TARGET_DIR TSAN_OPTIONS
}

planted() {
  export ASAN_OPTIONS=detect_leaks=0
  planted_rust -Zsanitizer=address "$out/planted-asan" && must_find "asan (Rust)" heap-use-after-free "$out/planted-asan" memory
  planted_cpp -fsanitize=address "$out/planted-asan-cpp" '' && must_find "asan (C++)" heap-use-after-free "$out/planted-asan-cpp"
  local check=(valgrind --quiet --error-exitcode=9)
  planted_rust -g "$out/planted-plain" && must_find "memcheck (Rust)" 'Invalid read' "${check[@]}" "$out/planted-plain" memory
  planted_cpp '' "$out/planted-plain-cpp" '' && must_find "memcheck (C++)" 'Invalid read' "${check[@]}" "$out/planted-plain-cpp"
}

case "${1:-all}" in
  asan) asan '' ;;
  gtests) asan gtests ;;
  memcheck) memcheck ;;
  tsan) tsan asked ;;
  planted) planted ;;
  all)
    asan ''
    memcheck
    tsan ''
    ;;
  *)
    sed -n '2,15s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

echo
if [ "${#failed[@]}" -eq 0 ]; then
  echo "sanitize: nothing found"
else
  printf 'sanitize: FAILED: %s\n' "${failed[@]}"
  exit 1
fi
