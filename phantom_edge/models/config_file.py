"""config.json of a folder in either layout."""

from pathlib import Path

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import read_json
from phantom_edge.models.config import PhantomConfig


def read_config(folder: Path) -> PhantomConfig:
    """Reads the config of a folder in either layout. Raises EdgeError for a bundle."""
    if (folder / "phantom.json").is_file():
        raise EdgeError(f"{folder} is a bundle, not a checkpoint", "give the checkpoint that it was exported from")
    raw = read_json(folder / "config.json")
    if raw.get("model_type") != "phantom":
        raise EdgeError(
            f"{folder / 'config.json'} is for model type '{raw.get('model_type')}', not for a Phantom",
            "give a Phantom checkpoint: see phantom-edge models",
        )
    from huggingface_hub.errors import StrictDataclassError

    raw.pop("quantization_config", None)  # such weights are read as floats; transformers would quantize them again

    try:
        config: PhantomConfig = PhantomConfig.from_dict(raw)
        return config
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError, StrictDataclassError) as error:
        raise EdgeError(
            f"{folder / 'config.json'}: {' '.join(str(error).split())}", "fetch config.json again from its source"
        ) from error
