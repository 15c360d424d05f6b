"""The config values of HIFA's system: their choices and ranges, and the weights of its losses."""

from dataclasses import dataclass

from jaxret.encoders.image_backbones import BACKBONES
from jaxret.encoders.segments import TRAIN
from jaxret.encoders.shared_views import VIEW_POOLINGS
from jaxret.losses.alignment import CENTROID_REDUCTIONS

CHOICES = {
    'model.backbone': BACKBONES,
    'model.train': TRAIN,
    'model.view_pooling': VIEW_POOLINGS,
    'model.dtype': ('float32', 'bfloat16'),
    'loss.mutual_information': ('none', 'bce', 'jsd', 'dv', 'dv_unbiased'),
    'loss.mutual_information_form': ('global', 'local'),
    'loss.norm': ('none', 'fixed', 'stepwise'),
    'loss.centroid': ('none', 'batch', 'running', 'running_mstn'),
    'loss.centroid_reduction': CENTROID_REDUCTIONS,
    'loss.adversarial': ('none', 'revgrad'),
    'loss.mmd': ('none', 'linear', 'multi_kernel', 'jan'),
}
RANGES = {
    'above 0': (
        'model.embedding_dim',
        'model.discriminator_hidden',
        'model.domain_hidden',
        'loss.norm_radius',
        'loss.norm_step',
    ),
    '0 or above': (
        'model.classifier_hidden',
        'loss.label_weight',
        'loss.mutual_information_weight',
        'loss.norm_weight',
        'loss.centroid_weight',
        'loss.adversarial_weight',
        'loss.adversarial_ramp',
        'loss.mmd_weight',
        'loss.coral_weight',
    ),
    'at least 0 and below 1': (
        'model.dropout',
        'loss.warmup',
        'loss.mutual_information_decay',
        'loss.centroid_momentum',
        'loss.pseudo_confidence',
    ),
}


@dataclass(frozen=True)
class Weighting:
    """Which losses there are and what they weigh: the config's group `loss`, key by key, but for the form of T."""

    label_weight: float
    warmup: float
    mutual_information: str
    mutual_information_weight: float
    mutual_information_decay: float
    norm: str
    norm_weight: float
    norm_radius: float
    norm_step: float
    centroid: str
    centroid_weight: float
    centroid_reduction: str
    centroid_momentum: float
    pseudo_confidence: float
    adversarial: str
    adversarial_weight: float
    adversarial_ramp: int
    mmd: str
    mmd_weight: float
    coral_weight: float

    @property
    def adapts(self) -> bool:
        """Whether any loss looks at shapes."""
        kinds = (self.mutual_information, self.norm, self.centroid, self.adversarial, self.mmd)
        return any(kind != 'none' for kind in kinds) or self.coral_weight > 0
