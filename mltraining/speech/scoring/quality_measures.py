"""Quality measures of a trial: how much speech and how little noise a score was measured with."""

from dataclasses import dataclass

import numpy as np

# A value outside a range counts as the nearest end. The trials that the shipped calibration is fitted on hold no other
# values (their speakers enroll with 4.8 to 19.9 s), and a weight says nothing where nothing was measured.
TEST_SPEECH_SECONDS, ENROLLMENT_SPEECH_SECONDS, SNR_DB = (0.3, 30.0), (4.0, 20.0), (0.0, 40.0)


@dataclass(frozen=True, eq=False)
class QualityMeasures:
    """Quality measures of one trial (numbers), of n trials (arrays (n,)), or a mixture of both.

    Net speech in seconds of the test clip and of all enrollment clips together; ``snr_db`` is the test clip's.
    """

    test_speech_seconds: float | np.ndarray
    enrollment_speech_seconds: float | np.ndarray
    snr_db: float | np.ndarray

    def features(self) -> np.ndarray:
        """Return what a calibration weighs, (3,) or (3, n): ln seconds, ln seconds, tens of decibels, each clipped."""
        columns = (
            np.log(np.clip(self.test_speech_seconds, *TEST_SPEECH_SECONDS)),
            np.log(np.clip(self.enrollment_speech_seconds, *ENROLLMENT_SPEECH_SECONDS)),
            np.clip(self.snr_db, *SNR_DB) / 10,
        )
        return np.stack(np.broadcast_arrays(*columns)).astype(np.float64)

    def take(self, rows: np.ndarray) -> "QualityMeasures":
        """Return those of some trials, where all are arrays (n,). ``rows`` are indices or a mask."""
        every = (self.test_speech_seconds, self.enrollment_speech_seconds, self.snr_db)
        return QualityMeasures(*(np.asarray(each)[rows] for each in every))
