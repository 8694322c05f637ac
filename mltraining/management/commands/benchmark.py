"""``manage.py benchmark scoring``: milliseconds of each stage of scoring a clip, on one thread."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mltraining import registry
from mltraining.models import ModelVersion

SECONDS = (1, 3, 10)
RUNTIMES = ("torch", "fp32", "int8")


class Command(BaseCommand):
    """Time the stages of scoring under each runtime."""

    help = "Time decoding, speech detection, features and the encoder under each of its runtimes, on one thread."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take a registered model or a pipeline's folder."""
        parser.add_argument("what", choices=["scoring"])
        parser.add_argument("--model", metavar="VERSION", help="a registered model; default: the one in service")
        parser.add_argument("--pipeline", type=Path, metavar="FOLDER", help="instead of a model: a pipeline's folder")
        parser.add_argument("--repeats", type=int, default=20, help="the median of so many calls is printed")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a table of milliseconds."""
        from mltraining.speech.benchmarks import scoring as benchmark
        from mltraining.speech.scoring.pipeline import PipelineError
        from mltraining.speech.scoring.timing import one_thread

        folder = options["pipeline"] or registry.fetch(_version(options["model"]))
        with one_thread():
            try:
                loaded = benchmark.runtimes(folder)
            except PipelineError as error:
                raise CommandError(str(error)) from error
            rows = [(seconds, benchmark.stages(loaded, seconds, options["repeats"])) for seconds in SECONDS]
        stages = list(rows[0][1])
        self.stdout.write("milliseconds on one thread; in brackets how many times as fast as torch")
        self.stdout.write("clip".rjust(6) + "".join(name.rjust(16) for name in stages))
        for seconds, found in rows:
            compared = RUNTIMES[1:] if "torch" in found else ()
            cells = [
                f"{found[name]:.1f}" + (f" ({found['torch'] / found[name]:.1f}x)" if name in compared else "")
                for name in stages
            ]
            self.stdout.write(f"{seconds:>4} s" + "".join(cell.rjust(16) for cell in cells))


def _version(named: str | None) -> str:
    models = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE)
    if named is not None:
        models = ModelVersion.objects.filter(version=named)
    version = models.values_list("version", flat=True).first()
    if version is None:
        raise CommandError("There is no such model." if named else "No model is in service; name one with --model.")
    return version
