"""Write ``matmul.onnx`` of ``apps/android/phantom``, by which the Kotlin library measures what a CPU does at best."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

OUT = Path(__file__).resolve().parents[1] / "apps/android/phantom/src/main/resources/matmul.onnx"


def graph() -> onnx.ModelProto:
    """``left`` (M, K) by ``right`` (K, N); both are inputs, so that nothing is packed before."""
    ports = {"left": ("M", "K"), "right": ("K", "N"), "product": ("M", "N")}
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ports.items()]
    node = helper.make_node("MatMul", ["left", "right"], ["product"])
    return helper.make_model(
        helper.make_graph([node], "matmul", infos[:2], infos[2:]),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )


if __name__ == "__main__":
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_bytes(graph().SerializeToString())
