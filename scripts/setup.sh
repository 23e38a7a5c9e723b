#!/usr/bin/env bash
# Gets what building and testing gpubuf needs and this machine lacks. Asks for nothing and changes nothing when all is there.
#
#   scripts/setup.sh          everything the tests need
#   scripts/setup.sh build    only what building the library and the examples needs
#
# The other scripts source this file and call gpubuf_setup.

gpubuf_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

gpubuf_has() { command -v "$1" >/dev/null 2>&1; }

# cmake is new enough for CMakeLists.txt
gpubuf_has_cmake() {
  gpubuf_has cmake || return 1
  local version
  version="$(cmake --version | sed -n '1s/[^0-9]*\([0-9.]*\).*/\1/p')"
  [ "$(printf '%s\n' 3.20 "$version" | sort -V | head -n 1)" = 3.20 ]
}

gpubuf_has_gtest() {
  local prefix
  for prefix in /usr /usr/local ${CMAKE_PREFIX_PATH:-}; do
    [ -e "$prefix/include/gtest/gtest.h" ] && return 0
  done
  return 1
}

# One line per thing that is missing: the Debian package, then what it is for.
gpubuf_missing() {
  gpubuf_has c++ || gpubuf_has g++ || gpubuf_has clang++ || echo "g++ a C++17 compiler"
  gpubuf_has cc || gpubuf_has gcc || gpubuf_has clang || echo "gcc a C compiler and linker"
  gpubuf_has_cmake || echo "cmake CMake 3.20 or newer"
  gpubuf_has ninja || echo "ninja-build Ninja"
  [ "$1" = build ] && return 0
  gpubuf_has make || echo "make make, for one of the package checks"
  gpubuf_has nm || echo "binutils nm and readelf, for the checks of the exports"
  gpubuf_has pkg-config || echo "pkg-config pkg-config, for one of the package checks"
  gpubuf_has_gtest || echo "libgtest-dev GoogleTest, for the C and C++ tests"
  gpubuf_has python3 || echo "python3 Python, for the suite that a GPU machine runs"
  gpubuf_has clang++ || echo "clang a second compiler for the headers"
}

gpubuf_apt() {
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    gpubuf_has sudo || return 1
    sudo -n true 2>/dev/null || [ -t 0 ] || return 1
    as_root=(sudo)
  fi
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -q -y)
  "${apt[@]}" install --no-install-recommends "$@" && return 0
  # A fresh machine has no package lists yet.
  "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "$@"
}

# gpubuf_setup build|test: 0 when everything is there afterwards (clang is welcome but not needed).
gpubuf_setup() {
  local wanted="${1:-test}" missing packages left

  if ! gpubuf_has cargo && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  fi
  if ! gpubuf_has cargo; then
    echo "setup: Rust 1.95 or newer is missing. Get it with" >&2
    echo "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" >&2
    return 1
  fi
  local rust
  rust="$(rustc --version | cut -d' ' -f2)"
  if [ "$(printf '%s\n' 1.95.0 "$rust" | sort -V | head -n 1)" != 1.95.0 ]; then
    echo "setup: Rust is $rust, gpubuf needs 1.95 or newer. Get it with: rustup update stable" >&2
    return 1
  fi

  missing="$(gpubuf_missing "$wanted")"
  [ -z "$missing" ] && return 0
  packages="$(cut -d' ' -f1 <<<"$missing" | tr '\n' ' ')"
  if gpubuf_has apt-get; then
    echo "setup: installing $packages"
    # shellcheck disable=SC2086 # a list of package names
    gpubuf_apt $packages >"${TMPDIR:-/tmp}/gpubuf-setup.$$" 2>&1 || tail -n 5 "${TMPDIR:-/tmp}/gpubuf-setup.$$" >&2
    rm -f "${TMPDIR:-/tmp}/gpubuf-setup.$$"
    hash -r
  fi

  left="$(gpubuf_missing "$wanted")"
  [ -z "$left" ] && return 0
  echo "setup: still missing:" >&2
  sed 's/^[^ ]* /    /' <<<"$left" >&2
  echo "setup: on Debian or Ubuntu, as root: apt-get install $(cut -d' ' -f1 <<<"$left" | tr '\n' ' ')" >&2
  if grep -q '^cmake \|^ninja-build ' <<<"$left"; then
    echo "setup: without root, CMake and Ninja also come with: python3 -m pip install --user cmake ninja (Debian: and --break-system-packages)" >&2
  fi
  [ "$(cut -d' ' -f1 <<<"$left")" = clang ]
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  gpubuf_setup "${1:-test}" && echo "setup: everything needed is there"
fi
