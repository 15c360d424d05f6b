"""CMIC on Pix3D: the CAD model that matches a photo and its mask (Lin et al., ICCV 2021; Sun et al., CVPR 2018).

  python experiments/run.py --config=pix3d.py                              small, for CPUs: heads on frozen ImageNet
                                                                           features; embedded synthetic sample
  python experiments/run.py --config=pix3d.py --config.data_dir=DIR        the same on real data in Pix3D's layout
  python experiments/run.py --config=pix3d.py:paper --config.data_dir=DIR  the published setting, for GPUs
  python experiments/run.py --config=pix3d.py:random_start                 small networks that start from random weights
  python experiments/run.py --config=pix3d.py:triplet                      a row of the papers' tables, likewise ROWS
                                                                           below; paper_triplet, ... at full size
  python experiments/run.py --config=pix3d.py:smoke                        seconds, to see that everything works

The paper's figures on Pix3D (its Table 1): Top-1 78.9 %, Top-10 96.1 %, Hausdorff 0.0086, IoU 0.8746 (means over
queries; over categories Top-1 is 77.6 %). Its split, renders and camera were not published.
"""

from configs import _groups as groups
from ml_collections import ConfigDict

# Row of the tables -> how it differs at the same size: small without references; rows of masks at random_start, as
# frozen weights have no place for a fourth channel.
ROWS = {
    'no_references': {},
    'hsv': {'color.mode': 'hsv', 'color.probability': 0.5},
    'no_color': {'color.mode': 'none'},
    'no_category': {'loss.category_weight': 0.0},
    'no_color_no_category': {'color.mode': 'none', 'loss.category_weight': 0.0},
    'triplet': {'loss.kind': 'triplet'},
    'triplet_no_category': {'loss.kind': 'triplet', 'loss.category_weight': 0.0},
    'true_shape_removed': {'loss.true_shape': 'removed'},
    'true_shape_not_positive': {'loss.true_shape': 'not_positive'},
    'center': {'loss.kind': 'center', 'model.pooling': 'unit_mean'},  # attention has no query-free shape to pull
    # Whole photos, as the paper's: a crop to the mask would tell what the mask does.
    'mask_channel': {'model.mask': 'channel', 'data.crop': 'none'},
    'mask_multiply': {'model.mask': 'black', 'data.crop': 'none'},  # the photo itself times its mask
    'mask_both': {'model.mask': 'both', 'data.crop': 'none'},
    'mask_none': {'model.mask': 'none', 'data.crop': 'none'},
    'views_1': {'render.views': 1, 'data.views_per_step': 1},
    'views_6': {'render.views': 6},
    'views_18': {'render.views': 18},
    'views_24': {'render.views': 24},
    'textured': {'render.shading': 'textured'},
    'mean_views': {'model.pooling': 'mean'},
    'max_views': {'model.pooling': 'max'},
    **{f'beta_{beta}': {'loss.category_weight': beta} for beta in (0.1, 0.4, 0.6, 0.8, 1.0)},
}
PRESETS = ('small', 'random_start', *ROWS, 'paper', *(f'paper_{row}' for row in ROWS), 'smoke')
# Small with the weights that a package brings. Heads alone hardly overfit: every training photo teaches them.
PRETRAINED = {
    'select': 'last',
    'data.val_fraction': 0.0,
    'data.image_size': 224,
    'model.query_encoder': 'efficientnet_lite0',
    'model.view_encoder': 'efficientnet_lite0',
    'model.train': 'heads',
    'model.taps': '5,8,11,13,15,16',
    'model.normalization': 'published',
    'model.mask': 'white',
    'pretrained.query': 'imagenet',
    'pretrained.gallery': 'imagenet',
    'frozen.photo_copies': 2,
    'frozen.view_copies': 2,
    'optimizer.learning_rate': 5e-4,
    'evaluation.references': 0.5,
}


def get_config(preset: str = 'small') -> ConfigDict:
    """The config of a preset; every key with its value in `random_start`, of which `PRETRAINED` makes the default."""
    config = groups.common('photo_to_shape')  # seed, data_dir (Pix3D's layout), cache_dir, on_bad_file, processes

    config.batch_size = 24  # photos a step, and distinct shapes a step
    config.epochs = 60  # passes over the training photos
    config.log_every = 10  # steps a line of metrics.jsonl
    config.checkpoint_every = 200  # steps between evaluations on the held-out part, each with a checkpoint
    # 'last' is the last checkpoint; 'test_top1' the best on the test photos, as CMIC's public code has it: it uses the
    # answer, and is marked.
    config.select = 'mean_reciprocal_rank'  # held-out metric that picks the checkpoint: this, 'top1', 'top10'; or those

    config.data = data = ConfigDict()
    data.layout = 'pix3d'  # of data_dir, or 'stanford_cars', 'comp_cars': those have configs of their own
    data.shapenet_dir = ''  # cars: the folder that holds 02958343/; '' looks for it in data_dir
    # Cars: 'auto': files of mask/; 'frame': the whole photo. Using the answer: 'pose': train photos get the silhouette
    # of the true shape in its annotated pose, test photos files or else the whole photo; 'pose_test': test photos too.
    data.masks = 'auto'  # of the cars
    data.mask_dir = ''  # other masks, named as below mask/: folder in data_dir, or an absolute path; '' is none
    data.categories = ()  # () is every category found
    data.exclude_occluded = True  # leave out photos marked `occluded` (`slightly_occluded` ones stay)
    data.exclude_truncated = True  # leave out photos marked `truncated`
    data.gallery = 'folder'  # 'folder': every model of the categories; 'referenced': only those that photos show
    # These three decide the split at the start of a run; resume and --mode=eval keep it for the photos that it names.
    data.test_fraction = 0.483  # of the photos, where pix3d.json has no key `split`
    data.split_file = ''  # published split: file of photo names in data_dir, or an absolute path; see docs/cmic.md
    data.val_fraction = 0.1  # of the training photos, held out to select the checkpoint; 0 is none
    data.image_size = 64  # side of photos, masks and views
    data.views_per_step = 4  # of each shape, a random subset a step, encoded in training; 0 is all
    data.crop = 'mask'  # photos are cropped to: 'mask' (its bounding box), 'bbox' (from pix3d.json) or 'none'
    data.margin = 0.1  # around the crop, as a share of its longer side
    data.fit = 'pad'  # 'pad' keeps the aspect (white borders), 'stretch' does not
    data.up_axis = 'y'  # of the meshes: 'y' or 'z'

    config.render = render = groups.render()  # the views
    render.shading = 'grey'  # or 'textured': in the colours of the mesh files' materials
    # photo and mask together; how wide an object is tells much about its shape
    config.photo_augmentation = photo = groups.augmentation(translate=0.05, area=(0.7, 1.0), aspect=(0.95, 1.05))
    config.view_augmentation = view = groups.augmentation(translate=0.0, area=(0.8, 1.0), aspect=(0.95, 1.05))

    config.color = color = ConfigDict()  # colour augmentation of training photos
    color.mode = 'lab'  # transfer in 'lab' or 'ruderman', random 'hsv', or 'none'
    color.source = 'other'  # colours of another photo of the batch; 'permutation': perhaps its own, as in CMIC's code
    color.ratio = 'style_over_content'  # or 'content_over_style' (as Eq. 1 is printed)
    color.probability = 1.0  # share of photos changed (the paper's HSV row uses 0.5)
    color.hsv_range = (0.1, 0.3, 0.3)  # largest shift of hue (turns), saturation and value

    config.model = model = ConfigDict()
    model.query_encoder = 'resnet_small'  # or resnet_coarse, resnet18, resnet50, efficientnet_lite0, vit_s14, ...
    model.view_encoder = 'resnet_coarse'  # the same choices
    model.embedding_dim = 128  # D, of photos and of views
    model.pooling = 'attention'  # of the views: 'attention', 'mean', 'max', 'unit_mean' (scaled to length 1)
    # 'multiply' multiplies the normalised photo, which is grey outside then
    model.mask = 'both'  # 'channel' (fourth), 'multiply', 'both', 'black' or 'white' (outside), 'none'
    model.dtype = 'float32'  # of the computation; 'bfloat16' keeps parameters and statistics float32
    # Photos, and shapes with all views, encoded at once in training, for batches whose activations do not fit; divides
    # batch_size. Batch norm then sees a chunk at a time, losses still the batch. 0 is the whole batch.
    model.chunk = 0  # examples; 0 is all at once
    model.train = 'all'  # or 'last_blocks', 'heads': only what follows the image network
    model.last_blocks = 4  # segments of the network that 'last_blocks' trains, its end among them
    # Segments of the network (0 is the stem, then one a block) whose means are its features; '' is its end
    model.taps = ''  # such as '8,11,15'
    model.normalization = 'symmetric'  # of pictures, to [-1, 1]; 'published': as the network's published weights had it
    config.frozen = groups.frozen()

    # Published weights to start from: 'imagenet', those of the installed package; or torchvision's or timm's: a
    # .safetensors or .pth file
    config.pretrained = pretrained = ConfigDict()
    pretrained.query = ''  # for model.query_encoder; '' starts at random, 'published' asks for a file
    pretrained.gallery = ''  # the same for model.view_encoder
    # First convolution of networks that are trained whole: 'random' starts it anew, whatever its channels, as CMIC's
    # code does; 'mean', 'sum' keep RGB and start a mask channel at 0, and for grey views take mean or sum of RGB.
    pretrained.first_convolution = 'random'  # or 'mean', 'sum'

    config.loss = loss = ConfigDict()
    loss.kind = 'contrastive'  # or 'triplet'; 'center': cross-modal center loss, a class a shape (001, Table 1)
    loss.temperature = 0.1  # tau of Eq. 4 and 5; divides the scores
    loss.category_weight = 0.2  # beta_1 of Eq. 6
    loss.true_shape = 'included'  # in the category loss; 'not_positive' (Eq. 5), 'removed' (Table 4's ablation)
    loss.sampling_correction = True  # of the contrastive loss: scores learn how often a shape is photographed
    loss.reduction = 'mean'  # over the batch, or 'sum' (Eq. 4)
    loss.margin = 0.2  # of the triplet loss, on 1 - score
    loss.mining = 'all'  # of instance triplets: 'all', 'semi_hard', 'hard', 'batch_hard'
    loss.label_weight = 1.0  # 'center': of the label head's cross-entropy; these three as in its public code
    loss.center_weight = 10.0  # 'center': of the distances to the shape's center
    loss.alignment_weight = 0.1  # 'center': of the distance between photo and shape

    config.optimizer = optimizer = groups.optimizer(weight_decay=1e-2)
    optimizer.average_decay = 0.99  # moving average of the weights, used in evaluation; 0 is none
    optimizer.pretrained_factor = 1.0  # on the learning rate of networks that start from published weights
    config.parallel = groups.parallel()

    config.evaluation = evaluation = ConfigDict()
    evaluation.batch_size = 32  # photos, or shapes, encoded at once
    evaluation.photos = 'test'  # --mode=eval: 'all' scores photos of every split that the run was not trained on
    evaluation.shape_metrics = True  # Hausdorff distance and voxel IoU of the Top-1 shapes
    # Training photos as further evidence for their shapes: the weight of soft nearest neighbours beside the views.
    evaluation.references = 0.0  # 0 is none, 1 is references alone
    evaluation.reference_temperature = 0.05  # of their cosines
    evaluation.points = 10_000  # sampled a shape for the Hausdorff distance
    evaluation.voxels = 128  # grid side of the IoU
    # A gallery that the run never saw: folder in ShapeNetCore's layout, or 'sample'; '' is none. Its Top-1 shapes are
    # compared with the true ones.
    evaluation.unseen_dir = ''  # '' is none
    evaluation.unseen_categories = 'own'  # each photo searches the shapes of its own category; or 'all'

    config.sample = sample = ConfigDict()  # the synthetic data that stands in where data_dir is ''
    sample.shapes_per_category = 10  # 1 .. 24, in each of 4 categories
    sample.photos_per_shape = 30  # usable ones; some more are occluded or truncated

    if preset not in PRESETS:
        raise ValueError(preset)
    if preset.startswith('paper'):
        config.batch_size, config.epochs = 60, 500
        config.checkpoint_every, config.select = 440, 'last'  # 44 steps an epoch on Pix3D's 2,648 training photos
        data.test_fraction, data.val_fraction = 2470 / 5118, 0.0  # no photo is held out
        data.categories = ('bed', 'chair', 'sofa', 'table')
        data.gallery, data.image_size, data.crop, data.fit = 'referenced', 224, 'none', 'stretch'
        model.query_encoder, model.view_encoder, model.mask = 'resnet50', 'resnet34', 'channel'
        pretrained.query = pretrained.gallery = 'published'
        data.views_per_step, loss.sampling_correction = 0, False
        photo.area, view.area, photo.fill = (0.85, 0.95), (0.65, 0.9), 0
        photo.aspect = view.aspect = (0.75, 1.3333333333)
        optimizer.learning_rate, optimizer.schedule, optimizer.warmup = 5e-5, 'constant', 0.0
        optimizer.b1, optimizer.weight_decay, optimizer.average_decay = 0.5, 0.0, 0.0
    elif preset == 'smoke':
        config.batch_size, config.epochs, config.log_every, config.checkpoint_every = 4, 2, 2, 4
        data.image_size, data.views_per_step, render.views, render.supersample = 32, 2, 4, 1
        evaluation.batch_size, evaluation.points, evaluation.voxels = 8, 500, 32
        model.embedding_dim = 16
        sample.shapes_per_category, sample.photos_per_shape = 3, 4
    row = preset.removeprefix('paper_')
    if not preset.startswith(('paper', 'smoke', 'random_start', 'mask_')):
        config.update_from_flattened_dict(PRETRAINED)
    if row in ROWS:
        config.update_from_flattened_dict({'evaluation.references': 0.0, **ROWS[row]})
    return config
