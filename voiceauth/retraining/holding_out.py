"""Whom a training run leaves out, so that its model can be tested on customers whom it has never heard."""

from collections.abc import Mapping
from uuid import UUID

from mltraining.calibrations import MIN_SPEAKERS, MIN_TARGET_TRIALS, impostor_trials_for

MOST_SHARE = 0.2  # of the customers: a model learns from the others alone
SPARE = 1.1  # a recording may be erased, or prove unreadable, until the model is tested


def choose(recordings: Mapping[UUID, int], target_far: float) -> frozenset[UUID]:
    """Choose the customers to leave out, by how many ``recordings`` each has.

    Their trials must support ``target_far`` (``mltraining.calibrations.shortfalls``). Each recording is a target trial
    against its speaker's other recordings, and an impostor trial against every other speaker. Nobody is left out where
    that would take more than ``MOST_SHARE`` of the customers. The order of the customers' random numbers decides, so
    that one run after the other leaves out the same customers.
    """
    able = sorted(customer for customer, count in recordings.items() if count >= 2)
    trials = 0
    for chosen, customer in enumerate(able[: int(MOST_SHARE * len(recordings))], start=1):
        trials += recordings[customer]
        enough = (
            chosen >= SPARE * MIN_SPEAKERS
            and trials >= SPARE * MIN_TARGET_TRIALS
            and trials * (chosen - 1) >= SPARE * impostor_trials_for(target_far)
        )
        if enough:
            return frozenset(able[:chosen])
    return frozenset()
