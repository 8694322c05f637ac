from .actor import SYSTEM, Actor

__all__ = ["SYSTEM", "Actor"]
