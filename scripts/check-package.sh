#!/usr/bin/env bash
# Installs gpubuf, packs it, and uses it the way others do: from an installed prefix, from the unpacked archive in a
# directory with a space (both with no cargo to be had), and from the sources; shared and static; Ninja and Makefiles.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$gpubuf_root" || exit 1
gpubuf_setup test || exit 1

work="$(mktemp -d "${TMPDIR:-/tmp}/gpubuf package.XXXXXX")"
trap 'rm -rf "$work"' EXIT
build="$gpubuf_root/build/package"
cargo_dir="$gpubuf_root/build/cargo"
consumers="$gpubuf_root/cpp_tests/consumer"
version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)"
abi="${version%.*}"
passed=0
failed=0

# check WORDS COMMAND...: one line for each check; the output only where it failed.
check() {
  local words="$1"
  shift
  if "$@" >"$work/out" 2>&1; then
    passed=$((passed + 1))
    echo "ok: $words"
  else
    failed=$((failed + 1))
    echo "FAILED: $words"
    sed 's/^/    /' "$work/out" | tail -n 40
  fi
}

# Where the library is installed, calling cargo is a mistake.
mkdir "$work/no-cargo"
for tool in cargo rustc rustup; do
  printf '#!/bin/sh\necho "%s was called" >&2\nexit 97\n' "$tool" >"$work/no-cargo/$tool"
  chmod +x "$work/no-cargo/$tool"
done
without_cargo() { PATH="$work/no-cargo:$PATH" CARGO_HOME="$work/no-cargo" HOME="$work/no-cargo" "$@"; }

# consumer PROJECT GENERATOR TARGET [cmake arguments...]: configures, builds and runs one.
consumer() {
  local project="$1" generator="$2" target="$3" out
  shift 3
  out="$work/consumer"
  rm -rf "$out"
  cmake -S "$consumers/$project" -B "$out" -G "$generator" -DCMAKE_BUILD_TYPE=Release "-DGPUBUF_TARGET=$target" "$@" &&
    cmake --build "$out" && "$out/consumer"
}

with_pkg_config() {
  local prefix="$1" out="$work/pkg-config-consumer"
  mkdir -p "$out"
  without_cargo env PKG_CONFIG_PATH="$prefix/lib/pkgconfig" make -B -C "$consumers/pkg_config" "OUT=$out" &&
    [ "$(PKG_CONFIG_PATH="$prefix/lib/pkgconfig" pkg-config --modversion gpubuf)" = "$version" ] &&
    "$out/consumer-shared" && "$out/consumer-static" &&
    readelf -d "$out/consumer-shared" | grep -q "NEEDED.*\[libgpubuf.so.$abi\]" &&
    ! readelf -d "$out/consumer-static" | grep -q "NEEDED.*libgpubuf"
}

# A project with a stream of its own, whose test runs on the installed stand-in driver.
on_the_standin() {
  local prefix="$1" out="$work/standin-consumer"
  rm -rf "$out"
  without_cargo cmake -S "$consumers/standin" -B "$out" -G Ninja -DCMAKE_BUILD_TYPE=Release "-DCMAKE_PREFIX_PATH=$prefix" &&
    cmake --build "$out" && ctest --test-dir "$out" --output-on-failure --no-tests=error &&
    [ "$(PKG_CONFIG_PATH="$prefix/lib/pkgconfig" pkg-config --variable=standin_driver gpubuf | sed 's|\\ | |g' | xargs -d '\n' realpath)" = \
      "$(realpath "$prefix/lib/gpubuf/standin/libcuda.so.1")" ] &&
    # Nowhere that a loader or linker looks.
    [ "$(find "$prefix" -name 'libcuda*')" = "$prefix/lib/gpubuf/standin/libcuda.so.1" ]
}

# What the page on how to begin says, from an empty directory: the program of the README against the installed package.
readme_program() {
  local prefix="$1" out="$work/app"
  rm -rf "$out" && mkdir "$out" && awk '/^```cpp/ { code = 1; next } /^```/ { code = 0 } code' README.md >"$out/main.cpp" &&
    awk '/^```cmake/ { n++; next } /^```/ { if (n == 1) n = 2 } n == 1' docs/getting-started.md >"$out/CMakeLists.txt" &&
    without_cargo cmake -S "$out" -B "$out/build" "-DCMAKE_PREFIX_PATH=$prefix" && cmake --build "$out/build" &&
    env GPUBUF_BACKEND=host "$out/build/app" | grep "3 4 5 6 after"
}

refuses() {
  local wanted="$1" prefix="$2"
  if consumer find_package Ninja gpubuf::gpubuf "-DCMAKE_PREFIX_PATH=$prefix" "-DGPUBUF_VERSION_WANTED=$wanted" >"$work/refused" 2>&1; then
    echo "version $wanted was accepted"
    return 1
  fi
  grep -q "considered but not accepted" "$work/refused" || { cat "$work/refused"; return 1; }
}

header_functions() {
  tr '\n' ' ' <"$1/include/gpubuf/gpubuf.h" | grep -o 'GPUBUF_API [^;{]*(' |
    grep -o 'gpubuf_[a-z0-9_]*(' | tr -d '(' | sort -u
}

exports() {
  nm -D --defined-only "$1/lib/libgpubuf.so" | awk '{ sub(/@.*/, "", $3); print $3 }' | sort -u
}

exports_are_the_header() {
  header_functions "$1" >"$work/declared"
  exports "$1" >"$work/exported"
  [ -s "$work/declared" ] && diff "$work/declared" "$work/exported"
}

no_test_functions() {
  ! { nm -D --defined-only "$1/lib/libgpubuf.so"; nm -g --defined-only "$1/lib/libgpubuf.a" 2>/dev/null; } | grep gpubuf_mutant
}

soname() { readelf -d "$1/lib/libgpubuf.so" | grep "SONAME.*\[libgpubuf.so.$abi\]"; }

links() {
  [ "$(readlink "$1/lib/libgpubuf.so")" = "libgpubuf.so.$abi" ] &&
    [ "$(readlink "$1/lib/libgpubuf.so.$abi")" = "libgpubuf.so.$version" ] && [ -x "$1/lib/libgpubuf.so.$version" ]
}

files() {
  local name
  for name in include/gpubuf/gpubuf.h lib/libgpubuf.a lib/cmake/gpubuf/gpubufConfig.cmake lib/pkgconfig/gpubuf.pc \
    lib/gpubuf/standin/libcuda.so.1 \
    share/doc/gpubuf/LICENSE-MIT share/doc/gpubuf/LICENSE-APACHE; do
    [ -e "$1/$name" ] || { echo "$name is missing"; return 1; }
  done
  for name in include/gpubuf/*.h include/gpubuf/*.hpp include/gpubuf/hpp/*.hpp; do
    cmp "$name" "$1/$name" || return 1
  done
}

no_machine_paths() { ! grep -rIn "$gpubuf_root\|$work" "$1/lib/cmake" "$1/lib/pkgconfig"; }

installed() {
  local what="$1" prefix="$2" other
  check "$what: the files are there" files "$prefix"
  check "$what: libgpubuf.so -> .so.$abi -> .so.$version" links "$prefix"
  check "$what: SONAME libgpubuf.so.$abi" soname "$prefix"
  check "$what: exports exactly the functions of the header" exports_are_the_header "$prefix"
  check "$what: no function of a test build" no_test_functions "$prefix"
  check "$what: no path of this machine in the package files" no_machine_paths "$prefix"
  check "$what: find_package, shared, Ninja" without_cargo consumer find_package Ninja gpubuf::gpubuf "-DCMAKE_PREFIX_PATH=$prefix"
  check "$what: find_package, static, Makefiles" without_cargo consumer find_package "Unix Makefiles" gpubuf::static "-DCMAKE_PREFIX_PATH=$prefix"
  check "$what: pkg-config, shared and static" with_pkg_config "$prefix"
  check "$what: a project's test on the stand-in driver" on_the_standin "$prefix"
  check "$what: the program of the README, as getting-started.md says" readme_program "$prefix"
  other="${abi%.*}.$((${abi#*.} + 1))"
  check "$what: asking for version $other is refused" refuses "$other" "$prefix"
}

cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGPUBUF_CARGO_TARGET_DIR="$cargo_dir" -DGPUBUF_BUILD_TESTS=OFF \
  -DGPUBUF_BUILD_EXAMPLES=OFF -DCMAKE_INSTALL_LIBDIR=lib >/dev/null && cmake --build "$build" || exit 1

check "install" cmake --install "$build" --prefix "$work/prefix"
installed "prefix" "$work/prefix"

pack() {
  (cd "$build" && rm -f gpubuf-*.tar.gz && cpack -G TGZ) && mkdir "$work/unpacked here" &&
    tar -xzf "$build"/gpubuf-*.tar.gz -C "$work/unpacked here" --strip-components=1 && ls -l "$build"/gpubuf-*.tar.gz
}
check "cpack" pack
rm -rf "$work/prefix"
installed "archive" "$work/unpacked here"

from_source=("-DGPUBUF_SOURCE=$gpubuf_root" "-DGPUBUF_CARGO_TARGET_DIR=$cargo_dir")
check "add_subdirectory, shared, Makefiles" consumer add_subdirectory "Unix Makefiles" gpubuf::gpubuf "${from_source[@]}"
check "add_subdirectory, static, Ninja" consumer add_subdirectory Ninja gpubuf::static "${from_source[@]}"
check "FetchContent, shared, Ninja" consumer fetch_content Ninja gpubuf::gpubuf "${from_source[@]}"
check "FetchContent, static, Makefiles" consumer fetch_content "Unix Makefiles" gpubuf::static "${from_source[@]}"

echo "package: $passed checks passed, $failed failed"
[ "$failed" -eq 0 ]
