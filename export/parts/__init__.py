"""Parts that several targets share: tables of embeddings and rotations, packed integers, the cache's description."""
