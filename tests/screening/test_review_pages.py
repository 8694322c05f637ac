"""The dashboard's pages of cases and watchlists, through the real services."""

import re
from typing import Any

import pytest
from django.test import Client

from tests.support.customers import enrolled_customer
from tests.support.fraudsters import RITA, default, screened, watched
from tests.support.model import activate_model
from tests.support.people import SignIn
from tests.support.stand_in import recording
from voiceauth.platform import audio_types
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.screening import cases, watchlists
from voiceauth.screening.models import Fraudster, ReviewCase, Watchlist
from voiceauth.verification import services as verification
from voiceauth.verification.models import Decision

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("worker")]
CASES, LISTS, VOICES = "/admin/screening/reviewcase/", "/admin/screening/watchlist/", "/admin/screening/fraudster/"


@pytest.fixture(autouse=True)
def _model() -> None:
    activate_model()


@pytest.fixture(autouse=True)
def _played(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let browsers play the stand-in's recordings, which hold no sound that a worker could decode for them."""
    monkeypatch.setattr(audio_types, "SIGNATURES", [(0, b"{", "audio/ogg", "ogg")])


@pytest.fixture
def call() -> Decision:
    """A call in another voice than the claimed customer's, whose audio is kept."""
    enrolled_customer("ann")
    return verification.verify(customer_id="ann", audio=recording("mallory"), actor=RITA)


@pytest.fixture
def case(call: Decision) -> ReviewCase:
    evidence = {"reason": "KNOWN_FRAUDSTER", "score": 0.9731, "decision_id": str(call.pk), "customers": ["C-77"]}
    return cases.open_case(kind="KNOWN_FRAUDSTER", customer_id="ann", subject="f", evidence=evidence, actor=RITA)


def page(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return str(response.content.decode())


def test_a_case_shows_its_evidence_and_plays_the_call_which_is_recorded(signed_in: SignIn, case: ReviewCase) -> None:
    client = signed_in("reviewer")
    assert "KNOWN_FRAUDSTER" in page(client, CASES)
    shown = page(client, f"{CASES}{case.pk}/change/")
    for part in ("0.9731", "C-77", "ann", "Decision"):
        assert part in shown
    source = re.search(r'<audio[^>]*src="([^"]+)"', shown)
    assert source is not None
    assert client.get(source[1]).content == recording("mallory")
    assert AuditEvent.objects.get(action="decision.audio_played").actor == "user:rita"
    auditor = page(signed_in("auditor"), f"{CASES}{case.pk}/change/")
    assert "0.9731" in auditor and "<audio" not in auditor and "/do/" not in auditor


def test_a_reviewer_takes_a_case_comments_closes_it_and_puts_the_voice_on_a_watchlist(
    signed_in: SignIn, case: ReviewCase
) -> None:
    client, path = signed_in("reviewer"), f"{CASES}{case.pk}/"
    client.post(f"{path}do/take/")
    client.post(f"{path}do/comment/", {"text": "<b>called</b> back"})
    assert "/do/watch/" not in page(client, f"{path}change/")
    client.post(f"{path}do/close/", {"resolution": "CONFIRMED_FRAUD", "comment": "he said so"})
    case.refresh_from_db()
    assert (case.state, case.resolution, case.assigned_to) == ("CLOSED", "CONFIRMED_FRAUD", "user:rita")
    shown = page(client, f"{path}change/")
    assert "&lt;b&gt;called" in shown and "/do/watch/" in shown and "/do/close/" not in shown
    client.post(f"{path}do/watch/", {"watchlist": str(default().pk), "note": "Tuesdays"})
    fraudster = Fraudster.objects.get()
    assert (fraudster.note, fraudster.source) == ("Tuesdays", f"decision:{case.evidence[0]['decision_id']}")
    assert screened("mallory", customer_id="C-1", take=3).hits


def test_a_closed_case_is_not_closed_again_from_a_stale_page(signed_in: SignIn, case: ReviewCase) -> None:
    cases.close(number=case.number, resolution="FALSE_ALARM", comment="his brother", actor=RITA)
    answer = signed_in("reviewer").post(
        f"{CASES}{case.pk}/do/close/", {"resolution": "CONFIRMED_FRAUD", "comment": "x"}
    )
    assert "errorlist" in answer.content.decode()
    case.refresh_from_db()
    assert case.resolution == "FALSE_ALARM"


@pytest.mark.parametrize(
    "given", [{}, {"resolution": "CONFIRMED_FRAUD"}, {"comment": "x"}, {"resolution": "", "comment": "x"}]
)
def test_closing_preselects_nothing_and_needs_a_resolution_and_a_comment(
    signed_in: SignIn, case: ReviewCase, given: dict[str, str]
) -> None:
    client, path = signed_in("reviewer"), f"{CASES}{case.pk}/do/close/"
    shown = client.get(path).context["form"]["resolution"]
    assert shown.initial is None
    assert shown.field.choices[0][0] == ""  # a browser takes the first choice
    assert "errorlist" in client.post(path, given).content.decode()
    case.refresh_from_db()
    assert case.state == "OPEN"


def test_a_closed_case_is_reopened_from_its_page(signed_in: SignIn, case: ReviewCase) -> None:
    client, path = signed_in("reviewer"), f"{CASES}{case.pk}/"
    assert "/do/reopen/" not in page(client, f"{path}change/")
    cases.close(number=case.number, resolution="CONFIRMED_FRAUD", comment="he said so", actor=RITA)
    assert "/do/reopen/" in page(client, f"{path}change/")
    assert "errorlist" in client.post(f"{path}do/reopen/", {"reason": ""}).content.decode()
    client.post(f"{path}do/reopen/", {"reason": "the customer's brother called"})
    case.refresh_from_db()
    assert (case.state, case.resolution) == ("OPEN", "")
    assert "the customer&#x27;s brother called" in page(client, f"{path}change/")


def test_no_watchlist_is_offered_for_the_customer_s_own_voice(signed_in: SignIn, call: Decision) -> None:
    evidence = {"reason": "REPLAY", "score": 1.0, "decision_id": str(call.pk)}
    replay = cases.open_case(kind="REPLAY", customer_id="ann", evidence=evidence, actor=RITA)
    cases.close(number=replay.number, resolution="CONFIRMED_FRAUD", comment="a tape", actor=RITA)
    assert "/do/watch/" not in page(signed_in("reviewer"), f"{CASES}{replay.pk}/change/")


def test_no_watchlist_is_offered_for_a_case_without_a_recorded_call(signed_in: SignIn) -> None:
    enrolling = cases.open_case(kind="WATCHLIST_ENROLLMENT", customer_id="ann", evidence={}, actor=RITA)
    cases.close(number=enrolling.number, resolution="CONFIRMED_FRAUD", comment="known", actor=RITA)
    assert "/do/watch/" not in page(signed_in("reviewer"), f"{CASES}{enrolling.pk}/change/")


def test_watchlists_are_made_and_asked_to_be_deleted_but_the_default_one_is_not(signed_in: SignIn) -> None:
    client = signed_in("reviewer")
    client.post(f"{LISTS}do/create/", {"name": "card gang"})
    gang = Watchlist.objects.get(name="card gang")
    assert "card gang" in page(client, LISTS)
    assert "/do/delete-list/" not in page(client, f"{LISTS}{default().pk}/change/")
    answer = client.post(f"{LISTS}{default().pk}/do/delete-list/", {"reason": "x"})
    assert "errorlist" in answer.content.decode()
    client.post(f"{LISTS}{gang.pk}/do/delete-list/", {"reason": "over"})
    assert Watchlist.objects.count() == 2
    assert AuditEvent.objects.filter(action="approval.requested").exists()


def test_a_watched_voice_is_listened_to_which_is_recorded_and_erased(signed_in: SignIn) -> None:
    fraudster, client = watched("mallory"), signed_in("reviewer")
    assert "<audio" in page(client, f"{VOICES}{fraudster.pk}/change/")
    assert str(fraudster) in page(client, f"{VOICES}?watchlists__id__exact={default().pk}")
    assert client.get(f"{VOICES}{fraudster.pk}/audio/").content == recording("mallory", take=0)
    assert AuditEvent.objects.get(action="fraudster.audio_played").target == f"fraudster:{fraudster.pk}"
    client.post(f"{VOICES}{fraudster.pk}/do/erase/")
    assert not Fraudster.objects.exists()
    assert client.get(f"{VOICES}{fraudster.pk}/audio/").status_code == 404


@pytest.mark.parametrize(
    ("role", "sees", "handles", "watches"),
    [
        ("reviewer", 200, 200, 200),
        ("admin", 200, 403, 200),
        ("auditor", 200, 403, 403),
        ("teller", 403, 403, 403),
        ("nobody", 403, 403, 403),
    ],
)
def test_who_may_see_and_do_what(signed_in: SignIn, role: str, sees: int, handles: int, watches: int) -> None:
    client = signed_in(role)
    case: Any = cases.open_case(kind="REPLAY", customer_id="ann", evidence={}, actor=RITA)
    fraudster = watched("mallory")
    watchlists.create_watchlist(name="gang", actor=RITA)
    for path in (CASES, LISTS, VOICES, f"{CASES}{case.pk}/change/", f"{VOICES}{fraudster.pk}/change/"):
        assert client.get(path).status_code == sees
    for action in ("take", "comment", "close", "reopen"):
        assert client.get(f"{CASES}{case.pk}/do/{action}/").status_code == handles
    assert client.get(f"{VOICES}{fraudster.pk}/do/erase/").status_code == watches
    assert client.get(f"{LISTS}do/create/").status_code == watches
    if role in ("auditor", "teller", "nobody"):
        assert client.get(f"{VOICES}{fraudster.pk}/audio/").status_code == 403


def test_a_case_is_assigned_to_somebody_who_may_handle_it_and_to_nobody_else(signed_in: SignIn) -> None:
    case = cases.open_case(kind="REPLAY", customer_id="C-1", evidence={"reason": "REPLAY"}, actor=SYSTEM)
    client, path = signed_in("superuser"), f"/admin/screening/reviewcase/{case.pk}/do/assign/"
    page = client.get(path).content.decode()
    assert 'value="user:rita"' in page and 'value="user:tom"' not in page
    assert "Select a valid choice" in client.post(path, {"to": "user:tom"}).content.decode()
    assert "assigned to rita" in client.post(path, {"to": "user:rita"}, follow=True).content.decode()
    case.refresh_from_db()
    assert (case.state, case.assigned_to) == ("ASSIGNED", "user:rita")
