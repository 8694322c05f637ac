"""Why a recording cannot be used: one stable code and one message for each reason."""

MIN_SECONDS = 0.1  # a shorter recording is refused

MESSAGES = {
    "empty_audio": "The file holds no audio.",
    "not_audio": "The file is not audio in a format that is read here.",
    "truncated_audio": "The audio is damaged, or much of it is missing at the end.",
    "audio_too_long": "The audio is longer than {max_seconds:g} seconds.",
    "audio_too_short": f"The audio is shorter than {MIN_SECONDS} seconds.",
    "silent_audio": "The audio is silent.",
    "invalid_samples": "The audio holds samples that are not numbers.",
    "audio_bomb": "The file would cost far more time or memory than a recording of its size does.",
    "undecodable_audio": "The decoder failed on the file.",
    "channel_required": (
        "The recording has {count} channels that differ. Say which one to use with `channel`: left, right, a number "
        "from 0, or mono to mix them."
    ),
    "no_such_channel": "The recording has no channel {channel}; it has {count}.",
}


class AudioError(ValueError):
    """Audio that cannot be used. ``code`` is one of MESSAGES' keys; the message is for people."""

    def __init__(self, code: str, detail: str = "", **values: object) -> None:
        self.code = code
        super().__init__(detail or MESSAGES[code].format(**values))
