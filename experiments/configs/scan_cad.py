"""Partial 3D scans and CAD models in one space: stacked hourglass and metric learning.

  python experiments/run.py --config=scan_cad.py                              on the synthetic sample (small)
  python experiments/run.py --config=scan_cad.py --config.data_dir=DIR        on the public layout, or on scans that are
                                                                              simulated from DIR/<synset>/<id>.vox
  python experiments/run.py --config=scan_cad.py:triplet                      other losses, likewise ROWS below
  python experiments/run.py --config=scan_cad.py:finetune --config.start_from=WORKDIR   on annotations, six CADs a scan
  python experiments/run.py --config=scan_cad.py:paper --config.data_dir=DIR  full size, for GPUs; paper_triplet, ...
  python experiments/run.py --config=scan_cad.py:smoke                        seconds, to see that everything works

Dahnert et al. (ICCV 2019), Kabadayi and Dai. The latter's Tables 1, 2, 5: category Top-1 .68 (baseline), .86;
instance accuracy .43, .53 (fine-tuned .58), of which a random order is expected to give .43; it leaves open whether
distances are squared and embeddings normalised, and the schedule of the fine-tuning.
"""

from configs import _groups as groups
from ml_collections import ConfigDict

_CONTRASTIVE = {'loss.metric': 'contrastive', 'loss.margin_negative': 1.25, 'loss.margin_same_class': 0.2}
# Row of the tables -> how it differs at the same size.
ROWS = {
    'contrastive': _CONTRASTIVE | {'loss.negatives': 'all'},
    'triplet': {'loss.metric': 'triplet', 'loss.negatives': 'random', 'loss.margin_negative': 0.2},  # the baseline
    'quadruplet': {'loss.metric': 'quadruplet', 'loss.negatives': 'random', 'loss.margin_negative': 0.2},
    'completion': {'loss.metric': 'none'},  # the hourglasses alone, for model.train='embedding' to start from
    'random': _CONTRASTIVE | {'loss.negatives': 'random'},
    'same_class': _CONTRASTIVE | {'loss.negatives': 'same_class'},
    'adaptive': _CONTRASTIVE | {'loss.negatives': 'adaptive'},
    'repulsion': _CONTRASTIVE | {'loss.negatives': 'random', 'loss.repulsion': True},
    'pointnet': {'model.variant': 'pointnet'},
    'cnn3d': {'model.variant': 'cnn3d'},
    'fpfh': {'method': 'fpfh'},
    'overlap': {'method': 'overlap'},
    'cells': {  # ours: no network, the weights of what a scan saw at cells of a model
        'model.variant': 'cells',
        'batch_size': 60,
        'epochs': 20.0,
        'data.classes_per_batch': 5,
        'optimizer.learning_rate': 0.3,
        'optimizer.average_decay': 0.0,
    },
    'finetune': {
        'loss.metric': 'contrastive',
        'loss.finetune': 'push_pull',
        'loss.margin_negative': 2.5,
        'batch_size': 64,
        'optimizer.learning_rate': 3e-4,
    },
}
PRESETS = ('small', *ROWS, 'paper', *(f'paper_{row}' for row in ROWS), 'smoke')


def get_config(preset: str = 'small') -> ConfigDict:
    """The config of a preset; every key with its default."""
    config = groups.common('scan_to_cad')  # seed, data_dir (public layout, or CAD grids), cache_dir, on_bad_file, ...

    config.method = 'learned'  # or nothing is trained: 'fpfh', a hand-made descriptor; 'overlap', the cells themselves
    config.start_from = ''  # work directory of a run whose best weights to start from; '' is random weights
    config.batch_size = 20  # pairs a step
    config.epochs = 60.0  # passes over the training pairs, or annotations in fine-tuning
    config.log_every = 10  # steps a line of metrics.jsonl
    config.checkpoint_every = 200  # steps between checkpoints
    config.select = 'last'  # checkpoint: 'last', or best on validation: 'exact_top1', 'category_top1', ...

    config.data = data = ConfigDict()
    data.pairs = 'scan2cad_objects.json'  # pair list; simulated scans: 'scan2cad_objects_models.json' holds out models
    data.similarity = 'similarity.json'  # annotations; '' is none
    data.scan_dir = 'scan'  # folder of scans and masks
    data.cad_dir = 'cad'  # folder of CAD grids
    data.finetune_on = 'train'  # annotations of these scans teach in fine-tuning: or 'train_val', validation too
    data.placement = 'published'  # of meshes in grids: middle of their box at voxel 16; 'centered': at 15.5
    data.classes_per_batch = 0  # categories in a batch, in equal shares and of different models; 0: pairs at random

    config.simulate = simulate = ConfigDict()  # scans, where data_dir has CAD grids alone
    simulate.scans_per_model = 8  # each from another side; one is for validation, one for test
    simulate.yaw = 2.0  # deviation of a scan's heading in degrees; at 720 every heading is as likely
    simulate.seed = 0  # decides the scans; not config.seed, so that runs of several seeds share them

    config.augmentation = augmentation = ConfigDict()  # of scan, mask and CADs alike
    augmentation.rotations = 1  # steps of a turn about the up axis; 1 is none: simulated scans stand alike. paper: 12
    augmentation.flip = 0.5  # probability of mirroring
    augmentation.jitter = 1  # largest shift along each axis, in voxels

    config.model = model = ConfigDict()
    model.variant = 'hourglass'  # or 'pointnet', 'cnn3d', which take the scan as it is; 'cells', no network
    model.width = 0.25  # factor on the channels; 1 is the published network
    model.stem = 'coarse'  # at 32^3: 'fine' is the published one, 'coarse' computes nothing there
    model.skip = True  # the encoder's cells go to the decoders too: learns many times faster; paper: the vector alone
    model.embedding_dim = 128  # D
    model.points = 512  # PointNet's, of the surface
    model.input_sigmoid = False  # of the occupancy, before everything
    model.normalize = True  # embeddings to length 1; paper: not said, its margins tell against it
    model.convolution = 'auto'  # 'direct', 'slabs'; 'auto' is slabs on CPUs
    model.dtype = 'float32'  # of the computation; 'bfloat16' keeps parameters and statistics float32
    model.train = 'all'  # or 'embedding': hourglasses stay those of start_from, and every scan is completed once

    config.loss = loss = ConfigDict()
    loss.metric = 'triplet'  # between scans and CADs: or 'contrastive', 'quadruplet', 'none'
    loss.negatives = 'all'  # 'random', 'same_class', 'adaptive', 'all', 'semi_hard', 'hardest'
    loss.margin_negative = 0.3  # m_n, of negatives of other classes (and of all in fine-tuning)
    loss.margin_same_class = 0.15  # of negatives of the same class
    loss.margin_positive = 0.0  # m_p
    loss.margin_second = 0.1  # of the quadruplet's second negative
    loss.repulsion = False  # also between positive and negative CAD: random(R) of the paper
    loss.squared = False  # distances
    loss.reduction = 'mean_all'  # of the pairs; 'mean_nonzero' counts those with a loss
    loss.finetune = 'none'  # on pools of annotations: 'push', 'push_pull'
    loss.easy_positive = True  # fine-tuning pulls the nearest ranked CAD alone
    loss.foreground_weight = 1.0  # of the object among the scanned voxels
    loss.background_weight = 1.0  # of the rest of the scan
    loss.completion_weight = 1.0  # of the whole CAD model from the foreground
    loss.metric_weight = 0.1  # of the distances; with more, completion hardly learns from random weights. paper: 1
    loss.occupied_weight = 1.0  # of occupied cells in the three losses of grids

    config.optimizer = optimizer = groups.optimizer(weight_decay=5e-4)
    optimizer.average_decay = 0.99  # moving average of the weights, used in evaluation; 0 is none
    config.parallel = groups.parallel()

    config.evaluation = evaluation = ConfigDict()
    evaluation.batch_size = 32  # grids encoded at once
    evaluation.headings = 1  # turns about the up axis in which a scan is compared, the best counts; 24: heading unknown

    config.sample = sample = ConfigDict()  # the synthetic data that stands in where data_dir is ''
    sample.models_per_class = 12  # of six categories; from 7 on there are annotations
    sample.scans_per_model = 4  # one of them for validation, one for test

    if preset not in PRESETS:
        raise ValueError(preset)
    if preset.startswith('paper'):
        # Kabadayi and Dai: batch 128, Adam 1e-3 with 0.1 steps, 800 to 1000 epochs of 9,571 pairs (about 67,000 steps).
        # Steps of 20,000 are those of Dahnert et al.; weight decay 5e-4 that of their code, there on the gradient; it
        # turns grids and neither mirrors nor shifts them. Its printed .58 of fine-tuning is over annotations of all
        # splits, of which those of training and validation scans were trained on: so are they here.
        config.batch_size, config.epochs, config.checkpoint_every = 128, 900.0, 2000
        model.width, model.stem, model.embedding_dim, model.points = 1.0, 'fine', 256, 1024
        model.normalize, model.skip, data.finetune_on = False, False, 'train_val'
        augmentation.rotations, augmentation.flip, augmentation.jitter = 12, 0.0, 0
        loss.negatives, loss.metric_weight = 'random', 1.0
        for key, value in _CONTRASTIVE.items():
            loss[key.removeprefix('loss.')] = value
        optimizer.learning_rate, optimizer.schedule, optimizer.warmup, optimizer.average_decay = 1e-3, 'steps', 0.0, 0.0
        evaluation.batch_size = 128
    if preset == 'smoke':
        config.batch_size, config.epochs, config.log_every, config.checkpoint_every = 6, 1.0, 1, 2
        model.width, model.embedding_dim, model.points = 0.125, 16, 32
        sample.models_per_class, sample.scans_per_model = 7, 2
        evaluation.batch_size = 8
    for key, value in ROWS.get(preset.removeprefix('paper_'), {}).items():
        *group, name = key.split('.')
        (config[group[0]] if group else config)[name] = value
    return config
