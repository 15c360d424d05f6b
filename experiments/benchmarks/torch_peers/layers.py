"""Residual networks and heads in PyTorch, module for module those of `jaxret.encoders`, under the same names."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jaxret.encoders.resnet import resnet
from jaxret.errors import ConfigError


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, features: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, features, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)
        _add_shortcut(self, inputs, features, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + _shortcut(self, x), inplace=True)


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut, the stride on the 3x3."""

    expansion = 4

    def __init__(self, inputs: int, features: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, features, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)
        self.conv3 = nn.Conv2d(features, 4 * features, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * features)
        _add_shortcut(self, inputs, 4 * features, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        return F.relu(self.bn3(self.conv3(y)) + _shortcut(self, x), inplace=True)


class ResNet(nn.Module):
    """A residual network of `jaxret.encoders.resnet`, by its name there."""

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        try:
            like = resnet(name)
        except ConfigError as error:
            raise NotImplementedError(f'no peer of {name}') from error
        block = {'basic': BasicBlock, 'bottleneck': BottleneckBlock}[like.block]
        kernel, stride, self.pools = {'imagenet': (7, 2, True), 'small': (5, 2, False), 'coarse': (7, 4, False)}[
            like.stem
        ]
        self.conv1 = nn.Conv2d(channels, like.width, kernel, stride, (kernel - 1) // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(like.width)
        self.blocks = []
        inputs = like.width
        for stage, size in enumerate(like.stage_sizes):
            for index in range(size):
                features = like.width * 2**stage
                made = block(inputs, features, 2 if stage > 0 and index == 0 else 1)
                name, inputs = f'layer{stage + 1}_{index}', features * block.expansion
                self.add_module(name, made)
                self.blocks.append(name)
        self.features = inputs

    def maps(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, F, h, w]."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        if self.pools:
            x = F.max_pool2d(x, 3, 2, 1)
        for name in self.blocks:
            x = getattr(self, name)(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, F]."""
        return self.maps(x).mean((2, 3))


class EmbeddingHead(nn.Module):
    """normalize(W bn(f) + b)."""

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(features)
        self.linear = nn.Linear(features, dim)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.linear(self.bn(x)), dim=-1)


class LinearHead(nn.Module):
    """Linear layers with nothing between them."""

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.count = len(widths)
        for index, width in enumerate(widths, start=1):
            self.add_module(f'layer{index}', nn.Linear(inputs, width))
            inputs = width

    def forward(self, x: Tensor) -> Tensor:
        for index in range(self.count):
            x = getattr(self, f'layer{index + 1}')(x)
        return x


class MLP(nn.Module):
    """Linear, ReLU, linear."""

    def __init__(self, inputs: int, hidden: int, features: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, hidden)
        self.output = nn.Linear(hidden, features)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(F.relu(self.hidden(x)))


def images(batch: Tensor) -> Tensor:
    """Stored images [..., H, W, C], uint8, as float [N, C, H, W] whose memory stays in the order of the channels."""
    return batch.flatten(0, -4).permute(0, 3, 1, 2).float()


def full_precision() -> torch.amp.autocast:
    """Where heads and losses compute, whatever the networks do."""
    return torch.autocast('cuda', enabled=False)


def _add_shortcut(block: nn.Module, inputs: int, features: int, stride: int) -> None:
    block.strided = stride != 1 or inputs != features
    if block.strided:
        block.downsample_conv = nn.Conv2d(inputs, features, 1, stride, bias=False)
        block.downsample_bn = nn.BatchNorm2d(features)


def _shortcut(block: nn.Module, x: Tensor) -> Tensor:
    return block.downsample_bn(block.downsample_conv(x)) if block.strided else x
