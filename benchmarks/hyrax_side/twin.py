"""A torch twin of a committee of residual networks, from the weights that benchmarks/hyrax.py takes out of the Keras model.

Imports torch and numpy alone, so that it runs in an environment without this project.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

EPSILON = 1e-3
"""Of Keras's batch normalisation."""
VIEWS = (
    (False, False, False),
    (True, False, False),
    (False, False, True),
    (True, True, False),
    (False, True, False),
    (True, False, True),
    (False, True, True),
    (True, True, True),
)
"""Whether y is reversed, x is reversed, and the two are then exchanged."""


class SameConv(nn.Module):
    """A convolution without bias, padded as TensorFlow's ``same``: with a stride, more below and to the right than above."""

    def __init__(self, kernel: np.ndarray, stride: int):
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size, length = self.weight.shape[-1], x.shape[-1]
        total = max((-(-length // self.stride) - 1) * self.stride + size - length, 0)
        if total % 2 == 0:
            return functional.conv2d(x, self.weight, stride=self.stride, padding=total // 2)
        before, after = total // 2, total - total // 2
        return functional.conv2d(functional.pad(x, (before, after, before, after)), self.weight, stride=self.stride)


def normalisation(gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> nn.BatchNorm2d:
    """Keras's batch normalisation as it is when nothing is trained."""
    layer = nn.BatchNorm2d(len(gamma), eps=EPSILON)
    values = {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": variance}
    layer.load_state_dict({key: torch.from_numpy(value.copy()) for key, value in values.items()}, strict=False)
    return layer


def dense(kernel: np.ndarray, bias: np.ndarray | None = None) -> nn.Linear:
    """Keras's dense layer."""
    layer = nn.Linear(*kernel.shape, bias=bias is not None)
    layer.weight.data = torch.from_numpy(kernel.T.copy())
    if bias is not None:
        layer.bias.data = torch.from_numpy(bias.copy())
    return layer


class Block(nn.Module):
    """Two pre-activated 3x3 convolutions beside a shortcut."""

    def __init__(self, norms: list[nn.BatchNorm2d], convolutions: list[SameConv]):
        super().__init__()
        self.norm1, self.norm2 = norms
        self.conv1, self.conv2 = convolutions[:2]
        self.shortcut = convolutions[2] if len(convolutions) > 2 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        activated = functional.relu(self.norm1(x))
        y = self.conv2(functional.relu(self.norm2(self.conv1(activated))))
        return y + (x if self.shortcut is None else self.shortcut(activated))


class Member(nn.Module):
    """One network: features and raw outputs of scaled stamps (object, band, y, x)."""

    def __init__(self, kernels: list[np.ndarray], norms: list[list[np.ndarray]], head: list[np.ndarray]):
        super().__init__()
        self.stem = SameConv(kernels[0], 2)
        self.blocks, rest, stage_width = nn.ModuleList(), kernels[1:], kernels[0].shape[-1]
        layers = [normalisation(*values) for values in norms]
        while rest:
            has_shortcut = len(rest) > 2 and rest[2].shape[0] == 1
            stride = 2 if rest[0].shape[-1] != stage_width else 1
            stage_width = rest[0].shape[-1]
            strides = (stride, 1, stride)
            own = [SameConv(kernel, strides[k]) for k, kernel in enumerate(rest[: 3 if has_shortcut else 2])]
            self.blocks.append(Block(layers[:2], own))
            rest, layers = rest[len(own) :], layers[2:]
        (self.norm,) = layers
        self.head = dense(*head)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = functional.relu(self.norm(x))
        features = torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)
        return features, self.head(features)


class Twin(nn.Module):
    """From stamps (object, band, y, x) in nJy to raw outputs (object, value + 1), the last one the squared distance."""

    def __init__(self, weights: dict[str, np.ndarray]):
        """`weights` as benchmarks/hyrax.py writes them: ``member1/kernel_3``, ``member1/norm_3``, ``member1/head_0``, ..."""
        super().__init__()
        self.members = nn.ModuleList()
        while f"member{len(self.members) + 1}/kernel_0" in weights:
            name = f"member{len(self.members) + 1}"
            kernels, norms, head = (_listed(weights, f"{name}/{kind}_") for kind in ("kernel", "norm", "head"))
            self.members.append(Member(kernels, [list(values) for values in norms], head))
        self.n_views = int(weights["n_views"])
        self.white = dense(weights["whitening_0"], weights["whitening_1"])
        self.register_buffer("softening", torch.from_numpy(weights["softening"].astype(np.float32)).view(1, -1, 1, 1))

    def forward(self, stamps: torch.Tensor) -> torch.Tensor:
        return self.scaled(torch.asinh(stamps / self.softening))

    def scaled(self, stamps: torch.Tensor) -> torch.Tensor:
        """Outputs for stamps that are scaled already."""
        outputs, features = [], []
        for member in self.members:
            seen = [member(_view(stamps, *symmetry)) for symmetry in VIEWS[: self.n_views]]
            features.append(seen[0][0])
            outputs += [raw for _, raw in seen]
        white = self.white(torch.cat(features, dim=1))
        return torch.cat([torch.stack(outputs).mean(dim=0), (white**2).mean(dim=1, keepdim=True)], dim=1)


def _view(stamps: torch.Tensor, reverse_y: bool, reverse_x: bool, exchange: bool) -> torch.Tensor:
    axes = [axis for axis, is_reversed in ((2, reverse_y), (3, reverse_x)) if is_reversed]
    stamps = stamps.flip(axes) if axes else stamps
    return stamps.transpose(2, 3) if exchange else stamps


def _listed(weights: dict[str, np.ndarray], prefix: str) -> list[np.ndarray]:
    found = []
    while f"{prefix}{len(found)}" in weights:
        found.append(weights[f"{prefix}{len(found)}"])
    return found
