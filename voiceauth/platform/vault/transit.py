"""Master keys that never leave HashiCorp Vault (or OpenBao): the versions of one key of its transit engine.

https://developer.hashicorp.com/vault/api-docs/secret/transit. The key's type must take associated data: aes256-gcm96,
the engine's default. Opened data keys are kept in memory for minutes, because otherwise each use would be a call.
"""

import base64
import logging
import threading
import time
from collections import OrderedDict
from typing import Any

import httpx
from django.conf import settings

from voiceauth.platform.vault.providers import KeyProvider, KeysUnavailable, UnknownMasterKey
from voiceauth.platform.vault.sealing import Unsealable

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 2.0
REMEMBER_SECONDS = 300.0
REMEMBERED = 20_000  # data keys


class TransitKeys(KeyProvider):
    """``url`` of the engine's mount, ``https://vault.bank.example:8200/v1/transit``, and the ``key``'s name in it.

    The id of a master key is ``transit:<name>:v<version>``.
    """

    def __init__(self, url: str, key: str, token: str) -> None:
        self.key = key
        headers = {"X-Vault-Token": token, "User-Agent": f"voiceauth/{settings.VERSION}"}
        self._client = httpx.Client(base_url=url.rstrip("/") + "/", headers=headers, timeout=TIMEOUT_SECONDS)
        self._opened: OrderedDict[tuple[bytes, str], tuple[float, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def known_ids(self) -> list[str]:
        """Return the ids of the versions that can decrypt, the latest last. Raises ``KeysUnavailable``."""
        found = self._ask("GET", f"keys/{self.key}")
        versions = range(max(1, found["min_decryption_version"]), found["latest_version"] + 1)
        return [self._id(f"v{version}") for version in versions]

    def wrap(self, key: bytes, context: str) -> tuple[str, bytes]:
        """Have the service encrypt ``key`` under its latest version. Raises ``KeysUnavailable``."""
        answer = self._ask("POST", f"encrypt/{self.key}", plaintext=_base64(key), associated_data=_base64(context))
        version = answer["ciphertext"].split(":")[1]  # "vault:v3:…"
        return self._id(version), answer["ciphertext"].encode()

    def unwrap(self, key_id: str, wrapped: bytes, context: str) -> bytes:
        """Return the data key, from memory where it was opened lately.

        Raises ``UnknownMasterKey``, ``Unsealable`` and ``KeysUnavailable``.
        """
        if not key_id.startswith(self._id("v")):
            raise UnknownMasterKey(key_id)
        place = (wrapped, context)
        with self._lock:
            until, opened = self._opened.get(place, (0.0, b""))
        if time.monotonic() < until:
            return opened
        try:
            answer = self._ask(
                "POST",
                f"decrypt/{self.key}",
                ciphertext=wrapped.decode("ascii"),
                associated_data=_base64(context),
            )
        except UnicodeDecodeError as error:
            raise Unsealable(f"cannot unseal {context}") from error
        opened = base64.b64decode(answer["plaintext"])
        with self._lock:
            self._opened[place] = (time.monotonic() + REMEMBER_SECONDS, opened)
            while len(self._opened) > REMEMBERED:
                self._opened.popitem(last=False)
        return opened

    def renew(self) -> str:
        """Have the service rotate the key, and return the id of the new version. Raises ``KeysUnavailable``."""
        self._ask("POST", f"keys/{self.key}/rotate")
        return self.known_ids()[-1]

    def _id(self, version: str) -> str:
        return f"transit:{self.key}:{version}"

    def _ask(self, method: str, path: str, **content: str) -> dict[str, Any]:
        """Return the data of the answer. Status 400 means that something cannot be decrypted.

        Raises ``Unsealable`` and ``KeysUnavailable``.
        """
        try:
            response = self._client.request(method, path, json=content or None)
        except httpx.HTTPError as error:
            logger.error("the key-management service does not answer: %s", type(error).__name__)
            raise KeysUnavailable(retry_after_seconds=5) from error
        if response.status_code == 400 and path.startswith("decrypt/"):
            raise Unsealable("the key-management service cannot open a data key")
        if response.is_error:
            logger.error("the key-management service answers %s with %s", path, response.status_code)
            raise KeysUnavailable(retry_after_seconds=5)
        return dict(response.json()["data"]) if response.content else {}


def _base64(value: bytes | str) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()
