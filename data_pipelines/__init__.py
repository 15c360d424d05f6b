"""Readers of dataset layouts and the tf.data input pipeline; the only place that imports TensorFlow."""
