"""A key-management service as the code sees it: the transit engine's four calls, over HTTP, with real AES-GCM."""

import base64
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "the-service's-token"


class Engine:
    """The versions of one key."""

    def __init__(self) -> None:
        self.versions = {1: AESGCM.generate_key(256)}
        self.oldest = 1
        self.calls: list[str] = []
        self.url = ""

    def answer(self, method: str, path: str, content: dict[str, str]) -> tuple[int, dict[str, Any]]:
        self.calls.append(f"{method} {path}")
        latest = max(self.versions)
        associated = base64.b64decode(content.get("associated_data", ""))
        match method, path:
            case "GET", "keys/voiceauth":
                return 200, {"latest_version": latest, "min_decryption_version": self.oldest}
            case "POST", "keys/voiceauth/rotate":
                self.versions[latest + 1] = AESGCM.generate_key(256)
                return 200, {}
            case "POST", "encrypt/voiceauth":
                nonce = os.urandom(12)
                sealed = AESGCM(self.versions[latest]).encrypt(
                    nonce, base64.b64decode(content["plaintext"]), associated
                )
                return 200, {"ciphertext": f"vault:v{latest}:{base64.b64encode(nonce + sealed).decode()}"}
            case "POST", "decrypt/voiceauth":
                _, version, encoded = content["ciphertext"].split(":")
                number, sealed = int(version[1:]), base64.b64decode(encoded)
                if number < self.oldest:
                    return 400, {}
                try:
                    opened = AESGCM(self.versions[number]).decrypt(sealed[:12], sealed[12:], associated)
                except InvalidTag:
                    return 400, {}
                return 200, {"plaintext": base64.b64encode(opened).decode()}
        return 404, {}


@contextmanager
def running() -> Iterator[Engine]:
    engine = Engine()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            status, data = 403, dict[str, Any]()
            if self.headers["X-Vault-Token"] == TOKEN:
                status, data = engine.answer(self.command, self.path.removeprefix("/v1/transit/"), content)
            body = json.dumps({"data": data}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = handle_any  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    engine.url = f"http://127.0.0.1:{server.server_address[1]}/v1/transit"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield engine
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
