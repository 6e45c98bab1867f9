#!/usr/bin/env python3
"""The peers' side of `cargo xtask bench infer`: one forward pass in PyTorch, ONNX Runtime or OpenVINO whenever it is asked to.

Reads what our worker wrote into --files: model.safetensors (the weights), input.f32 and logits.f32 (little-endian values; N, H, W). Before anything is
measured the logits of the library at hand must be ours, so that the same network is timed. ONNX Runtime and OpenVINO read the model that PyTorch exports
to ONNX. The protocol is that of worker.py.
"""

import argparse
import hashlib
import json
import os
import struct
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import worker

SETTINGS = ["torch_contiguous", "torch_channels_last", "onnxruntime", "openvino"]
# Largest difference from our logits, beside the largest of them, in f32; root mean square of the same in bf16.
LIMITS = {"f32": 1e-3, "bf16": 1e-1}


def state_dict(path):
    """The tensors of a safetensors file."""
    import torch

    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    header.pop("__metadata__", None)
    values = {}
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        assert tensor["dtype"] == "F32", name
        values[name] = torch.from_numpy(np.frombuffer(data[begin:end], "<f4").copy()).reshape(tensor["shape"])
    return values


def network(args):
    """PyTorch's network with our weights."""
    import networks

    net = networks.UNet(args.network, args.base).eval()
    missing, unexpected = net.load_state_dict(state_dict(os.path.join(args.files, "model.safetensors")), strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise RuntimeError(f"the weights are not this network's: missing {missing}, unexpected {unexpected}")
    return net


def onnx_file(args, x):
    """The network as ONNX, exported once for each set of weights and shape of input; by another process, so that PyTorch is not in this one's memory."""
    with open(os.path.join(args.files, "model.safetensors"), "rb") as file:
        digest = hashlib.sha256(file.read() + repr((x.shape, version("torch"))).encode()).hexdigest()[:16]
    path = os.path.join(args.files, f"model-{digest}.onnx")
    if not os.path.exists(path):
        partial = os.path.join(args.files, f"partial-{digest}.onnx")
        subprocess.run([sys.executable, *sys.argv, "--export", partial], check=True, stdout=sys.stderr)
        os.replace(partial, path)
    return path


def export(args, x):
    """Writes the network as ONNX."""
    import torch

    image = torch.from_numpy(x)
    torch.onnx.export(network(args), (image,), args.export, dynamo=True, external_data=False, verbose=False)


def with_torch(args, x):
    """PyTorch in one of its layouts."""
    import networks
    import torch

    networks.settle(args)
    layout = networks.memory_format(args.setting)
    net = network(args).to(memory_format=layout)
    image = torch.from_numpy(x).contiguous(memory_format=layout)

    def run():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
            return net(image).float().numpy()

    mode = "bf16 autocast" if args.precision == "bf16" else "f32"
    return run, f"torch {mode} {args.setting.removeprefix('torch_')}", torch.get_num_threads(), {"torch": torch.__version__}


def with_onnxruntime(args, x):
    """ONNX Runtime's CPU provider."""
    import onnxruntime

    if args.precision == "bf16":
        raise RuntimeError("ONNX Runtime's CPU provider has no bf16 convolution")
    if args.peer_isa:
        raise RuntimeError(f"ONNX Runtime chooses its instructions by the processor alone and cannot be held to {args.peer_isa}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(onnx_file(args, x), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x}
    threads = session.get_session_options().intra_op_num_threads
    return lambda: session.run(None, feed)[0], "onnxruntime f32", threads, {"onnxruntime": onnxruntime.__version__}


def with_openvino(args, x):
    """OpenVINO's CPU plugin, tuned for latency."""
    import openvino
    from openvino import properties
    from openvino.properties import hint

    wanted = openvino.Type.bf16 if args.precision == "bf16" else openvino.Type.f32
    settings = {
        properties.inference_num_threads: args.threads,
        properties.num_streams: 1,
        hint.inference_precision: wanted,
        hint.performance_mode: hint.PerformanceMode.LATENCY,
    }
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(onnx_file(args, x)), "CPU", settings)
    found = compiled.get_property(hint.inference_precision)
    if found != wanted:
        raise RuntimeError(f"OpenVINO computes in {found.get_type_name()} on this processor, not in {args.precision}")
    if args.peer_isa == "avx2":
        kinds = {str(op.get_rt_info()["primitiveType"].astype(str)) for op in compiled.get_runtime_model().get_ops() if "primitiveType" in op.get_rt_info()}
        wider = sorted(kind for kind in kinds if "avx512" in kind or "amx" in kind)
        if wider:
            raise RuntimeError(f"OpenVINO is not held to avx2: it runs {', '.join(wider)}")
    request = compiled.create_infer_request()
    feed = {0: x}
    threads = compiled.get_property(properties.inference_num_threads)
    return lambda: request.infer(feed, share_inputs=True)[0], f"openvino {args.precision}", threads, {"openvino": openvino.__version__.split("-")[0]}


def compare(found, ours, precision):
    """Raises where the library computes something else than we do."""
    difference = np.abs(found.astype(np.float64).ravel() - ours)
    scale = np.abs(ours).max()
    error = difference.max() / scale if precision == "f32" else np.sqrt((difference**2).mean() / (ours.astype(np.float64) ** 2).mean())
    if not error <= LIMITS[precision]:
        raise RuntimeError(f"its logits differ from ours by {error:.2e}, the limit is {LIMITS[precision]:.0e}")
    print(f"its logits are ours within {error:.1e}", file=sys.stderr)


def make(args, x):
    """A function that runs the network once; what is ready."""
    worker.hold(args.peer_isa)
    library = args.setting.split("_")[0]
    start = {"torch": with_torch, "onnxruntime": with_onnxruntime, "openvino": with_openvino}[library]
    run, what, threads, versions = start(args, x)
    compare(run(), np.fromfile(os.path.join(args.files, "logits.f32"), "<f4"), args.precision)
    step = lambda: float(run().ravel()[0])
    return step, {"what": what + worker.held(args.peer_isa), "threads": threads, "versions": versions}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--setting", choices=SETTINGS, required=True)
    parser.add_argument("--files", required=True)
    parser.add_argument("--export", help="write the network to this file as ONNX and end")
    worker.add_arguments(parser)
    args = parser.parse_args()
    x = np.fromfile(os.path.join(args.files, "input.f32"), "<f4").reshape(args.batch, 1, args.height, args.width)
    if args.export:
        export(args, x)
    else:
        worker.serve(lambda: make(args, x))


if __name__ == "__main__":
    main()
