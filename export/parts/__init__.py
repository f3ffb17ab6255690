"""What several targets write alike: tables of embeddings and rotations, packed integers, the cache's description."""
