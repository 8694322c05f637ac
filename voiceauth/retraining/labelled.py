"""The bank's own decisions as trials, labelled by what it found out later about who was calling."""

from uuid import UUID

import pandas as pd

from mltraining.models import ModelVersion
from mltraining.speech.evaluation.trials import ScoredTrials, are_targets
from mltraining.speech.scoring.quality_measures import QualityMeasures
from voiceauth.retraining.models import TrainingSpeaker
from voiceauth.screening import selectors
from voiceauth.verification.models import Decision


def by_cases() -> pd.DataFrame:
    """Label decisions by what reviewers found out when they closed cases, in the form that ``trials_of`` takes."""
    labels = selectors.labelled_trials()
    return pd.DataFrame(
        {"decision_id": list(map(str, labels)), "target": [str(int(is_target)) for is_target in labels.values()]}
    )


def trials_of(labels: pd.DataFrame, model: ModelVersion) -> ScoredTrials:
    """Take labelled decisions as trials. ``labels``: decision_id, target (1: the caller was the claimed customer; 0).

    Only verifications that were scored under ``model`` are trials, because the best candidate of an identification is
    selected for its score. Customers whose recordings trained the model are left out, since their scores flatter it.
    It is not known who an impostor was; they count as the claimed customer's own. Raises ``ValueError`` for another
    label, an id that is malformed or unknown, and a decision that is labelled twice.
    """
    trained = set(TrainingSpeaker.objects.filter(model=model).values_list("customer__customer_id", flat=True))
    is_target = are_targets(labels)
    ids = [UUID(str(each).strip()) for each in labels["decision_id"]]
    if len(set(ids)) < len(ids):
        raise ValueError("a decision is labelled twice")
    known = Decision.objects.in_bulk(ids)
    if missing := len(ids) - len(known):
        raise ValueError(f"{missing} of {len(ids)} decisions do not exist")
    truth = dict(zip(ids, is_target.tolist(), strict=True))
    rows = [
        (truth[each.pk], each.score, each.speech_seconds, each.enrollment_speech_seconds, each.snr_db, each.customer_id)
        for each in map(known.__getitem__, ids)
        if each.kind == Decision.Kind.VERIFY
        and each.model_fingerprint == model.fingerprint
        and each.customer_id not in trained
        and None not in (each.score, each.speech_seconds, each.enrollment_speech_seconds, each.snr_db)
    ]
    table = pd.DataFrame(rows, columns=["target", "score", "test", "enrollment", "snr_db", "speaker"])
    numbers = {name: table[name].to_numpy(dtype=float) for name in ("score", "test", "enrollment", "snr_db")}
    speakers = table["speaker"].to_numpy()
    return ScoredTrials(
        scores=numbers["score"],
        is_target=table["target"].to_numpy(dtype=bool),
        measures=QualityMeasures(numbers["test"], numbers["enrollment"], numbers["snr_db"]),
        speakers=speakers,
        test_speakers=speakers,
        left_out=len(ids) - len(rows),
    )
