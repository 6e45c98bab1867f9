#!/usr/bin/env python3
"""Reads a run's TensorBoard file with the real tensorboard package and compares it with the run's metrics.jsonl.

    read_events.py RUN

Every epoch's training loss, validation loss and scores must be in the event file, at the epoch's step and with its value (scalars are
32-bit there); every step must have a loss and a learning rate. The configuration has to be there as text and as hyperparameters, overlays as
images that can be decoded, histograms (where the run wrote any) with counts that add up. Prints what it found and exits with 1 at the first
difference.
"""

import io
import json
import math
import sys
import tomllib
from pathlib import Path

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

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


def open_events(run):
    """The run's one event file, everything in it kept."""
    files = sorted(run.glob("events.out.tfevents.*"))
    if len(files) != 1:
        fail(f"{run} has {len(files)} event files, expected one")
    events = EventAccumulator(str(files[0]), size_guidance={"scalars": 0, "images": 0, "histograms": 0, "tensors": 0})
    events.Reload()
    return events


def check_text_and_hyperparameters(run, events):
    """The configuration, in both of its forms, against the run's config.toml."""
    text = (run / "config.toml").read_text(encoding="utf-8")
    found = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    if "".join(line.removeprefix("    ") + "\n" for line in found.splitlines()) != text:
        fail("the text 'config' is not the run's config.toml")
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hyper = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    config = tomllib.loads(text)
    for section, key in [("train", "epochs"), ("train", "clip_norm"), ("model", "width"), ("optimizer", "lr")]:
        if hyper[f"{section}.{key}"].number_value != config[section][key]:
            fail(f"the hyperparameter {section}.{key} is {hyper[f'{section}.{key}']}, the configuration has {config[section][key]}")
    if hyper["optimizer.kind"].string_value != config["optimizer"]["kind"]:
        fail("the hyperparameter optimizer.kind is not the configuration's")
    content = events.SummaryMetadata("_hparams_/session_end_info").plugin_data.content
    if plugin_data_pb2.HParamsPluginData.FromString(content).session_end_info.status != 1:
        fail("the session did not end well, says the hyperparameter plugin")
    return len(hyper)


def check_images_and_histograms(events, epochs):
    """Overlays that can be decoded, one an epoch; histograms whose counts add up."""
    tags = events.Tags()
    for tag in tags["images"]:
        images = events.Images(tag)
        if len(images) != epochs:
            fail(f"{tag} has {len(images)} images in {epochs} epochs")
        for image in images:
            decoded = Image.open(io.BytesIO(image.encoded_image_string))
            decoded.load()
            if decoded.size != (image.width, image.height) or decoded.mode != "RGB":
                fail(f"{tag} is {decoded.size} {decoded.mode}, the event file says {image.width}x{image.height} RGB")
    for tag in tags["histograms"]:
        for event in events.Histograms(tag):
            histogram = event.histogram_value
            limits = list(histogram.bucket_limit)
            if sum(histogram.bucket) != histogram.num or limits != sorted(limits) or not histogram.min <= histogram.max:
                fail(f"the histogram {tag} does not add up")
    return len(tags["images"]), len(tags["histograms"])


def main():
    if len(sys.argv) != 2:
        fail("usage: read_events.py RUN")
    run = Path(sys.argv[1])
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    if not records:
        fail(f"{run / 'metrics.jsonl'} is empty")
    events = open_events(run)
    scalars = {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
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
    hyper = check_text_and_hyperparameters(run, events)
    images, histograms = check_images_and_histograms(events, len(records))
    if not images:
        fail("there are no images")
    print(f"tensorboard read {hyper} hyperparameters, {images} images and {histograms} histograms, each at its epochs")
    print(f"tensorboard read {len(scalars)} tags; {compared} values of {len(records)} epochs and {len(steps)} steps agree")


if __name__ == "__main__":
    main()
