"""Training recordings that lie on disk encrypted: AES-256-GCM, ``nonce (12) || ciphertext || tag``.

The key is in the environment of the training program, 64 hexadecimal digits; without it, the files are as they are.
The path below the data folder is authenticated with the content, so that no speaker's file can pass for another's.
"""

import os
from pathlib import Path

KEY_VARIABLE = "SPEECH_DATA_KEY"
NONCE_BYTES = 12


def context_of(name: str) -> str:
    """What is authenticated with the clip at ``name``, its path below the data folder."""
    return f"clip:{name}"


def read(folder: Path, name: str) -> bytes:
    """The audio file ``folder/name``, decrypted. Raises ``OSError``, also where it cannot be decrypted."""
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
