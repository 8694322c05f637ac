"""Voice authentication for banks. ``voiceauth.client`` is importable without the rest and without Django."""

__all__ = ["__version__"]

__version__ = "0.1.0"  # the one place: the package, OpenAPI and /healthz read it from here
