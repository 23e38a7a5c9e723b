#!/usr/bin/env bash
# Runs a program with one perturbed schedule after the other, in the debug mode, until one fails.
#
#   scripts/find-races.sh [-n runs] [-s first seed] program [arguments]
#
# Each run gets GPUBUF_DEBUG=1 and GPUBUF_DEBUG_SEED=<seed>. The first that fails is shown with its output, and the exit status
# is 1; 0 if none fails. GPUBUF_BACKEND=host unless it is set: schedules are perturbed there alone.
set -euo pipefail

runs=100
seed=1
while getopts n:s: option; do
  case "$option" in
    n) runs="$OPTARG" ;;
    s) seed="$OPTARG" ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { echo "usage: find-races.sh [-n runs] [-s first seed] program [arguments]" >&2; exit 2; }

output="$(mktemp)"
trap 'rm -f "$output"' EXIT
for ((last = seed + runs - 1; seed <= last; seed++)); do
  status=0
  GPUBUF_BACKEND="${GPUBUF_BACKEND:-host}" GPUBUF_DEBUG=1 GPUBUF_DEBUG_SEED="$seed" "$@" >"$output" 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then
    cat "$output"
    echo "seed $seed fails with status $status; again: GPUBUF_DEBUG=1 GPUBUF_DEBUG_SEED=$seed $*"
    exit 1
  fi
done
echo "$runs schedules, no failure"
