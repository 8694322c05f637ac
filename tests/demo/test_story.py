"""The phases of the story that need no training, through the client that integrating programs use."""

import io

from pytest_django.live_server_helper import LiveServer
from rich.console import Console

from enrollment.models import Customer
from tests.support.clients import api_client
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker, recording
from voiceauth.demo.cast import Cast, Speaker
from voiceauth.demo.client import Client, Clients
from voiceauth.demo.story import Story


def speaker(name: str) -> Speaker:
    takes = [recording(name, take=take, speech_seconds=12) for take in range(3)]
    return Speaker(name, takes[:2], takes[2:])


def test_customers_enroll_call_and_are_erased_before_the_next_demo(
    transactional_db: None, live_server: LiveServer, worker: StandInWorker
) -> None:
    activate_model()
    clients = Clients(
        *(Client(live_server.url, api_client(role).token) for role in ("teller", "ivr", "reviewer", "admin", "admin"))
    )
    cast = Cast([speaker("ann"), speaker("bob")], speaker("new"), speaker("other"), "stand-ins")
    story = Story(clients, cast, {}, Console(file=io.StringIO()))
    for phase in (story.enroll, story.verify, story.identify, story.meet_newcomer):
        phase()
    results = story.results
    assert results.unfinished == []
    decisions = {(each.speaker == each.claimed, each.answer["decision"]) for each in results.trials + results.newcomer}
    assert decisions == {(True, "ACCEPT"), (False, "REJECT")}
    assert [search.answer["decision"] for search in results.searches] == ["MATCH", "MATCH"]
    assert len(clients.ivr.milliseconds["/verify"]) == 6 and clients.ivr.busy_answers == 0
    story.erase_former()
    assert set(Customer.objects.values_list("state", flat=True)) == {"ERASED"}
