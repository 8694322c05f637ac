"""``python -m mltraining.speech evaluate-sessions``: what further sessions in a voiceprint are worth.

Each speaker enrolls with one, two and four sessions, in every choice of them, and is tried with the recordings of the
other sessions; everybody else's recordings are the impostors. The rows of one group have the same speakers. Every
speaker, and within a speaker every choice of sessions, has the same weight. Intervals are 95 % over speakers.

``mean``: one vector, the mean of all recordings weighted by net speech, as the service makes it. ``best`` and
``weighted``: the highest cosine to a session's own mean, or their mean weighted by exp(8 · cosine), normalised by the
same combination of the cohort's cosines. ``best, each normalised``: the highest of the sessions' own scores.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mltraining.speech.audio import decoding, quality
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.evaluation.metrics import ResampledTrials, resampled_speakers
from mltraining.speech.evaluation.trials import (
    EvaluationError,
    add_speech_arguments,
    read_table,
    take_from_speech_folder,
)
from mltraining.speech.scoring.cohort import MIN_DEVIATION, Cohort
from mltraining.speech.scoring.pipeline import PipelineError, ScoringPipeline
from mltraining.speech.scoring.voiceprints import EmbeddedClip, Voiceprint

SPEECH = ("clips", "audio_root")
GROUPS = ((2, (1,)), (3, (1, 2)), (5, (1, 2, 4)))  # speakers with so many sessions or more enroll with so many
MOST_CHOICES = 20  # of a speaker's sessions
RESAMPLES = 200
FALSE_ACCEPT_RATE = 0.01
SHARPNESS = 8.0  # of the weights of ``weighted``
ADMISSION = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0)  # natural-log ratios
DONE, REFUSED = 0, 2

Combine = Callable[[np.ndarray], np.ndarray]  # cosines (n, sessions) -> (n,)


@dataclass(frozen=True, eq=False)
class Recordings:
    """Embedded recordings: who speaks in each, in which session, and on which line."""

    clips: list[EmbeddedClip]
    speakers: np.ndarray
    sessions: np.ndarray

    @property
    def embeddings(self) -> np.ndarray:
        """The embeddings (n, d)."""
        return np.stack([each.embedding for each in self.clips])

    def sessions_of(self, speaker: str) -> list[str]:
        """Return the speaker's sessions, by name."""
        return sorted(set(self.sessions[self.speakers == speaker]))

    def voiceprint(self, speaker: str, sessions: Sequence[str]) -> Voiceprint:
        """Return the mean of what the speaker said in ``sessions``."""
        chosen = (self.speakers == speaker) & np.isin(self.sessions, list(sessions))
        return Voiceprint.of([self.clips[row] for row in np.flatnonzero(chosen)])


def line_of(session: str) -> str:
    """Return what a session's name says of its line: what follows the last colon."""
    return session.rpartition(":")[2]


def choices(sessions: Sequence[str], count: int, *, lines: bool, seed: int) -> list[tuple[str, ...]]:
    """Return choices of ``count`` sessions, at most MOST_CHOICES; with ``lines`` those of as many different lines."""
    found = [
        each
        for each in itertools.combinations(sessions, count)
        if not lines or len({line_of(session) for session in each}) == count
    ]
    if len(found) > MOST_CHOICES:
        kept = np.random.default_rng([seed, count]).choice(len(found), MOST_CHOICES, replace=False)
        found = [found[row] for row in sorted(kept)]
    return found


def scores(pipeline: ScoringPipeline, heard: Recordings, speaker: str, chosen: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the scores (n,) of every recording against the chosen sessions, by how they are combined."""
    embeddings, cohort = heard.embeddings, pipeline.cohort
    mean = heard.voiceprint(speaker, chosen).vector[None]
    parts = np.stack([heard.voiceprint(speaker, [session]).vector for session in chosen])
    return {
        "mean": _combined(embeddings, mean, _best, cohort),
        "best": _combined(embeddings, parts, _best, cohort),
        "weighted": _combined(embeddings, parts, _weighted, cohort),
        "best, each normalised": np.max([_combined(embeddings, part[None], _best, cohort) for part in parts], axis=0),
    }


def _combined(tests: np.ndarray, parts: np.ndarray, combine: Combine, cohort: Cohort | None) -> np.ndarray:
    """AS-norm of a combination of cosines; the voiceprint's statistics are of the same combination."""
    raw = combine(tests @ parts.T)
    if cohort is None:
        return raw
    closest = np.sort(combine(cohort.means @ parts.T))[-cohort.top :].astype(np.float64)
    own = np.array([closest.mean()]), np.array([max(closest.std(), MIN_DEVIATION)])
    return Cohort.normalise(raw, own, cohort.statistics(tests))


def _best(cosines: np.ndarray) -> np.ndarray:
    found: np.ndarray = cosines.max(axis=1)
    return found


def _weighted(cosines: np.ndarray) -> np.ndarray:
    weights = np.exp(SHARPNESS * cosines)
    found: np.ndarray = (weights * cosines).sum(axis=1) / weights.sum(axis=1)
    return found


@dataclass(frozen=True, eq=False)
class Tried:
    """Trials of one row: scores by combination, each (n,), and who is claimed, who speaks, and a trial's weight."""

    scores: dict[str, np.ndarray]
    claimed: np.ndarray
    speaking: np.ndarray
    weights: np.ndarray

    @property
    def is_target(self) -> np.ndarray:
        """Whether the claimed speaker speaks: (n,) bool."""
        same: np.ndarray = self.claimed == self.speaking
        return same

    def resampled(self, name: str, drawn: dict[str, np.ndarray]) -> ResampledTrials:
        """Return the trials of one combination under resamples of the speakers."""
        one, two = (np.stack([drawn[each] for each in names], axis=1) for names in (self.claimed, self.speaking))
        held = np.where(self.is_target, one, one * two)  # a speaker's own trials are held as often as the speaker is
        return ResampledTrials(self.scores[name], self.is_target, held * self.weights)


def try_choices(
    pipeline: ScoringPipeline, heard: Recordings, speakers: Sequence[str], count: int, *, lines: bool, seed: int = 0
) -> Tried | None:
    """Try every choice of ``count`` sessions of each speaker. None where there is no choice."""
    found: list[tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]] = []
    for speaker in speakers:
        own = choices(heard.sessions_of(speaker), count, lines=lines, seed=seed)
        for chosen in own:
            is_own = heard.speakers == speaker
            used = is_own & ~np.isin(heard.sessions, chosen) | ~is_own
            by_name = scores(pipeline, heard, speaker, chosen)
            kind = np.where(is_own, (is_own & used).sum(), (~is_own).sum())
            found.append(
                (
                    {name: values[used] for name, values in by_name.items()},
                    np.full(used.sum(), speaker, dtype=object),
                    heard.speakers[used],
                    1 / (len(own) * kind[used]),
                )
            )
    if not found:
        return None
    by_names, claimed, speaking, weights = zip(*found, strict=True)
    together = {name: np.concatenate([each[name] for each in by_names]) for name in by_names[0]}
    return Tried(together, np.concatenate(claimed), np.concatenate(speaking), np.concatenate(weights))


def report(pipeline: ScoringPipeline, heard: Recordings, *, seed: int = 0) -> Iterator[str]:
    """Yield the lines of the two tables, as Markdown. Raises EvaluationError ``no_trials``."""
    everybody = sorted(set(heard.speakers))
    drawn = resampled_speakers(len(everybody), RESAMPLES, np.random.default_rng([seed, 1]))
    by_speaker = dict(zip(everybody, drawn.T, strict=True))
    yield "| speakers | sessions | combined by | EER, % | FRR at FAR 1 %, % | FAR at one session's threshold, % |"
    yield "| ---: | --- | --- | ---: | ---: | ---: |"
    any_row = False
    for least, counts in GROUPS:
        speakers = [each for each in everybody if len(heard.sessions_of(each)) >= least]
        limits: dict[str, float] = {}
        for count, lines in [(count, lines) for count in counts for lines in (False, True) if count > 1 or not lines]:
            tried = try_choices(pipeline, heard, speakers, count, lines=lines, seed=seed)
            if tried is None:
                continue
            any_row = True
            yield from _rows(tried, by_speaker, f"{count}{' of different lines' if lines else ''}", limits)
    if not any_row:
        raise EvaluationError("no_trials", "no speaker has recordings of two sessions")
    yield ""
    yield "| log-likelihood ratio to one session, at least | own other sessions admitted, % | others admitted, % |"
    yield "| ---: | ---: | ---: |"
    yield from _admission(pipeline, heard, everybody)


def _rows(tried: Tried, drawn: dict[str, np.ndarray], enrolled: str, limits: dict[str, float]) -> Iterator[str]:
    """One row for each combination; the first rows of a group set ``limits``, for one session enrolled."""
    speakers = len(set(tried.claimed))
    impostors = ~tried.is_target
    for name, found in tried.scores.items():
        trials = tried.resampled(name, drawn)
        if name not in limits:
            limits[name] = _limit(found[impostors], tried.weights[impostors])
        accepted = found[impostors] >= limits[name]
        far = float(tried.weights[impostors] @ accepted / tried.weights[impostors].sum())
        eer, frr = (_interval(each) for each in (trials.equal_error_rate(), trials.false_reject_rate_at(0.01)))
        yield f"| {speakers} | {enrolled} | {name} | {eer} | {frr} | {100 * far:.1f} |"
        if enrolled == "1" and name == "mean":
            limits |= dict.fromkeys(tried.scores, limits[name])
            return  # of one session, all combinations are the same


def _limit(impostors: np.ndarray, weights: np.ndarray) -> float:
    """The threshold that FALSE_ACCEPT_RATE of the impostors reach."""
    order = np.argsort(-impostors)
    share = np.cumsum(weights[order]) / weights.sum()
    return float(impostors[order][np.searchsorted(share, FALSE_ACCEPT_RATE)])


def _interval(values: np.ndarray) -> str:
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return f"{100 * values[0]:.1f} ({100 * low:.0f}–{100 * high:.0f})"


def _admission(pipeline: ScoringPipeline, heard: Recordings, everybody: Sequence[str]) -> Iterator[str]:
    """How many recordings a limit would let into a voiceprint of one session: the speaker's own, and others'."""
    enrolled = [(speaker, session) for speaker in everybody for session in heard.sessions_of(speaker)]
    known = [heard.voiceprint(speaker, [session]) for speaker, session in enrolled]
    vectors, seconds = np.stack([each.vector for each in known]), np.array([each.speech_seconds for each in known])
    who, when = (np.array(names, dtype=object) for names in zip(*enrolled, strict=True))
    same, other = [], []
    for clip, speaker, session in zip(heard.clips, heard.speakers, heard.sessions, strict=True):
        ratios = pipeline.compare(clip.embedding, clip.quality, vectors, seconds).log_likelihood_ratio
        same.append(ratios[(who == speaker) & (when != session)])
        other.append(ratios[who != speaker])
    for limit in ADMISSION:
        own, others = (100 * float((np.concatenate(each) >= limit).mean()) for each in (same, other))
        yield f"| {limit:g} | {own:.0f} | {others:.1f} |"


def read(pipeline: ScoringPipeline, table: Path, audio_root: Path, split: str) -> Recordings:
    """Embed the recordings of ``split``, those without speech left out. Raises EvaluationError and AudioError."""
    clips = read_table(table, "speaker", "audio", "session")
    if "split" in clips.columns:
        clips = clips[clips["split"] == split]
    found = []
    for row in clips.itertuples():
        waveform = decoding.decode((audio_root / str(row.audio)).read_bytes())
        clip = EmbeddedClip(pipeline.embed(waveform), quality.measure(waveform))
        if clip.quality.speech_seconds > 0:
            found.append((clip, str(row.speaker), str(row.session)))
    if not found:
        raise EvaluationError("no_trials", f"{table.name} names no recording with speech in the split {split}")
    embedded, speakers, sessions = zip(*found, strict=True)
    return Recordings(list(embedded), np.array(speakers, dtype=object), np.array(sessions, dtype=object))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0, or 2 where the pipeline or the recordings are refused."""
    parser = argparse.ArgumentParser(prog="python -m mltraining.speech evaluate-sessions", description=__doc__)
    parser.add_argument("--pipeline", type=Path, required=True, help="the pipeline folder")
    add_speech_arguments(parser, *SPEECH)
    parser.add_argument("--split", default="dev", help="of the clips, where they have one")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        take_from_speech_folder(options, *SPEECH)
        if options.clips is None:
            raise EvaluationError("missing_option", "give --clips: the table that says which session a clip is of")
        pipeline = ScoringPipeline.load(options.pipeline)
        for line in report(
            pipeline, read(pipeline, options.clips, options.audio_root, options.split), seed=options.seed
        ):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    except (EvaluationError, PipelineError, AudioError, OSError) as error:
        sys.stderr.write(f"error: {getattr(error, 'code', 'unreadable_file')}: {error}\n")
        return REFUSED
    return DONE
