"""Write ``export/targets/onnx/byte_products.onnx``, which asks a CPU whether its products of bytes are exact."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OUT = Path(__file__).resolve().parents[1] / "export" / "targets" / "onnx" / "byte_products.onnx"
DEPTH, COLUMNS = 64, 32


def graph() -> onnx.ModelProto:
    """``x`` uint8 (N, 64) by 127 and -127 in turns of four: neighbours have one sign, so that they add up."""
    signs = np.where(np.arange(DEPTH)[:, None] // 4 % 2 == np.arange(COLUMNS) % 2, 127, -127).astype(np.int8)
    held = {"one": np.float32(1), "scales": np.ones(COLUMNS, np.float32), "zero": np.uint8(0), "weights": signs}
    node = helper.make_node(
        "MatMulIntegerToFloat", ["x", "weights", "one", "scales", "zero"], ["y"], domain="com.microsoft"
    )
    return helper.make_model(
        helper.make_graph(
            [node],
            "byte_products",
            [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", DEPTH])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", COLUMNS])],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
        ),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)],
        ir_version=10,
    )


if __name__ == "__main__":
    OUT.write_bytes(graph().SerializeToString())
