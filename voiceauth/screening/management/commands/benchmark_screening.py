"""``manage.py benchmark_screening``: milliseconds that screening adds to a verification, on one thread."""

from argparse import ArgumentParser
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import Any

import numpy as np
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from mltraining import recordings, scorer
from mltraining.messages import Recording
from mltraining.scorer import LoadedModel
from voiceauth.screening import keys, voiceprints, watch
from voiceauth.screening.models import Fraudster, FraudsterVoiceprint, RecentVoice

CALL_SECONDS = 5
BATCH = 1000


class Command(BaseCommand):
    help = (
        "Time the screening of a call against synthetic fraudsters and recent calls. It uses the model in service, and "
        "writes what it needs in a transaction that is rolled back. Give it a database that nobody else works on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--fraudsters", type=int, default=10_000)
        parser.add_argument("--recent-calls", type=int, default=settings.VOICEAUTH_VELOCITY_MAX_CALLS)
        parser.add_argument("--repeats", type=int, default=50, help="the median of so many calls is printed")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command."""
        from mltraining.speech.scoring import timing

        model = scorer.active_model()
        if model is None:
            raise CommandError("No model is in service.")
        audio, repeats = timing.clip(CALL_SECONDS), options["repeats"]

        def embedded() -> recordings.Voice:
            return recordings.voice_of(recordings.analyse(Recording(audio=audio)), model)

        heard = embedded()
        quality = replace(heard.analysis.quality, speech_seconds=float(CALL_SECONDS))
        call = replace(heard, analysis=replace(heard.analysis, quality=quality))

        def screen_and_remember() -> None:
            watch.claims(call, "C", fresh=False)
            voiceprints.store_recent(
                customer_id="C", model_fingerprint=model.fingerprint, vector=call.vector, speech_seconds=CALL_SECONDS
            )

        with timing.one_thread(), transaction.atomic():
            _write_fraudsters(model, options["fraudsters"])
            _write_calls(model, options["recent_calls"])
            rows = {
                "decode, measure, embed": embedded,
                f"watchlists of {options['fraudsters']:,}": lambda: watch.known(call, fresh=False),
                f"velocity over {options['recent_calls']:,} calls": screen_and_remember,
            }
            self.stdout.write(f"milliseconds on one thread, for a call of {CALL_SECONDS} s")
            for name, act in rows.items():
                self.stdout.write(f"{name:<36}{timing.milliseconds(act, repeats):8.1f}")
            transaction.set_rollback(True)


def _vectors(count: int, dimensions: int) -> Any:
    """Unit vectors, (d,) float32 each."""
    random = np.random.default_rng(0)
    for _ in range(count):
        vector = random.normal(size=dimensions).astype(np.float32)
        yield vector / np.linalg.norm(vector)


def _write_fraudsters(model: LoadedModel, count: int) -> None:
    vectors, revision = _vectors(count, model.pipeline.dimensions), 0
    end = timezone.now() + timedelta(days=1)
    while batch := list(islice(vectors, BATCH)):
        fraudsters = [
            Fraudster(source="benchmark", speech_seconds=20, created_by="benchmark", expires_at=end) for _ in batch
        ]
        for fraudster in fraudsters:
            fraudster.data_key = keys.new_fraudster_key(fraudster.pk)
        Fraudster.objects.bulk_create(fraudsters)
        FraudsterVoiceprint.objects.bulk_create(
            FraudsterVoiceprint(
                fraudster=fraudster,
                model_fingerprint=model.fingerprint,
                content=keys.seal_voiceprint(fraudster, model.fingerprint, vector),
                revision=revision + number,
            )
            for number, (fraudster, vector) in enumerate(zip(fraudsters, batch, strict=True), start=1)
        )
        revision += len(batch)


def _write_calls(model: LoadedModel, count: int) -> None:
    vectors, revision = _vectors(count, model.pipeline.dimensions), -count  # older than what the sequence gives
    while batch := list(islice(vectors, BATCH)):
        voices = []
        for vector in batch:
            revision += 1
            voice = RecentVoice(
                customer_id=f"C{revision}",
                model_fingerprint=model.fingerprint,
                speech_seconds=CALL_SECONDS,
                revision=revision,
            )
            keys.seal_recent(voice, vector)
            voices.append(voice)
        RecentVoice.objects.bulk_create(voices)
