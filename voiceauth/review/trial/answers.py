"""What the page says about a decision, in the words of somebody who sees the first one."""

from dataclasses import dataclass

from django.utils.safestring import SafeString

from voiceauth.platform.api.serializers import rounded_probability
from voiceauth.review.charts import probability_bar
from voiceauth.screening.risk import REPLAY
from voiceauth.verification.models import Decision
from voiceauth.verification.policy import CLIPPED, MORE_THAN_ONE_SPEAKER, TOO_NOISY, VOICEPRINT_STALE

Result = Decision.Result

OF_REASON = {
    REPLAY: "This recording, or a part of it, was heard before. A recording is accepted once, so that a recorded call "
    "opens no account. Say something new.",
    MORE_THAN_ONE_SPEAKER: "More than one person speaks. Let one person speak alone.",
    TOO_NOISY: "The background is too loud for a fair comparison. Try a quieter place, or move closer to the "
    "microphone.",
    CLIPPED: "The recording is too loud and is cut off at its peaks. Move away from the microphone.",
    VOICEPRINT_STALE: "The model was replaced, and the voiceprint is not ready under the new one. Try again shortly.",
}
OF_RESULT = {
    Result.ACCEPT: "The voice matches the one enrolled. A bank still asks for another factor where its policy says so.",
    Result.REJECT: "The voice does not match the one enrolled well enough. The bank would ask for another factor.",
    Result.INCONCLUSIVE: "The recording does not allow an answer.",
    Result.NOT_ENOUGH_SPEECH: "There is too little speech. Pauses do not count. Speak for some seconds.",
    Result.TOO_MANY_ATTEMPTS: "Too many attempts in a row were refused, so no call is scored for a while. A real "
    "caller would be told of a refusal only. Wait, or forget everything and begin again.",
    Result.SPEAKER_LOCKED: "So many attempts were refused that the customer is locked. A real caller would be told of "
    "a refusal only. Forget everything to begin again.",
    Result.SPEAKER_NOT_ENROLLED: "Nobody is enrolled yet.",
}
TITLES = {
    Result.ACCEPT: "Accepted",
    Result.REJECT: "Refused",
    Result.INCONCLUSIVE: "No answer",
    Result.NOT_ENOUGH_SPEECH: "Too little speech",
    Result.TOO_MANY_ATTEMPTS: "Wait",
    Result.SPEAKER_LOCKED: "Locked",
}
TONES = {Result.ACCEPT: "good", Result.REJECT: "bad"}


@dataclass(frozen=True)
class Answer:
    """A decision, ready to be shown."""

    decision: Decision
    title: str
    tone: str
    meanings: list[str]
    bar: SafeString | None
    comparison: str  # of the probability with the threshold; empty without a score


def answer_of(decision: Decision) -> Answer:
    """Explain a decision on a trial customer."""
    result = Result(decision.decision)
    meanings = [OF_REASON[reason] for reason in decision.reasons if reason in OF_REASON]
    scored = decision.probability is not None and decision.threshold is not None and not decision.reasons
    return Answer(
        decision=decision,
        title=TITLES.get(result, "No answer"),
        tone=TONES.get(result, "busy"),
        meanings=meanings or [OF_RESULT.get(result, OF_RESULT[Result.INCONCLUSIVE])],
        bar=probability_bar(decision.probability, decision.threshold) if scored else None,
        comparison=_comparison(decision.probability, decision.threshold) if scored else "",
    )


def _comparison(probability: float | None, threshold: float | None) -> str:
    assert probability is not None and threshold is not None
    side = "at or above" if probability >= threshold else "below"
    return (
        f"The probability of the same voice is {rounded_probability(probability)}, {side} the threshold of "
        f"{rounded_probability(threshold)} from which calls are accepted."
    )
