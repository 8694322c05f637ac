"""``manage.py evaluate VERSION``: what ``python -m mltraining.speech evaluate`` measures, of a registered model."""

import argparse
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mltraining import registry, scorer
from mltraining.models import ModelVersion
from voiceauth.platform.errors import DomainError


class Command(BaseCommand):
    help = "Evaluate a registered model on trials, print the tables, and keep the figures in the model's metrics."

    def add_arguments(self, parser: ArgumentParser) -> None:
        from mltraining.speech.evaluation import evaluate

        parser.add_argument("model", metavar="VERSION", help="a registered model")
        evaluate.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        from mltraining.speech.audio.errors import AudioError
        from mltraining.speech.evaluation import evaluate
        from mltraining.speech.evaluation.report import markdown
        from mltraining.speech.evaluation.trials import EvaluationError

        version = options["model"]
        if not ModelVersion.objects.filter(pk=version).exists():
            raise CommandError(f"There is no registered model {version!r}.")
        given = argparse.Namespace(**options)
        try:
            document = evaluate.run(scorer.load(version).pipeline, given)
        except DomainError as error:
            raise CommandError(f"The model cannot be loaded: {error}") from error
        except (EvaluationError, AudioError, OSError) as error:
            raise CommandError(f"{getattr(error, 'code', 'unreadable_file')}: {error}") from error
        source = (given.speech or given.trials).name  # the folder's own name, not where it lies
        registry.store_evaluation(version, evaluate.summary(document), source=source)
        self.stdout.write(markdown(document))
