"""Labelled photos, unlabelled shapes, by HIFA and the methods it is compared with.

No label of a shape has a part in training or in the choice of the checkpoint: batches hold none, and `shape_labels` is
called once, after training, to score.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from console import console
from domain_adaptation.aligned import ALIGNMENTS, aligned_embeddings
from domain_adaptation.comparators import scores, untrained_metrics
from domain_adaptation.data import DomainData, load_domain_data, shown_view
from domain_adaptation.embedding import Pictures
from domain_adaptation.scores_table import photo_rankings, print_scores
from domain_adaptation.stages import INITIAL, Stage, before_stage, check_before, store_embeddings
from experiment import Evaluation, process_share
from frozen_features import FrozenFeatures
from ml_collections import ConfigDict
from pretrained_start import pretrained_start
from value_checks import EVALUATED, check_at_most, check_values, checked_view_ring

from data_pipelines.batching import Batch
from data_pipelines.domain_adaptation.batches import training_batches
from data_pipelines.domain_adaptation.mi3dor import paper_note
from data_pipelines.domain_adaptation.prepare import shape_labels
from data_pipelines.random_crops import Augmentation
from jaxret.errors import ConfigError
from jaxret.geometry.render import ViewRing
from jaxret.metrics.domain_adaptation import benchmark_metrics
from jaxret.reports.domain_adaptation import write_domain_report
from jaxret.systems.base import Variables
from jaxret.systems.hifa import Hifa
from jaxret.training.embedder import Embedder


@dataclass(eq=False)
class DomainAdaptation:
    """See `experiment.Task`."""

    config: ConfigDict
    ring: ViewRing
    pictures: Pictures
    published: Callable[[Variables], Variables] | None = None  # what this run started from
    predict: Callable[..., jax.Array] | None = None  # classes of embeddings, compiled
    warned: bool = False  # of few classes among the pseudo-labels

    OF_DATA_DIR = (
        'data.classes',
        'data.shapes_dir',
        'data.photo_lists',
        'data.view_lists',
        'data.class_names',
        'data.up_axis',
    )
    OF_LAYOUT = {}
    title, heading, trains = 'labelled photos, unlabelled shapes', 'Photos to shapes', True

    @classmethod
    def from_config(cls, config: ConfigDict) -> 'DomainAdaptation':
        """The task of a config. Raises ConfigError for values that would fail only after long work."""
        check_values(
            config,
            positive=(
                'shapes_per_step',
                'data.image_size',
                'data.stored_size',
                'render.views',
                'evaluation.batch_size',
                *(f'sample.{name}' for name in config.sample),
            ),
            not_negative=('data.views_per_step', 'evaluation.views'),
            fractions=('data.val_fraction',),
            choices={
                'select': ('last', 'source_accuracy'),
                'data.train_shapes': ('train', 'all'),
                'data.gallery': ('test', 'all'),
                'data.unmatched_classes': ('drop', 'error'),
                'data.fit': ('cover', 'stretch', 'pad'),
                'data.sampling': ('balanced', 'uniform'),
                'evaluation.alignment': ('none', *ALIGNMENTS),
                'evaluation.photos': EVALUATED,
            },
            optimizers=('backbone_optimizer',),
        )
        Hifa.from_config(config, classes=2, steps=1)  # refuses wrong values
        ring = checked_view_ring(config, 'data.stored_size')
        data, views = config.data, config.render.views
        if data.image_size > data.stored_size:
            raise ConfigError(
                f'config.data.image_size: {data.image_size}, but pictures are stored at '
                f'data.stored_size={data.stored_size}; set it to at least that'
            )
        check_at_most(config, views, 'data.views_per_step', 'evaluation.views', of=f'a shape has render.views={views}')
        if config.select == 'source_accuracy' and data.val_fraction == 0:
            raise ConfigError(
                'config.select: source_accuracy is measured on held-out photos; set '
                '--config.data.val_fraction above 0, or use last'
            )
        crops = tuple(
            Augmentation.from_config(group) for group in (config.photo_augmentation, config.view_augmentation)
        )
        return cls(config, ring, Pictures(config, crops))

    @property
    def divided(self) -> Mapping[str, int]:
        """Photos and shapes of a batch."""
        return {key: self.config[key] for key in ('batch_size', 'shapes_per_step')}

    @property
    def parameter_groups(self) -> Mapping[str, ConfigDict]:
        """The backbone has an optimizer of its own, where the config says so with the layer after it."""
        own = self.config.backbone_optimizer
        return dict.fromkeys(('backbone', 'embedding') if own.embedding else ('backbone',), own)

    @property
    def watched(self) -> float:
        """End of the warm-up: from there on pseudo-labels teach."""
        return self.config.loss.warmup

    def start(self, workdir: Path, *, train: bool) -> Callable[[Variables], Variables] | None:
        """Published weights of the backbone."""
        check_before(self.config.evaluation.before, workdir)
        if train:
            side = self.config.data.image_size
            pictures = {
                'photo': np.zeros((1, side, side, 3), np.uint8),
                'views': np.zeros((1, 1, side, side, 3), np.uint8),
            }
            system = Hifa.from_config(self.config, classes=2, steps=1)
            self.published = pretrained_start(self.config, workdir, system, pictures)
        return self.published

    def load(self, workdir: Path, *, train: bool) -> DomainData:
        """Photos, and shapes as views."""
        return load_domain_data(self.config, self.ring, workdir, train=train)

    def system(self, data: DomainData, *, steps: int, axis_name: str | None = None) -> Hifa:
        """HIFA with the classes of the run; its ramps go over `steps`."""
        return Hifa.from_config(self.config, classes=len(data.classes), steps=steps, axis_name=axis_name)

    def example(self, data: DomainData) -> Batch:
        """One photo and one shape of zeros."""
        shapes = data.shapes['gallery']
        side, views = self.config.data.image_size, self.config.data.views_per_step or shapes.views_encoded.shape[1]
        return {
            'photo': np.zeros((1, side, side, 3), np.uint8),
            'label': np.zeros(1, np.int32),
            'valid': np.ones(1, bool),
            'views': np.zeros((1, views, side, side, shapes.channels), np.uint8),
            'shape_valid': np.ones(1, bool),
        }

    def freeze(self, embedder: Embedder, variables: Variables) -> None:
        """Features of photos and views take the place of these."""
        self.pictures.frozen = FrozenFeatures(self.config, ('backbone',), embedder, variables)

    def batches(self, data: DomainData, start: int, stop: int) -> Iterator[Batch]:
        """Photos with labels, and shapes without."""
        config = self.config
        return training_batches(
            data.photos['train'],
            data.shapes['train'],
            batch_size=config.batch_size,
            shapes_per_step=config.shapes_per_step,
            seed=config.seed,
            start=start,
            stop=stop,
            size=config.data.image_size,
            views_per_step=config.data.views_per_step,
            sampling=config.data.sampling,
            photo_augmentation=self.pictures.crops[0],
            view_augmentation=self.pictures.crops[1],
            features=self.pictures.training_features(data.photos['train'], data.shapes['train']),
            share=process_share(),
        )

    def validate(self, data: DomainData, embedder: Embedder, variables: Variables, step: int) -> dict[str, float]:
        """Free of target labels: accuracy on held-out photos, and how the classifier spreads over the shapes."""
        self.predict = self.predict or jax.jit(self.system(data, steps=1).predict)
        values, embed = {}, partial(self.pictures.embed, embedder, variables)
        if len(held_out := data.photos['val']):
            classes = np.argmax(self.predict(variables, embed(held_out, 'val')), axis=1)
            values['val_source_accuracy'] = float(np.mean(classes == held_out.label))
        probabilities = np.asarray(self.predict(variables, embed(data.shapes['train'], 'train')))
        count = np.bincount(np.argmax(probabilities, axis=1))
        values |= {
            'val_pseudo_classes': int(np.count_nonzero(count)),
            'val_pseudo_largest_share': float(count.max() / len(probabilities)),
            'val_pseudo_confidence': float(np.mean(np.max(probabilities, axis=1))),
        }
        self._warn(values, step, len(probabilities), len(data.classes), data.classes[int(np.argmax(count))])
        return values

    def _warn(self, values: Mapping[str, float], step: int, shapes: int, classes: int, frequent: str) -> None:
        """Says once that pseudo-labels are of one class; where centroids use them, of half of the classes or fewer."""
        used, possible, drawn = values['val_pseudo_classes'], min(classes, shapes), self.config.loss.centroid != 'none'
        if self.warned or used == possible or (used > 1 and not (drawn and 2 * used <= possible)):
            return
        self.warned = True
        console.print(
            f'warning: at step {step} the pseudo-labels of {shapes} training shapes are of {used} of {classes} '
            f'classes, {values["val_pseudo_largest_share"]:.2f} of them {frequent!r}, with a mean probability of '
            f'{values["val_pseudo_confidence"]:.2f}; centroids draw shapes to what they are taken for: start from '
            f'published weights, lengthen --config.loss.warmup, lower the learning rate or --config.loss.'
            f'centroid_weight, or let --config.loss.pseudo_confidence leave out doubtful ones',
            style='bold yellow',
            soft_wrap=True,
        )

    def evaluate(self, data: DomainData, embedder: Embedder, variables: Variables, workdir: Path) -> Evaluation:
        """Scores of both modes on the test photos, with aligned features where the config says so."""
        test, gallery = data.photos['test'], data.shapes['gallery']
        queries, found = aligned_embeddings(data, self.pictures, embedder, variables)
        labels = shape_labels(data.prepared, 'gallery')  # the only use of a label of a shape
        metrics = benchmark_metrics(
            queries, found, test.label, labels, test.categories, train_labels=data.photos['train'].label
        )
        initial = partial(self._initial, data, embedder)
        find_before = partial(before_stage, self.config.evaluation.before, test.names, gallery.names, initial)
        before = None if self.pictures.frozen and not self.config.evaluation.before else find_before()
        if self.pictures.frozen:  # the report alone looks at the initial weights
            metrics['comparators'] = untrained_metrics(data, self.pictures, labels)
        elif before[0] == INITIAL:
            metrics['comparators'] = {'initial_weights': scores(*before[1:], test.label, labels, test.categories)}

        def report(folder: Path, **page: Any) -> Path:
            store_embeddings(folder.parent, queries, found, test.names, gallery.names)
            return write_domain_report(
                folder,
                photos=queries,
                shapes=found,
                before=before or find_before(),
                photo_labels=test.label,
                shape_labels=labels,
                class_names=test.categories,
                photo_names=test.names,
                shape_names=gallery.names,
                photo_of=lambda row: test.pictures([row])[0],
                view_of=lambda row: shown_view(gallery, row),
                **page,
            )

        rankings = partial(photo_rankings, queries, found, test, gallery.names, labels)
        return Evaluation(metrics, report, print_scores, rankings, self._notes(data))

    def _initial(self, data: DomainData, embedder: Embedder) -> Stage:
        """Embeddings of the weights before training; random ones where the published file is read no more."""
        init = jax.jit(self.system(data, steps=1).init)
        variables = init(jax.random.key(self.config.seed), self.example(data))
        if self.published is not None:
            variables = self.published(variables)
        name = 'random weights' if self.config.pretrained.backbone and self.published is None else INITIAL
        tables = (data.photos['test'], 'test'), (data.shapes['gallery'], 'gallery')
        return name, *(self.pictures.embed(embedder, variables, *table) for table in tables)

    def _notes(self, data: DomainData) -> list[str]:
        """What a reader of the numbers must know."""
        dataset, method = data.dataset, self.config.evaluation.alignment
        seen = 'all' if dataset.train_shapes == 'all' else 'the training shapes'
        searched = 'all' if dataset.gallery == 'all' else 'the test shapes'
        notes = [
            'No label of a shape was used in training or for the choice of the checkpoint.',
            f'Shapes in training, without labels: {seen}; in the gallery: {searched}.',
            'Equal distances count against the system.',
        ]
        if method != 'none':
            what = 'Frozen features' if method == 'prototypes' and self.pictures.frozen else 'Embeddings'
            photos, shapes, most = len(data.photos['train']), len(data.shapes['train']), ALIGNMENTS[method][1]
            notes.append(
                f'{what} went through {method}, fitted on {min(photos, most)} of {photos} training photos with labels '
                f'and {min(shapes, most)} of {shapes} training shapes without.'
            )
        return [*notes, *filter(None, [paper_note(dataset)])]


TASK = DomainAdaptation
