#!/usr/bin/env python3
"""Prints the learning rates of PyTorch's schedulers that the tests of crates/unet-train/src/schedule.rs hold.

Run from the workspace root with PyTorch installed (2.15.0 gave the committed numbers): python xtask/reference/schedules.py
"""

import torch
def rates(make, n=10, epochs=False):
    p=torch.nn.Parameter(torch.zeros(1)); o=torch.optim.SGD([p],lr=1.0); s=make(o); r=[]
    for _ in range(n):
        r.append(o.param_groups[0]['lr']); o.step(); s.step()
    return r
L=torch.optim.lr_scheduler
print('step', rates(lambda o:L.StepLR(o,3,0.5)))
print('cosine', rates(lambda o:L.CosineAnnealingLR(o,10,0.1)))
print('poly', rates(lambda o:L.PolynomialLR(o,10,0.9)))
p=torch.nn.Parameter(torch.zeros(1)); o=torch.optim.SGD([p],lr=1.0)
s=L.ReduceLROnPlateau(o,factor=0.5,patience=2,threshold=1e-2,cooldown=1,min_lr=0.1)
m=[1.0,0.9,0.895,0.9,0.9,0.9,0.9,0.9,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5]
r=[]
for v in m:
    s.step(v); r.append(o.param_groups[0]['lr'])
print('plateau',r)
p=torch.nn.Parameter(torch.zeros(1)); o=torch.optim.SGD([p],lr=1.0)
s=L.ReduceLROnPlateau(o,mode='max',factor=0.1,patience=0,threshold=1e-2,min_lr=0)
r=[]
for v in [0.5,0.502,0.6,0.6]:
    s.step(v); r.append(o.param_groups[0]['lr'])
print('plateau_max',r)
