"""Cross-modal retrieval on ModelNet40: images, meshes and point clouds, nine directions.

  python experiments/run.py --config=modelnet40.py                          labels, noisy centers, SimSiam (small; views
                                                                            by frozen ImageNet features)
  python experiments/run.py --config=modelnet40.py:clf                      the baseline: labels, centers, MSE (small)
  python experiments/run.py --config=modelnet40.py --config.data_dir=DIR    on meshes: DIR/<class>/{train,test}/*.off
  python experiments/run.py --config=modelnet40.py:paper --config.data_dir=DIR   full size, for GPUs
  python experiments/run.py --config=modelnet40.py:paper_clf --config.data_dir=DIR   full-size baseline
  python experiments/run.py --config=modelnet40.py:random_start             small networks, from random weights;
                                                                            likewise random_start_clf, ...
  python experiments/run.py --config=modelnet40.py:plain_centers            labels, the baseline's centers, SimSiam
  python experiments/run.py --config=modelnet40.py:stretched                ours: other changes of shapes in training
  python experiments/run.py --config=modelnet40.py:smoke                    seconds, to see that everything works

Jing et al. (CVPR 2021), Choo et al. (KSII TIIS 2024). Mean mAP of the nine directions in the latter's Table 1, batch
48: baseline 86.33, its own method 85.41; at 24: 76.02, 76.13; at 12: 26.19, 26.36. It prints no loss weights.
"""

from configs import _groups as groups
from ml_collections import ConfigDict

# With the weights that a package brings.
PRETRAINED = {
    'data.image_size': 128,
    'model.image_encoder': 'efficientnet_lite0',
    'model.train': 'heads',
    'model.normalization': 'published',
    'pretrained.image': 'imagenet',
    'frozen.view_copies': 4,
}
ROWS = ('clf', 'plain_centers', 'stretched')  # what differs from the default
# Ours: shapes are changed in training as unseen ones of a class differ.
STRETCHED = {'shape_augmentation.turn': 30.0, 'shape_augmentation.meshes': 'stretch'}
RANDOM = 'random_start'
PRESETS = (
    'small',
    *ROWS,
    RANDOM,
    *(f'{RANDOM}_{row}' for row in ROWS),
    'paper',
    *(f'paper_{row}' for row in ROWS),
    'smoke',
)


def get_config(preset: str = 'small') -> ConfigDict:
    """The config of a preset; every key with its value in `random_start`, of which `PRETRAINED` makes the default."""
    config = groups.common('cross_modal')  # seed, data_dir (ModelNet's layout), cache_dir, on_bad_file, processes

    config.batch_size = 24  # objects a step
    config.epochs = 40  # passes over the training objects
    config.log_every = 10  # steps a line of metrics.jsonl
    config.checkpoint_every = 50  # steps between checkpoints
    config.select = 'last'  # checkpoint to evaluate: 'last', or 'mean_map' (best on the held-out part)

    config.data = data = ConfigDict()
    data.classes = ()  # () is every class found
    data.layout = 'meshes'  # data_dir: DIR/<class>/{train,test}/*.off; 'published': the preprocessed ModelNet40, in
    data.images_dir = 'ModelNet40-Images-180'  # these folders below data_dir: views,
    data.points_dir = 'modelnet40_ply_hdf5_2048'  # points and id lists,
    data.features_dir = 'ModelNet40-MeshNet'  # and MeshNet's .npz files
    data.published_views = 180  # of each object to use, evenly spaced among the published 180
    data.train_per_class = 0  # training meshes of each class to use; 0 is all
    data.val_fraction = 0.0  # of the training meshes, held out; needed for select='mean_map'
    data.image_size = 64  # side of the views
    data.views_per_step = 2  # different views of an object in a training step, averaged
    data.points = 256  # of an object in a step, drawn from 2,048
    data.faces = 256  # most faces of a mesh after simplification; published features need 1,024
    data.up_axis = 'z'  # of the mesh files (and published mesh features): 'y' or 'z'
    data.points_up_axis = 'y'  # of published points

    config.render = render = groups.render()  # the grey views
    config.view_augmentation = view = groups.augmentation(translate=0.0, area=(0.7, 1.0), aspect=(1.0, 1.0))

    config.shape_augmentation = shapes = ConfigDict()  # of points and meshes
    shapes.turn = 180.0  # largest angle about the up axis, degrees
    shapes.meshes = 'jitter'  # of corners alone; ours: 'stretch', they are stretched and turned too, as points are

    config.model = model = ConfigDict()
    model.image_encoder = 'resnet_coarse'  # or resnet_small, resnet18, resnet50, efficientnet_lite0, vit_s14, ...
    model.point_encoder = 'dgcnn'  # or 'pointnet'
    model.neighbors = 10  # k of DGCNN
    model.point_width = 0.25  # factor on the channels; 1 is the published network
    model.mesh_width = 0.25  # factor on MeshNet's channels
    model.mesh_noise = 'relative'  # in training, on corners relative to their centre; 'absolute': before they are
    model.embedding_dim = 128  # D, of every modality
    model.label_hidden = 64  # width inside the label head
    model.projection_hidden = 64  # width inside SimSiam's projection and prediction
    model.dtype = 'float32'  # of the computation; 'bfloat16' keeps parameters and statistics float32
    model.train = 'all'  # or 'last_blocks', 'heads': only what follows the image network
    model.last_blocks = 4  # segments of the network that 'last_blocks' trains, its end among them
    # Segments of the network (0 is the stem, then one a block) whose means are its features; '' is its end
    model.taps = ''  # such as '8,11,15'
    model.normalization = 'symmetric'  # of pictures, to [-1, 1]; 'published': as the network's published weights had it
    config.frozen = groups.frozen()

    # Published weights to start from: 'imagenet', those of the installed package; or torchvision's or timm's: a
    # .safetensors or .pth file
    config.pretrained = pretrained = ConfigDict()
    pretrained.image = ''  # for model.image_encoder; '' starts at random
    pretrained.first_convolution = 'random'  # of a network trained whole: 'random' starts it anew; 'mean', 'sum' of RGB

    config.loss = loss = ConfigDict()
    loss.label_weight = 1.0  # alpha of Eq. 9
    loss.center = 'noisy_center'  # or 'center'
    loss.center_weight = 2.0  # beta of Eq. 9
    loss.sigma = 0.1  # deviation of the noise on the centers
    loss.noise_mean = 0.0  # theta of Eq. 6
    loss.noise = 'center'  # drawn once a center; 'feature': for every object and modality
    loss.squared = False  # distances of the noisy center loss; Eq. 6 prints them without a square
    loss.clean_weight = 1.0  # w_1 of Eq. 6
    loss.noisy_weight = 1.0  # w_2 of Eq. 6
    loss.alignment = 'simsiam'  # or 'mse', 'none'
    loss.alignment_weight = 1.0  # gamma of Eq. 9
    loss.reduction = 'mean'  # of the center loss; 'half_sum' as printed

    config.optimizer = optimizer = groups.optimizer(weight_decay=1e-3)
    config.center_optimizer = centers = ConfigDict(optimizer.to_dict())  # of the centers
    centers.weight_decay = 0.0  # centers are not drawn to the origin
    optimizer.average_decay = 0.98  # moving average of all weights, used in evaluation; 0 is none
    optimizer.pretrained_factor = 1.0  # on the learning rate of a network that starts from published weights

    config.parallel = groups.parallel()

    config.evaluation = evaluation = ConfigDict()
    evaluation.batch_size = 32  # objects encoded at once
    evaluation.views = 0  # fixed, evenly spaced views of a test object: 1, 2, 4, ...; 0 is all

    config.sample = sample = ConfigDict()  # the synthetic data that stands in where data_dir is ''
    sample.train_per_class = 12  # meshes
    sample.test_per_class = 6  # meshes

    if preset not in PRESETS:
        raise ValueError(preset)
    if not preset.startswith((RANDOM, 'paper', 'smoke')):
        config.update_from_flattened_dict(PRETRAINED)
    if plain := preset.endswith(('clf', 'plain_centers')):
        loss.center, loss.center_weight = 'center', 0.1
    if preset.endswith('clf'):
        loss.alignment, loss.alignment_weight = 'mse', 0.1
    if preset.startswith('paper'):
        # Public code of the baseline: SGD 0.001, momentum 0.9, weight decay 1e-3 (there also of biases and batch norm),
        # batch 96, x0.1 every 10,000 updates, weights 1, 10, 0.1, centers at 0.001 of their loss without its weight,
        # four views of a test object, noise on corners before they become relative. There views are a random 224 of
        # the picture (test: its middle) at 112; here a random part of the view, in evaluation all of it. Choo et al.:
        # batch 48, cosine decay; what they leave open is as there.
        config.batch_size, config.epochs, config.checkpoint_every = 48, 270, 205
        data.image_size, data.points, data.faces, render.supersample = 112, 1024, 1024, 1
        view.area = (0.25, 1.0)
        model.image_encoder, model.neighbors, model.point_width, model.mesh_width = 'resnet18', 20, 1.0, 1.0
        model.embedding_dim, model.label_hidden, model.projection_hidden = 512, 256, 512
        for group in (optimizer, centers):
            group.name, group.learning_rate, group.warmup = 'sgd', 1e-3, 0.0
        optimizer.average_decay, centers.momentum = 0.0, 0.0
        loss.center_weight, centers.learning_rate = (10.0, 1e-4) if plain else (1.0, 1e-3)
        model.mesh_noise, config.evaluation.views = 'absolute', 4
        model.normalization, pretrained.image = 'published', 'published'
    if preset.endswith('stretched'):
        config.update_from_flattened_dict(STRETCHED)
    if preset == 'smoke':
        config.batch_size, config.epochs, config.log_every, config.checkpoint_every = 4, 1, 2, 4
        data.image_size, data.points, data.faces, render.views, render.supersample = 32, 64, 64, 4, 1
        model.neighbors, model.point_width, model.mesh_width, model.embedding_dim = 4, 0.1, 0.1, 16
        evaluation.batch_size, sample.train_per_class, sample.test_per_class = 8, 2, 2
    return config
