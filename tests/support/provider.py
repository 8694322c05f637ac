"""A small OpenID Connect provider: a real HTTP server that checks what it is sent and signs tokens."""

import base64
import hashlib
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from tests.support.http_server import serving

CLIENT_ID, CLIENT_SECRET = "voiceauth", "a secret of the tests: with / and +"


@dataclass
class Provider:
    """Signs in whoever comes as ``person``. ``changes`` are made to each ID token before it is signed."""

    person: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    algorithm: str = "RS256"
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, parameters={"kid": "one"}))
    signing_key: Any = None  # another than the published one
    is_away: bool = False
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    port: int = 0

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator["Provider"]:
        with serving(self._handler()) as self.port:
            yield self

    def authorize(self, query: str) -> str:
        """Return where the browser is sent after the person has signed in at the provider."""
        asked = dict(parse_qsl(query))
        assert asked["response_type"] == "code" and asked["client_id"] == CLIENT_ID
        assert "openid" in asked["scope"].split() and asked["code_challenge_method"] == "S256"
        code = uuid.uuid4().hex
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, form: dict[str, str], authorization: str) -> dict[str, Any]:
        """Exchange a code, once, for tokens."""
        user, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        assert (user, password) in ((CLIENT_ID, CLIENT_SECRET), (CLIENT_ID, quote(CLIENT_SECRET, safe="")))
        asked = self.codes.pop(form["code"])
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        assert challenge.decode() == asked["code_challenge"] and form["redirect_uri"] == asked["redirect_uri"]
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
        claims |= self.person | self.changes
        header = {"alg": self.algorithm, "kid": self.key.as_dict(private=False)["kid"]}
        claims = {name: value for name, value in claims.items() if value is not None}
        signed = jwt.encode(header, claims, self.signing_key or self.key, algorithms=[self.algorithm])
        return {"access_token": "nobody uses it", "token_type": "Bearer", "id_token": signed}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                place = urlsplit(self.path)
                if provider.is_away:
                    self.send_error(503)
                elif place.path == "/.well-known/openid-configuration":
                    self._send(
                        {
                            "issuer": provider.issuer,
                            "authorization_endpoint": f"{provider.issuer}/authorize",
                            "token_endpoint": f"{provider.issuer}/token",
                            "jwks_uri": f"{provider.issuer}/keys",
                            "id_token_signing_alg_values_supported": ["none", "HS256", "RS256"],
                        }
                    )
                elif place.path == "/keys":
                    self._send({"keys": [provider.key.as_dict(private=False) | {"use": "sig"}]})
                else:
                    self.send_response(302)
                    self.send_header("Location", provider.authorize(place.query))
                    self.end_headers()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                self._send(provider.token(form, self.headers.get("authorization", "")))

            def _send(self, content: dict[str, Any]) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


def shared_key() -> OctKey:
    """The client's secret as a key: what an attacker without the provider's private key could sign with."""
    return OctKey.import_key(CLIENT_SECRET)
