"""timm where torchvision's native part is linked against CUDA and torch is a CPU build.

torchvision then fails while it is imported, because its operators are undeclared. Declaring the two it registers
fakes for is enough for all that timm takes from it. Nothing is done where the plain import works.
"""

import importlib
import sys
from types import ModuleType

import torch

_library: torch.library.Library | None = None  # an operator lives as long as its library object


def load_timm() -> ModuleType:
    """The timm package, imported."""
    global _library
    try:
        importlib.import_module("torchvision")
    except (RuntimeError, OSError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _library = torch.library.Library("torchvision", "DEF")
        _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("timm")
