from typing import Any

import numpy as np
import pytest

from mltraining.speech.audio import one_speaker
from mltraining.speech.audio.waveform import Waveform
from mltraining.speech.scoring import one_voice


class Pipeline:
    """Counts what it embeds."""

    dimensions = 2
    embedded = 0

    def embed(self, waveform: Waveform) -> np.ndarray:
        self.embedded += 1
        return np.array([1.0, 0.0])


def test_windows_that_nobody_waits_for_are_not_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline: Any = Pipeline()
    waveform = Waveform(np.zeros(8000, dtype=np.float32), 8000)
    monkeypatch.setattr(one_speaker, "windows", lambda whole: [one_speaker.Window(0.0, whole)] * 5)

    def at_most_two() -> None:
        if pipeline.embedded == 2:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        one_voice.placed_windows(pipeline, waveform, None, at_most_two)
    assert pipeline.embedded == 2
    assert len(one_voice.placed_windows(pipeline, waveform, None).vectors) == 5
