"""timm and torchaudio on a CPU build of torch.

The registry's torchvision (which timm imports) and torchaudio have native parts that are linked against CUDA, so on a
CPU build of torch they fail while they are imported. What this library uses of them is plain Python, so standing in
for the native part before the import is enough. Where the plain import works, nothing is stood in for.
"""

import importlib
import sys
from types import ModuleType

import torch

_library: torch.library.Library | None = None  # an operator lives as long as its library object


def load_timm() -> ModuleType:
    """Import timm. Without torchvision's native part, declare the two operators that it registers fakes for."""
    global _library
    try:
        importlib.import_module("torchvision")
    except (RuntimeError, OSError):
        _forget("torchvision")
        _library = torch.library.Library("torchvision", "DEF")
        _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("timm")


def load_torchaudio() -> ModuleType:
    """Import torchaudio. Without its native part, forced alignment and RNN-T losses are missing; the rest works."""
    try:
        return importlib.import_module("torchaudio")
    except OSError:
        _forget("torchaudio")
        stub = ModuleType("torchaudio._extension")
        vars(stub).update(
            _IS_TORCHAUDIO_EXT_AVAILABLE=False,
            _check_cuda_version=lambda: None,
            fail_if_no_align=lambda function: function,
        )
        sys.modules[stub.__name__] = stub
        return importlib.import_module("torchaudio")


def _forget(package: str) -> None:
    """Drop a half-imported package, so that it can be imported again."""
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]
