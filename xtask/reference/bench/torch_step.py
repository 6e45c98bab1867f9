#!/usr/bin/env python3
"""PyTorch's side of `cargo xtask bench step`: times one training step of a U-Net whenever it is asked to.

The networks are those of networks.py. The step: forward, BCE-with-logits, backward, RMSprop with the article's settings. Input is raw gray 0-255.
The protocol is that of worker.py.
"""

import argparse

import worker

SETTINGS = ["contiguous", "channels_last", "compiled_contiguous", "compiled_channels_last"]


def make(args):
    """A function that does one whole training step and gives its loss; what is ready."""
    worker.hold(args.peer_isa)
    import networks
    import torch
    from torch.nn import functional as F

    networks.settle(args)
    torch.manual_seed(0)
    layout = networks.memory_format(args.setting)
    net = networks.UNet(args.network, args.base).to(memory_format=layout).train()
    shape = (args.batch, 1, args.height, args.width)
    image = torch.randint(0, 256, shape).float().contiguous(memory_format=layout)
    mask = torch.randint(0, 2, shape).float().contiguous(memory_format=layout)
    optimizer = torch.optim.RMSprop(net.parameters(), lr=1e-5, alpha=0.99, eps=1e-8, weight_decay=1e-8, momentum=0.9)
    forward = net
    if args.setting.startswith("compiled"):
        import torch._inductor.config

        torch._inductor.config.cpp.simdlen = 256 if args.peer_isa == "avx2" else None
        forward = torch.compile(net, dynamic=False)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
            logits = forward(image)
        loss = F.binary_cross_entropy_with_logits(logits.float(), mask)
        loss.backward()
        optimizer.step()
        return loss.item()

    mode = "bf16 autocast" if args.precision == "bf16" else "f32"
    what = f"torch {mode} {args.setting}{worker.held(args.peer_isa)}"
    return step, {"what": what, "threads": torch.get_num_threads(), "versions": {"torch": torch.__version__}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--setting", choices=SETTINGS, required=True)
    worker.add_arguments(parser)
    args = parser.parse_args()
    worker.serve(lambda: make(args))


if __name__ == "__main__":
    main()
