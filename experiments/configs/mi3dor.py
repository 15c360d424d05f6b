"""Labelled photos, unlabelled shapes (12 views each) on MI3DOR: HIFA and the methods it is compared with.

  python experiments/run.py --config=mi3dor.py                              small, for CPUs: heads on frozen ImageNet
                                                                            features, adapted by JAN; synthetic sample
  python experiments/run.py --config=mi3dor.py --config.data_dir=DIR        on DIR/image/{train,test}/<class>/* and
                                                                            DIR/view or DIR/model/{train,test}/<class>/*
  python experiments/run.py --config=mi3dor.py:hifa                         the same with HIFA's losses
  python experiments/run.py --config=mi3dor.py:source_only                  no adaptation; likewise for METHODS below
  python experiments/run.py --config=mi3dor.py:random_start                 HIFA, a small network, from random weights;
                                                                            likewise random_start_source_only, ...
  python experiments/run.py --config=mi3dor.py:paper --config.data_dir=DIR  full size, for GPUs
  python experiments/run.py --config=mi3dor.py:smoke                        seconds, to see that everything works

Zhou et al. (IJCAI 2020), Table 3 on MI3DOR, NN / FT / ANMRR: AlexNet .424 / .323 / .667, HIFA-G .687 / .569 / .419,
HIFA-GL .753 / .600 / .379, HIFA-GL with mutual information .778 / .618 / .362.
"""

from configs import _groups as groups
from ml_collections import ConfigDict

# Method -> how it differs from HIFA at the same size.
_NONE = {'loss.mutual_information': 'none', 'loss.norm': 'none', 'loss.centroid': 'none'}
METHODS = {
    'source_only': _NONE,  # AlexNet of the tables: labels of the photos alone
    'global': {'loss.mutual_information': 'none', 'loss.centroid': 'none'},  # HIFA-G
    'global_local': {'loss.mutual_information': 'none'},  # HIFA-GL
    'revgrad': _NONE | {'loss.adversarial': 'revgrad'},
    'jan': _NONE | {'loss.mmd': 'jan'},
    'dlea': _NONE | {'loss.adversarial': 'revgrad', 'loss.centroid': 'running'},
    'coral': _NONE | {'loss.coral_weight': 1.0},  # as a loss
    'coral_features': _NONE | {'evaluation.alignment': 'coral'},  # of the features of source_only
    'meda': _NONE | {'evaluation.alignment': 'meda'},
    'jgsa': _NONE | {'evaluation.alignment': 'jgsa'},
    'prototypes': _NONE | {'evaluation.alignment': 'prototypes'},  # ours
    'swap': {'loss.mutual_information_weight': 1.0, 'loss.norm_weight': 0.05},  # as printed, interchanged
}
# With the weights that a package brings, which need no epochs with the labels alone.
PRETRAINED = {
    'epochs': 20.0,
    'data.stored_size': 144,
    'data.image_size': 128,
    'model.backbone': 'efficientnet_lite0',
    'model.train': 'heads',
    'pretrained.backbone': 'imagenet',
    'frozen.photo_copies': 4,
    'frozen.view_copies': 2,
    'loss.warmup': 0.0,
    'sample.train_photos': 100,
}
RANDOM = 'random_start'
PRESETS = ('small', 'hifa', *METHODS, RANDOM, *(f'{RANDOM}_{method}' for method in METHODS), 'paper', 'smoke')


def get_config(preset: str = 'small') -> ConfigDict:
    """The config of a preset; every key with its value in `random_start`, of which `PRETRAINED` makes the default."""
    config = groups.common('domain_adaptation')  # seed, data_dir (MI3DOR's layout), cache_dir, on_bad_file, processes

    config.batch_size = 40  # photos a step
    config.shapes_per_step = 16  # shapes a step, without labels
    config.epochs = 12.0  # passes over the training photos
    config.log_every = 10  # steps a line of metrics.jsonl
    config.checkpoint_every = 100  # steps between checkpoints
    config.select = 'last'  # checkpoint to evaluate: 'last', or 'source_accuracy' (best on the held-out photos)

    config.data = data = ConfigDict()
    data.classes = ()  # () is every class that both domains have
    data.shapes_dir = ''  # shapes from a folder in ModelNet's layout; '' is data_dir's view or model
    data.photo_lists = ()  # (train list, test list) of lines 'path label', below data_dir; () is the folders
    data.view_lists = ()  # likewise of views: as many consecutive lines a shape as render.views
    data.class_names = ''  # file with one class name a line, for lists
    data.unmatched_classes = 'drop'  # classes of one domain only: left out and reported; 'error': refused
    data.train_shapes = 'train'  # shapes of training, without labels: 'train', or 'all' (transductive)
    data.gallery = 'test'  # 'test' or 'all' shapes
    data.val_fraction = 0.1  # of the training photos, held out; needed for select='source_accuracy'
    data.stored_size = 72  # side at which pictures are stored; the augmentations' areas are shares of it
    data.image_size = 64  # side of the network's input
    data.fit = 'cover'  # pictures to squares: 'cover' (middle), 'stretch', 'pad'
    data.views_per_step = 2  # different views of a shape in a training step; 0 is all
    data.sampling = 'balanced'  # classes equally often in a batch; 'uniform': photos equally often
    data.up_axis = 'z'  # of mesh files: 'y' or 'z'

    config.render = groups.render()  # the grey views, where shapes are meshes; `views` also of given views
    crop = {'translate': 0.0, 'area': (0.7, 1.0), 'aspect': (0.8, 1.25)}
    config.photo_augmentation = photo = groups.augmentation(**crop)
    config.view_augmentation = view = groups.augmentation(**crop)

    config.model = model = ConfigDict()
    model.backbone = 'resnet_coarse'  # of photos and views: alexnet, resnet50, efficientnet_lite0, vit_s14, ...
    model.embedding_dim = 64  # D, linear
    model.classifier_hidden = 64  # width of the first of the classifier's two linear layers; 0 is one layer
    model.dropout = 0.2  # probability, in AlexNet's fc6 and fc7 and in the domain discriminator
    model.view_pooling = 'embedding'  # maximum over views of embeddings; 'conv': of the last convolution's features
    model.discriminator_hidden = 64  # width of the network that scores pairs of conv map and embedding
    model.domain_hidden = 64  # width of the domain discriminator
    model.dtype = 'float32'  # of the computation; 'bfloat16' keeps parameters and statistics float32
    model.train = 'all'  # or 'last_blocks', 'heads': only what follows the image network
    model.last_blocks = 4  # segments of the network that 'last_blocks' trains, its end among them
    config.frozen = groups.frozen()

    # Published weights to start from: 'imagenet', those of the installed package; or torchvision's or timm's: a
    # .safetensors or .pth file
    config.pretrained = pretrained = ConfigDict()
    pretrained.backbone = ''  # for model.backbone ('alexnet': data.image_size 224); '' starts at random

    config.loss = loss = ConfigDict()
    loss.label_weight = 1.0  # of the photos' cross-entropy
    loss.warmup = 0.4  # share of the steps with that loss alone, for networks that start from random weights; paper: 0
    loss.mutual_information = 'bce'  # between conv map and embedding: 'none', 'bce', 'jsd', 'dv', 'dv_unbiased'
    loss.mutual_information_weight = 0.05  # lambda of Eq. 7
    loss.mutual_information_form = 'global'  # one score for the whole map; 'local': mean of the cells' losses
    loss.mutual_information_decay = 0.99  # of the running average of 'dv_unbiased'
    loss.norm = 'fixed'  # feature norms drawn to norm_radius; 'stepwise': up by norm_step; 'none'
    loss.norm_weight = 0.005  # beta of Eq. 7; paper: 1
    loss.norm_radius = 10.0  # R; paper: 25
    loss.norm_step = 1.0  # by which 'stepwise' makes a feature longer
    loss.centroid = 'running'  # 'batch', 'running' (absent classes keep theirs), 'running_mstn' (decay to 0), 'none'
    loss.centroid_weight = 0.1  # paper: 1; times 2 / (1 + exp(-10 p)) - 1, p the share of the steps
    loss.centroid_reduction = 'sum'  # over classes and features, Eq. 6; 'mean' as in MSTN's code
    loss.centroid_momentum = 0.7  # of running centroids
    loss.pseudo_confidence = 0.0  # least probability of a pseudo-label that counts in centroids; printed: 0, all
    loss.adversarial = 'none'  # 'revgrad': domain discriminator behind a gradient reversal
    loss.adversarial_weight = 0.1  # of the mean over both domains; paper: 2, their sum
    loss.adversarial_ramp = 0  # steps in which p of the reversal's scale, the same ramp, goes to 1; 0: the run
    loss.mmd = 'none'  # maximum mean discrepancy: 'jan', of embedding and classes; or 'linear', 'multi_kernel'
    loss.mmd_weight = 1.0  # of the discrepancy
    loss.coral_weight = 0.0  # correlation alignment; 0 is none

    config.optimizer = optimizer = groups.optimizer(weight_decay=1e-3)
    optimizer.learning_rate = 1e-3  # highest; with 3e-3 HIFA was not better
    optimizer.b2 = 0.98  # forgets the large gradients of the norm loss where it begins
    config.backbone_optimizer = backbone = ConfigDict(optimizer.to_dict())  # of the shared CNN
    backbone.embedding = False  # and of the linear layer after it, D wide
    optimizer.average_decay = 0.98  # moving average of all weights, used in evaluation; 0 is none
    optimizer.pretrained_factor = 1.0  # on the learning rate of a network that starts from published weights

    config.parallel = groups.parallel()

    config.evaluation = evaluation = ConfigDict()
    evaluation.batch_size = 32  # photos or shapes encoded at once
    evaluation.photos = 'test'  # --mode=eval: 'all' scores photos of every split that the run was not trained on
    evaluation.views = 0  # fixed, evenly spaced views of a shape; 0 is all
    evaluation.alignment = 'none'  # of extracted features: 'coral', 'jgsa', 'meda'; 'prototypes', of frozen ones
    evaluation.before = ''  # work directory of the run shown before this one in the report; '': the initial weights

    config.sample = sample = ConfigDict()  # the synthetic data that stands in where data_dir is ''; of each class
    sample.train_photos = 600  # labelled
    sample.test_photos = 30  # the queries
    sample.train_shapes = 20  # without labels
    sample.test_shapes = 10  # the gallery

    if preset not in PRESETS:
        raise ValueError(preset)
    if not preset.startswith((RANDOM, 'paper', 'smoke')):
        config.update_from_flattened_dict(PRETRAINED)
    method = 'jan' if preset == 'small' else preset.removeprefix(f'{RANDOM}_')
    if method in METHODS:
        config.update_from_flattened_dict(METHODS[method])
    if preset == 'paper':
        # HIFA prints R, lambda and beta. The rest is the lab's RevGrad code (tianbao-li/MI3DOR): 72 views of 6 shapes
        # and 6 photos a step, 20,000 steps, SGD with Nesterov's momentum, new layers 0.01, pretrained ones and the one
        # of 256 after them 0.001, crops of 224 from 256 (its crops also move along the longer side of a picture, these
        # stay in the middle square), reversal over 10,000 steps. Ours: gradients clipped to length 1 (backbone, layer
        # of 256, the rest); without, beta 1 and R 25 end in NaN within three steps.
        config.batch_size, config.shapes_per_step, config.checkpoint_every = 6, 6, 2000
        config.epochs = 20_000 / (10_500 // 6)  # 20,000 steps of 6 of the 10,500 training photos
        config.log_every, data.val_fraction = 50, 0.0
        data.stored_size, data.image_size, data.views_per_step, config.render.supersample = 256, 224, 0, 1
        for group in (photo, view):
            group.area, group.aspect = (0.765625, 0.765625), (1.0, 1.0)
        model.backbone, model.embedding_dim, model.classifier_hidden, model.dropout = 'alexnet', 256, 256, 0.5
        model.discriminator_hidden, model.domain_hidden = 512, 1024
        loss.warmup, loss.norm_weight, loss.norm_radius = 0.0, 1.0, 25.0
        loss.centroid_weight, loss.adversarial_weight, loss.adversarial_ramp = 1.0, 2.0, 10_000
        for group, rate in ((optimizer, 0.01), (backbone, 0.001)):
            group.name, group.learning_rate, group.schedule, group.warmup = 'sgd', rate, 'inverse', 0.0
            group.momentum, group.nesterov, group.weight_decay, group.clip_norm = 0.9, True, 5e-4, 1.0
        optimizer.average_decay, backbone.embedding, pretrained.backbone = 0.0, True, 'published'
    if preset == 'smoke':
        config.batch_size, config.shapes_per_step, config.epochs = 10, 10, 6.0
        config.log_every, config.checkpoint_every = 2, 4
        data.stored_size, data.image_size, data.views_per_step, data.val_fraction = 36, 32, 2, 0.5
        config.render.views, config.render.supersample = 3, 1
        model.backbone, model.embedding_dim, model.classifier_hidden = 'resnet_coarse', 16, 16
        sample.train_photos, sample.test_photos, sample.train_shapes, sample.test_shapes = 4, 2, 2, 2
    return config
