"""TensorFlow Datasets without its progress bars: `from data_pipelines.quiet import tfds`."""

import tensorflow_datasets as tfds

tfds.disable_progress_bar()
