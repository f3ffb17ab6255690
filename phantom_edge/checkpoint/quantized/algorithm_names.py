"""Names that the command line tells before torch is loaded."""

from typing import Literal, get_args

AlgorithmName = Literal["rtn", "hqq", "gptq", "awq", "mbq", "dkm"]
ALGORITHM_NAMES: tuple[AlgorithmName, ...] = get_args(AlgorithmName)
