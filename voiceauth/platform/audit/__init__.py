from voiceauth.platform.audit.actor import SYSTEM, Actor

__all__ = ["SYSTEM", "Actor"]
