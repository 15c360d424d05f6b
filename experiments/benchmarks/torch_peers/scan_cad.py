"""The scan-CAD hourglasses in plain PyTorch: what `jaxret.systems.scan_cad` computes for its presets."""

from collections.abc import Sequence

import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from jaxret.augmentation.grids import rotation_table
from jaxret.systems.scan_cad_config import make_networks
from torch_peers.layers import full_precision

SIDE = 32


class ResidualBlock3D(nn.Module):
    """x + conv2(relu(bn2(conv1(relu(bn1(x))))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm3d(channels), nn.BatchNorm3d(channels)
        self.conv1, self.conv2 = (nn.Conv3d(channels, channels, 3, padding=1, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.bn1(x), inplace=True))
        return x + self.conv2(F.relu(self.bn2(y), inplace=True))


class VoxelEncoder(nn.Module):
    """Grids [B, 1, 32, 32, 32] to vectors [B, C], and the cells on the way."""

    def __init__(self, channels: Sequence[int], coarse: bool) -> None:
        super().__init__()
        *levels, last = channels
        self.coarse, self.levels = coarse, len(levels)
        inputs = 1
        if not coarse:
            self.conv0 = nn.Conv3d(1, levels[0], 7, padding=3, bias=False)
            inputs = levels[0]
        for level, features in enumerate(levels):
            if level > 0 or not coarse:
                self.add_module(f'bn{level}', nn.BatchNorm3d(inputs))
            self.add_module(f'conv{level + 1}', nn.Conv3d(inputs, features, 4, 2, 1, bias=False))
            self.add_module(f'block{level + 1}', ResidualBlock3D(features))
            inputs = features
        self.bn4, self.bn5 = nn.BatchNorm3d(inputs), nn.BatchNorm3d(last)
        self.conv5 = nn.Conv3d(inputs, last, 2, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        if not self.coarse:
            x = self.conv0(x)
        cells = [x]
        for level in range(self.levels):
            if level > 0 or not self.coarse:
                x = getattr(self, f'bn{level}')(F.relu(x))
            x = getattr(self, f'block{level + 1}')(getattr(self, f'conv{level + 1}')(x))
            cells.append(x)
        return self.bn5(self.conv5(self.bn4(F.relu(x)))).flatten(1), cells


class VoxelDecoder(nn.Module):
    """Vectors to logits of grids [B, 32, 32, 32]; with cells, these come in through 1^3 convolutions."""

    def __init__(self, inputs: int, channels: Sequence[int], coarse: bool, cells: Sequence[int]) -> None:
        super().__init__()
        first, *levels = (*channels[:-1], 1) if coarse else channels
        self.coarse, self.levels, self.skips = coarse, len(levels), bool(cells)
        self.conv0 = nn.ConvTranspose3d(inputs, first, 2, bias=False)
        outputs, side = [first, *levels], 2
        for index, source in zip(range(len(outputs)), reversed(cells), strict=False):
            self.add_module(f'skip{side * 2**index}', nn.Conv3d(source, outputs[index], 1, bias=False))
        for level, features in enumerate(levels, start=1):
            self.add_module(f'block{level}', ResidualBlock3D(outputs[level - 1]))
            self.add_module(f'conv{level}', nn.ConvTranspose3d(outputs[level - 1], features, 4, 2, 1, bias=False))
            if level < len(levels) or not coarse:
                self.add_module(f'bn{level}', nn.BatchNorm3d(features))
        if not coarse:
            self.conv5 = nn.ConvTranspose3d(outputs[-1], 1, 7, padding=3, bias=False)

    def forward(self, vectors: Tensor, cells: list[Tensor]) -> Tensor:
        def joined(x: Tensor) -> Tensor:
            return x + getattr(self, f'skip{x.shape[-1]}')(left.pop()) if self.skips else x

        left = list(cells)
        x = joined(self.conv0(F.relu(vectors)[..., None, None, None]))
        for level in range(1, self.levels + 1):
            x = getattr(self, f'conv{level}')(getattr(self, f'block{level}')(x))
            if level < self.levels or not self.coarse:
                x = getattr(self, f'bn{level}')(F.relu(x))
            x = joined(x)
        return (x if self.coarse else self.conv5(x))[:, 0].float()


class Hourglass(nn.Module):
    """An encoder, and decoders that share its vector."""

    def __init__(self, encoder: Sequence[int], decoder: Sequence[int], decoders: int, coarse: bool, skip: bool) -> None:
        super().__init__()
        self.decoders, self.encoder = decoders, VoxelEncoder(encoder, coarse)
        cells = [1 if coarse else encoder[0], *encoder[:-1]] if skip else []
        for index in range(decoders):
            self.add_module(f'decoder{index}', VoxelDecoder(encoder[-1] // decoders, decoder, coarse, cells))

    def forward(self, grids: Tensor) -> list[Tensor]:
        vectors, cells = self.encoder(grids)
        return [
            getattr(self, f'decoder{index}')(part, cells)
            for index, part in enumerate(vectors.chunk(self.decoders, dim=1))
        ]


class ScanCad(nn.Module):
    """Separation, completion and embedding of scans; losses of their cells and of the embeddings' distances."""

    def __init__(self, config: ConfigDict, classes: int) -> None:
        super().__init__()
        del classes
        model, self.loss, change = config.model, config.loss, config.augmentation
        if (
            model.variant != 'hourglass'
            or self.loss.metric not in ('triplet', 'contrastive')
            or self.loss.squared
            or self.loss.negatives not in ('all', 'random')
            or self.loss.finetune != 'none'
            or self.loss.repulsion
            or self.loss.reduction != 'mean_all'
            or model.input_sigmoid
        ):
            raise NotImplementedError('the PyTorch peer has the hourglass with triplet or contrastive loss')
        like, coarse = make_networks(model, None), model.stem == 'coarse'
        for name in ('separation', 'completion'):
            hourglass = like[name]
            self.add_module(
                name,
                Hourglass(
                    hourglass.encoder_channels, hourglass.decoder_channels, hourglass.decoders, coarse, model.skip
                ),
            )
        self.embedding = VoxelEncoder(like['embedding'].channels, coarse)
        self.normalize, self.flip, self.jitter = model.normalize, change.flip, change.jitter
        self.register_buffer('table', torch.from_numpy(rotation_table(SIDE, change.rotations)).long())

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        scan, mask, cad = self.augment(torch.stack([batch[name] for name in ('scan', 'mask', 'cad')], dim=1)).unbind(1)
        grids = (scan > 0).float()[:, None]
        foreground, background = self.separation(grids)
        (completion,) = self.completion(foreground.sigmoid()[:, None])
        both = torch.cat([completion.sigmoid()[:, None], (cad > 0).float()[:, None]])
        embeddings = self.embedding(both)[0]
        with full_precision():
            targets = (
                (foreground, mask > 0, 'foreground'),
                (background, (scan > 0) & (mask == 0), 'background'),
                (completion, cad > 0, 'completion'),
            )
            total = sum(
                self.loss[f'{name}_weight']
                * F.binary_cross_entropy_with_logits(logits, target.float(), pos_weight=self.occupied_weight(logits))
                for logits, target, name in targets
            )
            embeddings = embeddings.float()
            if self.normalize:
                embeddings = F.normalize(embeddings, dim=1)
            return total + self.loss.metric_weight * self.metric(*embeddings.chunk(2), batch)

    def occupied_weight(self, logits: Tensor) -> Tensor | None:
        weight = self.loss.occupied_weight
        return None if weight == 1 else torch.tensor(weight, device=logits.device)

    def metric(self, scans: Tensor, cads: Tensor, batch: dict[str, Tensor]) -> Tensor:
        distances, loss = torch.cdist(scans, cads), self.loss
        same = batch['category'][:, None] == batch['category'][None]
        pairs = batch['instance'][:, None] != batch['instance'][None]
        margins = torch.where(same, loss.margin_same_class, loss.margin_negative)
        positive = distances.diagonal()
        if loss.negatives == 'random':
            draws = torch.rand_like(distances).masked_fill(same | ~pairs, -1)
            chosen = F.one_hot(draws.argmax(1), len(cads)).bool() & ~same & pairs
        else:
            chosen = pairs if loss.margin_same_class > 0 else pairs & ~same
        if loss.metric == 'triplet':
            return _mean((positive[:, None] - distances + margins).relu(), chosen)
        return (positive - loss.margin_positive).relu().mean() + _mean((margins - distances).relu(), chosen)

    @torch.no_grad()
    def augment(self, grids: Tensor) -> Tensor:
        """Turns, mirrors and shifts each object's grids [B, 3, X, Y, Z] alike."""
        if len(self.table) == 1 and self.flip == 0 and self.jitter == 0:
            return grids
        count, device, steps = len(grids), grids.device, torch.arange(SIDE, device=grids.device)
        angle = torch.randint(len(self.table), (count,), device=device)
        mirrored = torch.rand(count, device=device) < self.flip
        shift = torch.randint(-self.jitter, self.jitter + 1, (count, 3), device=device)
        x, y, z = (steps - shift[:, axis, None] for axis in range(3))
        inside = ((x >= 0) & (x < SIDE))[:, :, None] & ((z >= 0) & (z < SIDE))[:, None]
        x = torch.where(mirrored[:, None], SIDE - 1 - x, x)
        place = (x[:, :, None] * SIDE + z[:, None]).clamp(0, SIDE**2 - 1).flatten(1)
        source = torch.where(inside.flatten(1), self.table[angle].gather(1, place), SIDE**2)
        layer = torch.where((y >= 0) & (y < SIDE), y, SIDE)
        flat = F.pad(grids.transpose(3, 4).flatten(2, 3), (0, 1, 0, 1))  # [B, 3, X Z + 1, Y + 1]
        moved = flat.take_along_dim(source[:, None, :, None], 2).take_along_dim(layer[:, None, None], 3)
        return moved.unflatten(2, (SIDE, SIDE)).transpose(3, 4)


def _mean(values: Tensor, pairs: Tensor) -> Tensor:
    return (values * pairs).sum() / pairs.sum().clamp(min=1)
