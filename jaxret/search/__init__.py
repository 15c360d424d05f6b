"""Search of folders of models: indexes, queries, exact scores, and ways to larger galleries."""
