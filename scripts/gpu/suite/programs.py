"""The stages that run the suite's own programs, which print a line of JSON for each check."""

import json
import os
import platform
import re
import subprocess
import sys

import process


def stream(suite, results, title, command, limit, environment=None):
    """Runs a program; each line of JSON is a check. That it ran to its end is one, too."""

    def take(line):
        try:
            data = json.loads(line)
            name, outcome = data.pop("check"), data.pop("outcome")
        except (ValueError, KeyError):
            return
        results.add(name, outcome, message=data.pop("message", ""), data=data)

    ended = process.run(command, environment or suite.environment(), limit, take)
    results.add(f"{title} runs to its end", ended.outcome, ended.seconds, ended.message)


def race(suite, results):
    steps = "1500" if suite.simulated else "3000"
    stream(suite, results, "race", [suite.program("gpu_race"), "--steps", steps, "--delay-us", "150"], 240)
    # A long delay, so that every copy is still queued when its source would be rewritten.
    before = len(results.content["checks"])
    stream(suite, results, "race, long delays", [suite.program("gpu_race"), "--steps", "60", "--delay-us", "5000"], 120)
    for check in results.content["checks"][before:]:
        if not check["name"].startswith("race"):
            check["name"] += ", long delays"
    results.write()


def bandwidth(suite, results):
    most, rounds = ("16777216", "5") if suite.simulated else (str(1 << 30), "15")
    stream(suite, results, "bandwidth", [suite.program("gpu_bandwidth"), "--max-bytes", most, "--rounds", rounds], 400)


def step(suite, results):
    """By turns with PyTorch, three times each: the median of the medians is the figure."""
    steps = "300" if suite.simulated else "2000"
    for batch in ("256", "1024"):
        before = len(results.content["checks"])
        for turn in range(3):
            for title, command, environment in (
                ("step", [suite.program("gpu_step")], suite.environment()),
                # As its users run it.
                ("step through PyTorch", [sys.executable, suite.file("step_torch.py")], dict(os.environ)),
            ):
                stream(suite, results, f"{title}, batch {batch}, turn {turn + 1}",
                       command + ["--steps", steps, "--batch", batch], 60, environment)
        figures = {}
        for check in results.content["checks"][before:]:
            if "host_us" in check.get("data", {}):
                figures.setdefault(check["name"], []).append(check["data"])
        for name, turns in figures.items():
            middle = {key: sorted(turn[key] for turn in turns)[len(turns) // 2] for key in ("host_us", "host_us_p99", "there_us", "there_us_p99")}
            results.add(f"median of {len(turns)} turns: {name}", "info", data=middle)


def text_of(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return (done.stdout or done.stderr).strip()[:6000]
    except (OSError, subprocess.SubprocessError) as error:
        return f"not to be had: {error}"


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return "not to be had"


def info(suite, results):
    cpu = re.search(r"model name\s*: (.*)", read("/proc/cpuinfo"))
    results.add("machine", "info", data={
        "cpu": cpu.group(1) if cpu else "unknown",
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "memory": read("/proc/meminfo").split("\n", 1)[0],
        "glibc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "numa_nodes": read("/sys/devices/system/node/online"),
        "locked_memory_limit": text_of(["sh", "-c", "ulimit -l"]),
    })
    for name, text in (
        ("nvidia-smi", text_of(["nvidia-smi"])),
        ("nvidia-smi topology", text_of(["nvidia-smi", "topo", "-m"])),
        ("driver module", read("/proc/driver/nvidia/version")),
        ("nvcc", text_of(["nvcc", "--version"])),
        ("manifest", suite.manifest),
    ):
        results.add(name, "info", data={"text": text.splitlines()})
    stream(suite, results, "information", [suite.program("gpu_info")], 60)
