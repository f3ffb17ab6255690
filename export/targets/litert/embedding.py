"""The table of embeddings as a LiteRT graph: a token id to its row."""

from phantom_edge.export.targets.litert.model_file import ModelFile
from phantom_edge.export.targets.litert.names import EMBEDS, IDS, LOOK_UP
from phantom_edge.export.targets.litert.operators import Operators
from phantom_edge.export.targets.litert.weights import Weights
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.tensor_names import EMBEDDING


class EmbeddingGraph(Operators):
    """Draws ``token_ids`` (1, 1) to ``embeddings`` (1, 1, hidden)."""

    def __init__(self, config: PhantomTextConfig, weights: Weights, file: ModelFile) -> None:
        super().__init__(file, LOOK_UP)
        hidden = config.hidden_size
        ids = self.reshape(self.input(IDS, (1, 1), "int32"), 1)
        table = weights.matrix(self, EMBEDDING, (config.vocab_size, hidden))
        row = self.op("EMBEDDING_LOOKUP", ids, table, shape=(1, hidden))
        self.output(EMBEDS, self.reshape(row, 1, 1, hidden))
        self.close()
