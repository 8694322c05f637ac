"""Calls that are verified while they go on, over a WebSocket; docs/api.md describes the messages.

``endpoint`` holds the connection, in the event loop. ``protocol`` reads messages, ``listening`` keeps the audio and
counts sound, ``tickets`` let a telephone platform in that cannot send a token. What needs the database or a worker is
in ``steps`` and runs on threads. The decision is made by ``verification.services.verify``, as that of an upload.
"""
