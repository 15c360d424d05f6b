"""Groups of keys that several configs share, each with its defaults; configs/*.py change what differs."""

from ml_collections import ConfigDict


def common(experiment: str) -> ConfigDict:
    """A config with the keys that every run has and that do not differ."""
    config = ConfigDict()
    config.experiment = experiment  # the task, a folder of experiments/
    config.seed = 0  # decides initial weights, batches, augmentation, split
    config.data_dir = ''  # folder of the data set; '' makes and uses the synthetic sample
    config.cache_dir = ''  # prepared data; '' is $XDG_CACHE_HOME/jaxret or ~/.cache/jaxret
    config.on_bad_file = 'error'  # 'error': refuse to start, listing all; 'skip': go on without, listing all
    config.processes = 0  # worker processes that check and prepare the data; 0 is one a core
    return config


def render() -> ConfigDict:
    """`render`: the grey views."""
    group = ConfigDict()
    group.views = 12  # on a ring, evenly spaced
    group.elevation = 30.0  # degrees
    group.first_azimuth = 0.0  # degrees; 0 looks at the front (+z), 90 at the right side (+x)
    group.field_of_view = 40.0  # degrees
    group.light_azimuth = -25.0  # degrees from the line of sight to the right; the light moves with the camera
    group.light_elevation = 25.0  # degrees from the line of sight upwards
    group.ambient = 0.2  # grey in [0, 1] of a face turned away from the light
    group.diffuse = 0.65  # added for a face turned to the light
    group.background = 255  # grey level
    group.supersample = 2  # rays a pixel along each axis
    return group


def augmentation(*, translate: float, area: tuple[float, float], aspect: tuple[float, float]) -> ConfigDict:
    """`photo_augmentation` (photo and mask together) and `view_augmentation` (every view by itself)."""
    group = ConfigDict()
    group.translate = translate  # largest shift, share of the side
    group.area = area  # of the random crop, share of the image
    group.aspect = aspect  # width / height of the random crop
    group.flip = 0.5  # probability
    group.fill = 255  # grey level outside the image: padded photos and the views' background are white
    return group


def frozen() -> ConfigDict:
    """`frozen`: where a part of the network is frozen, its features are computed once."""
    group = ConfigDict()
    # Copies of every picture, the first as it is, the others changed at random; 0: anew at every step.
    group.photo_copies = 0  # copies; 0 is none
    group.view_copies = 0  # copies
    return group


def optimizer(*, weight_decay: float) -> ConfigDict:
    """`optimizer`: how the parameters are changed."""
    group = ConfigDict()
    group.name = 'adam'  # or 'sgd'
    group.learning_rate = 3e-3  # the schedule's highest value
    group.schedule = 'cosine'  # or 'constant', 'steps', 'inverse'
    group.decay_every = 20_000  # steps between the drops of 'steps'
    group.decay_factor = 0.1  # of every drop
    group.warmup = 0.05  # share of the steps
    group.b1 = 0.9  # Adam
    group.b2 = 0.999  # Adam
    group.momentum = 0.9  # SGD
    group.nesterov = False  # SGD: Nesterov's momentum
    group.weight_decay = weight_decay  # not on biases and normalisation; Adam: decoupled, SGD: through the momentum
    group.clip_norm = 0.0  # of the gradient; 0 is none
    return group


def parallel() -> ConfigDict:
    """`parallel`: devices."""
    group = ConfigDict()
    group.mode = 'jit'  # or 'pmap'
    group.devices = 0  # 0 is as many as divide the batch
    return group
