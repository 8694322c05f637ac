"""Enroll a customer and verify a call, with the Python client (voiceauth/client.py; needs httpx and msgspec).

export VOICEAUTH_URL=http://127.0.0.1:8000 TELLER_TOKEN=… IVR_TOKEN=…
python integrate.py enroll C-1001 one.wav two.wav three.wav
python integrate.py verify C-1001 call.wav
python integrate.py verify C-1001 call.ulaw mulaw       # samples without a header
"""

import os
import sys
from pathlib import Path

from voiceauth.client import Client, Refused, Unavailable

URL = os.environ.get("VOICEAUTH_URL", "http://127.0.0.1:8000")


def enroll(customer_id: str, *recordings: str) -> None:
    """Create the customer, record the consent, and send recordings until there is enough speech."""
    with Client(URL, os.environ["TELLER_TOKEN"]) as teller:
        try:
            teller.create_customer(customer_id)
        except Refused as error:
            if error.code != "customer_exists":
                raise
        try:
            teller.record_consent(customer_id, text_version="2026-11", origin="branch")
        except Refused as error:
            if error.code != "consent_exists":
                raise
        for recording in recordings:
            try:
                answer = teller.enroll(customer_id, Path(recording))
            except Refused as error:
                if error.status != 422:  # 422: the recording will not do, and the message says why
                    raise
                print(f"{recording}: record it again: {error.code}: {error.message}")
                continue
            held = f", held for {', '.join(answer.held_for)}" if answer.held_for else ""
            print(f"{recording}: {answer.state}, {answer.remaining_seconds:.1f} s of speech are missing{held}")


def verify(customer_id: str, recording: str, format: str = "") -> None:
    """Ask whether the caller is the customer, and say what the IVR does next."""
    with Client(URL, os.environ["IVR_TOKEN"]) as ivr:
        try:
            # It has repeated the call already, for as long as a caller can wait.
            answer = ivr.verify(customer_id, Path(recording), format=format)
        except Unavailable as error:
            print(f"{error.code}: nothing was decided. Next: another factor")
            return
    if answer.decision == "ACCEPT":
        following = "a further factor" if answer.further_factor_required else "go on"
    elif answer.decision in ("INCONCLUSIVE", "NOT_ENOUGH_SPEECH"):
        following = "ask the caller to speak again"
    else:  # REJECT, or there is no voiceprint: SPEAKER_NOT_ENROLLED, SPEAKER_OPTED_OUT, SPEAKER_EXPIRED
        following = answer.fallback
    print(f"{answer.decision} {' '.join(answer.reasons)}".strip() + f". Next: {following}")
    if answer.fraud_risk and answer.fraud_risk.level == "HIGH_RISK":
        print(f"High risk of fraud: {' '.join(reason.code for reason in answer.fraud_risk.reasons)}")
    print(f"Decision {answer.decision_id}")  # keep it: a reviewer finds the call by it


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    (enroll if command == "enroll" else verify)(*arguments)
