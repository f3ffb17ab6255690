"""Options of target litert."""

from dataclasses import dataclass

from phantom_edge.export.targets.litert.chips import CHIPS
from phantom_edge.export.targets.litert.names import Compute
from phantom_edge.export.targets.target import Options, listed, option
from phantom_edge.foundation.errors import UsageError


@dataclass(frozen=True)
class LiteRtOptions(Options):
    """``container`` writes the graphs once more, in one file with tokenizer and template.

    ``compute`` is the processor that the graphs are drawn for, ``chip`` the one to compile them for.
    """

    container: bool = option(True, "Write the .litertlm file that LiteRT-LM and its apps load, beside the graphs.")
    compute: Compute = option(
        "cpu",
        "Processor: cpu; gpu, with weights of whole rows; npu, whose graphs only read the caches.",
        choices=("cpu", "gpu", "npu"),
    )
    chip: str | None = option(
        None, f"With --compute npu, the chip to compile for, on your own machine: {listed(CHIPS)}."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chip is None:
            return
        if self.chip not in CHIPS:
            raise UsageError(f"--chip is {self.chip}", f"choose from {listed(CHIPS)}")
        if self.compute != "npu":
            raise UsageError(f"--chip {self.chip} is for NPUs", "give --compute npu, too")
