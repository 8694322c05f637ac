"""``manage.py benchmark_calls``: how fast the running service verifies, and where each millisecond goes."""

import logging
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from django.core.management.base import BaseCommand, CommandError

from voiceauth.benchmarks import growth, poison
from voiceauth.benchmarks.callers import ENVIRONMENT, Call, Callers
from voiceauth.benchmarks.service import Service, ServiceFailed, running

ROUTE = ("api/v1/verify", "POST")
CLIPS = (3.0, 8.0)  # seconds
CALLERS = (1, 4, 16, 64)
WARM_CALLS = 4


class Command(BaseCommand):
    help = (
        "Verify telephone calls against a service of its own: all processes, PostgreSQL and Redis, in a temporary "
        "folder. `latency` has 1 to 64 callers at once, and tells where the time goes; `overload` has calls "
        "begin at a rate beyond what is served; `poison` has another client send hostile recordings; `memory` compares "
        "the memory of each process before and after many mixed calls."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("what", nargs="*", default=["latency"], choices=["latency", "overload", "poison", "memory"])
        parser.add_argument("--calls", type=int, default=100, help="of each measurement (default: %(default)s)")
        parser.add_argument("--callers", type=int, nargs="*", default=CALLERS, help="at once (default: %(default)s)")
        parser.add_argument("--clips", type=float, nargs="*", default=CLIPS, help="seconds (default: %(default)s)")
        parser.add_argument("--rate", type=float, help="calls a second of `overload` (default: twice what is served)")
        parser.add_argument("--seconds", type=float, default=20.0, help="of `overload` and `poison`")
        parser.add_argument("--deadline", type=float, help="seconds for an answer, on a machine that is busy otherwise")
        parser.add_argument("--mixed", type=int, default=20_000, help="calls of `memory` (default: %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # or it would print every request
        environment = dict(ENVIRONMENT)
        if options["deadline"]:
            environment["VOICEAUTH_SCORING_DEADLINE_SECONDS"] = str(options["deadline"])
        modes: dict[str, Callable[[Callers, dict[str, Any]], None]] = {
            "latency": self._latency,
            "overload": self._overload,
            "poison": self._poison,
            "memory": self._memory,
        }
        try:
            with running(**environment) as service:
                callers = Callers(service)
                callers.together(2, CLIPS[0], calls=WARM_CALLS)
                for name in options["what"]:
                    modes[name](callers, options)
                callers.close()
        except ServiceFailed as error:
            raise CommandError(str(error)) from error

    def _latency(self, callers: Callers, options: dict[str, Any]) -> None:
        for seconds in options["clips"]:
            self.stdout.write(f"\nverify, {seconds:g} s")
            self.stdout.write(_row("callers", "calls/s", "p50 ms", "p95 ms", "p99 ms", "CPU ms/call", "answers"))
            for number in options["callers"]:
                before, stages = callers.service.usage(), _stages(callers.service)
                calls = callers.together(number, seconds, calls=max(options["calls"], 2 * number))
                used = callers.service.usage().since(before)
                self.stdout.write(_measured(str(number), calls, sum(used.values())))
                if number == 1:
                    after = _stages(callers.service)
                    spent = {name: value - stages.get(name, 0.0) for name, value in after.items()}
                    answered = [call for call in calls if call.answer]
                    if answered:
                        self._tell_stages(spent, used, answered)

    def _tell_stages(self, spent: dict[str, float], used: dict[str, float], calls: Sequence[Call]) -> None:
        heard = ("decode", "speech", "network")
        total = sum(call.seconds for call in calls)
        rest = sum(seconds for name, seconds in spent.items() if name not in heard)
        spent = spent | {"client and web server": total - sum(spent.values())}
        self.stdout.write("  mean milliseconds of a call, one caller:")
        for name, seconds in sorted(spent.items(), key=lambda each: -each[1]):
            self.stdout.write(f"  {name:>22} {1000 * seconds / len(calls):7.1f}")
        self.stdout.write(f"  {'all but ' + ', '.join(heard):>22} {1000 * rest / len(calls):7.1f}")
        parts = ", ".join(f"{name} {1000 * seconds / len(calls):.0f}" for name, seconds in used.items())
        self.stdout.write(f"  processor time of a call by process (ms): {parts}")

    def _overload(self, callers: Callers, options: dict[str, Any]) -> None:
        seconds, clip = options["seconds"], CLIPS[0]
        self.stdout.write(f"\nverify, {clip:g} s, beyond what is served")
        self.stdout.write(_row("", "calls/s", "p50 ms", "p95 ms", "p99 ms", "CPU ms/call", "answers"))
        before = callers.service.usage()
        served = callers.together(16, clip, seconds=seconds)
        self.stdout.write(_measured("16 callers", served, sum(callers.service.usage().since(before).values())))
        rate = options["rate"] or 2 * len([call for call in served if call.answer]) / seconds
        before = callers.service.usage()
        calls = callers.at_rate(rate, clip, seconds=seconds)
        used = sum(callers.service.usage().since(before).values())
        self.stdout.write(_measured(f"{rate:.1f} calls/s", calls, used))
        refused = [call.seconds for call in calls if call.answer is None]
        if refused:
            late = 1000 * np.percentile(refused, 99)
            self.stdout.write(f"  {len(refused)} of {len(calls)} were refused; p99 of a refusal: {late:.0f} ms")

    def _poison(self, callers: Callers, options: dict[str, Any]) -> None:
        found = poison.beside(callers, seconds=options["seconds"])
        self.stdout.write("\nverify, 3 s, while another client sends hostile recordings, 5 a second")
        self.stdout.write(_row("", "calls/s", "p50 ms", "p95 ms", "p99 ms", "", "answers"))
        for name, calls in (("alone", found.alone), ("beside poison", found.beside)):
            self.stdout.write(_measured(name, calls))
        self.stdout.write(f"  p99 beside poison is {found.ratio:.2f} times that without")
        for name, number in sorted(found.answers.items()):
            self.stdout.write(f"  {number:>5} {name}")

    def _memory(self, callers: Callers, options: dict[str, Any]) -> None:
        self.stdout.write(f"\nmemory over {options['mixed']} mixed calls, MB (each process's share)")
        for line in growth.measured(callers, options["mixed"]):
            self.stdout.write(f"  {line}")


def _stages(service: Service) -> dict[str, float]:
    """Return the seconds of each stage of all verifications so far."""
    wanted = {"route": ROUTE[0], "method": ROUTE[1]}
    return {
        dict(labels)["stage"]: value
        for (name, labels), value in service.metrics().items()
        if name == "voiceauth_request_stage_seconds_sum" and wanted.items() <= dict(labels).items()
    }


def _measured(name: str, calls: Sequence[Call], used: float = 0.0) -> str:
    answers = Counter(call.outcome for call in calls)
    told = ", ".join(f"{number} {outcome}" for outcome, number in answers.most_common())
    served = [call.seconds for call in calls if call.answer]
    if not served:
        return _row(name, "", "", "", "", "", told)
    length = max(call.at + call.seconds for call in calls) - min(call.at for call in calls)
    late = [f"{1000 * each:.0f}" for each in np.percentile(served, (50, 95, 99))]
    cost = f"{1000 * used / len(served):.0f}" if used else ""
    return _row(name, f"{len(served) / length:.1f}", *late, cost, told)


def _row(name: str, *cells: str) -> str:
    *numbers, told = cells
    return f"  {name:>14} " + "".join(f"{cell:>12}" for cell in numbers) + f"   {told}"
