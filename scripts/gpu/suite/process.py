"""Programs run with a time limit, line by line; what they leave running is ended with them."""

import os
import selectors
import signal
import subprocess
import time


class Ended:
    """How a program ended: `outcome` is pass (exit status 0), fail, crash (by a signal) or timeout."""

    def __init__(self, status, timed_out, seconds, errors):
        self.status, self.timed_out, self.seconds, self.errors = status, timed_out, seconds, errors

    @property
    def outcome(self):
        if self.timed_out:
            return "timeout"
        if self.status < 0:
            return "crash"
        return "pass" if self.status == 0 else "fail"

    @property
    def message(self):
        """Why it did not end well; empty where it did."""
        if self.outcome == "pass":
            return ""
        how = {"timeout": "ended after its time", "crash": f"signal {-self.status}"}.get(self.outcome, f"status {self.status}")
        tail = self.errors.strip()[-1500:]
        return f"{how}: {tail}" if tail else how


def run(command, environment, limit, on_line=None):
    """Runs a program; hands over each line of its output as it comes. Its errors are kept for the message."""
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True)
    selector = selectors.DefaultSelector()
    selector.register(process.stdout, selectors.EVENT_READ)
    selector.register(process.stderr, selectors.EVENT_READ)
    part, errors, timed_out = b"", b"", False
    while selector.get_map():
        left = limit - (time.monotonic() - start)
        if left <= 0:
            timed_out = True
            break
        for key, _ in selector.select(min(left, 1.0)):
            data = os.read(key.fd, 65536)
            if not data:
                selector.unregister(key.fileobj)
            elif key.fileobj is process.stderr:
                errors = (errors + data)[-20000:]
            else:
                *lines, part = (part + data).split(b"\n")
                for line in lines if on_line else []:
                    on_line(line.decode("utf-8", "replace"))
    if not timed_out:
        try:
            process.wait(timeout=max(limit - (time.monotonic() - start), 0.1))
        except subprocess.TimeoutExpired:
            timed_out = True
    if timed_out:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        # A program that is stuck in the driver's kernel part cannot be ended: it is left behind.
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            pass
    if part and on_line:
        on_line(part.decode("utf-8", "replace"))
    status = process.returncode if process.returncode is not None else -signal.SIGKILL
    process.stdout.close()
    process.stderr.close()
    return Ended(status, timed_out, time.monotonic() - start, errors.decode("utf-8", "replace"))
