"""Writing a convolutional network as a LiteRT (TFLite) file, so that XNNPACK can run it.

The usual converters bring another torch and jax along; the few operations of convolutional networks are not worth that.
Values are laid out (1, H, W, C) as LiteRT wants them. Activations are fused into the layer before them, as its own
converter does, and paddings that are not "same" in TensorFlow's sense become PAD operations, which XNNPACK fuses again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, fx, nn

_HIGHEST = 2**31 - 1


class Value(NamedTuple):
    """A tensor of the file: its number and its shape as torch has it."""

    number: int
    shape: tuple[int, ...]


def convert(network: nn.Module, image: Tensor) -> bytes:
    """The file of `network` (in evaluation mode, batch normalisation folded) for images of the shape of `image`, float32.

    NotImplementedError for a network with operations beyond those of convolutional networks.
    """
    program = torch.export.export(network, (image,)).run_decompositions({})
    return _Writer(program).file()


def _outer(shape: Sequence[int]) -> tuple[int, ...]:
    """(1, C, H, W) as (1, H, W, C)."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else tuple(shape)


def _arguments(node: Any, required: int, *defaults: Any) -> list[Any]:
    """A node's arguments; those behind the `required` ones may be left to `defaults`."""
    given = list(node.args)
    return given + list(defaults)[len(given) - required :]


def _axis(axis: int) -> int:
    return (0, 3, 1, 2)[axis % 4]


class _Writer:
    """Walks the exported graph once."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema: Any = schema
        self.program = program
        self.buffers: list[Any] = [schema.BufferT()]
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: dict[int, int] = {}  # place among the file's operator codes, by operator
        self.values: dict[fx.Node, Value] = {}
        self.outputs: list[int] = []

    def file(self) -> bytes:
        import flatbuffers

        user = set(self.program.graph_signature.user_inputs)
        inputs = [node for node in self.program.graph.nodes if node.op == "placeholder" and node.name in user]
        for node in inputs:
            self.values[node] = self._tensor(tuple(node.meta["val"].shape))
        for node in self.program.graph.nodes:
            if node.op == "call_function" and node not in self.values:
                self.values[node] = self._operation(node)
            elif node.op == "output":
                self.outputs = [self.values[item].number for item in node.args[0]]
        model, graph = self.schema.ModelT(), self.schema.SubGraphT()
        graph.tensors, graph.operators, graph.outputs = self.tensors, self.operators, self.outputs
        graph.inputs = [self.values[node].number for node in inputs]
        model.version, model.subgraphs, model.buffers = 3, [graph], self.buffers
        for code in self.codes:
            entry = self.schema.OperatorCodeT()
            entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), 1
            model.operatorCodes = [*(model.operatorCodes or []), entry]
        builder = flatbuffers.Builder(sum(len(item.data) for item in self.buffers if item.data is not None) + 2**20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _operation(self, node: Any) -> Value:
        name = str(node.target).split(".")[1]
        handler: Callable[[fx.Node], Value] | None = getattr(self, f"_{name}", None)
        if handler is None:
            raise NotImplementedError(f"no LiteRT form of {node.target} is written here")
        return handler(node)

    # -- tensors ---------------------------------------------------------------------------------------------------------

    def _tensor(self, shape: tuple[int, ...], data: np.ndarray | None = None) -> Value:
        tensor = self.schema.TensorT()
        tensor.shape, tensor.name, tensor.buffer = list(_outer(shape)), f"t{len(self.tensors)}".encode(), 0
        tensor.type = self.schema.TensorType.FLOAT32 if data is None or data.dtype == np.float32 else self.schema.TensorType.INT32
        if data is not None:
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            tensor.buffer, tensor.shape = len(self.buffers), list(data.shape)
            self.buffers.append(buffer)
        self.tensors.append(tensor)
        return Value(len(self.tensors) - 1, shape)

    def _constant(self, data: Any, kind: Any = np.int32) -> Value:
        array = np.asarray(data, kind)
        return self._tensor(array.shape, array)

    def _weight(self, node: Any, rows: int = 0) -> np.ndarray:
        """A parameter's numbers; zeros for a bias that is not there."""
        if node is None:
            return np.zeros(rows, np.float32)
        signature = self.program.graph_signature
        name = signature.inputs_to_parameters.get(node.name) or signature.inputs_to_buffers[node.name]
        return self.program.state_dict[name].detach().float().cpu().numpy()

    def _emit(self, code: str, inputs: Sequence[Value], shape: Sequence[int], options: str = "", fuse: fx.Node | None = None,
              **settings: Any) -> Value:
        """Add an operator; the activation that alone reads `fuse`, if one does, becomes part of it and has its value too."""
        number = getattr(self.schema.BuiltinOperator, code)
        operator = self.schema.OperatorT()
        operator.opcodeIndex = self.codes.setdefault(number, len(self.codes))
        out = self._tensor(tuple(shape))
        user = next(iter(fuse.users)) if fuse and len(fuse.users) == 1 else None
        if user and (kind := self._activation(user)):
            settings["fusedActivationFunction"] = kind
            self.values[user] = out
        operator.inputs, operator.outputs = [item.number for item in inputs], [out.number]
        if options:
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(self.schema, f"{options}T")()
            for key, value in settings.items():
                setattr(operator.builtinOptions, key, value)
        self.operators.append(operator)
        return out

    def _first(self, node: Any) -> Value:
        return self.values[node.all_input_nodes[0]]

    def _shape(self, node: Any) -> tuple[int, ...]:
        return tuple(node.meta["val"].shape)

    def _activation(self, node: Any) -> int:
        """The activation that can be fused into what `node` reads; 0 for none."""
        clipped = str(node.target) == "aten.hardtanh.default" and tuple(node.args[1:]) == (0.0, 6.0)
        if clipped or str(node.target) == "aten.relu6.default":
            return self.schema.ActivationFunctionType.RELU6
        return self.schema.ActivationFunctionType.RELU if str(node.target) == "aten.relu.default" else 0

    # -- operations, by their names in torch ----------------------------------------------------------------------------

    def _conv2d(self, node: Any) -> Value:
        source, weight, bias, stride, padding, dilation, groups = _arguments(node, 2, None, [1, 1], [0, 0], [1, 1], 1)
        filters = self._weight(weight)
        channels, shape = len(filters), self._shape(node)
        data, mode = self._padded(self.values[source], padding, filters.shape[2:], stride, dilation, shape)
        depthwise = groups > 1
        if depthwise and not groups == channels == data.shape[1]:
            raise NotImplementedError(f"no LiteRT form of a convolution in {groups} groups is written here")
        order = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
        numbers = filters.transpose(order), self._weight(bias, channels)
        operands = [data, *(self._constant(item, np.float32) for item in numbers)]
        settings = {"padding": mode, "strideH": stride[0], "strideW": stride[1], "dilationHFactor": dilation[0],
                    "dilationWFactor": dilation[1], "fuse": node}
        if depthwise:
            return self._emit("DEPTHWISE_CONV_2D", operands, shape, "DepthwiseConv2DOptions", depthMultiplier=1, **settings)
        return self._emit("CONV_2D", operands, shape, "Conv2DOptions", **settings)

    def _linear(self, node: Any) -> Value:
        weight = self._weight(node.args[1])
        bias = self._weight(node.args[2] if len(node.args) > 2 else None, len(weight))
        operands = [self._first(node), self._constant(weight, np.float32), self._constant(bias, np.float32)]
        return self._emit("FULLY_CONNECTED", operands, self._shape(node), "FullyConnectedOptions", fuse=node)

    def _max_pool2d(self, node: Any) -> Value:
        source, window, stride, padding = _arguments(node, 2, [], [0, 0])[:4]
        if any(padding) and "relu" not in str(source.target):
            raise NotImplementedError("max pooling pads with zeros here, which values below zero would lose against")
        data, mode = self._padded(self.values[source], padding, window, stride or window, (1, 1), self._shape(node))
        stride = stride or window
        return self._emit("MAX_POOL_2D", [data], self._shape(node), "Pool2DOptions", padding=mode, strideH=stride[0],
                          strideW=stride[1], filterHeight=window[0], filterWidth=window[1])

    def _padded(self, data: Value, padding: Sequence[int], window: Sequence[int], stride: Sequence[int], dilation: Sequence[int],
                shape: Sequence[int]) -> tuple[Value, int]:
        """The padded input and LiteRT's padding mode."""
        if not any(padding):
            return data, self.schema.Padding.VALID
        wanted = [max(0, (shape[2 + i] - 1) * stride[i] + (window[i] - 1) * dilation[i] + 1 - data.shape[2 + i]) for i in (0, 1)]
        same = all(shape[2 + i] == -(-data.shape[2 + i] // stride[i]) and 2 * padding[i] == wanted[i] for i in (0, 1))
        if same:
            return data, self.schema.Padding.SAME
        return self._zeros_around(data, [0, 0, *padding], [0, 0, *padding]), self.schema.Padding.VALID

    def _zeros_around(self, data: Value, before: Sequence[int], after: Sequence[int]) -> Value:
        pairs = np.stack([before, after], 1)[[0, 2, 3, 1]]
        shape = [size + front + back for size, front, back in zip(data.shape, before, after, strict=True)]
        return self._emit("PAD", [data, self._constant(pairs)], shape, "PadOptions")

    def _pad(self, node: Any) -> Value:
        amounts = [0] * (8 - len(node.args[1])) + list(node.args[1])[::-1]
        return self._zeros_around(self._first(node), amounts[1::2], amounts[0::2])

    def _slice(self, node: Any) -> Value:
        source, axis, start, end, step = _arguments(node, 1, 0, None, None, 1)
        begin, stop, stride = [0] * 4, [_HIGHEST] * 4, [1] * 4
        begin[_axis(axis)], stop[_axis(axis)], stride[_axis(axis)] = start or 0, min(end or _HIGHEST, _HIGHEST), step
        return self._emit("STRIDED_SLICE", [self.values[source], *map(self._constant, (begin, stop, stride))], self._shape(node),
                          "StridedSliceOptions")

    def _adaptive_avg_pool2d(self, node: Any) -> Value:
        data = self._first(node)
        if tuple(node.args[1]) == data.shape[2:]:  # type: ignore[arg-type]
            return data
        if tuple(node.args[1]) != (1, 1):  # type: ignore[arg-type]
            raise NotImplementedError("adaptive pooling to more than one pixel is not written here")
        return self._emit("MEAN", [data, self._constant([1, 2])], self._shape(node), "ReducerOptions", keepDims=True)

    def _view(self, node: Any) -> Value:
        data, shape = self._first(node), self._shape(node)
        if len(data.shape) == 4 and data.shape[2:] != (1, 1):  # torch flattens channels first
            data = self._emit("TRANSPOSE", [data, self._constant([0, 3, 1, 2])], _inner(data.shape), "TransposeOptions")
        if len(shape) != 2:
            raise NotImplementedError("only flattening is written here")
        return self._emit("RESHAPE", [data, self._constant(shape)], shape, "ReshapeOptions", newShape=list(shape))

    def _add(self, node: Any) -> Value:
        return self._emit("ADD", [self.values[item] for item in node.all_input_nodes], self._shape(node), "AddOptions",
                          fuse=node)

    def _mul(self, node: Any) -> Value:
        return self._emit("MUL", [self.values[item] for item in node.all_input_nodes], self._shape(node), "MulOptions")

    def _relu(self, node: Any) -> Value:
        return self._emit("RELU", [self._first(node)], self._shape(node))

    def _hardtanh(self, node: Any) -> Value:
        if tuple(node.args[1:]) != (0.0, 6.0):
            raise NotImplementedError(f"no LiteRT form of a clamp to {node.args[1:]} is written here")
        return self._emit("RELU6", [self._first(node)], self._shape(node))

    def _hardswish(self, node: Any) -> Value:
        return self._emit("HARD_SWISH", [self._first(node)], self._shape(node), "HardSwishOptions")

    def _hardsigmoid(self, node: Any) -> Value:
        """relu6(x + 3) / 6."""
        shape = self._shape(node)
        three, sixth = self._constant([3.0], np.float32), self._constant([1 / 6], np.float32)
        moved = self._emit("ADD", [self._first(node), three], shape, "AddOptions",
                           fusedActivationFunction=self.schema.ActivationFunctionType.RELU6)
        return self._emit("MUL", [moved, sixth], shape, "MulOptions")

    def _clone(self, node: Any) -> Value:
        return self._first(node)


def _inner(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape whose LiteRT layout is `shape` itself."""
    return (shape[0], shape[3], shape[1], shape[2])
