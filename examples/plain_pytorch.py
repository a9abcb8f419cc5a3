"""r-cLA on a plain PyTorch model: adapt, train, save, merge. Runs in a second on a CPU."""

import torch
from torch import nn

from peft_lib import adapt

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(20, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 2))
x = torch.randn(256, 20)
y = (x[:, 0] * x[:, 1] > 0).long()

adapter = adapt(model, "r_cla", rank=8, alpha=16, targets=["0", "2"], head=["4"], seed=0)
print(adapter.counts())  # {'trainable': 1154, 'adapter': 1024, 'head': 130, 'total': ...}
optimizer = torch.optim.AdamW(adapter.parameter_groups(lr=1e-2))
for _ in range(100):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
adapter.save("delta.safetensors")  # factors, selected columns and head; adapter.load(...) reads them back
model = adapter.merge()  # a plain nn.Sequential again
print(f"loss {loss.item():.3f}, accuracy {(model(x).argmax(-1) == y).float().mean().item():.2f}")
