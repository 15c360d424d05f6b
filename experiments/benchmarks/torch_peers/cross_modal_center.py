"""Cross-modal centers in plain PyTorch: what `jaxret.systems.cross_modal_center` computes for its presets.

Layers over pairs of neighbours are split as there, W applied to points and not to pairs; PyTorch gains from it too.
"""

import math

import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from jaxret.encoders.pointwise import scaled
from torch_peers.layers import MLP, ResNet, full_precision, images

SIGMA = 0.2  # of the face kernel correlation


class PointwiseLayer(nn.Module):
    """act(bn(W x)) of the last axis."""

    def __init__(self, inputs: int, features: int, *, bias: bool = False, slope: float = 0.0) -> None:
        super().__init__()
        self.linear, self.bn, self.slope = nn.Linear(inputs, features, bias=bias), nn.BatchNorm1d(features), slope

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return F.leaky_relu(_normalized(self.bn, y), self.slope)


class PairConvolution(nn.Module):
    """max over neighbours of act(bn(W [pair])): [x_j - x_i, x_i] for point clouds, [x_i, x_j] for faces."""

    def __init__(
        self, inputs: int, features: int, *, differences: bool, bias: bool = False, slope: float = 0.0
    ) -> None:
        super().__init__()
        bound = 1 / math.sqrt(2 * inputs)
        self.kernel = nn.Parameter(torch.empty(2 * inputs, features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(features)) if bias else None
        self.bn, self.differences, self.slope = nn.BatchNorm1d(features), differences, slope

    def forward(self, x: Tensor, neighbors: Tensor) -> Tensor:
        first, second = self.kernel.chunk(2)
        around, own = (first, second - first) if self.differences else (second, first)
        center = x @ own if self.bias is None else x @ own + self.bias
        pairs = _gathered(x @ around, neighbors) + center[:, :, None]
        return F.leaky_relu(_normalized(self.bn, pairs), self.slope).amax(2)


class FeatureHead(nn.Module):
    """relu(bn(W x)) of one feature an object."""

    def __init__(self, inputs: int, dim: int) -> None:
        super().__init__()
        self.linear, self.bn = nn.Linear(inputs, dim, bias=False), nn.BatchNorm1d(dim)

    def forward(self, x: Tensor) -> Tensor:
        with full_precision():
            return F.relu(self.bn(self.linear(x.float())))


class ImageBranch(nn.Module):
    """Views [B, V, S, S, 1] to features [B, D]."""

    def __init__(self, name: str, dim: int) -> None:
        super().__init__()
        self.trunk = ResNet(name, 1)
        self.head = PointwiseLayer(self.trunk.features, dim)

    def forward(self, views: Tensor) -> Tensor:
        features = self.trunk(images(views) / 127.5 - 1)
        with full_precision():
            return self.head(features.float()).unflatten(0, views.shape[:2]).mean(1)


class DGCNN(nn.Module):
    """Point clouds [B, N, 3] to features [B, D]."""

    def __init__(self, dim: int, neighbors: int, width: float) -> None:
        super().__init__()
        self.neighbors, inputs, total = neighbors, 3, 0
        for index, features in enumerate((64, 64, 128, 256), start=1):
            features = scaled(features, width)
            self.add_module(f'edge{index}', PairConvolution(inputs, features, differences=True, slope=0.2))
            inputs, total = features, total + features
        self.fusion = PointwiseLayer(total, scaled(1024, width), slope=0.2)
        self.head = FeatureHead(2 * scaled(1024, width), dim)

    def forward(self, points: Tensor) -> Tensor:
        x, layers, count = points, [], min(self.neighbors, points.shape[1])
        for index in range(1, 5):
            with torch.no_grad():
                nearest = torch.cdist(x.float(), x.float()).topk(count, largest=False).indices
            x = getattr(self, f'edge{index}')(x, nearest)
            layers.append(x)
        y = self.fusion(torch.cat(layers, -1))
        return self.head(torch.cat([y.amax(1), y.mean(1)], 1))


class FaceRotateConvolution(nn.Module):
    """Features of corners [B, F, 9] that do not depend on which is first."""

    def __init__(self, inner: int, features: int) -> None:
        super().__init__()
        self.rotate1, self.rotate2 = PointwiseLayer(6, inner, bias=True), PointwiseLayer(inner, inner, bias=True)
        self.fuse1 = PointwiseLayer(inner, features, bias=True)
        self.fuse2 = PointwiseLayer(features, features, bias=True)

    def forward(self, corners: Tensor) -> Tensor:
        v = corners.unflatten(-1, (3, 3))
        x = self.rotate2(self.rotate1(torch.cat([v, v.roll(-1, 2)], -1)))
        return self.fuse2(self.fuse1(x.mean(2)))


class FaceKernelCorrelation(nn.Module):
    """How well normals of a face and its neighbours match learned directions."""

    def __init__(self, kernels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(math.pi * torch.rand(kernels, 4))
        self.beta = nn.Parameter(2 * math.pi * torch.rand(kernels, 4))
        self.bn = nn.BatchNorm1d(kernels)

    def forward(self, normals: Tensor, neighbors: Tensor) -> Tensor:
        a, b = self.alpha, self.beta
        directions = torch.stack([a.sin() * b.cos(), a.sin() * b.sin(), a.cos()], -1)
        cosines = torch.einsum('bfc,mkc->bfmk', normals, directions)
        lengths = normals.square().sum(-1)[:, :, None, None]
        matches = ((2 * cosines - lengths - 1) / (2 * SIGMA**2)).exp().sum(-1)
        return F.relu(_normalized(self.bn, (matches + _gathered(matches, neighbors).sum(2)) / 16))


class MeshConvolution(nn.Module):
    """New spatial and structural features of faces."""

    def __init__(self, spatial: int, structural: int, outputs: int) -> None:
        super().__init__()
        self.combine = PointwiseLayer(spatial + structural, outputs, bias=True)
        self.concatenate = PairConvolution(structural, structural, differences=False, bias=True)
        self.aggregate = PointwiseLayer(structural, outputs, bias=True)

    def forward(self, spatial: Tensor, structural: Tensor, neighbors: Tensor) -> tuple[Tensor, Tensor]:
        around = self.concatenate(structural, neighbors)
        return self.combine(torch.cat([spatial, structural], -1)), self.aggregate(around)


class MeshNet(nn.Module):
    """Meshes, faces [B, F, 15] and their neighbours [B, F, 3], to features [B, D]."""

    def __init__(self, dim: int, width: float) -> None:
        super().__init__()

        def size(channels: int) -> int:
            return scaled(channels, width)

        def layer(inputs: int, features: int) -> PointwiseLayer:
            return PointwiseLayer(inputs, features, bias=True)

        structural = size(64) + size(64) + 3
        self.spatial1, self.spatial2 = layer(3, size(64)), layer(size(64), size(64))
        self.rotate = FaceRotateConvolution(size(32), size(64))
        self.correlate = FaceKernelCorrelation(size(64))
        self.structural1, self.structural2 = layer(structural, structural), layer(structural, structural)
        self.convolution1 = MeshConvolution(size(64), structural, size(256))
        self.convolution2 = MeshConvolution(size(256), size(256), size(512))
        self.fusion = layer(2 * size(512), size(1024))
        self.concatenation = layer(size(256) + size(512) + size(1024), size(1024))
        self.head = FeatureHead(size(1024), dim)

    def forward(self, faces: Tensor, neighbors: Tensor) -> Tensor:
        centers, corners, normals = faces.split((3, 9, 3), -1)
        spatial = self.spatial2(self.spatial1(centers))
        structural = torch.cat([self.rotate(corners), self.correlate(normals, neighbors), normals], -1)
        structural = self.structural2(self.structural1(structural))
        spatial1, structural = self.convolution1(spatial, structural, neighbors)
        spatial2, structural = self.convolution2(spatial1, structural, neighbors)
        spatial3 = self.fusion(torch.cat([spatial2, structural], -1))
        return self.head(self.concatenation(torch.cat([spatial1, spatial2, spatial3], -1)).amax(1))


class CrossModalCenter(nn.Module):
    """Image, mesh and point encoders; labels, centers with noise or without, SimSiam or mean squared differences."""

    def __init__(self, config: ConfigDict, classes: int) -> None:
        super().__init__()
        model, self.loss = config.model, config.loss
        if (
            model.point_encoder != 'dgcnn'
            or self.loss.reduction != 'mean'
            or self.loss.squared
            or self.loss.noise != 'center'
            or self.loss.alignment == 'none'
        ):
            raise NotImplementedError('the PyTorch peer has DGCNN, means, and plain distances to centers')
        dim = model.embedding_dim
        self.image, self.mesh = ImageBranch(model.image_encoder, dim), MeshNet(dim, model.mesh_width)
        self.point = DGCNN(dim, model.neighbors, model.point_width)
        self.centers = nn.Parameter(torch.randn(classes, dim))
        self.classifier = MLP(dim, model.label_hidden, classes)
        if self.loss.alignment == 'simsiam':
            self.projector = MLP(dim, model.projection_hidden, dim)
            self.predictor = MLP(dim, model.projection_hidden, dim)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        points, faces = batch['points'], batch['faces']
        if self.training:
            points, faces = self.augment(points, faces)
        features = [self.image(batch['image']), self.mesh(faces, batch['neighbors'].long()), self.point(points)]
        with full_precision():
            features, labels = torch.stack(features).float(), batch['label'].long()
            logits, weights = self.classifier(features), self.loss
            label = F.cross_entropy(logits.flatten(0, 1), labels.repeat(3)) * 3
            return (
                weights.label_weight * label
                + weights.center_weight * self.center_loss(features, labels)
                + weights.alignment_weight * self.alignment_loss(features)
            )

    def center_loss(self, features: Tensor, labels: Tensor) -> Tensor:
        own, weights = self.centers[labels], self.loss
        if weights.center == 'center':
            return (features - own).square().sum(-1).clamp(1e-12, 1e12).mean()
        noise = weights.noise_mean + weights.sigma * torch.randn_like(self.centers)[labels]
        clean, noisy = (features - own).norm(dim=-1), (features - own - noise).norm(dim=-1)
        return (weights.clean_weight * clean + weights.noisy_weight * noisy).mean()

    def alignment_loss(self, features: Tensor) -> Tensor:
        pairs = [(i, j) for i in range(3) for j in range(i + 1, 3)]
        if self.loss.alignment == 'mse':
            return sum(F.mse_loss(features[i], features[j]) for i, j in pairs)
        projected = self.projector(features)
        predicted, targets = self.predictor(projected), projected.detach()
        return (
            -sum(
                F.cosine_similarity(predicted[i], targets[j], dim=-1).mean()
                + F.cosine_similarity(predicted[j], targets[i], dim=-1).mean()
                for i, j in pairs
            )
            / 6
        )

    @torch.no_grad()
    def augment(self, points: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Points stretched, shifted, turned and jittered; centres and corners of faces jittered."""
        shape = (len(points), 1, 3)
        points = points * points.new_empty(shape).uniform_(2 / 3, 3 / 2) + points.new_empty(shape).uniform_(-0.2, 0.2)
        angle = points.new_empty(len(points), 1).uniform_(-math.pi, math.pi)
        x, y, z = points.unbind(-1)
        points = torch.stack([x * angle.cos() + z * angle.sin(), y, z * angle.cos() - x * angle.sin()], -1)
        points = points + (0.01 * torch.randn_like(points)).clamp(-0.02, 0.02)
        moved = faces[..., :12] + (0.01 * torch.randn_like(faces[..., :12])).clamp(-0.05, 0.05)
        return points, torch.cat([moved, faces[..., 12:]], -1)


def _normalized(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    return norm(x.flatten(0, -2)).view(x.shape)


def _gathered(x: Tensor, neighbors: Tensor) -> Tensor:
    """[B, N, C] and [B, N, K] -> [B, N, K, C]."""
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    return x[batch, neighbors]
