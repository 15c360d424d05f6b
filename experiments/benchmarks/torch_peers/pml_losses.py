"""pytorch-metric-learning's losses that compute what a case of `loss_cases` does, queries against a gallery."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from loss_cases import MARGIN, TEMPERATURE
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance


@dataclass(frozen=True)
class Peer:
    """A loss there.

    Attributes:
      name: what it is called there, with its miner.
      labels: key of the labels.
      loss: function of embeddings, labels, indices, reference embeddings and labels.
      miner: chooses pairs or triplets, or None.
      numbers: a lower bound of the bytes that it holds at once, by batch; from reading its code.
    """

    name: str
    labels: str
    loss: Callable[..., torch.Tensor]
    miner: Callable[..., tuple[torch.Tensor, ...]] | None
    numbers: Callable[[int], float]


def _pairs(batch: int) -> float:
    return 24.0 * batch**2


def _triplets(batch: int) -> float:
    """All triplets of one positive an anchor: a mask over B^3 where that is below 2^31, then a loop; their indices."""
    return (batch**3 if batch**3 < 2**31 else 0) + 60.0 * batch**2


def _triplet(
    name: str,
    labels: str,
    miner: Callable[..., tuple[torch.Tensor, ...]],
    numbers: Callable[[int], float],
    distance: Callable[[], torch.nn.Module] = CosineSimilarity,
) -> Peer:
    return Peer(
        f'TripletMarginLoss, {name}',
        labels,
        losses.TripletMarginLoss(margin=MARGIN, distance=distance()),
        miner,
        numbers,
    )


def _euclidean() -> LpDistance:
    return LpDistance(normalize_embeddings=False)


def _margin_miner(kind: str) -> miners.TripletMarginMiner:
    return miners.TripletMarginMiner(margin=MARGIN, type_of_triplets=kind, distance=CosineSimilarity())


# Case -> peers.
PEERS: dict[str, tuple[Peer, ...]] = {
    'info_nce': (
        Peer('NTXentLoss', 'instance', losses.NTXentLoss(temperature=TEMPERATURE), None, lambda batch: 20.0 * batch**3),
        Peer('SupConLoss, one positive', 'instance', losses.SupConLoss(temperature=TEMPERATURE), None, _pairs),
    ),
    'supervised_contrastive': (
        Peer('SupConLoss', 'category', losses.SupConLoss(temperature=TEMPERATURE), None, _pairs),
    ),
    'triplet_all': (_triplet('TripletMarginMiner all', 'instance', _margin_miner('all'), _triplets),),
    'triplet_semi_hard': (_triplet('TripletMarginMiner semihard', 'instance', _margin_miner('semihard'), _triplets),),
    'triplet_batch_hard': (
        _triplet('BatchHardMiner', 'category', miners.BatchHardMiner(distance=CosineSimilarity()), _pairs),
    ),
    'contrastive': (
        Peer(
            'ContrastiveLoss',
            'instance',
            losses.ContrastiveLoss(pos_margin=0, neg_margin=1.4, distance=_euclidean()),
            None,
            lambda batch: 48.0 * batch**2,
        ),
    ),
    'hardest_triplet': (
        _triplet('BatchHardMiner', 'instance', miners.BatchHardMiner(distance=_euclidean()), _pairs, _euclidean),
    ),
}


class Step:
    """Value and gradients of a peer's loss on fixed arrays."""

    def __init__(self, peer: Peer, arrays: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]) -> None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self._peer, self._cuda = peer, device == 'cuda'
        self.queries, self.gallery = (
            torch.tensor(arrays[name], device=device, requires_grad=True) for name in ('queries', 'gallery')
        )
        self._labels = torch.tensor(labels[peer.labels], dtype=torch.long, device=device)

    def __call__(self) -> float:
        """The loss; gradients are left in `queries` and `gallery`."""
        self.queries.grad = self.gallery.grad = None
        own, every = self._labels, self._labels.clone()  # one object as both would mean one set of embeddings
        indices = None if self._peer.miner is None else self._peer.miner(self.queries, own, self.gallery, every)
        loss = self._peer.loss(self.queries, own, indices, self.gallery, every)
        loss.backward()
        if self._cuda:
            torch.cuda.synchronize()
        return float(loss.detach())
