"""Photo -> CAD model by CMIC."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from experiment import Evaluation, process_share
from frozen_features import FrozenFeatures
from ml_collections import ConfigDict
from photo_to_shape.comparators import (
    reference_vectors,
    splits_with_photos,
    untrained_scores,
    untrained_unseen,
    with_references,
)
from photo_to_shape.data import LAYOUTS, PhotoData, load_photo_data, uses_answer
from photo_to_shape.embedding import Pictures
from photo_to_shape.measures import seen_metrics
from photo_to_shape.pictures import ANSWERS, photo_rankings, print_metrics, query_cards, query_planes, unseen_cards
from photo_to_shape.unseen_gallery import compare_unseen
from pretrained_start import pretrained_start
from value_checks import EVALUATED, check_at_most, check_values, checked_view_ring

from data_pipelines.batching import Batch
from data_pipelines.photo_to_shape.batches import training_batches
from data_pipelines.photo_to_shape.cars import MASK_CHOICES
from data_pipelines.random_crops import Augmentation
from jaxret.errors import Problem
from jaxret.geometry.render import ViewRing
from jaxret.metrics.photo_to_shape import retrieval_metrics
from jaxret.pretrained.networks import FIRST_CONVOLUTIONS
from jaxret.reports.attention_planes import draw_category_planes
from jaxret.reports.photo_to_shape import UnseenGallery, write_report
from jaxret.runs.config import chosen_on_test
from jaxret.systems.base import Variables
from jaxret.systems.cmic import CMIC
from jaxret.training.embedder import Embedder
from jaxret.training.parallel import divided_batch

HELD_OUT = ('mean_reciprocal_rank', 'top1', 'top10')
SELECT = (*HELD_OUT, 'last', 'test_top1')
_OF_PIX3D = 'categories', 'exclude_occluded', 'exclude_truncated', 'test_fraction', 'split_file', 'up_axis'
OF_PIX3D = tuple(f'data.{key}' for key in _OF_PIX3D)


@dataclass(eq=False)
class PhotoToShape:
    """See `experiment.Task`."""

    config: ConfigDict
    ring: ViewRing
    crops: tuple[Augmentation, Augmentation]  # of photos, of views
    pictures: Pictures

    OF_DATA_DIR = ()  # its samples are folders like any other
    OF_LAYOUT = {'pix3d': ('data.shapenet_dir', 'data.masks'), 'stanford_cars': OF_PIX3D, 'comp_cars': OF_PIX3D}
    title, heading, trains, parameter_groups = 'CMIC, photo to CAD model', 'Photo to CAD model', True, {}
    watched = 0.0

    @classmethod
    def from_config(cls, config: ConfigDict) -> 'PhotoToShape':
        """The task of a config. Raises ConfigError for values that would fail only after long work."""
        check_values(
            config,
            positive=(
                'data.image_size',
                'model.embedding_dim',
                'loss.temperature',
                'optimizer.pretrained_factor',
                'evaluation.reference_temperature',
                'evaluation.batch_size',
                'evaluation.points',
                'evaluation.voxels',
            ),
            not_negative=(
                'data.margin',
                'data.views_per_step',
                'frozen.photo_copies',
                'frozen.view_copies',
                'loss.category_weight',
                'loss.margin',
                'loss.label_weight',
                'loss.center_weight',
                'loss.alignment_weight',
                'color.hsv_range',
            ),
            fractions=('data.test_fraction', 'data.val_fraction'),
            probabilities=('color.probability', 'evaluation.references'),
            choices={
                'select': SELECT,
                'data.layout': tuple(LAYOUTS),
                'data.gallery': ('folder', 'referenced'),
                'data.crop': ('mask', 'bbox', 'none'),
                'data.fit': ('pad', 'stretch'),
                'data.masks': MASK_CHOICES,
                'evaluation.photos': EVALUATED,
                'evaluation.unseen_categories': ('own', 'all'),
                'pretrained.first_convolution': FIRST_CONVOLUTIONS,
            },
        )
        views = config.render.views
        check_at_most(config, views, 'data.views_per_step', of=f'config.render.views is {views}')
        CMIC.from_config(config)  # refuses wrong values
        crops = tuple(
            Augmentation.from_config(group) for group in (config.photo_augmentation, config.view_augmentation)
        )
        return cls(config, checked_view_ring(config, 'data.image_size'), crops, Pictures(config, crops))

    @property
    def divided(self) -> Mapping[str, int]:
        """Photos, and shapes, of a batch, and of them those encoded at once."""
        return divided_batch(self.config.batch_size, self.config.model.chunk)

    def start(self, workdir: Path, *, train: bool) -> Callable[[Variables], Variables] | None:
        """Published weights of the encoders."""
        if not train:
            return None
        system, convolution = CMIC.from_config(self.config, shapes=1), self.config.pretrained.first_convolution
        return pretrained_start(self.config, workdir, system, self.example(None), first_convolution=convolution)

    def load(self, workdir: Path, *, train: bool) -> PhotoData:
        """Photos and rendered shapes."""
        return load_photo_data(self.config, self.ring, workdir, train=train)

    def system(self, data: PhotoData, *, steps: int, axis_name: str | None = None) -> CMIC:
        """CMIC; the loss 'center' has a class a shape that the run was started on."""
        del steps
        return CMIC.from_config(
            self.config, shapes=len(data.split.gallery), chunk=self.config.model.chunk, axis_name=axis_name
        )

    def example(self, data: PhotoData | None) -> Batch:
        """One photo and one view of zeros."""
        del data
        size, channels = self.ring.size, self.ring.channels
        return {
            'image': np.zeros((1, size, size, 3), np.uint8),
            'mask': np.zeros((1, size, size, 1), np.uint8),
            'views': np.zeros((1, 1, size, size, channels), np.uint8),
        }

    def freeze(self, embedder: Embedder, variables: Variables) -> None:
        """Features of photos and views take the place of these."""
        networks = ('query_encoder', 'view_encoder')
        self.pictures.frozen = FrozenFeatures(self.config, networks, embedder, variables)

    def batches(self, data: PhotoData, start: int, stop: int) -> Iterator[Batch]:
        """Photos with their shapes, and shapes that they do not show."""
        config = self.config
        return training_batches(
            data.queries['train'],
            data.gallery,
            size=config.data.image_size,
            batch_size=config.batch_size,
            seed=config.seed,
            start=start,
            stop=stop,
            photo_augmentation=self.crops[0],
            view_augmentation=self.crops[1],
            views_per_step=config.data.views_per_step,
            features=self.pictures.training_features(data.queries, data.gallery),
            share=process_share(),
        )

    def validate(self, data: PhotoData, embedder: Embedder, variables: Variables, step: int) -> dict[str, float]:
        """Accuracies on the held-out photos, if there are any, and on those of test where they pick the checkpoint."""
        del step
        found, splits = {}, ['val'] + ['test'] * chosen_on_test(self.config)
        splits = [split for split in splits if data.queries[split].names]
        if not splits:
            return found
        shapes = self.pictures.shapes(embedder, variables, data.gallery)
        for split in splits:
            photos = data.queries[split]
            scores, _, _ = self._scores(data, embedder, variables, shapes, split, known=('train',))
            values = retrieval_metrics(
                scores, photos.shape, photos.category, data.gallery.category, category_names=data.dataset.categories
            )
            found |= {f'{split}_{name}': values[name] for name in (*HELD_OUT, 'category_top1')}
        return found

    def evaluate(self, data: PhotoData, embedder: Embedder, variables: Variables, workdir: Path) -> Evaluation:
        """Accuracies on the test photos, distances of the first answers, and the unseen gallery's."""
        test, gallery, categories = data.queries['test'], data.gallery, data.dataset.categories
        shapes = self.pictures.shapes(embedder, variables, gallery)
        scores, by_views, photos = self._scores(data, embedder, variables, shapes, 'test', known=('train', 'val'))
        untrained = untrained_scores(data, self.pictures.built_in, self.ring.background)
        metrics, problems = seen_metrics(self.config, data, scores, untrained, by_views=by_views)
        shown = None
        if data.unseen:
            found, shown = self._search_unseen(data, embedder, variables, photos)
            metrics = {**metrics, **shown.metrics}
            problems = (*problems, *data.unseen.skipped, *found)

        def write(folder: Path, **page: Any) -> Path:
            planes = query_planes(self.system(data, steps=1), variables, photos, shapes, test, gallery, categories)
            cards, drawn = query_cards(data.dataset, scores, test, gallery), draw_category_planes(planes, categories)
            return write_report(folder, queries=cards, planes=drawn, unseen=shown, **page)

        answers = uses_answer(self.config, data.dataset, workdir)
        metrics['masks'] = dict(zip(('train', 'test'), data.dataset.masks, strict=True))
        metrics['uses_answer'] = '; '.join(answers)
        notes = [f'USES THE ANSWER: {line}.' for line in answers] + ([data.count_note] if data.count_note else [])
        if self.config.evaluation.references and by_views is None:
            notes.append('No photo of these shapes is known: views score alone, without references.')
        rankings = partial(photo_rankings, scores, test, gallery)
        return Evaluation(metrics, write, print_metrics, rankings, notes, problems)

    def _scores(
        self,
        data: PhotoData,
        embedder: Embedder,
        variables: Variables,
        shapes: np.ndarray,
        split: str,
        *,
        known: tuple[str, ...],
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Scores [Q, G] and embeddings [Q, D] of a split's photos; those of `known` splits may be references.

        Between them the scores of views alone, where there are references.
        """

        def embedded(split: str) -> np.ndarray:
            return self.pictures.photos(embedder, variables, data.queries[split], split)

        photos, options = embedded(split), self.config.evaluation
        scores, by_views = embedder.score(variables, photos, shapes), None
        known = splits_with_photos(data, known)
        if options.references and known:
            by_views = scores
            if self.pictures.built_in:
                vectors = reference_vectors(data, self.pictures.built_in, split, known)
            else:
                vectors = photos, np.concatenate([embedded(each) for each in known])
            scores = with_references(
                scores,
                vectors,
                data,
                known,
                weight=options.references,
                temperature=options.reference_temperature,
                view_temperature=self.config.loss.temperature,
            )
        return scores, by_views, photos

    def _search_unseen(
        self, data: PhotoData, embedder: Embedder, variables: Variables, photos: np.ndarray
    ) -> tuple[tuple[Problem, ...], UnseenGallery]:
        """What could not be compared, and metrics and cards; `photos` [Q, D] are all test photos."""
        unseen, test = data.unseen, data.queries['test']
        shapes = self.pictures.shapes(embedder, variables, unseen.gallery, 'unseen')
        scores = embedder.score(variables, photos[unseen.queries], shapes)
        untrained = untrained_unseen(test, unseen.gallery, self.pictures.built_in, self.ring.background)
        others = {name: own[unseen.queries] for name, own in untrained.items()}
        metrics, order, distances, problems = compare_unseen(
            self.config, unseen, scores, test, data.gallery, answers=ANSWERS, untrained=others
        )
        cards = unseen_cards(
            data.dataset,
            unseen.queries,
            test,
            data.gallery,
            unseen.gallery,
            scores=scores,
            order=order,
            distances=distances,
        )
        return problems, UnseenGallery(unseen.folder, unseen.own, metrics, cards)


TASK = PhotoToShape
