#!/usr/bin/env python3
"""Takes every fence, wait, order and guard check out of the sources, one at a time, and looks whether some test notices.

    scripts/mutate.py --check               the points found are those of scripts/mutation-points.txt
    scripts/mutate.py --bless               writes that file
    scripts/mutate.py --run [--sample N] [--seed S] [--only TEXT] [--minutes M] [--quick S]
                                            builds once, then runs the tests for each point; results in
                                            build/mutate/results.tsv, one line a point; a point that is there is not run again;
                                            with --quick only by programs that take no more than S seconds

A point is a call that proves, orders, declares, seals, refuses or quarantines, a fence of memory, or an order of memory that is
not relaxed. A call or fence that is a statement is left out; a call whose result is used becomes one that succeeded. A copy of the
tree in build/mutate holds every point so changed at once, each behind a look at GPUBUF_MUTATE, the number of the one to change.
A first run of all tests writes down which of them reach which points; then only those run, the fast ones first, up to
the first failure. What does not compile when changed is counted apart.

Orders and fences of memory are listed, not run: this processor gives most of them for nothing. crates/weak tries them where it
can.
"""

import argparse
import json
import os
import random
import re
import selectors
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "scripts" / "mutation-points.txt"
BUILD = ROOT / "build" / "mutate"

# By what they do.
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
    "end": ["bury_if_ended", "refuse_waiters", "send_to_remake"],
}
KIND = {name: kind for kind, names in CALLS.items() for name in names}
CALL = re.compile(r"(?<![\w.:])((?:\w+(?:\(\)|\[[^\]\n]*\])?\s*(?:\.|::)\s*)*)(" + "|".join(sorted(KIND, key=len, reverse=True)) + r")\(")
ORDER = re.compile(r"Ordering::(Acquire|Release|AcqRel|SeqCst)\b")
FENCE = re.compile(r"(?<!\w)fence\(Ordering::\w+\);")
# A call of these names that only makes a value, which others wait by: told by what its definition returns.
MADE = re.compile(r"\bfn\s+(\w+)[^{;]*?->\s*HostWait<")
# What goes before and behind a point, so that it can be left out at run time. The ways of an expression, one after the other until
# one compiles: what succeeds in its place, or nothing; its first argument, for what passes on a lock or an error.
STATEMENT = [("if !crate::error::mutation::mutated({}) {{ ", " }}")]
EXPRESSION = [(f"(if crate::error::mutation::mutated({{}}) {{{{ {instead} }}}} else {{{{ ", " }})")
              for instead in ("Ok(Default::default())", "Default::default()", "Ok(ARGUMENT)", "ARGUMENT")]
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


def first_argument(text, code, start):
    """The text of the first argument behind the parenthesis at start - 1."""
    depth = 0
    for place in range(start, len(code)):
        if depth == 0 and code[place] in ",)":
            return text[start:place]
        depth += (code[place] in "([{") - (code[place] in ")]}")
    return ""


def points_of(path, made=frozenset()):
    text = (ROOT / path).read_text()
    code = code_of(text)
    functions = [(m.start(), m[1]) for m in FUNCTION.finditer(code)]
    seen = {}
    found = []

    def add(kind, name, start, end, forms):
        function = next((f for place, f in reversed(functions) if place < start), "")
        key = f"{path}:{function}:{name}"
        seen[key] = seen.get(key, 0) + 1
        found.append({"id": f"{key}#{seen[key]}", "kind": kind, "path": path, "start": start, "end": end, "forms": forms})

    for m in CALL.finditer(code):
        before = code[: m.start()].rstrip()
        if before.endswith(("fn", "pub use", "mod")) or "fn " + m[2] + "(" in code[max(0, m.start() - 3) : m.end()]:
            continue
        close = closing(code, m.end() - 1)
        if close is None or (m[2] in made and m[1].endswith("self.")):
            continue
        end = close + 1
        context = re.match(r"\s*\.map_err\(", code[end:])
        if context:
            end = (closing(code, end + context.end() - 1) or end) + 1
        after = re.match(r"\s*\??;", code[end:])
        if before.endswith((";", "{", "}")) and after:
            add(KIND[m[2]], m[2], m.start(), end + after.end(), STATEMENT)
        elif m[2] != "settle":
            argument = first_argument(text, code, m.end()).replace("{", "{{").replace("}", "}}")
            add(KIND[m[2]], m[2], m.start(), close + 1, [(before.replace("ARGUMENT", argument), end) for before, end in EXPRESSION])
    for m in FENCE.finditer(code):
        add("memory fence", "fence", m.start(), m.end(), [])
    for m in ORDER.finditer(code):
        if code[: m.start()].endswith("fence("):
            continue
        add("memory order", m[1], m.start(), m.end(), [])
    return found


def points():
    files = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    wanted = [f for f in files if f.endswith(".rs") and not f.startswith(("src/backend/", "src/config/")) and "/tests" not in f]
    # A module's own `wait` that makes what others wait by is none: src/buffer.rs has it for src/buffer/ as well.
    made = {}
    for path in wanted:
        made.setdefault(Path(path).parts[1].removesuffix(".rs"), set()).update(MADE.findall(code_of((ROOT / path).read_text())))
    return [point for path in sorted(wanted) for point in points_of(path, made[Path(path).parts[1].removesuffix(".rs")])]


def listed(found):
    head = "# The points of scripts/mutate.py: kind, then file, function, call and its number there. Written by --bless.\n"
    return head + "".join(f"{p['kind']}\t{p['id']}\n" for p in found)


# Added to src/error.rs of the copy, which every crate that compiles these sources has. It allocates nothing and takes no lock.
MODULE = '''
#[allow(missing_docs)]
pub mod mutation {
    use std::ffi::{CStr, c_char, c_int};
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

    unsafe extern "C" {
        fn getenv(name: *const c_char) -> *const c_char;
        fn open(path: *const c_char, flags: c_int, ...) -> c_int;
        fn write(file: c_int, bytes: *const u8, count: usize) -> isize;
        fn close(file: c_int) -> c_int;
    }

    const UNREAD: u32 = u32::MAX;
    const NONE: u32 = u32::MAX - 1;
    const RECORD: u32 = u32::MAX - 2;
    static CHANGED: AtomicU32 = AtomicU32::new(UNREAD);
    static REACHED: [AtomicBool; COUNT] = [const { AtomicBool::new(false) }; COUNT];

    fn read() -> u32 {
        let value = unsafe { getenv(c"GPUBUF_MUTATE".as_ptr()) };
        let number = if value.is_null() {
            NONE
        } else {
            unsafe { CStr::from_ptr(value) }.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(RECORD)
        };
        CHANGED.store(number, Relaxed);
        number
    }

    #[cold]
    fn reach(number: u32) {
        if !REACHED[number as usize].swap(true, Relaxed) {
            unsafe {
                let file = open(getenv(c"GPUBUF_MUTATE".as_ptr()), 0o2001);
                write(file, number.to_le_bytes().as_ptr(), 4);
                close(file);
            }
        }
    }

    pub fn mutated(number: u32) -> bool {
        let mut changed = CHANGED.load(Relaxed);
        if changed == UNREAD {
            changed = read();
        }
        if changed == RECORD {
            reach(number);
        }
        changed == number
    }
}
'''

# What else a copied file ends with: proofs that were not waited for.
ENDS = {
    "src/error.rs": MODULE,
    "src/backend/mod.rs": "impl Default for EventState {\n    fn default() -> Self {\n        EventState::Complete\n    }\n}\n",
    "src/fence/timeline.rs": "impl Default for Proof {\n    fn default() -> Self {\n        Proof::Complete\n    }\n}\n",
}

TREE, TARGET, RESULTS = BUILD / "tree", BUILD / "target", BUILD / "results.tsv"
# Each line is one build. The models compile the same sources, and try every plan of threads.
PACKAGES = [["gpubuf", "gpubuf-calls", "gpubuf-fuzz", "gpubuf-replay"], ["gpubuf-models"]]
# Tests that look at the sources, not at what they do; one that needs debug information, and one that runs for minutes.
LEFT_OUT = {"abi", "debug", "docs", "features", "hammer", "kernels", "layers", "readme", "slots_source", "table"}
ENVIRONMENT = dict(os.environ, GPUBUF_BACKEND="host", CARGO_TARGET_DIR=str(TARGET), CARGO_PROFILE_DEV_DEBUG="0",
                   CARGO_PROFILE_TEST_DEBUG="0", RUST_BACKTRACE="0", GPUBUF_STRESS_STEPS="300",
                   LD_LIBRARY_PATH=f"{TARGET}/debug:{TARGET}/debug/deps")


def put(path, content):
    """Only what differs is written: cargo goes by the time of a file."""
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)


def write_tree(found, refused):
    """The tree with every point changeable, each in the first of its ways that the compiler has not refused; where each lies in
    its file, in bytes."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    inserts, places = {}, {}
    for number, p in enumerate(found):
        forms = p["forms"][len(refused.get(p["id"], ())) :]
        if forms:
            # A point within another opens later and closes earlier.
            before, behind = (words.format(number) for words in forms[0])
            inserts.setdefault(p["path"], []).append((p["start"], 1, -p["end"], before, number))
            inserts[p["path"]].append((p["end"], 0, -p["start"], behind, number))
    for name in files:
        source, target = ROOT / name, TREE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            if not target.is_symlink():
                target.symlink_to(os.readlink(source))
        elif name not in inserts and name not in ENDS:
            put(target, source.read_bytes())
        else:
            text, out, at = source.read_text(), b"", 0
            for place, _, _, words, number in sorted(inserts.get(name, ())):
                out += text[at:place].encode()
                places.setdefault(number, [name, len(out), None])
                out += words.encode()
                places[number][2] = len(out)
                at = place
            put(target, out + (text[at:] + ENDS.get(name, "").replace("COUNT", str(len(found)))).encode())
    return places


def cargo(*arguments):
    """Runs cargo with messages as JSON."""
    command = ["cargo", *arguments, "--locked", "--message-format=json"]
    process = subprocess.run(command, cwd=TREE, env=ENVIRONMENT, capture_output=True, text=True)
    messages = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]
    return process, messages


def build(found):
    """The test programs as (name, path, folder), and the points that do not compile when changed."""
    # Those of the last run are tried no more, so that a run that goes on has nothing to build.
    notes = BUILD / "refused.json"
    refused = json.loads(notes.read_text()) if notes.exists() else {}
    while True:
        places = write_tree(found, refused)
        process, messages = cargo("check", "-p", "gpubuf", "--lib")
        if process.returncode == 0:
            break
        now = {}
        for message in messages:
            if message.get("message", {}).get("level") != "error":
                continue
            for span in message["message"]["spans"]:
                around = [(end - start, n) for n, (name, start, end) in places.items()
                          if name == span["file_name"] and start <= span["byte_start"] and span["byte_end"] <= end]
                if around:
                    now[found[min(around)[1]]["id"]] = message["message"]["message"]
        for point, why in now.items():
            refused.setdefault(point, []).append(why)
        if not now:
            sys.exit("mutate: the changed tree does not compile:\n" + process.stderr[-3000:])
    notes.write_text(json.dumps(refused))
    unbuilt = {p["id"]: refused[p["id"]][0] for p in found if p["forms"] and len(refused.get(p["id"], ())) == len(p["forms"])}
    programs = []
    for packages in PACKAGES:
        process, messages = cargo("test", *(word for package in packages for word in ("-p", package)), "--tests", "--no-run")
        if process.returncode != 0:
            sys.exit("mutate: the tests do not build:\n" + process.stderr[-3000:])
        programs += [(m["target"]["name"], m["executable"], str(Path(m["manifest_path"]).parent)) for m in messages
                     if m["reason"] == "compiler-artifact" and m["profile"]["test"] and m["executable"]]
    return sorted(p for p in programs if p[0] not in LEFT_OUT), unbuilt


def run_program(program, value, limit, *arguments):
    """What went wrong, or None. Ends at the first test that fails."""
    _, path, folder = program
    process = subprocess.Popen([path, *arguments], cwd=folder, env=dict(ENVIRONMENT, GPUBUF_MUTATE=value), text=True, errors="replace",
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    end, failure, ended = time.monotonic() + limit, None, set()
    with selectors.DefaultSelector() as selector:
        os.set_blocking(process.stdout.fileno(), False)
        selector.register(process.stdout, selectors.EVENT_READ)
        out, open_ = "", True
        while open_ and not failure:
            if not selector.select(max(0, end - time.monotonic())) and time.monotonic() >= end:
                failure = "hangs"
                break
            piece = os.read(process.stdout.fileno(), 65536).decode(errors="replace")
            out, open_ = out + piece, bool(piece)
            failed = re.search(r"^test (\S+)(?: - should panic)? \.\.\. FAILED", out, re.M)
            failure = failed and failed[1]
    if failure:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    try:
        code = process.wait(timeout=max(5, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return "hangs at its end"
    process.stdout.close()
    return failure or (None if code == 0 else f"ends with {code}")


def record(programs, found):
    """The programs that reach each point, and how long each takes. Programs that did not change since are not run again."""
    log, notes = BUILD / "reached", BUILD / "reach.json"
    known = json.loads(notes.read_text()) if notes.exists() else {}
    reach, took = {}, {}
    for program in programs:
        key = f"{program[1]} {os.stat(program[1]).st_mtime_ns}"
        if key not in known:
            log.write_bytes(b"")
            begun = time.monotonic()
            failure = run_program(program, str(log), 600)
            seconds = time.monotonic() - begun
            points = {found[number]["id"] for (number,) in struct.iter_unpack("<I", log.read_bytes())}
            print(f"{program[0]}: {seconds:.1f} s, {len(points)} points", flush=True)
            if failure:
                print(f"{program[0]} fails as it is, and is left out: {failure}", flush=True)
                continue
            known[key] = {"points": sorted(points), "seconds": seconds}
            notes.write_text(json.dumps(known))
        took[program] = known[key]["seconds"]
        for point in known[key]["points"]:
            reach.setdefault(point, set()).add(program)
    return reach, took


def verdict(number, programs, took, caught):
    """Tries the point on each program; those that caught more of its file first, by their time."""
    by_luck = None
    for program in sorted(programs, key=lambda p: took[p] / (1 + caught.get(p, 0))):
        limit = 15 + 5 * took[program]
        failure = run_program(program, str(number), limit)
        if not failure:
            continue
        test = re.fullmatch(r"[\w:]+", failure) and failure != "hangs"
        if test and not run_program(program, str(number), limit, "--exact", failure):
            by_luck = by_luck or f"{program[0]}: {failure}, not when it runs alone"
            continue
        caught[program] = caught.get(program, 0) + 1
        return "caught", f"{program[0]}: {failure}"
    return ("caught", by_luck) if by_luck else ("survived", f"{len(programs)} programs reach it")


def run_points(found, options):
    chosen = [(n, p) for n, p in enumerate(found) if p["forms"] and (options.only in p["id"] or options.only == p["kind"])]
    random.Random(options.seed).shuffle(chosen)
    chosen = chosen[: options.sample or None]
    done = {line.split("\t")[1] for line in RESULTS.read_text().splitlines()} if RESULTS.exists() else set()
    chosen = [(n, p) for n, p in chosen if p["id"] not in done]
    end = time.monotonic() + 60 * options.minutes if options.minutes else None
    print(f"{len(chosen)} of {len(found)} points, seed {options.seed}", flush=True)
    programs, unbuilt = build(found)
    print(f"{len(programs)} test programs, {len(unbuilt)} points that do not compile when changed", flush=True)
    reach, took = record(programs, found)
    caught = {}
    for number, p in chosen:
        if end and time.monotonic() > end:
            break
        begun = time.monotonic()
        if p["id"] in unbuilt:
            outcome, why = "unbuilt", unbuilt[p["id"]]
        else:
            those = [program for program in reach.get(p["id"], ()) if not options.quick or took[program] <= options.quick]
            outcome, why = verdict(number, those, took, caught.setdefault(p["path"], {}))
        with RESULTS.open("a") as out:
            out.write(f"{outcome}\t{p['id']}\t{p['kind']}\t{why}\t{time.monotonic() - begun:.1f}\n")
        print(outcome, p["id"], why, flush=True)
    lines = [line.split("\t") for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
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
    parser.add_argument("--quick", type=float, default=0)
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
