"""``manage.py calibrate``: another calibration and threshold for a registered model, without training it again."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mltraining import calibrations, scorer
from mltraining.models import ModelVersion
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.errors import DomainError


class Command(BaseCommand):
    help = (
        "Fits a registered model's calibration on trials whose truth is known, chooses the threshold for a "
        "false-accept rate, and puts both into force: scoring workers use them from the next call on. Refuses "
        "(unsupported_rate) where the trials are too few for the rate. Voiceprints stay as they are."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model", metavar="MODEL", help="a registered model's version")
        parser.add_argument("--target-far", type=float, required=True, help="the false-accept rate to stay under: 0.01")
        parser.add_argument("--decisions", type=Path, help="CSV with columns decision_id, target (1 or 0)")
        parser.add_argument("--cases", action="store_true", help="the decisions that closed review cases are about")
        parser.add_argument("--enrollment", type=Path, help="CSV with columns speaker, audio")
        parser.add_argument("--trials", type=Path, help="CSV with columns speaker, audio, target (1 or 0)")
        parser.add_argument("--audio-root", type=Path, help="the folder that audio is relative to")
        parser.add_argument("--prior", type=float, help="probability of a genuine call; default: as it is")
        parser.add_argument("--dry-run", action="store_true", help="measure and change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        from mltraining.speech.evaluation.recalibration import fit_on_trials
        from mltraining.speech.evaluation.trials import TrialList, read_table, score_labelled_trials
        from voiceauth.retraining import labelled

        tables = [options[name] for name in ("enrollment", "trials", "audio_root")]
        given = [options["decisions"] is not None, options["cases"], any(tables)]
        if sum(given) != 1 or (any(tables) and not all(tables)):
            raise CommandError("Give either --decisions, or --cases, or --enrollment, --trials and --audio-root.")
        version = options["model"]
        if not ModelVersion.objects.filter(pk=version).exists():
            raise CommandError(f"There is no registered model {version!r}.")
        try:
            model = scorer.load(version)
            if options["cases"]:
                trials = labelled.trials_of(labelled.by_cases(), model.fingerprint)
            elif options["decisions"] is not None:
                labels = read_table(options["decisions"], "decision_id", "target")
                trials = labelled.trials_of(labels, model.fingerprint)
            else:
                given_trials = TrialList.read(options["enrollment"], options["trials"], options["audio_root"])
                trials = score_labelled_trials(model.pipeline, given_trials)
            outcome = fit_on_trials(
                trials,
                target_far=options["target_far"],
                in_force=model.pipeline.calibration,
                prior=options["prior"],
            )
        except (DomainError, ValueError) as error:
            code = getattr(error, "code", None)
            raise CommandError(f"{code}: {error}" if code else str(error)) from error
        for line in outcome.lines():
            self.stdout.write(line)
        if options["dry_run"]:
            self.stdout.write("dry run: nothing was changed")
            return
        source = "review cases" if options["cases"] else f"decisions {options['decisions']}"
        if all(tables):
            source = f"trials {options['trials']}"
        calibrations.put_into_force(
            version=version,
            parameters=outcome.calibration.to_dict(),
            threshold=outcome.threshold,
            target_far=options["target_far"],
            target_trials=outcome.trials.target_trials,
            impostor_trials=outcome.trials.impostor_trials,
            source=source,
            actor=SYSTEM,
        )
        self.stdout.write(f"calibration {outcome.calibration.version} of model {version} is in force")
