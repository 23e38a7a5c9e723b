#!/bin/sh
# Compiles each public header alone, with every installed compiler, in every standard that it promises. No warning passes.
# usage: header_matrix.sh [include directory]
set -u
include=${1:-$(dirname "$0")/../include}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
warnings="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror"
failed=0
tried=0

# compile <compiler> <standard> <header> <extension> <extra flags>
compile() {
  command -v "$1" >/dev/null 2>&1 || return 0
  tried=$((tried + 1))
  # Twice in one unit as well: the include guard.
  printf '#include <gpubuf/%s>\n#include <gpubuf/%s>\nint main(void) { return 0; }\n' "$3" "$3" >"$work/unit.$4"
  # shellcheck disable=SC2086
  if "$1" "-std=$2" $warnings $5 -I"$include" -fsyntax-only "$work/unit.$4"; then
    echo "ok      $3 as $2 with $1"
  else
    echo "FAILED  $3 as $2 with $1"
    failed=1
  fi
}

for compiler in gcc clang; do
  for standard in c99 c11 c17; do
    compile "$compiler" "$standard" gpubuf.h c "-Wstrict-prototypes"
    compile "$compiler" "$standard" standin.h c "-Wstrict-prototypes"
  done
done
for compiler in g++ clang++; do
  for standard in c++11 c++17 c++20; do
    compile "$compiler" "$standard" gpubuf.h cpp ""
    compile "$compiler" "$standard" standin.h cpp ""
  done
  for standard in c++17 c++20; do
    compile "$compiler" "$standard" gpubuf.hpp cpp ""
  done
done
# The parts of gpubuf.hpp stand alone, too: one compiler sees that.
for part in "$include"/gpubuf/hpp/*.hpp; do
  compile g++ c++17 "hpp/$(basename "$part")" cpp ""
done
if [ "$tried" -eq 0 ]; then
  echo "no compiler found" >&2
  exit 1
fi
exit "$failed"
