"""The embedded synthetic sample: parametric furniture and rendered photos in Pix3D's layout. No TensorFlow, no JAX."""
