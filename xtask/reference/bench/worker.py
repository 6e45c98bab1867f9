"""What the workers of `cargo xtask bench` share: the protocol, threads, and instruction sets to hold the libraries to.

Protocol, JSON a line: once built and warm a worker prints {"ready": ...}, or {"cannot": why} and ends; for each line `step` on standard input it
does one unit of work and prints {"seconds": ..., "loss": ...}; it ends when standard input does.
"""

import json
import os
import platform
import sys
import time


def answer(message):
    """One line to the harness."""
    print(json.dumps(message), flush=True)


def add_arguments(parser):
    """The flags that say what is measured."""
    parser.add_argument("--network", choices=["tutorial", "milesial"], required=True)
    parser.add_argument("--precision", choices=["f32", "bf16"], required=True)
    parser.add_argument("--peer-isa", choices=["avx2"])
    for name in ["height", "width", "batch", "base", "threads"]:
        parser.add_argument(f"--{name}", type=int, required=True)


def hold(isa):
    """Holds the libraries that can be held to an instruction set; to be called before they are imported."""
    if isa == "avx2":
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
        os.environ["MKL_ENABLE_INSTRUCTIONS"] = "AVX2"
        os.environ["ATEN_CPU_CAPABILITY"] = "avx2"


def held(isa):
    """What a label says of it."""
    return f" held to {isa}" if isa else ""


def serve(make):
    """Calls `make`, which gives a step (a function without arguments that gives a number) and what is ready; then does steps as asked."""
    try:
        step, ready = make()
        step()
    except Exception as error:  # whatever a library raises: the harness puts it into the table
        lines = str(error).strip().splitlines()
        answer({"cannot": f"{type(error).__name__}: {lines[0] if lines else 'no message'}"})
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(0)
    ready["versions"]["python"] = platform.python_version()
    answer({"ready": ready})
    for line in sys.stdin:
        if line.strip() != "step":
            sys.exit(f"unknown request {line!r}")
        begin = time.perf_counter()
        loss = step()
        answer({"seconds": time.perf_counter() - begin, "loss": loss})
