"""People of every role, signed in."""

from collections.abc import Callable
from functools import cache

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, User
from django.test import Client

from voiceauth.review.roles import PERMISSIONS

SignIn = Callable[[str], Client]
PASSWORD = "correct horse battery staple"
NAMES = {"teller": "tom", "reviewer": "rita", "admin": "grace", "auditor": "otto"}


@cache
def hashed() -> str:
    """The password's hash, made once: Argon2 is slow on purpose."""
    return make_password(PASSWORD)


@pytest.fixture
def people(db: None) -> dict[str, User]:
    """One staff user a role, ``superuser``, and ``nobody``: staff without a role."""
    made = {role: User.objects.create(username=NAMES[role], password=hashed(), is_staff=True) for role in PERMISSIONS}
    for role, user in made.items():
        user.groups.add(Group.objects.get(name=role))
    made["superuser"] = User.objects.create(username="sue", password=hashed(), is_staff=True, is_superuser=True)
    made["nobody"] = User.objects.create(username="nora", password=hashed(), is_staff=True)
    return made


@pytest.fixture
def signed_in(people: dict[str, User]) -> SignIn:
    """A browser in which the person of that role is signed in."""

    def sign_in(role: str) -> Client:
        client = Client()
        client.force_login(people[role])
        return client

    return sign_in
