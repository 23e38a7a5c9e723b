"""What a stage has found, on disk after every check, so that a run that is killed still counts."""

import json
import os
import time

# What a check can come to. "needs simulation": the test provokes faults, which real hardware has none of at command.
FAILURES = ("fail", "crash", "timeout", "not run")


class Results:
    def __init__(self, stage, directory, header):
        self.path = os.path.join(directory, stage + ".json")
        self.start = time.monotonic()
        self.content = {
            "stage": stage,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "finished": False,
            **header,
            "seconds": 0.0,
            "counts": {},
            "checks": [],
        }
        self.write()

    def add(self, name, outcome, seconds=None, message="", data=None):
        """Notes a check: pass, fail, crash, timeout, skip, info, expected difference, ..."""
        check = {"name": name, "outcome": outcome}
        if seconds is not None:
            check["seconds"] = round(seconds, 3)
        if message:
            check["message"] = message
        if data:
            check["data"] = data
        self.content["checks"].append(check)
        counts = self.content["counts"]
        counts[outcome] = counts.get(outcome, 0) + 1
        self.write()
        if outcome in FAILURES:
            print(f"  {outcome.upper()}: {name} {message}".rstrip()[:400], flush=True)

    def finish(self):
        self.content["finished"] = True
        self.write()

    def failed(self):
        return any(check["outcome"] in FAILURES for check in self.content["checks"])

    def seconds(self):
        return time.monotonic() - self.start

    def write(self):
        self.content["seconds"] = round(self.seconds(), 1)
        fresh = self.path + ".new"
        with open(fresh, "w", encoding="utf-8") as file:
            json.dump(self.content, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.path)
