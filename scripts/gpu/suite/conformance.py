#!/usr/bin/env python3
"""The script of driver calls: answered by a driver, compared with what the stand-in answers.

As a program, for checks without a GPU: compares the stand-in's answers with the committed ones.

    conformance.py --program gpu_conformance --driver libcuda.so.1 --answers standin.txt [--bless]
"""

import argparse
import concurrent.futures
import fnmatch
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import process

GROUP_SECONDS = 120
STAGE_SECONDS = 390


def groups_of(program):
    return subprocess.run([program, "--list"], check=True, capture_output=True, text=True, timeout=30).stdout.split()


def answers_of_group(program, driver, group, environment, limit=GROUP_SECONDS):
    """The answers of one group, in the order they came, and how the program ended."""
    answers = {}

    def take(line):
        name, separator, value = line.partition(" = ")
        if separator:
            answers[name] = value

    command = [program] + (["--driver", driver] if driver else []) + [group]
    return answers, process.run(command, environment, limit, take)


def answers_at_once(program, driver, groups, environment, workers):
    """The answers of all groups, each in a process of its own, several at a time."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(answers_of_group, program, driver, group, environment) for group in groups]
        return {group: job.result() for group, job in zip(groups, jobs)}


def read_expected(path):
    """Patterns of names that may differ, each with its reason."""
    expected = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.strip()
            if line and not line.startswith("#"):
                pattern, _, reason = line.partition("|")
                expected.append((pattern.strip(), reason.strip()))
    return expected


def reason_for(name, expected):
    return next((reason for pattern, reason in expected if fnmatch.fnmatchcase(name, pattern)), None)


def read_answers(path):
    with open(path, encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(" = ", 1) for line in file if " = " in line)


def run(suite, results):
    """The stage: group by group, first the driver, then the stand-in; the differences are the checks."""
    program = suite.program("gpu_conformance")
    expected = read_expected(suite.file("expected.txt"))
    groups = groups_of(program)
    standin_environment = suite.environment(driver=suite.standin)
    standin = answers_at_once(program, suite.standin, groups, standin_environment, 4)
    same = 0
    deadline = time.monotonic() + STAGE_SECONDS
    for group in groups:
        left = deadline - time.monotonic()
        if left < 5:
            results.add(f"{group}: runs to its end", "not run", message="the stage's time was over")
            continue
        answers, ended = answers_of_group(program, suite.driver, group, suite.environment(), min(left, GROUP_SECONDS))
        results.add(f"{group}: runs to its end", ended.outcome, ended.seconds, ended.message, {"answers": answers})
        simulated, standin_ended = standin[group]
        if standin_ended.outcome != "pass":
            results.add(f"{group}: runs to its end on the stand-in", standin_ended.outcome, standin_ended.seconds, standin_ended.message)
        for name in dict.fromkeys([*answers, *simulated]):
            ours, theirs = simulated.get(name), answers.get(name)
            if theirs is None and ended.outcome != "pass":
                continue  # The group ended before it: said above.
            if ours == theirs:
                same += 1
                continue
            reason = reason_for(name, expected)
            results.add(name, "expected difference" if reason else "fail", message=reason or f"driver: {theirs}; stand-in: {ours}",
                        data={"driver": theirs, "standin": ours})
    results.add("answers that are the same", "info", data={"count": same})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--driver", required=True)
    parser.add_argument("--answers", required=True)
    parser.add_argument("--bless", action="store_true", help="write the answers instead of comparing them")
    options = parser.parse_args()
    answers, broken = {}, []
    for group, (found, ended) in answers_at_once(options.program, options.driver, groups_of(options.program), dict(os.environ), 4).items():
        answers.update(found)
        if ended.outcome != "pass":
            broken.append(f"{group}: {ended.message}")
    if options.bless and not broken:
        with open(options.answers, "w", encoding="utf-8") as file:
            file.writelines(f"{name} = {value}\n" for name, value in answers.items())
    committed = read_answers(options.answers)
    wrong = [f"{name}: committed {committed.get(name)}, answered {answers.get(name)}"
             for name in dict.fromkeys([*committed, *answers]) if committed.get(name) != answers.get(name)]
    print("\n".join(broken + wrong))
    print(f"conformance: {len(answers)} answers, {len(wrong)} differ from {options.answers}, {len(broken)} groups did not end well")
    return 1 if wrong or broken else 0


if __name__ == "__main__":
    sys.exit(main())
