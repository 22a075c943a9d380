"""Muon for the matrices, Adam for everything else."""

import torch


def orthogonalize(g: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """Newton-Schulz iteration towards the nearest (semi-)orthogonal matrix of each g[i], [N, rows, cols]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = g.shape[-2] > g.shape[-1]
    x = g.transpose(-2, -1) if tall else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.transpose(-2, -1)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.transpose(-2, -1) if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised; matrices of one shape are treated together."""

    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.05):
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes: dict[torch.Size, list] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(p.shape, []).append(p)
            for shape, parameters in shapes.items():
                for p in parameters:
                    if "momentum" not in self.state[p]:
                        self.state[p]["momentum"] = torch.zeros_like(p)
                buffers = [self.state[p]["momentum"] for p in parameters]
                gradients = [p.grad for p in parameters]
                torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
                ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])
                updates = orthogonalize(torch.stack(ahead)).unbind(0)
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(parameters, updates, alpha=-group["lr"] * max(1, shape[0] / shape[1]) ** 0.5)


def adam_rate(name: str) -> float | None:
    """Adam's learning rate for a parameter by its name; None where Muon takes it."""
    if name in ("embed.weight", "head.weight") or "markov_head." in name:
        return 3e-3
    if name.endswith("ffn.gate.weight"):
        return 2e-3
    if name.endswith(".fn") or "confidence_head." in name:
        return 1e-3
    if name.endswith((".ape", ".base", ".scale", ".attn_sink")) or name.split(".")[-2].endswith("norm"):
        return 3e-3
    return None


def make_optimizers(model) -> list[torch.optim.Optimizer]:
    matrices, others = [], {}
    for name, p in model.named_parameters():
        rate = adam_rate(name)
        if rate is None:
            assert p.dim() == 2, name
            matrices.append(p)
        else:
            others.setdefault(rate, []).append(p)
    groups = [{"params": ps, "lr": rate} for rate, ps in sorted(others.items())]
    optimizers = [Muon(matrices, lr=0.02), torch.optim.Adam(groups, betas=(0.9, 0.95), eps=1e-10)]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def step_all(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """One step at `factor` times the peak learning rates."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
        optimizer.step()
