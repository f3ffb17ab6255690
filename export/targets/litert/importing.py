"""Import of LiteRT's packages, with the extra that brings them."""

from types import ModuleType

from phantom_edge.foundation.errors import need
from phantom_edge.foundation.quiet import need_quietly


def schema() -> ModuleType:
    """Returns the classes of the .tflite format, generated from its flatbuffer schema."""
    need("ai_edge_litert", "litert")
    return need("ai_edge_litert.schema_py_generated", "litert")


def flatbuffers() -> ModuleType:
    """Returns the package that builds and reads flatbuffers."""
    return need("flatbuffers", "litert")


def compiled_models() -> ModuleType:
    """Returns LiteRT's module of compiled models. Raises EdgeError where LiteRT is not installed."""
    need("ai_edge_litert", "litert")
    return need_quietly("ai_edge_litert.compiled_model")


def containers() -> ModuleType:
    """Returns the builder of LiteRT-LM's containers. Raises EdgeError where it is not installed."""
    need("litert_lm_builder", "litert")
    return need("litert_lm_builder.litertlm_builder", "litert")


def container_metadata() -> ModuleType:
    """Returns the classes of LiteRT-LM's metadata."""
    need("litert_lm_builder", "litert")
    return need("litert_lm_builder.runtime.proto.llm_metadata_pb2", "litert")
