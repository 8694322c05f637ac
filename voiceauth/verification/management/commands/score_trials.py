"""``manage.py score_trials``: verification trials from tables, under a registered model and the policy in force."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mltraining import calibrations, scorer
from mltraining.models import ModelVersion
from voiceauth.platform.errors import DomainError
from voiceauth.policies import selectors as policies
from voiceauth.verification import policy


class Command(BaseCommand):
    help = (
        "Score verification trials. Creates no customers and no decisions. Writes columns speaker, audio, score "
        "(uncalibrated), probability, decision, reason: a score for every clip that decodes, whatever the decision."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--enrollment", type=Path, required=True, help="CSV with columns speaker, audio")
        parser.add_argument("--trials", type=Path, required=True, help="CSV with columns speaker, audio")
        parser.add_argument("--audio-root", type=Path, required=True, help="the folder that audio is relative to")
        parser.add_argument("--output", type=Path, required=True, help="the CSV to write")
        parser.add_argument("--model", metavar="VERSION", help="a registered model; default: the one in service")

    def handle(self, *args: Any, **options: Any) -> None:
        import pandas as pd
        from tqdm import tqdm

        from mltraining.speech.evaluation.trials import EvaluationError, ScoredTrial, TrialList, score_trials

        paths = [options[name] for name in ("enrollment", "trials", "audio_root")]
        try:
            given = TrialList.read(*paths, labelled=False)
        except EvaluationError as error:
            raise CommandError(str(error)) from error
        if not options["audio_root"].is_dir():
            raise CommandError(f"{options['audio_root']} is not a folder.")
        if not options["output"].parent.is_dir():
            raise CommandError(f"{options['output'].parent} is not a folder.")
        model = _model(options["model"])
        limits = policies.in_force().verification
        threshold = calibrations.threshold(model.calibration, limits.target_far)

        with tqdm(unit="clip", file=self.stderr) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            results = score_trials(model.pipeline, given, progress)
        rows: list[tuple[float | None, float | None, str, str]] = []
        for each in results:
            if isinstance(each, ScoredTrial):
                verdict = policy.decide_verification(limits, each.quality, each.probability, threshold)
                rows.append((each.score, each.probability, verdict.result.value, " ".join(verdict.reasons)))
            elif each.code == "speaker_not_enrolled":
                rows.append((None, None, "SPEAKER_NOT_ENROLLED", ""))
            else:
                rows.append((None, None, "ERROR", each.code))
        results_table = pd.DataFrame(rows, columns=["score", "probability", "decision", "reason"])
        scored = pd.concat([given.trials[["speaker", "audio"]], results_table], axis=1)
        scored.to_csv(options["output"], index=False)
        counts = ", ".join(f"{count} {decision}" for decision, count in scored["decision"].value_counts().items())
        self.stdout.write(f"{len(scored)} trials under model {model.version}, threshold {threshold:.4f}: {counts}")


def _model(version: str | None) -> scorer.LoadedModel:
    if version is not None and not ModelVersion.objects.filter(pk=version).exists():
        raise CommandError(f"There is no registered model {version!r}.")
    try:
        model = scorer.active_model() if version is None else scorer.load(version)
    except DomainError as error:
        raise CommandError(f"The model cannot be loaded: {error}") from error
    if model is None:
        raise CommandError("No model is in service. Train and promote one, or name one with --model VERSION.")
    return model
