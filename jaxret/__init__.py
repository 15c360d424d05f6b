"""Cross-modal 3D retrieval in JAX/Flax."""
