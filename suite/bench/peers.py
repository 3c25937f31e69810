"""Other engines for the same network, that the kernel's latency is compared with: how each is given it, and how it is called.

Each peer gets the network with its batch normalisation folded, in its own favourite layout, with as many threads as the
plan, and with float32 arithmetic asked for by name; the one row of another precision says so. Its output is compared with
torch's before it is timed. Peers are optional (``pip install 'suite[peers]'``) and imported where they are used.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from suite.nn import fold


class Model:
    """A network for the peers: folded, in evaluation mode, with the one image (1, C, H, W) that it is timed on."""

    def __init__(self, network: nn.Module, image: Tensor) -> None:
        self.network = fold(copy.deepcopy(network).cpu().eval())
        self.image = image.detach().cpu()

    @cached_property
    def onnx(self) -> bytes:
        """The network as ONNX with its weights inside, written once for all peers that read it."""
        with quiet("torch.onnx"):
            program = torch.onnx.export(self.network, (self.image,), dynamo=True, verbose=False)
        assert program is not None
        return program.model_proto.SerializeToString()

    @cached_property
    def litert(self) -> bytes:
        """The network as a LiteRT file."""
        from suite.bench.litert import convert

        return convert(self.network, self.image)


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Without the warnings of Python and of the logger `name`."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@dataclass(frozen=True)
class Peer:
    """An engine. `build(model, threads)` gives a call that runs the model's image and returns the network's output.

    torch's own thread count must be `threads` while the call is built and made, without gradients.
    """

    name: str
    build: Callable[[Model, int], Callable[[], Tensor]]
    needs: tuple[str, ...] = ()  # modules
    precision: str = "fp32"
    tolerance: float = 1e-3  # of its output: max |peer - torch| / max |torch|; Winograd's transforms cost digits
    avx2: bool = False  # whether ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY keep it from using more than AVX2

    def missing(self) -> str:
        """What to type where the peer is not installed; empty where it is."""
        absent = [name for name in self.needs if importlib.util.find_spec(name) is None]
        return f"{self.name} needs {' and '.join(absent)}, which is missing; type: pip install 'suite[peers]'" if absent else ""


def _eager(model: Model, threads: int) -> Callable[[], Tensor]:
    network = copy.deepcopy(model.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = model.image.to(memory_format=torch.channels_last)
    return lambda: network(image)


def _compiled(model: Model, threads: int) -> Callable[[], Tensor]:
    """Inductor builds `threads` into the code that it writes."""
    from torch._inductor import config

    torch._dynamo.reset()
    network = copy.deepcopy(model.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = model.image.to(memory_format=torch.channels_last)
    compiled = torch.compile(network, dynamic=False)
    with config.patch(freezing=True, compile_threads=1), quiet("torch.utils.cpp_extension"):
        compiled(image)
    return lambda: compiled(image)


def _onnxruntime(model: Model, threads: int) -> Callable[[], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")  # threads must not spin into another's turn
    session = onnxruntime.InferenceSession(model.onnx, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: model.image.contiguous().numpy()}
    return lambda: torch.from_numpy(session.run(None, feed)[0])


def openvino_model(model: Model, threads: int, precision: str, **more: Any) -> Any:
    """The network compiled by OpenVINO; its own default precision is bf16 where the processor has it."""
    import openvino

    core = openvino.Core()
    return core.compile_model(core.read_model(model.onnx, b""), "CPU", {
        "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", **more})


def _openvino(precision: str) -> Callable[[Model, int], Callable[[], Tensor]]:
    def build(model: Model, threads: int) -> Callable[[], Tensor]:
        request = openvino_model(model, threads, precision).create_infer_request()
        feed = {0: model.image.contiguous().numpy()}

        def call() -> Tensor:
            return torch.from_numpy(next(iter(request.infer(feed, share_inputs=True, share_outputs=True).values())))

        return call

    return build


def _litert(model: Model, threads: int) -> Callable[[], Tensor]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model.litert, num_threads=threads)  # XNNPACK is its default
    interpreter.allocate_tensors()
    place, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    image = model.image.permute(0, 2, 3, 1).contiguous().numpy()

    def call() -> Tensor:
        interpreter.set_tensor(place, image)
        interpreter.invoke()
        output = torch.from_numpy(interpreter.get_tensor(result))
        return output.permute(0, 3, 1, 2) if output.dim() == 4 else output

    return call


OPENVINO = Peer("openvino", _openvino("f32"), ("openvino", "onnx", "onnxscript"), avx2=True)
PEERS = (
    Peer("torch eager", _eager, avx2=True),
    Peer("torch.compile", _compiled, avx2=True),
    Peer("onnxruntime", _onnxruntime, ("onnxruntime", "onnx", "onnxscript")),
    OPENVINO,
    Peer("xnnpack", _litert, ("ai_edge_litert", "flatbuffers")),
    Peer("openvino bf16", _openvino("bf16"), ("openvino", "onnx", "onnxscript"), precision="bf16", tolerance=0.1),
)
