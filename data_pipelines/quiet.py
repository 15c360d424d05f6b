"""TensorFlow Datasets, kept silent and off the network: `from data_pipelines.quiet import tfds`.

Imported before TensorFlow, it also silences that one's lines about the CPU. TFDS would draw progress bars of its own,
and TensorFlow's file systems may search for a cloud metadata server, for seconds on a machine without one.
"""

import os

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')  # its notice has no other switch; no network runs in TensorFlow
os.environ.setdefault('NO_GCE_CHECK', 'true')

import tensorflow_datasets as tfds  # noqa: E402

tfds.disable_progress_bar()
