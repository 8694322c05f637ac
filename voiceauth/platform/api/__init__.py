from voiceauth.platform.api.actor import actor_of

__all__ = ["actor_of"]
