"""Images, meshes and point clouds in one space, by cross-modal centers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from console import console
from cross_modal.comparators import untrained_metrics
from cross_modal.data import (
    INPUTS,
    PUBLISHED_VIEWS,
    STORED_POINTS,
    ObjectData,
    available_views,
    load_object_data,
    modality_batches,
)
from experiment import Evaluation, process_share
from frozen_features import FrozenFeatures, items_at_once
from ml_collections import ConfigDict
from predictions import Ranking
from pretrained_start import pretrained_start
from rich.table import Table
from value_checks import check_at_most, check_values, checked_view_ring

from data_pipelines.batching import Batch, feature_batches
from data_pipelines.cross_modal.batches import evaluation_batches, training_batches
from data_pipelines.cross_modal.prepare import ObjectTable
from data_pipelines.random_crops import Augmentation
from jaxret.errors import ConfigError
from jaxret.geometry.render import ViewRing
from jaxret.metrics.average_precision import normalized_rows
from jaxret.metrics.cross_modal import cross_modal_metrics
from jaxret.preprocessing.inputs import spaced
from jaxret.pretrained.networks import FIRST_CONVOLUTIONS
from jaxret.reports.cross_modal import write_cross_modal_report
from jaxret.systems.base import Variables
from jaxret.systems.cross_modal_center import MODALITIES, CrossModalCenter
from jaxret.training.embedder import Embedder

IMAGES = 'map_image_image_excluding_self'
UNTRAINED = {'zero_shot': 'frozen features', 'references': 'class probabilities by training objects'}
OF_PUBLISHED = (
    'data.images_dir',
    'data.points_dir',
    'data.features_dir',
    'data.published_views',
    'data.points_up_axis',
)


@dataclass(eq=False)
class CrossModal:
    """See `experiment.Task`."""

    config: ConfigDict
    ring: ViewRing
    crops: Augmentation  # of views
    frozen: FrozenFeatures | None = None

    OF_DATA_DIR = ('data.classes', 'data.layout', 'data.up_axis', *OF_PUBLISHED)
    OF_LAYOUT = {'meshes': OF_PUBLISHED, 'published': ()}
    title, heading = 'cross-modal centers: images, meshes, point clouds', 'Images, meshes and point clouds'
    trains, watched = True, 0.0

    @classmethod
    def from_config(cls, config: ConfigDict) -> 'CrossModal':
        """The task of a config. Raises ConfigError for values that would fail only after long work."""
        check_values(
            config,
            positive=(
                'data.image_size',
                'data.points',
                'data.faces',
                'data.published_views',
                'evaluation.batch_size',
                'sample.train_per_class',
                'sample.test_per_class',
            ),
            not_negative=('data.train_per_class', 'data.views_per_step', 'evaluation.views'),
            fractions=('data.val_fraction',),
            choices={
                'select': ('last', 'mean_map'),
                'data.layout': ('meshes', 'published'),
                'data.points_up_axis': ('y', 'z'),
                'pretrained.first_convolution': FIRST_CONVOLUTIONS,
            },
            optimizers=('center_optimizer',),
        )
        CrossModalCenter.from_config(config, classes=1)  # refuses wrong values
        ring = checked_view_ring(config, 'data.image_size')
        views = available_views(config)
        check_at_most(config, views, 'data.views_per_step', 'evaluation.views', of=f'an object has {views}')
        check_at_most(config, STORED_POINTS, 'data.points', of=f'an object has {STORED_POINTS}')
        check_at_most(config, PUBLISHED_VIEWS, 'data.published_views', of=f'an object has {PUBLISHED_VIEWS}')
        if config.data.faces < 4:
            raise ConfigError(f'config.data.faces: {config.data.faces} is too few for a mesh; use 4 or more')
        if config.select == 'mean_map' and config.data.val_fraction == 0:
            raise ConfigError(
                'config.select: mean_map is measured on held-out objects; set --config.data.val_fraction '
                'above 0, or use last'
            )
        return cls(config, ring, Augmentation.from_config(config.view_augmentation))

    @property
    def divided(self) -> Mapping[str, int]:
        """Objects of a batch."""
        return {'batch_size': self.config.batch_size}

    @property
    def parameter_groups(self) -> Mapping[str, ConfigDict]:
        """The centers have an optimizer of their own."""
        return {'centers': self.config.center_optimizer}

    def start(self, workdir: Path, *, train: bool) -> Callable[[Variables], Variables] | None:
        """Published weights of the image encoder."""
        if not train:
            return None
        system, convolution = CrossModalCenter.from_config(self.config, classes=1), self.config.pretrained
        return pretrained_start(
            self.config, workdir, system, self.example(None), first_convolution=convolution.first_convolution
        )

    def load(self, workdir: Path, *, train: bool) -> ObjectData:
        """Objects as views, points and faces."""
        return load_object_data(self.config, self.ring, workdir, train=train)

    def system(self, data: ObjectData, *, steps: int, axis_name: str | None = None) -> CrossModalCenter:
        """Encoders, and a center a class of the run."""
        del steps
        return CrossModalCenter.from_config(self.config, classes=len(data.classes), axis_name=axis_name)

    def example(self, data: ObjectData | None) -> Batch:
        """One object of zeros."""
        del data
        of, size = self.config.data, self.config.data.image_size
        views = of.views_per_step or available_views(self.config)
        return {
            'image': np.zeros((1, views, size, size, 1), np.uint8),
            'points': np.zeros((1, of.points, 3), np.float32),
            'faces': np.zeros((1, of.faces, 15), np.float32),
            'neighbors': np.zeros((1, of.faces, 3), np.int32),
        }

    def freeze(self, embedder: Embedder, variables: Variables) -> None:
        """Features of views take the place of these."""
        self.frozen = FrozenFeatures(self.config, ('image_encoder',), embedder, variables)

    def batches(self, data: ObjectData, start: int, stop: int) -> Iterator[Batch]:
        """Objects in every modality."""
        config, features = self.config, None
        if self.frozen and config.frozen.view_copies:
            features = self._features(data.tables['train'], 'train', copies=config.frozen.view_copies)
        return training_batches(
            data.tables['train'],
            batch_size=config.batch_size,
            seed=config.seed,
            start=start,
            stop=stop,
            views_per_step=config.data.views_per_step,
            points=config.data.points,
            augmentation=self.crops,
            features=features,
            share=process_share(),
        )

    def validate(self, data: ObjectData, embedder: Embedder, variables: Variables, step: int) -> dict[str, float]:
        """Mean mAP of the held-out objects, if there are any."""
        del step
        table = data.tables['val']
        if not len(table):
            return {}
        metrics = cross_modal_metrics(self._embed(embedder, variables, table, 'val'), table.label, table.categories)
        return {f'val_{name}': metrics[name] for name in ('mean_map', 'mean_map_excluding_self')}

    def evaluate(self, data: ObjectData, embedder: Embedder, variables: Variables, workdir: Path) -> Evaluation:
        """mAP of the nine directions on the test objects."""
        del workdir
        test = data.tables['test']
        embeddings = self._embed(embedder, variables, test, 'test')
        report = partial(
            write_cross_modal_report,
            embeddings=embeddings,
            labels=test.label,
            class_names=test.categories,
            names=test.names,
            view_of=partial(_shown_view, test),
        )
        metrics = cross_modal_metrics(embeddings, test.label, test.categories)
        notes = self._notes(test.views_encoded.shape[1])
        if self.frozen:
            metrics['comparators'] = untrained_metrics(data, self._plain_features)
            told = [
                f'{UNTRAINED[name]} {100 * row[IMAGES]:.1f} %'
                for name, row in metrics['comparators'].items()
                if row[IMAGES] is not None
            ]
            notes += [f'Not trained, image to image without itself: {", ".join(told)}.'] if told else []
        rankings = partial(object_rankings, embeddings, test)
        return Evaluation(metrics, report, print_directions, rankings, notes)

    def _embed(self, embedder: Embedder, variables: Variables, table: ObjectTable, split: str) -> dict[str, np.ndarray]:
        """Embeddings [N, D] of all objects in every modality."""
        embedded = {}
        for modality in INPUTS:
            batches = modality_batches(self.config, table, modality)
            if modality == 'image' and self.frozen:
                features = self._plain_features(table, split)
                batches = feature_batches('image_features', features, self.config.evaluation.batch_size)
            embedded[modality] = embedder.embed(variables, batches, modality, valid='valid')
        return embedded

    def _plain_features(self, table: ObjectTable, split: str) -> np.ndarray:
        """[N, V, ...] of the views that evaluation uses, as they are."""
        views = spaced(self.config.evaluation.views, table.views_encoded.shape[1])
        return self._features(table, split)[:, 0][:, np.array(views)]

    def _features(self, table: ObjectTable, split: str, *, copies: int = 1) -> np.ndarray:
        """[N, copies, V, ...] of all views."""

        def pictures(rows: np.ndarray, copy: int) -> Iterator[Batch]:
            options = {'rows': rows, 'copy': copy, 'augmentation': self.crops}
            size = max(1, items_at_once(self.config, copy) // 4)
            for batch in evaluation_batches(table, batch_size=size, points=self.config.data.points, **options):
                yield {name: batch[name] for name in ('image', 'valid')}

        sources = [b''.join(views) for views in table.views_encoded]
        options = {'copies': copies, 'how': str(self.crops), 'views': table.views_encoded.shape[1]}
        return self.frozen.features('image', split, sources, pictures, valid='valid', **options)

    def _notes(self, views: int) -> list[str]:
        """What a reader of the numbers must know."""
        used = self.config.evaluation.views or views
        return [
            'mAP: mean over all test objects of the average precision over the whole gallery, ranked by cosine; '
            'relevant is what has the class of the query. Equal scores count against the system.',
            'Within a modality the query itself is in the gallery, as in the published tables, and comes first; '
            'the columns "without itself" take it out. In other directions the same object in the gallery is relevant.',
            f'An image query is the mean feature of {"all" if used == views else "the same"} {used} of {views} views.',
            'Meshes and point clouds are shown by a rendered view of their object.',
        ]


def print_directions(metrics: Mapping[str, Any]) -> None:
    """Prints the mAP of the nine directions and their mean, with intervals and what chance gives."""
    table = Table(title=f'test: mAP over {metrics["queries"]} objects in every modality')
    for column in ('query \u2192 gallery', 'mAP', '95 % interval', 'class mean', 'chance', 'without itself', 'chance'):
        table.add_column(column, justify='right' if table.columns else 'left')

    def row(title: str, key: str, *, alone: bool) -> None:
        names = [key, f'{key}_macro', f'{key}_chance']
        names += [f'{key}_excluding_self', f'{key}_excluding_self_chance'] if alone else []
        values = [metrics.get(name) for name in names] + [None] * (5 - len(names))
        shown = ['' if value is None else f'{value:.3f}' for value in values]
        low, high = metrics.get(f'{key}_low'), metrics.get(f'{key}_high')
        interval = '' if low is None or high is None else f'{low:.3f} - {high:.3f}'
        table.add_row(title, shown[0], interval, *shown[1:])

    for query in MODALITIES:
        for gallery in MODALITIES:
            row(f'{query} \u2192 {gallery}', f'map_{query}_{gallery}', alone=query == gallery)
    table.add_section()
    row('mean of the nine', 'mean_map', alone=True)
    console.print(table)


def object_rankings(embeddings: Mapping[str, np.ndarray], table: ObjectTable) -> Iterator[Ranking]:
    """What was found for every object in every direction, by cosine; within a modality without the object itself."""
    truths = [table.categories[label] for label in table.label.tolist()]
    rows = {modality: normalized_rows(modality, values) for modality, values in embeddings.items()}
    for query, gallery in product(MODALITIES, repeat=2):
        yield Ranking(
            f'{query} to {gallery}',
            table.names,
            truths,
            table.names,
            rows[query] @ rows[gallery].T,
            table.label,
            table.label,
            alone=query == gallery,
        )


def _shown_view(table: ObjectTable, row: int) -> np.ndarray:
    """The view by which reports show an object: turned a little, which shows more than the front."""
    return table.views([row], [1 % table.views_encoded.shape[1]])[0, 0, :, :, 0]


TASK = CrossModal
