"""LiteRT's operators, as far as graphs here use them: each computes the shape that it returns."""

from collections.abc import Sequence

from phantom_edge.export.targets.litert.graph import Graph, Value, spread


class Operators(Graph):
    """A graph with a method for each operator."""

    def add(self, a: Value, b: Value) -> Value:
        """Sum."""
        return self.op("ADD", a, b, shape=spread(a.shape, b.shape), options="AddOptions")

    def sub(self, a: Value, b: Value) -> Value:
        """Difference."""
        return self.op("SUB", a, b, shape=spread(a.shape, b.shape), options="SubOptions")

    def mul(self, a: Value, b: Value) -> Value:
        """Product, element by element."""
        return self.op("MUL", a, b, shape=spread(a.shape, b.shape), options="MulOptions")

    def reshape(self, x: Value, *shape: int) -> Value:
        """The same elements in another shape."""
        return self.op(
            "RESHAPE", x, self.ints(*shape), shape=shape, dtype=x.dtype, options="ReshapeOptions", newShape=list(shape)
        )

    def transpose(self, x: Value, *order: int) -> Value:
        """Dimensions in another order."""
        shape = [x.shape[axis] for axis in order]
        return self.op("TRANSPOSE", x, self.ints(*order), shape=shape, options="TransposeOptions")

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        """Values beside each other along an axis."""
        axis %= len(values[0].shape)
        shape = list(values[0].shape)
        shape[axis] = sum(one.shape[axis] for one in values)
        about = {"options": "ConcatenationOptions", "axis": axis, "dtype": values[0].dtype}
        return self.op("CONCATENATION", *values, shape=shape, **about)

    def split(self, x: Value, sizes: Sequence[int], axis: int = -1) -> list[Value]:
        """Parts of ``sizes`` along an axis."""
        axis %= len(x.shape)
        begin, found = 0, []
        for size in sizes:
            start, shape = [0] * len(x.shape), list(x.shape)
            start[axis], shape[axis] = begin, size
            found.append(self.cut(x, start, shape))
            begin += size
        return found

    def cut(self, x: Value, start: Sequence[int], shape: Sequence[int]) -> Value:
        """The elements of ``shape`` from ``start`` on."""
        return self.op(
            "SLICE", x, self.ints(*start), self.ints(*shape), shape=shape, dtype=x.dtype, options="SliceOptions"
        )

    def softmax(self, x: Value) -> Value:
        """Softmax over the last dimension."""
        return self.op("SOFTMAX", x, shape=x.shape, options="SoftmaxOptions", beta=1.0)

    def gelu(self, x: Value) -> Value:
        """Exact GELU."""
        return self.op("GELU", x, shape=x.shape, options="GeluOptions", approximate=False)

    def logistic(self, x: Value) -> Value:
        """Sigmoid."""
        return self.op("LOGISTIC", x, shape=x.shape)

    def rsqrt(self, x: Value) -> Value:
        """Inverse root."""
        return self.op("RSQRT", x, shape=x.shape)

    def mean(self, x: Value) -> Value:
        """Mean over the last dimension, which is kept."""
        shape = (*x.shape[:-1], 1)
        axis = self.ints(len(x.shape) - 1)
        return self.op("MEAN", x, axis, shape=shape, options="ReducerOptions", keepDims=True)

    def product(self, a: Value, b: Value, *, turned: bool = False) -> Value:
        """Product of matrices in the last two dimensions; ``turned`` transposes those of ``b``."""
        width = b.shape[-2] if turned else b.shape[-1]
        shape = (*spread(a.shape[:-2], b.shape[:-2]), a.shape[-2], width)
        return self.op("BATCH_MATMUL", a, b, shape=shape, options="BatchMatMulOptions", adjY=turned)

    def dense(self, x: Value, weight: Value, bias: Value | None = None) -> Value:
        """Product with the rows of ``weight`` (rows, columns), over the last dimension."""
        shape = (*x.shape[:-1], weight.shape[0])
        return self.op(
            "FULLY_CONNECTED", x, weight, bias, shape=shape, options="FullyConnectedOptions", keepNumDims=True
        )

    def updated(self, x: Value, rows: Value, start: Value) -> Value:
        """``x`` with ``rows`` written from ``start`` on."""
        about = {"options": "DynamicUpdateSliceOptions"}
        return self.op("DYNAMIC_UPDATE_SLICE", x, rows, start, shape=x.shape, **about)

    def cast(self, x: Value, dtype: str) -> Value:
        """The same numbers in another format."""
        types = self.types.TensorType
        names = {"float32": "FLOAT32", "int32": "INT32"}
        about = {"inDataType": getattr(types, names[x.dtype]), "outDataType": getattr(types, names[dtype])}
        return self.op("CAST", x, shape=x.shape, dtype=dtype, options="CastOptions", **about)

    def most(self, a: Value, b: Value) -> Value:
        """The larger of both."""
        return self.op("MAXIMUM", a, b, shape=spread(a.shape, b.shape), options="MaximumMinimumOptions")

    def least(self, a: Value, b: Value) -> Value:
        """The smaller of both."""
        return self.op("MINIMUM", a, b, shape=spread(a.shape, b.shape), options="MaximumMinimumOptions")

    def cosine(self, x: Value) -> Value:
        """Cosine."""
        return self.op("COS", x, shape=x.shape)

    def sine(self, x: Value) -> Value:
        """Sine."""
        return self.op("SIN", x, shape=x.shape)

    def patches(self, x: Value, weight: Value, bias: Value) -> Value:
        """Convolution (1, S, S, C) whose stride is its kernel, weights (rows, P, P, C)."""
        side = weight.shape[1]
        shape = (x.shape[0], x.shape[1] // side, x.shape[2] // side, weight.shape[0])
        about = {"padding": self.types.Padding.VALID, "strideW": side, "strideH": side}
        about |= {"dilationWFactor": 1, "dilationHFactor": 1}
        return self.op("CONV_2D", x, weight, bias, shape=shape, options="Conv2DOptions", **about)
