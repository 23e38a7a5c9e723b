"""The stage that runs the library's own tests on the GPU: each in a process of its own, for a context that one of them breaks
is broken for the whole process, and one that hangs is ended alone."""

import concurrent.futures
import json
import os
import re
import subprocess
import tempfile
import time

import process

TEST_SECONDS = 60
STAGE_SECONDS = 390
WORKERS = max(2, min(8, os.cpu_count() or 2))
# What the library says where a test asks real hardware for a fault: the test has nothing to show there.
NEEDS_SIMULATION = "made by a simulated device only"


def is_there(argument):
    return not argument.startswith("/") or os.path.exists(argument)


def executables(directory):
    if not os.path.isdir(directory):
        return []
    paths = (os.path.join(directory, name) for name in sorted(os.listdir(directory)))
    return [path for path in paths if os.access(path, os.X_OK) and os.path.isfile(path)]


def contract_cases(document):
    """The keys of the contract's cases: its document has a row for each."""
    with open(document, encoding="utf-8") as file:
        return re.findall(r"^\| `([^`]+)` \|", file.read(), re.MULTILINE)


def rust_tests(path, suite):
    listed = subprocess.run([path, "--list", "--format", "terse"], env=suite.environment(), capture_output=True, text=True, timeout=60)
    for line in listed.stdout.splitlines():
        name, separator, kind = line.rpartition(": ")
        if separator and kind == "test":
            command = [path, "--exact", name, "--test-threads=1", "--nocapture"]
            if name == "the_contract_holds":
                for case in contract_cases(suite.file("reuse-contract.md")):
                    yield f"contract case {case}", command, {"GPUBUF_CONTRACT_CASE": case}
            else:
                yield f"{os.path.basename(path)} {name}", command, {}


def google_tests(path, suite):
    listed = subprocess.run([path, "--gtest_list_tests"], env=suite.environment(), capture_output=True, text=True, timeout=60)
    group = ""
    for line in listed.stdout.splitlines():
        if line and not line.startswith(" ") and line.rstrip().endswith("."):
            group = line.strip()
        elif line.startswith("  ") and group:
            name = group + line.split("#")[0].strip()
            yield f"{os.path.basename(path)} {name}", [path, f"--gtest_filter={name}"], {}


def all_tests(suite, results):
    """Every test, with its command and what its environment needs besides."""
    replay = [suite.path("examples", "decode_replay"), "--steps", "2000", "--rounds", "1", suite.path("examples", "azure_llm_2023_code.csv")]
    examples = [[suite.path("examples", name)] for name in ("quickstart", "own_stream", "probe")] + [replay]
    tests = [(f"example {os.path.basename(example[0])}", example, {}) for example in examples if all(map(is_there, example))]
    for directory, list_tests in ((suite.path("tests", "rust"), rust_tests), (suite.path("tests", "cpp"), google_tests)):
        for path in executables(directory):
            try:
                tests += list_tests(path, suite)
            except (subprocess.SubprocessError, OSError) as error:
                results.add(f"{os.path.basename(path)} lists its tests", "fail", message=str(error))
    return tests


def google_outcome(report):
    """What the report of a GoogleTest program says of its one test: (ran, was skipped), or None without a report."""
    try:
        with open(report, encoding="utf-8") as file:
            tests = [test for group in json.load(file)["testsuites"] for test in group["testsuite"]]
    except (OSError, ValueError, KeyError):
        return None
    return any(test.get("status") == "RUN" for test in tests), any(test.get("result") == "SKIPPED" for test in tests)


def run_one(command, extra, suite, deadline):
    left = deadline - time.monotonic()
    if left < 5:
        return "not run", 0.0, "the stage's time was over"
    output = []
    environment = {**suite.environment(), **extra}
    with tempfile.TemporaryDirectory() as scratch:
        report = os.path.join(scratch, "report.json")
        is_google = "--gtest_filter" in command[-1]
        full = command + [f"--gtest_output=json:{report}"] if is_google else command
        ended = process.run(full, environment, min(TEST_SECONDS, left), output.append)
        found = google_outcome(report) if is_google else None
    text = "\n".join(output[-60:]) + "\n" + ended.errors
    outcome = ended.outcome
    if outcome == "pass" and is_google and (found is None or not found[0]):
        outcome = "fail"
        text += "\nits report says that nothing ran"
    elif outcome == "pass" and is_google and found[1]:
        outcome = "skip"
    elif outcome == "pass" and "--exact" in command and "1 passed" not in text:
        outcome = "fail"
        text += "\nit does not say that the test passed"
    elif outcome == "fail" and NEEDS_SIMULATION in text:
        outcome = "needs simulation"
    message = "" if outcome == "pass" else f"{ended.message[:200]}\n{text[-2500:]}"
    return outcome, ended.seconds, message


def run(suite, results):
    deadline = time.monotonic() + STAGE_SECONDS
    tests = all_tests(suite, results)
    results.add("tests found", "pass" if tests else "fail", data={"count": len(tests)})
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        jobs = {pool.submit(run_one, command, extra, suite, deadline): name for name, command, extra in tests}
        for job in concurrent.futures.as_completed(jobs):
            outcome, seconds, message = job.result()
            results.add(jobs[job], outcome, seconds, message)
