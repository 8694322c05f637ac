"""``manage.py score_trials``: verification trials from tables, under a registered model and the policy in force."""

from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from mltraining import scorer
from mltraining.models import ModelVersion
from voiceauth.platform.errors import DomainError
from voiceauth.policies import selectors as policies
from voiceauth.verification import policy

if TYPE_CHECKING:
    import pandas as pd

    from mltraining.speech.audio.quality import Quality


class Command(BaseCommand):
    help = (
        "Scores verification trials. Creates no customers and no decisions. Writes columns speaker, audio, score "
        "(uncalibrated), probability, decision, reason: a score for every clip that decodes, whatever the decision."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--enrollment", type=Path, required=True, help="CSV with columns speaker, audio")
        parser.add_argument("--trials", type=Path, required=True, help="CSV with columns speaker, audio")
        parser.add_argument("--audio-root", type=Path, required=True, help="the folder that audio is relative to")
        parser.add_argument("--output", type=Path, required=True, help="the CSV to write")
        parser.add_argument("--model", metavar="VERSION", help="a registered model; default: the one in service")

    def handle(self, *args: Any, **options: Any) -> None:
        from tqdm import tqdm

        enrollment, trials = _table(options["enrollment"]), _table(options["trials"])
        if not options["audio_root"].is_dir():
            raise CommandError(f"{options['audio_root']} is not a folder.")
        if not options["output"].parent.is_dir():
            raise CommandError(f"{options['output'].parent} is not a folder.")
        model = _model(options["model"])
        limits = policies.in_force().verification

        def decide(quality: "Quality", probability: float) -> tuple[str, str]:
            verdict = policy.decide_verification(limits, quality, probability, model.pipeline.threshold)
            return verdict.outcome.value, " ".join(verdict.reasons)

        from mltraining.speech.evaluation.trials import score_trials

        with tqdm(unit="clip", file=self.stderr) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            scored = score_trials(model.pipeline, enrollment, trials, options["audio_root"], decide, progress)
        scored.to_csv(options["output"], index=False)
        counts = ", ".join(f"{count} {decision}" for decision, count in scored["decision"].value_counts().items())
        self.stdout.write(
            f"{len(scored)} trials under model {model.version}, threshold {model.pipeline.threshold:.4f}: {counts}"
        )


def _table(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    if missing := {"speaker", "audio"} - set(table.columns):
        raise CommandError(f"{path} lacks the column {', '.join(sorted(missing))}.")
    return table


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
