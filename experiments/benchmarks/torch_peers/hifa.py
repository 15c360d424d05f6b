"""HIFA in plain PyTorch: what `jaxret.systems.hifa` computes for its presets."""

import torch
from ml_collections import ConfigDict
from random_steps import STEPS
from torch import Tensor, nn
from torch.nn import functional as F

from jaxret.encoders.alexnet import ALEXNET_NAMES, alexnet
from torch_peers.layers import LinearHead, ResNet, full_precision, images

_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class AlexNet(nn.Module):
    """Convolutions, and two fully connected layers with dropout before each, of an AlexNet of `jaxret.encoders`."""

    def __init__(self, name: str, dropout: float, side: int) -> None:
        super().__init__()
        like = alexnet(name)
        self.dropout, inputs = dropout, 3
        for index, features in enumerate(like.channels, start=1):
            kernel, stride, padding = like.stem if index == 1 else (5, 1, 2) if index == 2 else (3, 1, 1)
            self.add_module(f'conv{index}', nn.Conv2d(inputs, features, kernel, stride, padding))
            inputs = features
        with torch.no_grad():
            cells = self.maps(torch.zeros(1, 3, side, side)).numel()
        self.fc6, self.fc7 = nn.Linear(cells, like.hidden), nn.Linear(like.hidden, like.hidden)
        self.channels, self.features = inputs, like.hidden

    def maps(self, x: Tensor) -> Tensor:
        for index in range(1, 6):
            x = F.relu(getattr(self, f'conv{index}')(x))
            if index in (1, 2, 5):
                x = F.max_pool2d(x, 3, 2)
        return x

    def pooled(self, maps: Tensor) -> Tensor:
        x = maps.permute(0, 2, 3, 1).flatten(1)
        for layer in (self.fc6, self.fc7):
            x = F.relu(layer(F.dropout(x, self.dropout, self.training)))
        return x


class ResNetMaps(ResNet):
    """A residual network in two parts."""

    def pooled(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


class PairDiscriminator(nn.Module):
    """Score of every map with every embedding; the first layer is a sum of both parts."""

    def __init__(self, map_cells: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.map = nn.Linear(map_cells, hidden, bias=False)
        self.embedding, self.hidden, self.output = (
            nn.Linear(dim, hidden),
            nn.Linear(hidden, hidden),
            nn.Linear(hidden, 1),
        )

    def forward(self, maps: Tensor, embeddings: Tensor) -> Tensor:
        flat = maps.permute(0, 2, 3, 1).flatten(1)
        x = F.relu(self.map(flat)[:, None] + self.embedding(embeddings)[None])
        return self.output(F.relu(self.hidden(x)))[..., 0]


class Hifa(nn.Module):
    """Photos and views through one network; labels, mutual information, norms and running centroids."""

    def __init__(self, config: ConfigDict, classes: int) -> None:
        super().__init__()
        model, self.loss, side = config.model, config.loss, config.data.image_size
        kinds = (self.loss.mutual_information, self.loss.mutual_information_form, self.loss.norm, self.loss.centroid)
        others = (self.loss.adversarial, self.loss.mmd, model.view_pooling, self.loss.centroid_reduction)
        if (
            kinds != ('bce', 'global', 'fixed', 'running')
            or others != ('none', 'none', 'embedding', 'sum')
            or self.loss.coral_weight
        ):
            raise NotImplementedError('the PyTorch peer has HIFA itself, with running centroids')
        if model.backbone in ALEXNET_NAMES:
            self.backbone = AlexNet(model.backbone, model.dropout, side)
        else:
            self.backbone = ResNetMaps(model.backbone, 3)
        dim, hidden = model.embedding_dim, [model.classifier_hidden] if model.classifier_hidden else []
        self.embedding = LinearHead(self.backbone.features, [dim])
        self.classifier = LinearHead(dim, [*hidden, classes])
        with torch.no_grad():
            cells = self.backbone.eval().maps(torch.zeros(1, 3, side, side)).numel()
        self.discriminator = PairDiscriminator(cells, dim, model.discriminator_hidden)
        self.classes = classes
        self.register_buffer('steps', torch.zeros(()))
        self.register_buffer('old', torch.zeros(2, classes, dim))
        self.register_buffer('seen', torch.zeros(2, classes, dtype=torch.bool))
        for name, values in (('mean', _MEAN), ('spread', _SPREAD)):
            self.register_buffer(name, torch.tensor(values)[None, :, None, None])

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        count, (shapes, views) = len(batch['photo']), batch['views'].shape[:2]
        pictures = torch.cat([images(batch['photo']), images(batch['views']).expand(-1, 3, -1, -1)]) / 255
        maps = self.backbone.maps((pictures - self.mean) / self.spread)
        features = self.backbone.pooled(maps)
        with full_precision():
            maps, embedded = maps.float(), self.embedding(features.float())
            photos, each = embedded[:count], embedded[count:]
            pooled = each.unflatten(0, (shapes, views)).amax(1)
            owners = torch.arange(shapes, device=each.device).repeat_interleave(views)
            information = self.information(
                maps[:count], photos, torch.arange(count, device=each.device)
            ) + self.information(maps[count:], each, owners)
            progress = self.steps / STEPS
            norm = sum((x.norm(dim=1).mean() - self.loss.norm_radius) ** 2 for x in (photos, pooled))
            logits = self.classifier(photos)
            pseudo = self.classifier(pooled).argmax(1)
            centroids = self.centroids((photos, batch['label'].long()), (pooled, pseudo))
            ramp = torch.tanh(5 * (progress - self.loss.warmup).clamp(min=0) / (1 - self.loss.warmup))
            adapting = (progress >= self.loss.warmup).float()
            self.steps += 1
            return self.loss.label_weight * F.cross_entropy(logits, batch['label'].long()) + adapting * (
                self.loss.mutual_information_weight * information
                + self.loss.norm_weight * norm
                + ramp * self.loss.centroid_weight * centroids
            )

    def information(self, maps: Tensor, embeddings: Tensor, owners: Tensor) -> Tensor:
        scores = self.discriminator(maps, embeddings)
        fakes = owners[:, None] != owners[None]
        return F.softplus(-scores.diagonal()).mean() + (F.softplus(scores) * fakes).sum() / fakes.sum().clamp(min=1)

    def centroids(self, *sides: tuple[Tensor, Tensor]) -> Tensor:
        """Squared distance of the two sides' running centroids, over classes that both have met."""
        means, seen, momentum = [], [], self.loss.centroid_momentum
        for side, (features, labels) in enumerate(sides):
            members = F.one_hot(labels, self.classes).float()
            present = members.any(0)
            mean = members.T @ features / members.sum(0).clamp(min=1)[:, None]
            mixed = torch.where(self.seen[side, :, None], momentum * self.old[side] + (1 - momentum) * mean, mean)
            means.append(torch.where(present[:, None], mixed, self.old[side]))
            seen.append(self.seen[side] | present)
        counted = (seen[0] & seen[1])[:, None]
        with torch.no_grad():  # new tensors: the gradients still need the old ones
            self.old, self.seen = torch.stack(means), torch.stack(seen)
        return (counted * (means[0] - means[1]) ** 2).sum()
