"""Mutated recordings of every format: ``python -m tests.support.fuzz`` runs as many as you like."""

from tests.support import fuzz

EXAMPLES = 150


def test_no_mutated_recording_hurts_the_worker_that_gets_it() -> None:
    findings = fuzz.run(EXAMPLES, seed=14, deadline=60.0)
    assert findings.defects == []
    assert findings.crashes == []
    assert findings.answers.total() == EXAMPLES
    assert 0 < findings.answers["read"] < EXAMPLES  # some survive, and some do not
    assert findings.bytes_after < 1.1 * findings.bytes_before
    assert len(findings.answers) > 3


def test_the_same_seed_gives_the_same_examples() -> None:
    assert list(fuzz.examples(20, 3)) == list(fuzz.examples(20, 3))
    assert list(fuzz.examples(20, 3)) != list(fuzz.examples(20, 4))


def test_every_format_is_a_seed() -> None:
    names = {example.seed for example in fuzz.examples(2000, 1)}
    assert names == set(fuzz.seeds())
