"""``manage.py import_model FOLDER``: a scoring pipeline's folder becomes a registered model."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mltraining import exporting, registry
from mltraining.errors import ModelUnchanged
from mltraining.model_store import StoreError


class Command(BaseCommand):
    """Register a pipeline that was made elsewhere."""

    help = (
        "Register a scoring pipeline, which import-encoder or train made, as a candidate. It is calibrated and "
        "promoted like any other model; docs/importing-encoders.md lists the errors."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the folder."""
        parser.add_argument("folder", metavar="FOLDER", type=Path, help="the pipeline folder")

    def handle(self, *args: Any, **options: Any) -> None:
        """Try the encoder, and register it. Prints the version."""
        from mltraining.speech.scoring.folder import PipelineError
        from mltraining.speech.scoring.imported import EncoderRefused, ImportedEncoder
        from mltraining.speech.scoring.importing import check
        from mltraining.speech.scoring.pipeline import ScoringPipeline

        folder = options["folder"]
        try:
            pipeline = ScoringPipeline.load(folder)
            if isinstance(pipeline.encoder, ImportedEncoder):
                check(pipeline.encoder)
            with exporting.with_export(folder) as served:
                version = registry.install(pipeline=served, charts=folder)
            try:
                registry.register(version=version)
            except ModelUnchanged:
                registry.uninstall(version)
                raise
        except ModelUnchanged as error:
            raise CommandError(f"{error.code}: the model is registered already: {error.data['version']}") from error
        except (PipelineError, EncoderRefused) as error:
            raise CommandError(f"{error.code}: {error}") from error
        except StoreError as error:
            raise CommandError(f"model_store: {error}") from error
        except OSError as error:
            raise CommandError(f"unreadable_file: {error}") from error
        self.stdout.write(version)
