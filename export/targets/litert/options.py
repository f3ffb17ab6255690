"""Options of target litert."""

from dataclasses import dataclass

from phantom_edge.export.targets.target import Options, option


@dataclass(frozen=True)
class LiteRtOptions(Options):
    """``container`` writes the graphs once more, in one file with tokenizer and template."""

    container: bool = option(True, "Write the .litertlm file that LiteRT-LM and its apps load, beside the graphs.")
