"""Features of both domains brought together in closed form, fitted on what training may see."""

from functools import partial

import numpy as np
from domain_adaptation.comparators import compared_features
from domain_adaptation.data import DomainData
from domain_adaptation.embedding import Pictures

from jaxret.baselines import domain_alignment, meda
from jaxret.baselines.prototypes import prototypes
from jaxret.systems.base import Variables
from jaxret.training.embedder import Embedder

# How they are aligned, and how many items of a domain that takes.
ALIGNMENTS = {
    'coral': (domain_alignment.coral, domain_alignment.MAX_ITEMS),
    'jgsa': (domain_alignment.jgsa, domain_alignment.MAX_ITEMS),
    'meda': (meda.meda, meda.MAX_ITEMS),
    'prototypes': (prototypes, domain_alignment.MAX_ITEMS),
}


def aligned_embeddings(
    data: DomainData, pictures: Pictures, embedder: Embedder, variables: Variables
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of the test photos [Q, D] and of the gallery [G, D], aligned where `evaluation.alignment` says so.

    'prototypes' needs nothing that is trained: where the network is frozen, it is of its features.
    """
    method = pictures.config.evaluation.alignment
    embed = partial(pictures.embed, embedder, variables)
    if method == 'prototypes' and pictures.frozen:
        embed = partial(compared_features, pictures)
    queries, found = embed(data.photos['test'], 'test'), embed(data.shapes['gallery'], 'gallery')
    if method == 'none':
        return queries, found
    known, shapes = data.photos['train'], data.shapes['train']
    align = ALIGNMENTS[method][0]
    fitted = align(embed(known, 'train'), known.label, embed(shapes, 'train'), seed=pictures.config.seed)
    return fitted.source(queries), fitted.target(found)
