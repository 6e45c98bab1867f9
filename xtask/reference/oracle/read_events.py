#!/usr/bin/env python3
"""Reads a run's TensorBoard file with the real tensorboard package and compares it with the run's metrics.jsonl.

    read_events.py RUN

Every epoch's training loss, validation loss and scores must be in the event file, at the epoch's step and with its value (scalars are
32-bit there); every step must have a loss and a learning rate. Prints what it found and exits with 1 at the first difference.
"""

import json
import math
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

# Event files hold 32-bit floats, metrics.jsonl 64-bit ones: half a unit in the last place, doubled.
RELATIVE = 2.0**-23


def fail(message):
    """Ends the check."""
    sys.exit(f"error: {message}")


def expected(record):
    """Tags and values that the event file must have for one line of metrics.jsonl."""
    values = {"epoch/train_loss": record["train_loss"]}
    validation = record.get("val")
    if validation:
        for tag, key in [("loss", "loss"), ("pixel_accuracy", "pixel_accuracy"), ("mean_dice", "mean_dice"), ("mean_iou", "mean_iou")]:
            if validation[key] is not None:
                values[f"val/{tag}"] = validation[key]
    return values


def read(run):
    """Every scalar in the run's event file: {tag: {step: value}}."""
    files = sorted(run.glob("events.out.tfevents.*"))
    if len(files) != 1:
        fail(f"{run} has {len(files)} event files, expected one")
    events = EventAccumulator(str(files[0]), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def main():
    if len(sys.argv) != 2:
        fail("usage: read_events.py RUN")
    run = Path(sys.argv[1])
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    if not records:
        fail(f"{run / 'metrics.jsonl'} is empty")
    scalars = read(run)
    compared = 0
    for record in records:
        for tag, value in expected(record).items():
            found = scalars.get(tag, {}).get(record["step"])
            if found is None or not math.isclose(found, value, rel_tol=RELATIVE, abs_tol=1e-45):
                fail(f"{tag} at step {record['step']}: metrics.jsonl has {value}, the event file {found}")
            compared += 1
    steps = set(range(1, records[-1]["step"] + 1))
    for tag in ["train/loss", "train/lr"]:
        found = set(scalars.get(tag, {}))
        if found != steps:
            fail(f"{tag} has {len(found)} steps, the run {len(steps)}; first difference: {min(found ^ steps)}")
    print(f"tensorboard read {len(scalars)} tags; {compared} values of {len(records)} epochs and {len(steps)} steps agree")


if __name__ == "__main__":
    main()
