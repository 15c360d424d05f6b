"""A train step in PyTorch as one would write it."""

import contextlib
from collections.abc import Mapping

import numpy as np
import torch
from ml_collections import ConfigDict
from torch import nn


class TorchStep:
    """Loss, gradients, optimizer, moving average; on a GPU in channels-last order, autocast and compiled."""

    def __init__(
        self, module: nn.Module, config: ConfigDict, batch: Mapping[str, np.ndarray], *, groups: Mapping[str, str]
    ) -> None:
        """Puts the module and the batch on the device.

        Args:
          module: batch -> scalar loss.
          config: with `optimizer`, and the groups named in `groups`.
          batch: in host memory.
          groups: config group of the optimizer by top-level name of parameters that have one of their own.
        """
        self._cuda = torch.cuda.is_available()
        device = torch.device('cuda' if self._cuda else 'cpu')
        for layer in module.modules():  # images lie in this order already; so do the kernels then
            if isinstance(layer, nn.Conv2d):
                layer.to(memory_format=torch.channels_last)
        self.module = module.to(device).train()
        self._batch = {name: torch.from_numpy(np.asarray(value)).to(device) for name, value in batch.items()}
        self._optimizers = [
            _optimizer(config[groups[name]] if name else config.optimizer, parameters)
            for name, parameters in _grouped(module, groups).items()
        ]
        self._decay = config.optimizer.average_decay
        self._live = list(module.parameters())
        self._average = [x.detach().clone() for x in self._live] if self._decay else []
        self._half = self._cuda and config.model.dtype == 'bfloat16'
        self._loss = torch.compile(module) if self._cuda else module
        if self._cuda:
            torch.backends.cudnn.benchmark = True

    def __call__(self) -> torch.Tensor:
        """One step; waits for it, and returns its loss."""
        with torch.autocast('cuda', torch.bfloat16) if self._half else contextlib.nullcontext():
            loss = self._loss(self._batch)
        loss.backward()
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if self._average:
            torch._foreach_lerp_(self._average, [x.detach() for x in self._live], 1 - self._decay)
        if self._cuda:
            torch.cuda.synchronize()
        return loss.detach()

    def peak_mib(self) -> float | None:
        """Most memory that PyTorch held on the GPU so far; None on CPUs, where it does not say."""
        return torch.cuda.max_memory_allocated() / 2**20 if self._cuda else None


def _grouped(module: nn.Module, groups: Mapping[str, str]) -> dict[str, list[nn.Parameter]]:
    """Parameters by the name of their own optimizer, '' for the others."""
    found: dict[str, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        top = name.partition('.')[0]
        found.setdefault(top if top in groups else '', []).append(parameter)
    return found


def _optimizer(config: ConfigDict, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Fused, with the config's first learning rate; no decay of biases and of normalisation."""
    parts = [
        {'params': [x for x in parameters if x.ndim > 1], 'weight_decay': config.weight_decay},
        {'params': [x for x in parameters if x.ndim <= 1], 'weight_decay': 0.0},
    ]
    parts = [part for part in parts if part['params']]
    if config.name == 'adam':
        return torch.optim.AdamW(parts, lr=config.learning_rate, betas=(config.b1, config.b2), fused=True)
    return torch.optim.SGD(
        parts, lr=config.learning_rate, momentum=config.momentum, nesterov=config.nesterov, fused=True
    )
