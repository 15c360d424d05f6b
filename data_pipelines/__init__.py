"""Readers of dataset layouts and the tf.data input pipeline; the only place that imports TensorFlow."""

import os

# Before TensorFlow starts: no lines about the CPU, no search for a cloud metadata server on a machine without one, and
# no Keras, which nothing here uses and which takes a third of the import.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')  # its notice has no other switch; no network runs in TensorFlow
os.environ.setdefault('NO_GCE_CHECK', 'true')
os.environ.setdefault('TF_USE_LEGACY_KERAS', '1')  # the other Keras is imported at once, this one where it is used
