"""CMIC in plain PyTorch: what `jaxret.systems.cmic` computes for the presets' contrastive loss and LAB colours."""

import numpy as np
import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from torch_peers.layers import EmbeddingHead, ResNet, full_precision, images

_XYZ_FROM_RGB = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = _XYZ_FROM_RGB.sum(axis=1)


class Encoder(nn.Module):
    """A residual network and an embedding head."""

    def __init__(self, name: str, channels: int, dim: int) -> None:
        super().__init__()
        self.backbone = ResNet(name, channels)
        self.head = EmbeddingHead(self.backbone.features, dim)

    def forward(self, x: Tensor) -> Tensor:
        features = self.backbone(x)
        with full_precision():
            return self.head(features.float())


class CMIC(nn.Module):
    """Photo and view encoders, attention scores, instance and category loss of a batch."""

    def __init__(self, config: ConfigDict, classes: int) -> None:
        super().__init__()
        del classes
        model, loss = config.model, config.loss
        if loss.kind != 'contrastive' or model.pooling != 'attention' or config.color.mode not in ('lab', 'none'):
            raise NotImplementedError('the PyTorch peer has the contrastive loss, attention, and LAB colours or none')
        self.mask, self.colored = model.mask, config.color.mode == 'lab'
        self.temperature, self.category_weight = loss.temperature, loss.category_weight
        self.correction = loss.sampling_correction
        channels = 4 if self.mask in ('channel', 'both') else 3
        self.query = Encoder(model.query_encoder, channels, model.embedding_dim)
        self.view = nn.ModuleDict({'encoder': Encoder(model.view_encoder, 1, model.embedding_dim)})
        self.attention = nn.ModuleDict({'projection': nn.Linear(model.embedding_dim, model.embedding_dim, bias=False)})
        self.register_buffer('to_xyz', torch.tensor(_XYZ_FROM_RGB / _WHITE[:, None], dtype=torch.float32))
        self.register_buffer('from_xyz', torch.tensor(np.linalg.inv(_XYZ_FROM_RGB) * _WHITE, dtype=torch.float32))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        with full_precision():
            photos, mask = images(batch['image']) / 255, images(batch['mask']) / 255
            if self.colored:
                photos = self.transfer_colors(photos)
            photos = photos * 2 - 1
            if self.mask in ('multiply', 'both'):
                photos = photos * mask
            if self.mask in ('channel', 'both'):
                photos = torch.cat([photos, mask], dim=1)
            views = images(batch['views']) / 127.5 - 1
        queries, gallery = self.query(photos), self.view['encoder'](views)
        with full_precision():
            return self.losses(queries, gallery.unflatten(0, batch['views'].shape[:2]), batch)

    def losses(self, queries: Tensor, gallery: Tensor, batch: dict[str, Tensor]) -> Tensor:
        projected = self.attention['projection'](queries)
        weights = torch.einsum('qd,gvd->qgv', projected, gallery).softmax(-1)
        scores = (weights * torch.einsum('qd,gvd->qgv', queries, gallery)).sum(-1)
        own = batch['positive'][:, None] == torch.arange(scores.shape[1], device=scores.device)
        same = (batch['query_category'][:, None] == batch['shape_category'][None]) | own
        logits = scores
        if self.correction:
            logits = scores - self.temperature * batch['shape_inclusion'].log()[None]
        instance = F.cross_entropy(logits / self.temperature, batch['positive'].long())
        surprise = -F.log_softmax(scores / self.temperature, dim=1)
        category = torch.where(same, surprise, 0.0).sum(1) / same.sum(1)
        counted = ~same.all(1)
        category = torch.where(counted, category, 0.0).sum() / counted.sum().clamp(min=1)
        return instance + self.category_weight * category

    @torch.no_grad()
    def transfer_colors(self, photos: Tensor) -> Tensor:
        """Gives every photo [B, 3, H, W] in [0, 1] the LAB mean and deviation of another one of the batch."""
        lab = self.to_lab(photos)
        std, mean = torch.std_mean(lab, dim=(2, 3), keepdim=True)
        std = std.clamp(min=1e-3)
        style = torch.randperm(len(photos), device=photos.device)
        return self.to_rgb((lab - mean) * (std[style] / std) + mean[style]).clamp(0, 1)

    def to_lab(self, rgb: Tensor) -> Tensor:
        linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
        xyz = torch.einsum('bchw,dc->bdhw', linear, self.to_xyz)
        f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=1e-9) ** (1 / 3), xyz * (841 / 108) + 4 / 29)
        x, y, z = f.unbind(1)
        return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)

    def to_rgb(self, lab: Tensor) -> Tensor:
        y = (lab[:, 0] + 16) / 116
        f = torch.stack([y + lab[:, 1] / 500, y, y - lab[:, 2] / 200], dim=1)
        xyz = torch.where(f > 6 / 29, f**3, (f - 4 / 29) * (108 / 841))
        linear = torch.einsum('bchw,dc->bdhw', xyz, self.from_xyz)
        return torch.where(linear > 0.0031308, 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055, 12.92 * linear)
