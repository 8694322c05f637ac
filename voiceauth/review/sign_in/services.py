"""Second factors: set up, checked, replaced, removed. Each step has an event in the audit trail."""

import base64
import hashlib
import hmac
import math
import secrets
import time
import uuid
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django_otp.oath import TOTP

from voiceauth.platform import vault
from voiceauth.platform.api.actor import role_of
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.services import record
from voiceauth.policies import selectors as policies
from voiceauth.review.sign_in.errors import AlreadySetUp, NotSetUp, SecondFactorRequired, TooManyWrongCodes, WrongCode
from voiceauth.review.sign_in.models import RecoveryCode, SecondFactor

ISSUER = "voiceauth"
SECRET_BYTES = 20  # RFC 4226, section 4; in base32 without padding
TOLERANCE = 1  # steps of 30 s that the clock of a phone may be off
RECOVERY_CODES = 10
RECOVERY_BYTES = 10  # 80 bits: 16 letters and digits
FREE_FAILURES = 5  # wrong codes in a row; each further one delays the next attempt, twice as long each time
FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 30, 3600


def is_required_of(user: User) -> bool:
    """Return whether the policy in force requires a second factor of the person's role."""
    roles = policies.in_force().sign_in.second_factor_for
    return bool(roles) and role_of(user) in roles


def factor_of(user: User) -> SecondFactor | None:
    """Return the person's second factor, or ``None``."""
    return SecondFactor.objects.filter(user=user).first()


def secret_of(factor_id: uuid.UUID) -> str:
    """Return the secret that an app is given, in base32."""
    return base64.b32encode(_key_of(factor_id)).decode()


def address_of(factor_id: uuid.UUID, user: User) -> str:
    """Return what the QR code says, which authenticator apps read (otpauth)."""
    label = quote(f"{ISSUER}:{user.get_username()}", safe=":@")
    return f"otpauth://totp/{label}?" + urlencode({"secret": secret_of(factor_id), "issuer": ISSUER})


def set_up(*, user: User, factor_id: uuid.UUID, code: str, actor: Actor) -> list[str]:
    """Give the person the second factor whose app shows ``code``. Return its recovery codes.

    Raises ``WrongCode`` and ``AlreadySetUp``.
    """
    step = _step_of(factor_id, code, after=0)
    if step is None:
        raise WrongCode
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # two windows of the same person: the second one loses
        if SecondFactor.objects.filter(user=user).exists():
            raise AlreadySetUp
        factor = SecondFactor.objects.create(id=factor_id, user=user, last_step=step)
        codes = _new_recovery_codes(factor)
        _record("second_factor.set_up", user, actor)
    return codes


def check(*, user: User, code: str, actor: Actor) -> None:
    """Accept a code of the person's app, or one of their recovery codes, once.

    Raises ``WrongCode``, ``TooManyWrongCodes`` and ``NotSetUp``.
    """
    with transaction.atomic():  # a wrong code is counted, so nothing is raised before the end
        factor = _locked(user)
        if factor.blocked_until and factor.blocked_until > timezone.now():
            seconds = (factor.blocked_until - timezone.now()).total_seconds()
            raise TooManyWrongCodes(minutes=math.ceil(seconds / 60), retry_after_seconds=seconds)
        right = _use(factor, code, actor)
        factor.failures = 0 if right else factor.failures + 1
        factor.blocked_until = None if right else _blocked_until(factor.failures)
        factor.save()
    if not right:
        raise WrongCode


def renew_recovery_codes(*, user: User, actor: Actor) -> list[str]:
    """Replace the person's recovery codes. Return the new ones. Raises ``NotSetUp``."""
    with transaction.atomic():
        factor = _locked(user)
        factor.recovery_codes.all().delete()
        codes = _new_recovery_codes(factor)
        _record("second_factor.recovery_codes_renewed", user, actor)
    return codes


def remove(*, user: User, actor: Actor) -> None:
    """Remove the person's own second factor. Raises ``SecondFactorRequired`` and ``NotSetUp``."""
    if is_required_of(user):
        raise SecondFactorRequired
    _delete(user, "second_factor.removed", actor)


def reset(*, user: User, actor: Actor) -> None:
    """Remove a second factor that its owner has lost, and end their sessions. Raises ``NotSetUp``."""
    _delete(user, "second_factor.reset", actor)


def _delete(user: User, action: str, actor: Actor) -> None:
    with transaction.atomic():
        _locked(user).delete()
        _record(action, user, actor)


def _locked(user: User) -> SecondFactor:
    factor = SecondFactor.objects.select_for_update().filter(user=user).first()
    if factor is None:
        raise NotSetUp
    return factor


def _record(action: str, user: User, actor: Actor, **data: Any) -> None:
    record(action=action, actor=actor, target=f"user:{user.pk}", data=data)


def _use(factor: SecondFactor, code: str, actor: Actor) -> bool:
    """Return whether ``code`` is right, and see to it that it is not right again."""
    if (step := _step_of(factor.pk, code, after=factor.last_step)) is not None:
        factor.last_step = step
        return True
    if not factor.recovery_codes.filter(digest=_digest(factor, code)).delete()[0]:
        return False
    _record("second_factor.recovery_code_used", factor.user, actor, left=factor.recovery_codes.count())
    return True


def _step_of(factor_id: uuid.UUID, code: str, *, after: int) -> int | None:
    """Return the time step whose code is ``code``, where it is later than ``after`` and near the present one."""
    digits = "".join(code.split())
    if not (len(digits) == 6 and digits.isascii() and digits.isdigit()):
        return None
    clock = TOTP(_key_of(factor_id))
    clock.time = time.time()
    return clock.t() if clock.verify(int(digits), tolerance=TOLERANCE, min_t=after + 1) else None


def _blocked_until(failures: int) -> Any:
    if failures < FREE_FAILURES:
        return None
    delay = FIRST_DELAY_SECONDS * 2 ** min(failures - FREE_FAILURES, 10)
    return timezone.now() + timedelta(seconds=min(delay, LONGEST_DELAY_SECONDS))


def _new_recovery_codes(factor: SecondFactor) -> list[str]:
    codes = []
    for _ in range(RECOVERY_CODES):
        plain = base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode().lower()
        codes.append("-".join(plain[place : place + 4] for place in range(0, len(plain), 4)))
    RecoveryCode.objects.bulk_create(RecoveryCode(factor=factor, digest=_digest(factor, code)) for code in codes)
    return codes


def _digest(factor: SecondFactor, code: str) -> str:
    """Return the keyed hash of a recovery code; capitals, hyphens and spaces do not matter."""
    plain = "".join(sign for sign in code.lower() if sign.isalnum())
    key = vault.derived_key(f"recovery-codes:{factor.pk}")
    return hmac.new(key, plain.encode(), hashlib.sha256).hexdigest()


def _key_of(factor_id: uuid.UUID) -> bytes:
    return vault.derived_key(f"second-factor:{factor_id}")[:SECRET_BYTES]
