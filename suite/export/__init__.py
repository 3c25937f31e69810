"""Networks in files for other programs: ONNX, safetensors, PyTorch 2 programs and packed plans, each checked against torch."""

from suite.export.deployed import Deployed, of_arch, of_record
from suite.export.files import BOUND, SUFFIXES, Written, export

__all__ = ["BOUND", "SUFFIXES", "Deployed", "Written", "export", "of_arch", "of_record"]
