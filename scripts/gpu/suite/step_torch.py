#!/usr/bin/env python3
"""The seven arrays of gpu_step through PyTorch, in two ways that runtimes use; lines of JSON as gpu_step prints them."""

import argparse
import json
import statistics
import sys
import time


def say(**line):
    print(json.dumps(line), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=256)
    options = parser.parse_args()
    batch = options.batch
    try:
        import torch
    except ImportError as error:
        say(check=f"batch {batch}, PyTorch", outcome="skip", message=str(error))
        return 0
    if not torch.cuda.is_available():
        say(check=f"batch {batch}, PyTorch", outcome="skip", message="torch sees no CUDA device")
        return 0

    shapes = [(torch.int32, batch + 1), (torch.bool, batch), (torch.int32, batch), (torch.int64, batch),
              (torch.int64, batch), (torch.int32, batch), (torch.int32, batch)]
    values = [torch.ones(count, dtype=kind) for kind, count in shapes]
    pinned = [torch.zeros(count, dtype=kind, pin_memory=True) for kind, count in shapes]
    device = [torch.zeros(count, dtype=kind, device="cuda") for kind, count in shapes]
    stream = torch.cuda.Stream()
    copied = torch.cuda.Event()

    def kept():
        """Pinned tensors that are kept, fenced by one event, as vLLM's first runner has them."""
        copied.synchronize()
        for source, staging, target in zip(values, pinned, device):
            staging.copy_(source)
            target.copy_(staging, non_blocking=True)
        copied.record(stream)

    def fresh():
        """A fresh pinned tensor for each copy: the allocator waits for nothing and hands out no memory in use."""
        for source, target in zip(values, device):
            target.copy_(source.pin_memory(), non_blocking=True)

    ways = {"PyTorch, kept pinned tensors and an event": kept, "PyTorch, fresh pinned tensors": fresh}
    host, there, wrong = ({name: [] for name in ways} for _ in range(3))
    with torch.cuda.stream(stream):
        for step in range(options.steps + options.steps // 10):
            for tensor in values:
                tensor.fill_(step % 2 if tensor.dtype == torch.bool else step)
            for name, stage in ways.items():
                start = time.perf_counter()
                stage()
                called = time.perf_counter()
                stream.synchronize()
                end = time.perf_counter()
                if step >= options.steps // 10:
                    host[name].append((called - start) * 1e6)
                    there[name].append((end - start) * 1e6)
                if step % 97 == 0:
                    wrong[name].append(any(not torch.equal(a, b.cpu()) for a, b in zip(values, device)))
    for name in ways:
        say(check=f"batch {batch}, {name}", outcome="fail" if any(wrong[name]) else "pass",
            host_us=statistics.median(host[name]), host_us_p99=sorted(host[name])[len(host[name]) * 99 // 100],
            there_us=statistics.median(there[name]), there_us_p99=sorted(there[name])[len(there[name]) * 99 // 100],
            steps=options.steps, arrays=len(shapes), torch=torch.__version__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
