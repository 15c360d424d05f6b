"""A CMIC query in plain PyTorch, in its parts: encode, score, sort."""

import numpy as np
import torch
from torch import Tensor

from torch_peers.cmic import CMIC
from torch_peers.layers import full_precision, images


class TorchQuery:
    """One photo against a gallery of view embeddings [G, V, D], on the GPU where there is one; calls wait for it."""

    def __init__(self, network: CMIC, arrays: dict[str, np.ndarray], views: np.ndarray) -> None:
        self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        self.network = network.to(self.device).to(memory_format=torch.channels_last).eval()
        self.arrays, self.views = arrays, torch.from_numpy(views).to(self.device)
        self.query = self.encode()
        self.scores = self.score()

    @torch.inference_mode()
    def encode(self) -> Tensor:
        """Embedding [1, D] of the photo, its mask as a fourth channel or multiplied in."""
        batch = {name: torch.from_numpy(value[None]).to(self.device) for name, value in self.arrays.items()}
        with full_precision():
            photo, mask = images(batch['image']) / 255 * 2 - 1, images(batch['mask']) / 255
            if self.network.mask in ('multiply', 'both'):
                photo = photo * mask
            if self.network.mask in ('channel', 'both'):
                photo = torch.cat([photo, mask], dim=1)
        return self._wait(self.network.query(photo))

    @torch.inference_mode()
    def score(self) -> Tensor:
        """Scores [G] of all shapes."""
        projected = self.network.attention['projection'](self.query)
        weights = torch.einsum('qd,gvd->qgv', projected, self.views).softmax(-1)
        return self._wait((weights * torch.einsum('qd,gvd->qgv', self.query, self.views)).sum(-1)[0])

    def sort(self) -> np.ndarray:
        """All shapes, best first."""
        return self.scores.argsort(descending=True, stable=True).cpu().numpy()

    def _wait(self, result: Tensor) -> Tensor:
        if self.device.type == 'cuda':
            torch.cuda.synchronize()
        return result
