"""Names of algorithms, for the command line without torch."""

from typing import Literal, get_args

AlgorithmName = Literal["rtn", "hqq", "gptq", "awq", "mbq", "dkm"]
ALGORITHM_NAMES: tuple[AlgorithmName, ...] = get_args(AlgorithmName)
