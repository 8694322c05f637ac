"""Calls for the tests of the calls themselves; a test's worker includes this module."""

import os
import signal
import time
from dataclasses import dataclass

from mltraining import deadlines, recordings, scorer
from mltraining.errors import ModelNotFound, SilentAudio
from mltraining.messages import Call, Embedding, Recording
from mltraining.worker_server import answers


@dataclass(frozen=True)
class Word:
    word: str


@dataclass(frozen=True)
class Empty:
    pass


@dataclass(frozen=True)
class Number:
    """What an older or newer worker might answer to the same question."""

    number: int


ECHO = Call("tests.echo", Word, Word)
ECHO_OF_ANOTHER_VERSION = Call("tests.echo", Word, Number)
REFUSE = Call("tests.refuse", Empty, Empty)
BUG = Call("tests.bug", Empty, Empty)
SLOW = Call("tests.slow", Empty, Empty)
WORK = Call("tests.work", Empty, Empty)
ENDLESS = Call("tests.endless", Empty, Empty)
DIE = Call("tests.die", Empty, Empty)
EMBED = Call("tests.embed", Recording, Embedding)
NOBODY_ANSWERS = Call("tests.nobody_answers_this", Word, Word)


@answers(ECHO)
def echo(question: Word) -> Word:
    return question


@answers(REFUSE)
def refuse(question: Empty) -> Empty:
    raise SilentAudio("quiet as a mouse", seconds=3)


@answers(BUG)
def bug(question: Empty) -> Empty:
    raise KeyError("a bug")


@answers(DIE)
def die(question: Empty) -> Empty:
    os.kill(os.getpid(), signal.SIGKILL)
    return question


@answers(SLOW)
def slow(question: Empty) -> Empty:
    """Answer after the deadline, which it has prolonged."""
    seconds = deadlines.left()
    assert seconds is not None
    deadlines.allow_for(deadlines.INCLUDED_SECONDS + 60 / deadlines.SECONDS_A_SECOND)
    time.sleep(seconds + 0.1)
    deadlines.check()
    return question


@answers(WORK)
def work(question: Empty) -> Empty:
    """Take about as long as a call."""
    time.sleep(0.05)
    return question


@answers(ENDLESS)
def endless(question: Empty) -> Empty:
    while True:
        deadlines.check()
        time.sleep(0.01)


@answers(EMBED)
def embed(question: Recording) -> Embedding:
    model = scorer.active_model()
    if model is None:
        raise ModelNotFound
    return recordings.voice_of(recordings.analyse(question), model).embedding()
