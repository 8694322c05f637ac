"""``manage.py benchmark_identification``: how long a voice is looked for among many, and what that takes."""

import resource
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, connections

from enrollment import keys, services
from enrollment.gallery import Gallery
from enrollment.models import Customer, Voiceprint
from mltraining.recordings import Analysis, Voice
from voiceauth.platform.audit import SYSTEM

BATCH = 5000
RECALL_AT = 10
NOISE = 0.9  # the length of what a call adds to its voiceprint: their cosine is then about 0.75


class Command(BaseCommand):
    help = "Seed synthetic voiceprints in a database of its own, and measure how soon and how rightly they are found."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--pipeline", type=Path, metavar="FOLDER", default=settings.BASE_DIR / "mltraining/base_model"
        )
        parser.add_argument("--voiceprints", type=int, default=1_000_000)
        parser.add_argument("--searches", type=int, default=200)
        parser.add_argument("--repeats", type=int, default=3, help="the best of so many rounds of searches is printed")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a table."""
        from mltraining.speech.scoring.pipeline import ScoringPipeline

        pipeline = ScoringPipeline.load(options["pipeline"])
        if pipeline.decoys is None:
            raise CommandError("The pipeline has no cohort, which the synthetic voiceprints are to be like.")
        before, memory = connection.settings_dict["NAME"], settings.VOICEAUTH_GALLERY_DIR
        connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
        try:
            memory.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="voiceauth-benchmark-", dir=memory.parent) as folder:
                settings.VOICEAUTH_GALLERY_DIR = Path(folder)
                self._measure(pipeline, options)
        finally:
            settings.VOICEAUTH_GALLERY_DIR = memory
            connections.close_all()
            connection.creation.destroy_test_db(before, verbosity=0)

    def _say(self, what: str, figure: str) -> None:
        self.stdout.write(f"{what:<58}{figure:>14}")
        self.stdout.flush()

    def _measure(self, pipeline: Any, options: dict[str, Any]) -> None:
        random, draw = np.random.default_rng(0), _like(pipeline.decoys)
        count = options["voiceprints"]
        started = time.perf_counter()
        _seed(pipeline.fingerprint, draw, random, count)
        self._say(f"seconds to seed {count:,} voiceprints", f"{time.perf_counter() - started:.0f}")

        gallery = Gallery(pipeline.fingerprint, pipeline.dimensions, pipeline.cohort)
        started, used = time.perf_counter(), time.process_time()
        index = gallery.current(patient=True)
        self._say("seconds to make the index from the database", f"{time.perf_counter() - started:.0f}")
        self._say("… of processor time in this process", f"{time.process_time() - used:.0f}")
        self._say("MB of shared memory", f"{gallery.path.stat().st_blocks * 512 / 1e6:.0f}")

        enrolled = index.vectors[random.integers(0, count, options["searches"] // 2)]
        strangers = draw(random, options["searches"] - len(enrolled))
        calls = [_call(pipeline, each) for each in (*_noisy(enrolled, draw, random), *strangers)]
        for call in calls[:5]:
            gallery.nearest(call, limit=RECALL_AT)
        rounds = [
            [_timed(partial(gallery.nearest, call, limit=RECALL_AT)) for call in calls]
            for _ in range(options["repeats"])
        ]
        wall, processor = (np.array([[each[kind] for each in one] for one in rounds]) * 1e3 for kind in (0, 1))
        self._say("milliseconds of a search, p50", f"{np.median(wall, axis=1).min():.1f}")
        self._say("milliseconds of a search, p99", f"{np.quantile(wall, 0.99, axis=1).min():.1f}")
        self._say("… of processor time in this process, p50", f"{np.median(processor, axis=1).min():.1f}")
        self._say("… of processor time in this process, p99", f"{np.quantile(processor, 0.99, axis=1).min():.1f}")
        scans = [_timed(partial(index.bounds, call.vector, count)) for call in calls]
        self._say(
            "… of processor time for the codes' bounds, p50", f"{np.median([each[1] for each in scans]) * 1e3:.1f}"
        )

        few = calls[:: max(1, len(calls) // 50)]
        found = [{each.name for each in gallery.nearest(call, limit=RECALL_AT)} for call in few]
        recalled = [len(names & _full(gallery, call)) / len(names) for names, call in zip(found, few, strict=True)]
        self._say(f"recall@{RECALL_AT} over {len(few)} calls", f"{np.mean(recalled):.4f}")

        some = [f"B-{number}" for number in random.integers(0, count, 20)]
        narrow = [_timed(partial(gallery.nearest, call, limit=5, names=some))[0] for call in few]
        self._say("milliseconds among 20 candidates, p50", f"{np.median(narrow) * 1e3:.1f}")
        full = [_timed(partial(np.matmul, index.vectors[:count], call.vector))[1] for call in few[:10]]
        self._say("processor time of the full product in float32, p50", f"{np.median(full) * 1e3:.1f}")

        fresh, gone = zip(*(self._change(gallery, pipeline, draw, random, number) for number in range(10)), strict=True)
        self._say("milliseconds from an enrollment's commit to its match, most", f"{max(fresh) * 1e3:.0f}")
        self._say("milliseconds from an erasure's commit to bytes gone, most", f"{max(gone) * 1e3:.0f}")
        self._say(
            "MB resident at the most, shared memory included",
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f}",
        )

    def _change(
        self, gallery: Gallery, pipeline: Any, draw: "Draw", random: np.random.Generator, number: int
    ) -> tuple[float, float]:
        """Return the seconds until a new voiceprint is found, and until an erased one is in no memory."""
        (vector,) = draw(random, 1)
        (call,), name = [_call(pipeline, vector)], f"new-{number}"
        customer = Customer(customer_id=name, state=Customer.State.ENROLLED)
        customer.data_key = keys.new_data_key(customer.pk)
        customer.save()
        Voiceprint.objects.create(
            customer=customer,
            model_fingerprint=pipeline.fingerprint,
            content=keys.seal_voiceprint(customer, pipeline.fingerprint, vector),
            sample_count=1,
            speech_seconds=20,
            revision=1,
        )
        fresh, _, found = _timed(partial(gallery.nearest, call, limit=1))
        if [each.name for each in found] != [name]:
            raise CommandError(f"{name} was enrolled and is not found.")
        at = gallery.current().find(np.array([customer.voiceprints.get().pk]))
        services.erase_customer(customer_id=name, actor=SYSTEM)
        gone, _, found = _timed(partial(gallery.nearest, call, limit=1))
        if name in [each.name for each in found] or gallery.current().vectors[at].any():
            raise CommandError(f"{name} was erased and is still there.")
        return fresh, gone


Draw = Callable[[np.random.Generator, int], np.ndarray]


def _timed(act: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return the seconds that ``act`` took, those of the processor, and what it returned."""
    started, used = time.perf_counter(), time.process_time()
    result = act()
    return time.perf_counter() - started, time.process_time() - used, result


def _like(voices: np.ndarray) -> Draw:
    """Return what draws unit vectors (n, d) with the mean and the covariance of ``voices`` (k, d)."""
    mean = voices.mean(axis=0)
    spread = np.linalg.cholesky(np.cov(voices.T) + 1e-6 * np.eye(len(mean))).astype(np.float32)

    def draw(random: np.random.Generator, count: int) -> np.ndarray:
        return _unit(mean + random.standard_normal((count, len(mean)), dtype=np.float32) @ spread.T)

    return draw


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def _noisy(vectors: np.ndarray, draw: Draw, random: np.random.Generator) -> np.ndarray:
    """Return calls of these voices."""
    return _unit(vectors + NOISE * draw(random, len(vectors)))


def _call(pipeline: Any, vector: np.ndarray) -> Voice:
    """Return a call of ten seconds of net speech with this embedding."""
    from mltraining.speech.audio.quality import Quality
    from mltraining.speech.audio.waveform import Waveform

    model: Any = SimpleNamespace(pipeline=pipeline, fingerprint=pipeline.fingerprint)
    silence = Waveform(np.zeros(8000, dtype=np.float32), 8000, "wav", "pcm_s16le")
    return Voice(Analysis(silence, Quality(12.0, 10.0, 25.0, 0.0)), model, vector)


def _full(gallery: Gallery, call: Voice) -> set[str]:
    """Return the likeliest by the full product."""
    index = gallery.current()
    here = slice(index.count)
    statistics = None if gallery.cohort is None else (index.cohort_means[here], index.cohort_deviations[here])
    ratios = call.compare(index.vectors[here], index.speech_seconds[here], statistics).log_likelihood_ratio
    best = index.ids[np.argpartition(-ratios, RECALL_AT)[:RECALL_AT]].tolist()
    return set(Voiceprint.objects.filter(pk__in=best).values_list("customer__customer_id", flat=True))


def _seed(model_fingerprint: str, draw: Draw, random: np.random.Generator, count: int) -> None:
    """Write enrolled customers with a sealed voiceprint each."""

    def batches() -> Iterator[list[tuple[Customer, Voiceprint]]]:
        for first in range(0, count, BATCH):
            vectors = draw(random, min(BATCH, count - first))
            seconds = random.uniform(15, 60, len(vectors))
            made = []
            for number, (vector, speech) in enumerate(zip(vectors, seconds, strict=True), start=first):
                customer = Customer(customer_id=f"B-{number}", state=Customer.State.ENROLLED)
                customer.data_key = keys.new_data_key(customer.pk)
                content = keys.seal_voiceprint(customer, model_fingerprint, vector)
                made.append(
                    (
                        customer,
                        Voiceprint(customer=customer, content=content, speech_seconds=float(speech), revision=number),
                    )
                )
            yield made

    with connection.cursor() as cursor:
        for made in batches():
            with cursor.copy(
                "COPY enrollment_customer (id, customer_id, display_name, state, data_key, speech_seconds, created_at, "
                "refusals) FROM STDIN"
            ) as copy:
                for customer, _ in made:
                    copy.write_row(
                        (
                            customer.pk,
                            customer.customer_id,
                            "",
                            customer.state,
                            customer.data_key,
                            20.0,
                            customer.created_at,
                            0,
                        )
                    )
            with cursor.copy(
                "COPY enrollment_voiceprint (customer_id, model_fingerprint, content, sample_count, speech_seconds, "
                "revision, updated_at) FROM STDIN"
            ) as copy:
                for customer, voiceprint in made:
                    copy.write_row(
                        (
                            customer.pk,
                            model_fingerprint,
                            voiceprint.content,
                            1,
                            voiceprint.speech_seconds,
                            voiceprint.revision,
                            customer.created_at,
                        )
                    )
        cursor.execute("ANALYZE enrollment_customer, enrollment_voiceprint")
