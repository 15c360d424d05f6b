"""From a partial scan to its CAD model: stacked hourglass and metric learning on occupancy grids.

A first hourglass separates the scanned object from clutter, a second completes it, and one encoder embeds the completed
scans and the CAD models; all are trained together (Dahnert et al., "Joint Embedding of 3D Scan and CAD Objects", ICCV
2019). The losses between embeddings are those of Kabadayi and Dai, "Metric Learning on Joint Embedding of 3D Scan and
CAD Objects". Comparators embed the scan as it is: a 3D CNN and PointNet.

Letters: B pairs of scan and CAD model, P CAD models of a pool, D embedding, N = 32 cells along each side.

Differs from the papers in (config values, the other choice in brackets):
  - the first hourglass takes the occupancy as it is, as the paper says; the public code takes its sigmoid
    ('input_sigmoid'), with which, by its maintainers, older weights must not be evaluated;
  - decoders get the vector alone ('model.skip': the encoder's cells of every size too);
  - embeddings are straight from batch norm ('normalize': of length 1), distances Euclidean ('squared'); Kabadayi and
    Dai do not say, but margins of 2.5 and 3 cannot be met on the unit sphere;
  - scans and CAD models pass the last encoder together, so that training normalises them with the same statistics, as
    evaluation does; the public code calls it once for each;
  - negatives are CAD models of the batch, as Kabadayi and Dai say; the public code of the first paper draws them from
    the whole data set;
  - a batch without a fitting negative, of one class for example, has no negative part in its loss;
  - the quadruplet loss has max(0, .) around both terms, which its printed equation lacks;
  - the hourglasses may stay as another run left them ('train'): what they complete is then turned and mirrored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from jaxret.augmentation.grids import augment_grids
from jaxret.encoders.batch_norm import join_batches, part_batches
from jaxret.errors import CheckpointError
from jaxret.geometry.distance_grids import SURFACE
from jaxret.losses.contrastive import masked_mean
from jaxret.losses.occupancy import occupancy_cross_entropy
from jaxret.losses.scores import euclidean_distances, l2_normalize
from jaxret.preprocessing.inputs import ShapeInputs
from jaxret.systems.base import Backbone, Batch, LossAndState, QueryKind, Run, TrainedSystem, Variables, shape_queries
from jaxret.systems.encoding import apply_network, global_rows
from jaxret.systems.image_towers import FROZEN
from jaxret.systems.scan_cad_config import check_config, make_networks
from jaxret.systems.scan_cad_losses import MetricLoss
from jaxret.systems.scan_cells import ScanCells
from jaxret.systems.scan_completion import as_likelihoods, completion_logits, occupancy, stored_likelihoods, with_frozen

SCAN_GRIDS = ('scan', 'mask', 'cad')
GRIDS = (*SCAN_GRIDS, 'pool', 'completed')


@dataclass(frozen=True, eq=False)
class ScanCad:
    """The system (see the module's docstring and `experiments/configs/scan_cad.py` for the values' meaning)."""

    networks: dict[str, nn.Module]  # 'separation', 'completion', 'embedding'; comparators have the last alone
    frozen: bool  # the first two
    metric: MetricLoss
    input_sigmoid: bool
    normalize: bool
    foreground_weight: float
    background_weight: float
    completion_weight: float
    metric_weight: float
    occupied_weight: float
    rotations: int
    flip: float
    jitter: int

    TASK: ClassVar[str] = 'scan_to_cad'
    LATER: ClassVar[Mapping[str, Any]] = {
        'data.placement': 'centered',
        'data.finetune_on': 'train',
        'model.train': 'all',
        'evaluation.headings': 1,
        'simulate.yaw': 2.0,
    }
    GALLERIES: ClassVar[tuple[str, ...]] = ('grid',)
    BACKBONES: ClassVar[Mapping[str, Backbone]] = {}
    similarity: ClassVar[str] = 'euclidean'

    @classmethod
    def from_config(cls, config: ConfigDict, *, axis_name: str | None = None) -> 'ScanCad | ScanCells':
        """The system that a config describes; `ScanCells` of the variant 'cells', which has no networks.

        Args:
          config: with the groups `model`, `loss` and `augmentation`.
          axis_name: device axis over which batch norm is synchronised (only for `pmap`).

        Raises:
          ConfigError: a value that is not one of its choices, out of range, or does not go with another.
        """
        check_config(config)
        if config.model.variant == 'cells':
            return ScanCells()
        model, loss, augmentation = config.model, config.loss, config.augmentation
        return cls(
            networks=make_networks(model, axis_name),
            frozen=model.train == 'embedding',
            metric=MetricLoss.from_config(loss),
            input_sigmoid=model.input_sigmoid,
            normalize=model.normalize,
            foreground_weight=loss.foreground_weight,
            background_weight=loss.background_weight,
            completion_weight=loss.completion_weight,
            metric_weight=loss.metric_weight,
            occupied_weight=loss.occupied_weight,
            rotations=augmentation.rotations,
            flip=augmentation.flip,
            jitter=augmentation.jitter,
        )

    @classmethod
    def trained(cls, run: Run, gallery: str) -> TrainedSystem:
        """See `System.trained`: scans find CAD models by their grids, and shapes likewise."""
        config = run.config
        if config.method != 'learned':
            raise CheckpointError(
                f"{run.workdir}: method {config.method!r} trains nothing; give a run with config.method='learned'"
            )
        # Grids have no axis to choose; meshes that become grids are +y up where nothing else is said.
        up_axis = config.data.up_axis if 'up_axis' in config.data else 'y'
        grid = ShapeInputs(gallery, up_axis=up_axis, placement=config.data.placement)
        system = cls.from_config(config)
        if isinstance(system, ScanCells):  # only scans say what is free; their heading is not known
            queries = {'scan': QueryKind(grid.all_around(one_by_one=False), 'scan')}
        else:
            queries = {**shape_queries(grid, 'cad', one_by_one=False), 'scan': QueryKind(grid, 'scan')}
        return TrainedSystem('scan_cad', partial(_embed_grids, system), grid, 'cad', queries, system.similarity)

    @property
    def completes(self) -> bool:
        """Whether scans are separated and completed before they are embedded."""
        return 'separation' in self.networks

    def init(self, rng: jax.Array, batch: Batch) -> Variables:
        """Variables {'params', 'batch_stats'}, each with one entry a network, those of frozen ones under 'frozen'."""
        params, statistics = {}, {}
        keys = jax.random.split(rng, len(self.networks))
        for key, (name, network) in zip(keys, self.networks.items(), strict=True):
            variables = network.init(key, occupancy(batch['scan'][:1]))
            params[name], statistics[name] = variables['params'], variables['batch_stats']
        whole = {'params': params, 'batch_stats': statistics}
        return with_frozen(whole) if self.frozen else whole

    def loss(
        self,
        variables: Variables,
        batch: Batch,
        *,
        rng: jax.Array,
        step: jax.Array,
        train: bool,
        axis_name: str | None = None,
    ) -> LossAndState:
        """Weighted sum of the foreground, background, completion and metric losses; see `System.loss`.

        Fine-tuning compares each scan with its pool instead of the batch's CAD models.

        Report: metric_loss, active_share (of the chosen negatives, those whose loss is not 0), and, where the system
        completes scans, foreground_loss, background_loss and completion_loss.
        """
        del step
        augmentation_key, negative_key, second_key = jax.random.split(rng, 3)
        if train:
            batch = self._augment(batch, augmentation_key, axis_name)
        valid, statistics = batch['valid'], {}
        apply = partial(self._apply, variables, train=train, statistics=statistics)
        scans, logits = self._represent(variables, apply, batch, valid)
        shapes, shapes_valid = batch['cad'], valid
        if self.metric.finetune != 'none':
            shapes = batch['pool'].reshape(-1, *batch['pool'].shape[2:])
            shapes_valid = (batch['pool_valid'] & valid[:, None]).reshape(-1)
        embeddings = apply('embedding', join_batches(scans, occupancy(shapes)), valid=join_batches(valid, shapes_valid))
        queries, gallery = part_batches(self._finish(embeddings), (len(valid), len(shapes_valid)))
        labels = {name: batch[name] for name in ('category', 'instance', 'rank', 'pool_valid') if name in batch}
        gathered = (queries, gallery, labels, self._grid_losses(logits, batch), valid)
        if axis_name is not None:  # embeddings, labels and losses cross devices, in rank order; grids never do
            gathered = jax.lax.all_gather(gathered, axis_name, tiled=True)
        queries, gallery, labels, grid_losses, valid = gathered
        if self.metric.finetune != 'none':
            pool = gallery.reshape(*labels['rank'].shape, -1)
            metric_loss, active = self.metric.of_pools(queries, pool, labels, valid)
        else:
            metric_loss, active = self.metric.of_pairs(queries, gallery, labels, valid, negative_key, second_key)
        report = {f'{name}_loss': masked_mean(values, valid) for name, values in grid_losses.items()}
        report['metric_loss'] = metric_loss
        total = sum(getattr(self, name.replace('_loss', '_weight')) * value for name, value in report.items())
        return total, ({'batch_stats': statistics}, {**report, 'active_share': active})

    def embed(self, variables: Variables, inputs: Batch, modality: str) -> jax.Array:
        """Embeddings [B, D] in evaluation mode.

        Args:
          variables: of `init` or training.
          inputs: 'scan' or 'cad' uint8 [B, N, N, N], `SURFACE` where occupied; or 'completed' scans, of `features`.
          modality: 'scan' or 'cad'.
        """
        if modality not in ('scan', 'cad'):
            raise ValueError(f"embeds 'scan' and 'cad', not {modality!r}")
        apply = partial(self._apply, variables, train=False, statistics={})
        is_cad = modality == 'cad'
        grids = occupancy(inputs['cad']) if is_cad else self._represent(variables, apply, inputs, None)[0]
        return self._finish(apply('embedding', grids, valid=None))

    def features(
        self, variables: Variables, inputs: Batch, modality: str, *, rng: jax.Array | None = None
    ) -> jax.Array:
        """What frozen hourglasses make of scans [B, N, N, N]: uint8 of the same shape, 255 where surely occupied."""
        del modality, rng
        return stored_likelihoods(self._evaluated_logits(variables, inputs['scan'])['completion'])

    def segment_and_complete(self, variables: Variables, scan: jax.Array) -> tuple[jax.Array, jax.Array]:
        """How likely each cell holds the object as scanned, and as it is: two float32 [B, N, N, N] in [0, 1].

        Args:
          variables: of `init` or training.
          scan: uint8 [B, N, N, N].

        Raises:
          ValueError: a comparator, which does neither.
        """
        if not self.completes:
            raise ValueError("only config.model.variant 'hourglass' separates and completes scans")
        logits = self._evaluated_logits(variables, scan)
        return jax.nn.sigmoid(logits['foreground']), jax.nn.sigmoid(logits['completion'])

    def score(self, variables: Variables, queries: jax.Array, gallery: jax.Array) -> jax.Array:
        """Negative Euclidean distance [Q, G] of embeddings [Q, D] and [G, D]."""
        del variables
        return -euclidean_distances(queries, gallery)

    def _augment(self, batch: Batch, key: jax.Array, axis_name: str | None) -> Batch:
        """Turns, mirrors and shifts each object's grids alike; its key is of its place in the global batch."""
        mine, total = global_rows(batch['valid'].shape[0], axis_name)
        keys = jax.random.split(key, total)[mine]
        names = [name for name in GRIDS if name in batch]
        change = partial(augment_grids, rotations=self.rotations, flip=self.flip, jitter=self.jitter)
        one = jax.tree.map(lambda x: x[:, None], {name: batch[name] for name in names})
        changed = jax.vmap(change)(keys, one)
        return {**batch, **jax.tree.map(lambda x: x[:, 0], changed)}

    def _represent(
        self, variables: Variables, apply: Any, batch: Batch, valid: jax.Array | None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """What the last encoder takes of scans [B, N, N, N, 1], and the logits on the way, where these are trained."""
        if self.frozen:
            completed = batch['completed'] if 'completed' in batch else self.features(variables, batch, 'scan')
            return as_likelihoods(completed), {}
        grids = self._input(batch['scan'])
        if not self.completes:
            return grids, {}
        logits = completion_logits(apply, grids, valid)
        return jax.nn.sigmoid(logits['completion'])[..., None], logits

    def _input(self, scan: jax.Array) -> jax.Array:
        grids = occupancy(scan)
        return jax.nn.sigmoid(grids) if self.input_sigmoid else grids

    def _evaluated_logits(self, variables: Variables, scan: jax.Array) -> dict[str, jax.Array]:
        own = variables[FROZEN] if self.frozen else variables
        apply = partial(self._apply, own, train=False, statistics={})
        return completion_logits(apply, self._input(scan))

    def _grid_losses(self, logits: dict[str, jax.Array], batch: Batch) -> dict[str, jax.Array]:
        """Cross-entropies [B] of the predicted grids; none where the hourglasses are frozen."""
        if not logits:
            return {}
        scan, mask, cad = (batch[name] == SURFACE for name in SCAN_GRIDS)
        targets = {'foreground': mask, 'background': scan & ~mask, 'completion': cad}
        return {
            name: occupancy_cross_entropy(value, targets[name], occupied_weight=self.occupied_weight)
            for name, value in logits.items()
        }

    def _finish(self, embeddings: jax.Array) -> jax.Array:
        embeddings = embeddings.astype(jnp.float32)
        return l2_normalize(embeddings) if self.normalize else embeddings

    def _apply(
        self,
        variables: Variables,
        name: str,
        grids: jax.Array,
        *,
        valid: jax.Array | None,
        train: bool,
        statistics: dict[str, Any],
    ) -> Any:
        """What a network makes of grids; writes its batch statistics after this batch into `statistics`."""
        out, statistics[name] = apply_network(self.networks[name], variables, name, grids, train=train, valid=valid)
        return out


def _embed_grids(system: ScanCad | ScanCells, variables: Variables, batch: Batch, modality: str) -> jax.Array:
    """As `embed`, grids under the name that files' grids have."""
    return system.embed(variables, {modality: batch['grid']}, modality)
