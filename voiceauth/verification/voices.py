"""Which voice of a call is scored, where more than one person speaks in it. Worker-side only.

Whoever speaks last holds the call. So an announcement or an agent before the caller is left out, and a second person
who takes the call over is scored as the stranger that they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltraining import recordings
from mltraining.messages import Nearest
from mltraining.recordings import Voice
from voiceauth.verification.messages import OneVoice

if TYPE_CHECKING:
    from mltraining.speech.scoring.one_voice import Parts

HOLDS_MARGIN = 2.5  # by which the sum of three ratios must exceed the limit of one: see docs/experiments/calls.md

Compare = Callable[[Voice, str | None], list[Nearest]]  # the likeliest first; the name narrows it to one


@dataclass(frozen=True)
class Heard:
    """The voice that is scored, and its matches.

    ``part_llr`` is there where more than one person speaks and none could be scored alone: of the likeliest match and
    the part of the call that is closest to it. ``changes_at`` is then where the second voice begins, in seconds;
    ``None`` where voices take turns.
    """

    voice: Voice
    matches: list[Nearest]
    part_llr: float | None = None
    changes_at: float | None = None


def hear(voice: Voice, compare: Compare, threshold: float, rules: OneVoice) -> Heard:
    """Compare the one voice of a call, or the last one of several where that is accepted alone.

    Two parts that are hardly of one voice are two speakers. A call that would be accepted as a whole must also hold in
    both parts. Three ratios are added for that: of the parts to each other, of the weaker part to the match, and what
    the weaker part adds to the stronger one. The sum is high for one voice, and low where the weaker part is another's.
    Where it is low, windows are embedded alone, which takes longer and finds better where the second voice begins.
    """
    matches, parts = compare(voice, None), voice.parts
    if not matches or parts is None:
        return Heard(voice, matches)
    whole, accepted = matches[0], matches[0].probability >= threshold
    if accepted:
        first, second = _ratios(voice, parts, compare, whole.name)
        added = whole.log_likelihood_ratio - max(first, second)
        if parts.log_likelihood_ratio + min(first, second) + added >= rules.min_llr + HOLDS_MARGIN:
            return Heard(voice, matches)
    elif parts.log_likelihood_ratio >= rules.min_llr + HOLDS_MARGIN:
        return Heard(voice, matches)
    exact = voice.exact_parts or parts
    apart = exact.log_likelihood_ratio < rules.min_llr
    if not (accepted or apart):
        return Heard(voice, matches)
    if apart and exact.changes_at is not None:
        last = voice.analysis.without([(0.0, exact.changes_at)])
        if last.quality.speech_seconds >= rules.min_speech_seconds:
            alone = recordings.voice_of(last, voice.model)
            found = compare(alone, None)
            if found[0].probability >= threshold:
                return Heard(alone, found)
    return Heard(voice, matches, max(_ratios(voice, exact, compare, whole.name)), exact.changes_at)


def _ratios(voice: Voice, parts: "Parts", compare: Compare, name: str) -> tuple[float, float]:
    """The log-likelihood ratios of the two parts to the match of this name."""
    first, second = (compare(voice.of_part(each), name)[0] for each in (parts.first, parts.second))
    return first.log_likelihood_ratio, second.log_likelihood_ratio
