"""The table of embeddings as LiteRT graphs: token ids to their rows."""

from phantom_edge.export.targets.litert.model_file import ModelFile
from phantom_edge.export.targets.litert.names import EMBEDS, IDS
from phantom_edge.export.targets.litert.operators import Operators
from phantom_edge.export.targets.litert.weights import Weights
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.tensor_names import EMBEDDING


class EmbeddingGraph(Operators):
    """Draws ``token_ids`` (1, N) to ``embeddings`` (1, N, hidden)."""

    def __init__(
        self, config: PhantomTextConfig, weights: Weights, file: ModelFile, name: str, tokens: int = 1
    ) -> None:
        super().__init__(file, name)
        hidden = config.hidden_size
        ids = self.reshape(self.input(IDS, (1, tokens), "int32"), tokens)
        table = weights.matrix(self, EMBEDDING, (config.vocab_size, hidden))
        row = self.op("EMBEDDING_LOOKUP", ids, table, shape=(tokens, hidden))
        self.output(EMBEDS, self.reshape(row, 1, tokens, hidden))
        self.close()
