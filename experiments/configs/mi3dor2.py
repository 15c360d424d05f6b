"""MI3DOR-2 (40 classes, 20 test shapes each), otherwise as mi3dor.py (same presets).

  python experiments/run.py --config=mi3dor2.py --config.data_dir=DIR

Zhou et al. (IJCAI 2020), Table 3 on MI3DOR-2, NN / FT / ANMRR: AlexNet .518 / .355 / .629, HIFA-G .655 / .521 / .465,
HIFA-GL .673 / .547 / .437, HIFA-GL with mutual information .725 / .570 / .413. With 20 shapes a class F equals FT.
"""

from configs import mi3dor
from ml_collections import ConfigDict

PRESETS = mi3dor.PRESETS


def get_config(preset: str = 'small') -> ConfigDict:
    """The config of a preset."""
    config = mi3dor.get_config(preset)
    if preset == 'paper':
        config.epochs = 20_000 / (19_294 // 6)  # 20,000 steps of 6 of the 19,294 training photos
    return config
