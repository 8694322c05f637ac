"""``manage.py benchmark_faults``: restart and break each part of a service under load, and see that no call is lost."""

import logging
import threading
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from voiceauth.benchmarks.callers import ENVIRONMENT, Call, Callers
from voiceauth.benchmarks.faults import CLOCK, FAULTS, Fault
from voiceauth.benchmarks.reconciling import reconcile
from voiceauth.benchmarks.restarts import RESTARTS, Restart
from voiceauth.benchmarks.service import Service, ServiceFailed, running

CLIP_SECONDS = 3.0
PATIENCE_SECONDS = 200.0  # of a client with one call: longer than a reservation of its idempotency key lasts
QUIET_SECONDS = 5.0  # before a fault
LONGEST_SECONDS = 150.0  # that callers may be disturbed
STEADY_CALLS = 6  # in a row, each answered at once: the service has recovered
STEP_SECONDS = 0.2

Caller = Callable[[float], Call]  # with the seconds of the call


class Command(BaseCommand):
    help = (
        "Restart and break each part of a service of its own while clients verify, and say what they got and for how "
        "long. During a restart every call must be answered at the first attempt. In the end each call that was "
        "answered must have exactly one decision and one event in the audit trail, and the trail must be intact. The "
        "command exits with 1 otherwise."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--only", metavar="WORDS", help="the faults with these words in their names")
        parser.add_argument("--callers", type=int, default=2, help="at once (default: %(default)s)")
        parser.add_argument("--pause", type=float, default=0.3, help="seconds between calls (default: %(default)s)")
        parser.add_argument("--lasting", type=float, default=8.0, help="seconds of a fault that lasts")
        parser.add_argument("--deadline", type=float, help="seconds for an answer, on a machine that is busy otherwise")

    def handle(self, *args: Any, **options: Any) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # or it would print every request
        self.noticed: list[str] = []  # restarts during which an attempt failed
        faults: list[Fault] = [fault for fault in (*RESTARTS, *FAULTS) if (options["only"] or "") in fault.name]
        environment = {**ENVIRONMENT, "PYTHONPATH": str(CLOCK), "VOICEAUTH_DRAIN_SECONDS": "5"}
        if options["deadline"]:
            environment["VOICEAUTH_SCORING_DEADLINE_SECONDS"] = str(options["deadline"])
        try:
            with running(**environment) as service:
                callers = Callers(service, patience_seconds=PATIENCE_SECONDS)
                made: list[Call] = []
                for fault in faults:
                    made += self._suffer(fault, callers, options)
                callers.close()
                failed = self._failed(service, made)
        except ServiceFailed as error:
            raise CommandError(str(error)) from error
        if failed:
            raise CommandError("Not every call ended in exactly one decision and one audit event.")
        if self.noticed:
            raise CommandError("Callers noticed what they must not notice: " + ", ".join(self.noticed) + ".")

    def _suffer(self, fault: Fault, callers: Callers, options: dict[str, Any]) -> list[Call]:
        fault.prepare(callers.service)
        is_restart = isinstance(fault, Restart)
        work: list[Caller] = [callers.call] * options["callers"]
        if isinstance(fault, Restart) and fault.is_streamed:
            work.append(callers.stream)
        with _calling(work, 0.0 if is_restart else options["pause"]) as made:
            time.sleep(QUIET_SECONDS)
            struck = time.monotonic()
            with fault.strike(callers.service):
                time.sleep(options["lasting"] if fault.lasts else 0.0)
            while not _is_steady(made, time.monotonic(), struck):
                time.sleep(STEP_SECONDS)
        attempts = [each for call in made for each in call.attempts if each.at + each.seconds >= struck]
        outcomes = Counter(each.outcome for each in attempts)
        bad = [each.at + each.seconds - struck for each in attempts if not each.outcome.startswith("2")]
        waits = [call.seconds for call in made if call.at + call.seconds >= struck]
        books = reconcile(callers.service, made)
        self.stdout.write(f"\n{fault.name}" + (f", for {options['lasting']:g} s" if fault.lasts else ""))
        self.stdout.write(
            "  answers: " + ", ".join(f"{number} x {outcome}" for outcome, number in outcomes.most_common())
        )
        self.stdout.write(
            f"  the last failure was {max(bad, default=0.0):.1f} s after it began; "
            f"the longest call with its repeats took {max(waits, default=0.0):.1f} s"
        )
        self.stdout.write(
            f"  {books.calls} calls: {books.unanswered} given up, {books.lost} lost, {books.doubled} doubled, "
            f"{books.unaudited} without exactly one event"
        )
        if is_restart and bad:
            self.noticed.append(fault.name)
        return made

    def _failed(self, service: Service, made: list[Call]) -> bool:
        books = reconcile(service, made)
        trail = service.command("verify_audit_trail")
        self.stdout.write(
            f"\nin all: {books.calls} calls, {books.unanswered} given up, {books.lost} lost, {books.doubled} doubled, "
            f"{books.unaudited} without exactly one event; verify_audit_trail: {trail.stdout.strip()}"
        )
        return trail.returncode != 0 or not books.balanced


@contextmanager
def _calling(work: list[Caller], pause: float) -> Iterator[list[Call]]:
    """Let each caller call on during the block. The list grows by each call that has ended."""
    made: list[Call] = []
    over = threading.Event()

    def call_on(call: Caller) -> None:
        while not over.wait(pause):
            made.append(call(CLIP_SECONDS))

    threads = [threading.Thread(target=call_on, args=(call,)) for call in work]
    for each in threads:
        each.start()
    try:
        yield made
    finally:
        over.set()
        for each in threads:
            each.join()


def _is_steady(made: list[Call], now: float, struck: float) -> bool:
    """Whether the latest calls since the fault were answered at once; or nobody waits for that any longer."""
    latest = [call for call in made if call.at > struck][-STEADY_CALLS:]
    at_once = len(latest) == STEADY_CALLS and all(call.answer and len(call.attempts) == 1 for call in latest)
    return at_once or now - struck > LONGEST_SECONDS
