"""The story, phase by phase. Each phase is everyday work of one of the clients."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from voiceauth.client import Refused
from voiceauth.demo.cast import Cast, Speaker
from voiceauth.demo.client import Clients

PREFIX = "demo-"
UPLOADS_AT_ONCE = 2
POLL_SECONDS = 1.0
CONSENT = {"purpose": "voice_authentication", "text_version": "demo-1", "origin": "branch"}

Item = TypeVar("Item")


class StoryError(Exception):
    """A step of the story failed."""


@dataclass(frozen=True)
class Trial:
    """One verification: who spoke, whom they claimed to be, and the answer."""

    speaker: str
    claimed: str
    answer: dict[str, Any]

    @property
    def is_target(self) -> bool:
        """Whether the speaker claimed to be themselves."""
        return self.speaker == self.claimed


@dataclass(frozen=True)
class Search:
    """One identification among all customers of the story."""

    speaker: str
    answer: dict[str, Any]


@dataclass
class Results:
    """What the report is made from."""

    cast: Cast
    config: dict[str, Any]
    customers: dict[str, str] = field(default_factory=dict)  # speaker -> customer_id
    refused_uploads: Counter[str] = field(default_factory=Counter)
    approved_uploads: int = 0  # held for review, and approved
    unfinished: list[str] = field(default_factory=list)  # customers without enough net speech
    run: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    searches: list[Search] = field(default_factory=list)
    newcomer: list[Trial] = field(default_factory=list)  # the newcomer's calls, then the stranger's
    seconds: dict[str, float] = field(default_factory=dict)  # wall time of each phase


class Story:
    """Runs the phases and reports progress on a console."""

    def __init__(self, clients: Clients, cast: Cast, config: dict[str, Any], console: Console) -> None:
        self.clients, self.cast, self.console = clients, cast, console
        self.results = Results(cast, config)
        self.prefix = f"{PREFIX}{time.strftime('%Y%m%d-%H%M%S')}-"

    def tell(self) -> Results:
        """Run all phases. Raises ``StoryError`` and ``Refused``."""
        phases: list[tuple[str, Callable[[], None]]] = [
            ("erase the customers of earlier demos", self.erase_former),
            ("enroll", self.enroll),
            ("retrain", self.retrain),
            ("promote", self.promote),
            ("verify", self.verify),
            ("identify", self.identify),
            ("a newcomer, no retraining", self.meet_newcomer),
        ]
        for name, phase in phases:
            begun = time.monotonic()
            self.console.rule(name, align="left")
            phase()
            self.results.seconds[name] = time.monotonic() - begun
        return self.results

    def erase_former(self) -> None:
        """Erase earlier demos' customers: the same voice under two names would be two speakers to the training."""
        teller = self.clients.teller
        former = [row["customer_id"] for row in teller.pages("/customers", customer_id=PREFIX)]
        for customer_id in self._track("erased", former):
            teller.delete(f"/customers/{customer_id}")

    def enroll(self) -> None:
        """Create a customer with consent for each speaker, and send their recordings."""
        for speaker in self._track("customers, with consent", self.cast.speakers):
            self._create(speaker)
        uploads = [(speaker, audio) for speaker in self.cast.speakers for audio in speaker.enrollment]
        with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
            sent = pool.map(lambda upload: self._send_enrollment(*upload), uploads)
            for _ in self._track("enrollment recordings", sent, total=len(uploads)):
                pass
        for name, customer_id in self.results.customers.items():
            if self.clients.teller.get(f"/customers/{customer_id}")["state"] != "ENROLLED":
                self.results.unfinished.append(name)

    def retrain(self) -> None:
        """Train a model on the enrolled customers."""
        operator = self.clients.operator
        run = operator.post("/training-runs", {"config": self.results.config})
        with self._progress() as progress:
            bar = progress.add_task("training", total=100)
            while run["state"] in ("QUEUED", "RUNNING"):
                time.sleep(POLL_SECONDS)
                run = operator.get(f"/training-runs/{run['id']}")
                progress.update(bar, completed=run["progress_percent"], description=_training_line(run))
        self.results.run = run
        if run["state"] != "SUCCEEDED":
            raise StoryError(f"the training run ended {run['state']}: {run['error_code']} {run['error_message']}")

    def promote(self) -> None:
        """Promote the model. Without evidence on strangers that takes a reason and a second person's approval."""
        operator, path = self.clients.operator, f"/models/{self.results.run['model']}"
        try:
            model = operator.post(f"{path}/promote")
        except Refused as refusal:
            if refusal.code != "not_enough_evidence":
                raise
            self.console.print(f"Refused: {refusal.message}")
            self.console.print("A demo may force the promotion. A second administrator approves it.")
            approval = operator.post(f"{path}/promote", {"force": True, "reason": "the demo"})
            self.clients.second_operator.post(f"/approvals/{approval['id']}/approve")
            model = operator.get(path)
        with self._progress() as progress:
            bar = progress.add_task("voiceprints under the new model", total=100)
            while model["state"] == "PROMOTING":
                time.sleep(POLL_SECONDS)
                model = operator.get(path)
                progress.update(bar, completed=model["promotion_percent"])
        self.results.model = model
        if model["state"] != "ACTIVE":
            raise StoryError(f"the model was not promoted: {model['promotion_error'] or model['state']}")

    def verify(self) -> None:
        """Verify every call against the speaker's own identity and against one other."""
        names = [speaker.name for speaker in self.cast.speakers]
        calls = self._calls()
        for number, (speaker, audio) in enumerate(self._track("calls verified, twice each", calls)):
            others = [name for name in names if name != speaker.name]
            for claimed in (speaker.name, others[number % len(others)]):
                self.results.trials.append(self._verify(speaker.name, claimed, audio))

    def identify(self) -> None:
        """Identify every call among all customers."""
        candidates = list(self.results.customers.values())
        for speaker, audio in self._track("calls identified", self._calls()):
            answer = self.clients.ivr.upload("/identify", audio, candidates=candidates, max_results=len(candidates))
            self.results.searches.append(Search(speaker.name, answer))

    def meet_newcomer(self) -> None:
        """Enroll somebody after the training, and let them and a stranger call in their name."""
        newcomer, stranger = self.cast.newcomer, self.cast.stranger
        self._create(newcomer)
        for audio in self._track("the newcomer's enrollment", newcomer.enrollment):
            self._send_enrollment(newcomer, audio)
        calls = [(each.name, audio) for each in (newcomer, stranger) for audio in each.calls]
        for name, audio in self._track("calls as the newcomer", calls):
            self.results.newcomer.append(self._verify(name, newcomer.name, audio))

    def _create(self, speaker: Speaker) -> None:
        customer_id = f"{self.prefix}{len(self.results.customers) + 1:02d}"
        self.clients.teller.post("/customers", {"customer_id": customer_id, "display_name": speaker.name})
        self.clients.teller.post(f"/customers/{customer_id}/consent", CONSENT)
        self.results.customers[speaker.name] = customer_id

    def _send_enrollment(self, speaker: Speaker, audio: bytes) -> None:
        """Send a recording. Where it is held, because another voice sounds like it, the reviewer approves it."""
        path = f"/customers/{self.results.customers[speaker.name]}/enrollments"
        try:
            sample = self.clients.teller.upload(path, audio)
        except Refused as refusal:
            if refusal.status not in (409, 422):
                raise
            self.results.refused_uploads[refusal.code] += 1
        else:
            if sample["held_for"]:
                self.clients.reviewer.post(f"{path}/{sample['sample_id']}/approve")
                self.results.approved_uploads += 1

    def _verify(self, speaker: str, claimed: str, audio: bytes) -> Trial:
        answer = self.clients.ivr.upload("/verify", audio, customer_id=self.results.customers[claimed])
        return Trial(speaker, claimed, answer)

    def _calls(self) -> list[tuple[Speaker, bytes]]:
        """Yield the calls in turns: many refusals in a row for one customer would lead to a delay."""
        turns = zip_longest(*([(speaker, audio) for audio in speaker.calls] for speaker in self.cast.speakers))
        return [call for turn in turns for call in turn if call is not None]

    def _track(self, what: str, items: Iterable[Item], total: int | None = None) -> Iterator[Item]:
        with self._progress() as progress:
            known = len(items) if isinstance(items, Sequence) else total
            yield from progress.track(items, total=known, description=what)

    @contextmanager
    def _progress(self) -> Iterator[Progress]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console) as progress:
            yield progress


def _training_line(run: dict[str, Any]) -> str:
    parts = [run["phase"] or run["state"].lower()]
    if run["epochs"]:
        parts.append(f"epoch {run['epoch']}/{run['epochs']}")
    if run["metrics"]:
        latest = {name: each["value"] if isinstance(each, dict) else each for name, each in run["metrics"][-1].items()}
        numbers = {name: value for name, value in latest.items() if isinstance(value, float)}
        parts += [f"{key} {value:.4g}" for key, value in list(numbers.items())[:3]]
    return ", ".join(parts)
