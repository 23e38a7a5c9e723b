#!/usr/bin/env python3
"""Takes every fence, wait, order and guard check out of the sources, one at a time, and looks whether some test notices.

    scripts/mutate.py --check               the points found are those of scripts/mutation-points.txt
    scripts/mutate.py --bless               writes that file
    scripts/mutate.py --run [--sample N] [--seed S] [--only TEXT] [--minutes M]
                                            mutates a copy of the tree in build/mutate, builds, tests; results in
                                            build/mutate/results.tsv, one line a point; a point that is there is not run again

A point is a call that proves, orders, declares, seals, refuses or quarantines, or an order of memory that is not relaxed. A call that
is a statement is deleted; one whose result is used becomes one that succeeded. An order of memory becomes relaxed, a fence
of memory is deleted. What a build refuses tells nothing and is counted apart. An order of memory that survives here may
be one that this processor gives for nothing: crates/models tries those on a machine that does not.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "scripts" / "mutation-points.txt"
BUILD = ROOT / "build" / "mutate"

# By what they do. Those that return something other than Result<()> are only mutated as statements.
CALLS = {
    "host wait": ["wait_all", "wait_uses", "await_copy", "recycle", "settle"],
    "device wait": ["order_before", "wait_for", "order_consumers", "order_replay", "wait", "wait_native"],
    "declaration": [
        "add_use", "mark", "declare", "declare_area", "fence_declared", "fence_all_declared", "end_declared", "add_replay",
        "retire_bound", "note_unknown_users",
    ],
    "seal": ["seal", "seal_address", "seal_bound", "seal_captured"],
    "quarantine": ["quarantine", "record_failed", "quarantine_lost", "replay_unfenced", "note_failure"],
    "guard check": [
        "refuse_guards", "expect_unwritten", "expect_unguarded", "expect_copy", "expect_not_held", "expect_declaration",
        "expect_room", "expect_replay", "expect_upload", "expect_bound_retire", "expect_not_capturing", "expect_capturing",
        "expect_device", "expect_usable", "expect_sound", "expect_alive", "expect_committable", "refuse_deadlock",
        "refuse_deadlock_in_callback", "expect_idle",
    ],
    "end": ["bury_if_void", "refuse_waiters", "send_to_remake"],
}
KIND = {name: kind for kind, names in CALLS.items() for name in names}
CALL = re.compile(r"(?<![\w.:])((?:\w+(?:\(\)|\[[^\]\n]*\])?\s*(?:\.|::)\s*)*)(" + "|".join(sorted(KIND, key=len, reverse=True)) + r")\(")
ORDER = re.compile(r"Ordering::(Acquire|Release|AcqRel|SeqCst)\b")
FENCE = re.compile(r"(?<!\w)fence\(Ordering::\w+\);")
FUNCTION = re.compile(r"\bfn\s+(\w+)")


def code_of(text):
    """The text with comments, strings and test modules blanked, so that places stay."""
    out = re.sub(r'"(?:\\.|[^"\\])*"', lambda m: '"' + re.sub(r"[^\n]", " ", m[0][1:-1]) + '"', text)
    out = re.sub(r"//[^\n]*", lambda m: " " * len(m[0]), out)
    tests = out.find("#[cfg(test)]\nmod tests {")
    return out if tests < 0 else out[:tests] + re.sub(r"[^\n]", " ", out[tests:])


def closing(code, at):
    depth = 0
    for place in range(at, len(code)):
        if code[place] in "([{":
            depth += 1
        elif code[place] in ")]}":
            depth -= 1
            if depth == 0:
                return place
    return None


def points_of(path):
    text = (ROOT / path).read_text()
    code = code_of(text)
    functions = [(m.start(), m[1]) for m in FUNCTION.finditer(code)]
    seen = {}
    found = []

    def add(at, kind, name, start, end, replacement):
        function = next((f for place, f in reversed(functions) if place < at), "")
        key = f"{path}:{function}:{name}"
        seen[key] = seen.get(key, 0) + 1
        found.append({"id": f"{key}#{seen[key]}", "kind": kind, "path": path, "start": start, "end": end, "new": replacement})

    for m in CALL.finditer(code):
        before = code[: m.start()].rstrip()
        if before.endswith(("fn", "pub use", "mod")) or "fn " + m[2] + "(" in code[max(0, m.start() - 3) : m.end()]:
            continue
        close = closing(code, m.end() - 1)
        if close is None:
            continue
        after = re.match(r"(?:\s*\.map_err\([^;]*?\))?\s*\??;", code[close + 1 :])
        if before.endswith((";", "{", "}", "=>")) and after and not before.endswith("=>"):
            add(m.start(), KIND[m[2]], m[2], m.start(), close + 1 + after.end(), "")
        elif KIND[m[2]] in ("host wait", "guard check") and m[2] != "settle":
            add(m.start(), KIND[m[2]], m[2], m.start(), close + 1, "Ok::<(), crate::error::Error>(())")
    for m in FENCE.finditer(code):
        add(m.start(), "memory fence", "fence", m.start(), m.end(), "")
    for m in ORDER.finditer(code):
        if code[: m.start()].endswith("fence("):
            continue
        add(m.start(), "memory order", m[1], m.start(), m.end(), "Ordering::Relaxed")
    return found


def points():
    files = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    wanted = [f for f in files if f.endswith(".rs") and not f.startswith(("src/backend/", "src/config/")) and "/tests" not in f]
    return [point for path in sorted(wanted) for point in points_of(path)]


def listed(found):
    head = "# The points of scripts/mutate.py: kind, then file, function, call and its number there. Written by --bless.\n"
    return head + "".join(f"{p['kind']}\t{p['id']}\n" for p in found)


# The tests, the likeliest first. Each line is one build.
STAGES = [
    ["--lib", "--test=contract"],
    ["--test=slots", "--test=slots_binding", "--test=slots_copies", "--test=slots_tokens", "--test=pools", "--test=buffers",
     "--test=blocks", "--test=graph_holds", "--test=published", "--test=failures", "--test=lifetimes", "--test=tensor",
     "--test=tiers", "--test=staged", "--test=workspace", "--test=pinned", "--test=shutdown", "--test=pressure",
     "--test=stress", "--test=hammer", "--test=c_api"],
]


def tests_of(tree):
    """Only those that are there."""
    there = {p.stem for p in (tree / "tests").glob("*.rs")}
    return [[t for t in stage if not t.startswith("--test=") or t[7:] in there] for stage in STAGES]


def run(command, tree, limit):
    env = dict(os.environ, GPUBUF_BACKEND="host", CARGO_TARGET_DIR=str(BUILD / "target"), CARGO_PROFILE_DEV_DEBUG="0",
               CARGO_PROFILE_TEST_DEBUG="0", RUST_BACKTRACE="0", GPUBUF_STRESS_STEPS="300", CARGO_TERM_COLOR="never")
    process = subprocess.Popen(command, cwd=tree, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               start_new_session=True)
    try:
        out, _ = process.communicate(timeout=limit)
        return process.returncode, out
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None, ""


def verdict(tree):
    for stage in tests_of(tree):
        code, out = run(["cargo", "test", "--locked", "-q", "-p", "gpubuf", *stage, "--no-run"], tree, 1800)
        if code is None:
            return "unbuilt", "the build took too long"
        if code != 0:
            error = re.search(r"^error.*", out, re.M)
            return "unbuilt", error[0] if error else "the build failed"
        code, out = run(["cargo", "test", "--locked", "-q", "-p", "gpubuf", *stage], tree, 400)
        if code is None:
            return "caught", "a test hung"
        if code != 0:
            failed = re.search(r"^---- (.*) stdout ----", out, re.M) or re.search(r"^(test .*|error: .*)", out, re.M)
            return "caught", failed[1] if failed else "a test failed"
    return "survived", ""


def copy_tree(tree):
    tree.mkdir(parents=True, exist_ok=True)
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in files:
        source, target = ROOT / name, tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            if not target.is_symlink():
                target.symlink_to(os.readlink(source))
        elif not target.exists() or target.read_bytes() != source.read_bytes():
            shutil.copyfile(source, target)


def run_points(found, options):
    chosen = [p for p in found if options.only in p["id"] or options.only == p["kind"]]
    random.Random(options.seed).shuffle(chosen)
    chosen = chosen[: options.sample or None]
    tree, results = BUILD / "tree", BUILD / "results.tsv"
    copy_tree(tree)
    done = {line.split("\t")[1] for line in results.read_text().splitlines()} if results.exists() else set()
    end = time.monotonic() + 60 * options.minutes if options.minutes else None
    print(f"{len(chosen)} of {len(found)} points, seed {options.seed}", flush=True)
    if not done:
        outcome, why = verdict(tree)
        if outcome != "survived":
            sys.exit(f"mutate: the tests fail as it is: {outcome} {why}")
    for p in chosen:
        if p["id"] in done:
            continue
        if end and time.monotonic() > end:
            break
        source, target = (ROOT / p["path"]).read_text(), tree / p["path"]
        target.write_text(source[: p["start"]] + p["new"] + source[p["end"] :])
        outcome, why = verdict(tree)
        target.write_text(source)
        with results.open("a") as out:
            out.write(f"{outcome}\t{p['id']}\t{p['kind']}\t{why}\n")
        print(outcome, p["id"], why, flush=True)
    lines = [line.split("\t") for line in results.read_text().splitlines()] if results.exists() else []
    counts = {outcome: sum(line[0] == outcome for line in lines) for outcome in ("caught", "survived", "unbuilt")}
    print("so far:", ", ".join(f"{n} {outcome}" for outcome, n in counts.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--bless", action="store_true")
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--minutes", type=float, default=0)
    options = parser.parse_args()
    found = points()
    if options.bless:
        LIST.write_text(listed(found))
    if options.check:
        wanted = LIST.read_text().splitlines()[1:] if LIST.exists() else []
        now = listed(found).splitlines()[1:]
        gone, new = sorted(set(wanted) - set(now)), sorted(set(now) - set(wanted))
        for line in gone:
            print("gone:", line)
        for line in new:
            print("new: ", line)
        if gone or new:
            sys.exit("mutate: see that the points that are gone are meant to be, then run scripts/mutate.py --bless")
        print(f"{len(now)} mutation points, as listed")
    if options.run:
        run_points(found, options)
    if not (options.bless or options.check or options.run):
        parser.print_help()


if __name__ == "__main__":
    main()
