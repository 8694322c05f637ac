"""Training recordings that are encrypted on disk: AES-256-GCM, ``nonce (12) || ciphertext || tag``.

The key is 64 hexadecimal digits in the training program's environment. Without it, files are read as they are. The path
below the data folder is authenticated with the content, so that no speaker's file can pass for another's.
"""

import os
from pathlib import Path

KEY_VARIABLE = "SPEECH_DATA_KEY"
NONCE_BYTES = 12


def context_of(name: str) -> str:
    """Return what is authenticated with the clip at ``name``, its path below the data folder."""
    return f"clip:{name}"


def read(folder: Path, name: str) -> bytes:
    """Read and decrypt the audio file ``folder/name``. Raises OSError, also if it cannot be decrypted."""
    content = (folder / name).read_bytes()
    key = os.environ.get(KEY_VARIABLE)
    if key is None:
        return content

    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(bytes.fromhex(key)).decrypt(
            content[:NONCE_BYTES], content[NONCE_BYTES:], context_of(name).encode()
        )
    except (InvalidTag, ValueError) as error:
        raise OSError(f"{name} cannot be decrypted") from error
