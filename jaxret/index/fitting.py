"""What an index learns of its references, in closed form: `jaxret fit`.

Two things, each measured on references that it was not learnt of, in five folds:

- a `Whitening` of photos, kept where it ranks the models of held-out photos better, by more than a standard error;
- the background from which a reference speaks for its model (`Fusion.background`), which weighs photos of models with
  known photos against photos of models without.

Then how sure an answer is: the chance that the first one is right, and that the object is none of the index's models,
which is learnt by taking each photo's own model out of the index. Silhouettes raise scores, so it is learnt of photos
with silhouettes or of those without, whichever are more, and is known of such photos alone.

Letters: R references, G shapes, V views, D embedding.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from jaxret.errors import ConfigError, DataError, Problem
from jaxret.index.comparing import Comparison
from jaxret.metrics.intervals import wilson_interval
from jaxret.search.certainty import Certainty, lead, learn_certainty
from jaxret.search.parts import photos_centre
from jaxret.search.references import Fusion, reference_evidence
from jaxret.search.whitening import Whitening, learn_whitening

FOLDS = 5
BACKGROUNDS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
LEAST_AREA = 0.7  # under the ROC curve, below which nothing is said of objects that are not in the index
_WITHOUT = 0.2  # weight of photos of models without known photos: who teaches mostly asks for what was taught
_LEAST_MODELS = 5
_MOST_HELD_OUT = 1000  # references that are asked with


@dataclass(frozen=True)
class Ranks:
    """Rank of the right model for held-out references, in [1, G].

    Attributes:
      known: of photos whose model has other references.
      unknown: of the same photos and others, where their model's references are taken out.
    """

    known: np.ndarray
    unknown: np.ndarray

    @property
    def value(self) -> float:
        """Mean reciprocal rank of both."""
        return float((1 - _WITHOUT) * np.mean(1 / self.known) + _WITHOUT * np.mean(1 / self.unknown))


@dataclass(frozen=True, eq=False)
class Learnt:
    """What was learnt.

    Attributes:
      fusion: with the background that was chosen.
      whitening: of photos; None where it is no better.
      right: chance that the first answer is the right one; None where the references are too few to tell.
      present: chance that the right one is in the index at all; None likewise.
      outlined: whether both are of photos with silhouettes, or of those without.
      references: how many it was learnt of.
      shapes: how many the index had.
    """

    fusion: Fusion
    whitening: Whitening | None
    right: Certainty | None
    present: Certainty | None
    outlined: bool
    references: int
    shapes: int


@dataclass(frozen=True, eq=False)
class Fit(Learnt):
    """What was learnt, and the ranks of held-out references without it (`before`) and with it (`after`)."""

    before: Ranks
    after: Ranks


@dataclass(frozen=True, eq=False)
class _Case:
    """Photos that are compared: vectors [R, D'], owners, scores of the views [R, G], folds, whether silhouetted."""

    vectors: np.ndarray
    owner: np.ndarray
    views: np.ndarray
    fold: np.ndarray
    outlined: np.ndarray


def fit_references(
    comparison: Comparison,
    embeddings: np.ndarray,
    owner: np.ndarray,
    fusion: Fusion,
    *,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> Fit:
    """Learns of references.

    Args:
      comparison: of the index; of the built-in model.
      embeddings: float32 [R, D + C] of the references.
      owner: int [R], the shape of each.
      fusion: how they are pooled without what is learnt.
      seed: of the folds.
      advance: called `2 * FOLDS` times.

    Raises:
      ConfigError: an index of a trained run.
      DataError: too few references.
    """
    if comparison.parts is None:
        raise ConfigError(
            'this index is of a trained run, whose networks are fitted already; `jaxret fit` is for indexes of the '
            'built-in model. Train again with the photos'
        )
    counts = np.bincount(owner, minlength=len(comparison.gallery))
    several = int(np.count_nonzero(counts > 1))
    if several < _LEAST_MODELS:
        raise DataError(
            Problem(
                'known photos',
                f'{several} models have two or more, which is too few to learn of and to measure on',
                f'add photos until {_LEAST_MODELS} models have two: `jaxret index --add-photos`, or on the page',
            )
        )
    case = _case(comparison, embeddings, owner, seed)
    plain, whitened = ([*_cosines(case, whiten=whiten, advance=advance)] for whiten in (False, True))
    before = _ranks(case, plain, fusion)
    best_plain, plain_ranks = _best_background(case, plain, fusion)
    best_white, white_ranks = _best_background(case, whitened, fusion)
    better = _is_better(plain_ranks.known, white_ranks.known)
    chosen, ranks = (best_white, white_ranks) if better else (best_plain, plain_ranks)
    scores = _scores(case, whitened if better else plain, chosen)
    whitening = _whitening(case, np.arange(len(owner))) if better else None
    outlined = bool(2 * case.outlined[case.fold < FOLDS].mean() > 1)
    certainties = _certainties(case, *scores, outlined=outlined)
    return Fit(chosen, whitening, *certainties, outlined, len(owner), len(comparison.gallery), before, ranks)


def _case(comparison: Comparison, embeddings: np.ndarray, owner: np.ndarray, seed: int) -> _Case:
    rng = np.random.default_rng(seed)
    fold = np.full(len(owner), FOLDS)  # of no fold: learnt of, never asked with
    counts, given = np.bincount(owner), 0
    # Pairs first and one after the other, so that no fold takes a photo of each: the whitening needs some whole ones.
    for shape in sorted(np.flatnonzero(counts), key=lambda shape: (counts[shape] != 2, shape)):
        fold[rng.permutation(np.flatnonzero(owner == shape))] = (given + np.arange(counts[shape])) % FOLDS
        given += counts[shape]
    if len(owner) > _MOST_HELD_OUT:
        fold[rng.permutation(len(owner))[_MOST_HELD_OUT:]] = FOLDS
    centre = photos_centre(comparison.centre, embeddings)
    asked = np.flatnonzero(fold < FOLDS)
    views = np.zeros((len(owner), len(comparison.gallery)), np.float32)
    views[asked] = comparison.view_scores(embeddings[asked], centre)
    vectors = comparison.parts.photo_vectors(embeddings, centre)
    return _Case(vectors, owner, views, fold, comparison.outlined(embeddings))


def _cosines(
    case: _Case, *, whiten: bool, advance: Callable[[], None]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of every fold its photos, the others, and the cosines between them."""
    for number in range(FOLDS):
        asked, known = np.flatnonzero(case.fold == number), np.flatnonzero(case.fold != number)
        space = _whitening(case, known) if whiten else None
        space = space or (lambda vectors: vectors)
        yield asked, known, space(case.vectors[asked]) @ space(case.vectors[known]).T
        advance()


def _whitening(case: _Case, rows: np.ndarray) -> Whitening | None:
    """Of some photos; None where those of each model are all the same."""
    try:
        return learn_whitening(case.vectors[rows], case.owner[rows])
    except ValueError:
        return None


def _scores(case: _Case, folds: list, fusion: Fusion) -> tuple[np.ndarray, np.ndarray]:
    """Fused scores of held-out photos [R, G], with all references and without those of the photo's own model."""
    own = np.arange(len(case.owner)), case.owner
    evidence = np.zeros(case.views.shape)
    for asked, known, cosines in folds:
        evidence[asked] = reference_evidence(cosines, case.owner[known], evidence.shape[1], fusion)
    without = evidence.copy()
    without[own] = 0
    views = (1 - fusion.weight) / fusion.view_temperature * case.views
    return views + fusion.weight * evidence, views + fusion.weight * without


def _ranks(case: _Case, folds: list, fusion: Fusion) -> Ranks:
    counts, asked = np.bincount(case.owner), case.fold < FOLDS
    known = asked & (counts[case.owner] > 1)
    with_own, without = _scores(case, folds, fusion)
    own = np.arange(len(case.owner)), case.owner
    ranks, others = (1 + (scores > scores[own][:, None]).sum(axis=1) for scores in (with_own, without))
    return Ranks(ranks[known], others[asked])


def _best_background(case: _Case, folds: list, fusion: Fusion) -> tuple[Fusion, Ranks]:
    choices = [replace(fusion, background=background) for background in BACKGROUNDS]
    measured = [(choice, _ranks(case, folds, choice)) for choice in choices]
    return max(measured, key=lambda pair: pair[1].value)


def _is_better(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether the mean reciprocal rank grew by more than its standard error."""
    gain = 1 / after - 1 / before
    return bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))


def _certainties(
    case: _Case, with_own: np.ndarray, without: np.ndarray, *, outlined: bool
) -> tuple[Certainty | None, Certainty | None]:
    """Chance that the first answer is right, and that the right one is there.

    The first is learnt of photos of models with known photos and without, weighted as in `Ranks.value`; the second of
    photos whose model is in the index and is not, half each.
    """
    asked = (case.fold < FOLDS) & (case.outlined == outlined)
    owner, scores = case.owner[asked], np.concatenate([with_own[asked], without[asked]])
    owners = np.concatenate([owner, owner])
    weights = np.repeat([2 * (1 - _WITHOUT), 2 * _WITHOUT], len(owner))
    right = learn_certainty(lead(scores), scores.argmax(axis=1) == owners, owners, weights=weights)
    absent = with_own[asked].copy()
    absent[np.arange(len(owner)), owner] = -np.inf
    leads = np.concatenate([lead(with_own[asked]), lead(absent)])
    there = np.arange(len(owners)) < len(owner)
    return right, learn_certainty(leads, there, owners)


def told(fit: Fit) -> list[str]:
    """What to say of a fit: figures of held-out references, before and after, with 95 % intervals."""
    lines = [f'{fit.references} known photos; of those held out, in {FOLDS} folds:']
    for name in ('known', 'unknown'):
        photos = 'of models with other known photos' if name == 'known' else 'as if their model had none'
        for when, ranks in (('before', getattr(fit.before, name)), ('after', getattr(fit.after, name))):
            shares = [f'Top-{most} {_share(ranks <= most)}' for most in (1, 10)]
            lines.append(f'  {photos}, {when}: {", ".join(shares)} ({len(ranks)} photos)')
    verdict = 'kept' if fit.whitening is not None else 'not kept: no better than the photos as they are'
    lines.append(f'learnt map of photos {verdict}')
    lines.append(f'a known photo speaks for its model from a likeness of {fit.fusion.background:g} on (background)')
    for what, certainty in (('how sure the first answer is', fit.right), ('what is not in the index', fit.present)):
        if certainty is None:
            lines.append(f'{what}: too few photos to learn')
            continue
        weak = certainty is fit.present and certainty.area < LEAST_AREA
        said = f'not said: that takes {LEAST_AREA:g}' if weak else 'said'
        lines.append(f'{what}: area under the ROC curve {certainty.area:.2f} (0.5 is chance); {said}')
    if fit.right is not None or fit.present is not None:
        which = 'with' if fit.outlined else 'without'
        lines.append(f'both only for photos {which} a mask or plain ground, as most are')
    return lines


def _share(hits: np.ndarray) -> str:
    low, high = wilson_interval(int(hits.sum()), len(hits))
    return f'{hits.mean():.3f} ({low:.3f}-{high:.3f})'
