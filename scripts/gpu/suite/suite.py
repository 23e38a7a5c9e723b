#!/usr/bin/env python3
"""Runs the stages of the GPU suite. See run-gpu-suite."""

import argparse
import os
import sys
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import conformance
import programs
import results
import suites

# In the order of what they are worth, should the time not reach for all.
STAGES = {
    "info": programs.info,
    "conformance": conformance.run,
    "race": programs.race,
    "suites": suites.run,
    "step": programs.step,
    "bandwidth": programs.bandwidth,
}


class Suite:
    def __init__(self, root, driver):
        self.root, self.driver = root, driver
        self.standin = self.path("lib", "standin", "libcuda.so.1")
        with open(self.path("MANIFEST"), encoding="utf-8") as file:
            self.manifest = file.read()
        # A simulated driver is asked for less work.
        with open(driver, "rb") if driver else open(os.devnull, "rb") as file:
            self.simulated = b"gpubuf_standin_version" in file.read()

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def file(self, name):
        return os.path.join(os.path.dirname(os.path.abspath(__file__)), name)

    def program(self, name):
        return self.path("bin", name)

    def environment(self, driver=None):
        environment = dict(os.environ)
        environment["GPUBUF_BACKEND"] = "cuda"
        chosen = driver or self.driver
        if chosen:
            environment["GPUBUF_CUDA_DRIVER"] = chosen
        else:
            environment.pop("GPUBUF_CUDA_DRIVER", None)
        libraries = [self.path("lib"), environment.get("LD_LIBRARY_PATH", "")]
        environment["LD_LIBRARY_PATH"] = ":".join(filter(None, libraries))
        # A stream that is held shut holds up those that share its hardware queue: as many queues as there can be.
        environment.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")
        # A kernel that is loaded when it is first used waits for the context, and so for a stream that is held.
        environment.setdefault("CUDA_MODULE_LOADING", "EAGER")
        return environment

    def manifest_value(self, name):
        for line in self.manifest.splitlines():
            key, _, value = line.partition(": ")
            if key == name:
                return value
        return "unknown"


def main():
    parser = argparse.ArgumentParser(prog="run-gpu-suite", description="Runs the GPU suite, or one stage of it.")
    parser.add_argument("--root", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--stage", choices=list(STAGES), help="only this one")
    parser.add_argument("--driver", default=os.environ.get("GPUBUF_CUDA_DRIVER", ""), help="the driver's libcuda.so.1; default: the system's")
    options = parser.parse_args()
    out = os.environ.get("OUT") or "results"
    os.makedirs(out, exist_ok=True)
    driver = os.path.abspath(options.driver) if options.driver else ""
    if driver and not os.path.isfile(driver):
        parser.error(f"there is no driver at {driver}")
    suite = Suite(os.path.abspath(options.root), driver)
    header = {"commit": suite.manifest_value("commit"), "driver": driver or "libcuda.so.1", "simulated": suite.simulated}
    failed = []
    for name in [options.stage] if options.stage else STAGES:
        print(f"== {name}", flush=True)
        found = results.Results(name, out, header)
        try:
            STAGES[name](suite, found)
        except Exception:
            found.add("the stage itself", "fail", message=traceback.format_exc()[-3000:])
        found.finish()
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(found.content["counts"].items()))
        print(f"   {counts}; {found.seconds():.0f} s; {found.path}", flush=True)
        if found.failed():
            failed.append(name)
    print(f"GPU suite: {'failures in ' + ', '.join(failed) if failed else 'no failures'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
