"""``manage.py calibrate``: another calibration for a registered model, without training it again."""

from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from mltraining import scorer
from mltraining.models import ModelVersion
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.errors import DomainError
from voiceauth.policies import selectors as policies

if TYPE_CHECKING:
    from voiceauth.retraining.recalibration import Source

TABLES = ("enrollment", "trials", "audio_root")


class Command(BaseCommand):
    help = (
        "Fit a registered model's calibration on trials whose truth is known, and put it into force for the next call. "
        "Refuses (unsupported_rate) where the trials are too few for the false-accept rate. Voiceprints stay as they "
        "are."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model", metavar="MODEL", help="a registered model's version")
        parser.add_argument(
            "--target-far", type=float, help="the false-accept rate to support; default: the policy's, without a tier"
        )
        parser.add_argument("--decisions", type=Path, help="CSV with columns decision_id, target (1 or 0)")
        parser.add_argument("--cases", action="store_true", help="use the decisions that closed review cases are about")
        parser.add_argument("--frozen-set", action="store_true", help="use the trials of VOICEAUTH_FROZEN_SET_DIR")
        parser.add_argument("--enrollment", type=Path, help="CSV with columns speaker, audio")
        parser.add_argument("--trials", type=Path, help="CSV with columns speaker, audio, target (1 or 0)")
        parser.add_argument("--audio-root", type=Path, help="the folder that audio is relative to")
        parser.add_argument(
            "--strangers",
            action="store_true",
            help="state that no speaker of --trials trained the model; without it they are no evidence for a promotion",
        )
        parser.add_argument("--prior", type=float, help="probability of a genuine call; default: as it is")
        parser.add_argument("--dry-run", action="store_true", help="measure and change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        from voiceauth.retraining import recalibration

        version = options["model"]
        row = ModelVersion.objects.filter(pk=version).first()
        if row is None:
            raise CommandError(f"There is no registered model {version!r}.")
        _check_sources(options)
        try:
            model = scorer.load(version)
            source = _source(row, model, options)
            fitted = recalibration.fit(model.pipeline, source, target_far=options["target_far"], prior=options["prior"])
            for line in fitted.lines():
                self.stdout.write(line)
            if options["dry_run"]:
                self.stdout.write("dry run: nothing was changed")
                return
            calibration = recalibration.put_into_force(model, source, fitted, actor=SYSTEM)
        except (DomainError, ValueError) as error:
            code = getattr(error, "code", None)
            raise CommandError(f"{code}: {error}" if code else str(error)) from error
        self.stdout.write(f"calibration {calibration.version} of model {version} is in force")
        if row.state == ModelVersion.State.ACTIVE:
            for unmet in policies.unmet_rates():
                self.stderr.write(f"warning: {unmet}")


def _check_sources(options: dict[str, Any]) -> None:
    """Raise ``CommandError`` unless exactly one source of trials is named, and named in full."""
    tables = [options[name] for name in TABLES]
    given = [options["decisions"] is not None, options["cases"], options["frozen_set"], any(tables)]
    if sum(given) != 1 or (any(tables) and not all(tables)):
        raise CommandError(
            "Give one source of trials: --decisions, --cases, --frozen-set, or --enrollment, --trials and --audio-root."
        )
    if options["strangers"] and not all(tables):
        raise CommandError("--strangers goes with --trials. The other sources say by themselves who trained the model.")


def _source(row: ModelVersion, model: scorer.LoadedModel, options: dict[str, Any]) -> "Source":
    from mltraining.speech.evaluation.trials import read_table
    from voiceauth.retraining import labelled, recalibration

    if options["cases"]:
        return recalibration.of_decisions(labelled.by_cases(), row, name="review cases")
    if options["decisions"] is not None:
        labels = read_table(options["decisions"], "decision_id", "target")
        return recalibration.of_decisions(labels, row, name=f"decisions {options['decisions'].name}")
    if options["frozen_set"]:
        return recalibration.of_frozen_set(model.pipeline)
    tables = {name: options[name] for name in TABLES}
    return recalibration.of_tables(model.pipeline, **tables, strangers=options["strangers"])
