"""Sealing under the customer's key."""

import uuid

import numpy as np
import pytest

from enrollment import keys
from enrollment.models import Customer
from voiceauth.platform.vault import Unsealable, keyring


def customer(name: str) -> Customer:
    made = Customer(customer_id=name)
    made.data_key = keys.new_data_key(made.pk)
    return made


def test_a_vector_comes_back_bit_by_bit() -> None:
    ann, vector = customer("ann"), np.array([0.6, -0.8, 1e-30], dtype=np.float32)
    assert np.array_equal(keys.unseal_voiceprint(ann, "f", keys.seal_voiceprint(ann, "f", vector)), vector)


def test_nothing_of_the_plaintext_shows() -> None:
    ann, audio = customer("ann"), b"spoken words " * 100
    assert b"spoken words" not in keys.seal_audio(ann, uuid.uuid4(), audio)


def test_a_voiceprint_moved_to_another_customer_cannot_be_opened() -> None:
    ann, bob = customer("ann"), customer("bob")
    sealed = keys.seal_voiceprint(ann, "f", np.ones(4))
    with pytest.raises(Unsealable):
        keys.unseal_voiceprint(bob, "f", sealed)
    bob.data_key = keyring.wrap(keyring.unwrap(bytes(ann.data_key), f"customer:{ann.pk}"), f"customer:{bob.pk}")
    with pytest.raises(Unsealable):  # not even under the same key
        keys.unseal_voiceprint(bob, "f", sealed)


def test_a_voiceprint_moved_to_another_model_cannot_be_opened() -> None:
    ann = customer("ann")
    with pytest.raises(Unsealable):
        keys.unseal_voiceprint(ann, "second model", keys.seal_voiceprint(ann, "first model", np.ones(4)))


def test_audio_moved_to_another_sample_cannot_be_opened() -> None:
    ann = customer("ann")
    with pytest.raises(Unsealable):
        keys.unseal_audio(ann, uuid.uuid4(), keys.seal_audio(ann, uuid.uuid4(), b"audio"))


def test_a_call_cannot_pass_for_an_enrollment_sample() -> None:
    ann, one_id = customer("ann"), uuid.uuid4()
    with pytest.raises(Unsealable):
        keys.unseal_audio(ann, one_id, keys.seal_call(ann, one_id, b"audio"))


def test_a_data_key_moved_to_another_customer_opens_nothing() -> None:
    ann, bob = customer("ann"), customer("bob")
    bob.data_key = ann.data_key
    with pytest.raises(Unsealable):
        keys.seal_audio(bob, uuid.uuid4(), b"audio")


def test_the_same_recording_of_two_customers_has_two_hashes() -> None:
    ann, bob = customer("ann"), customer("bob")
    assert keys.audio_hash(ann, b"audio") == keys.audio_hash(ann, b"audio") != keys.audio_hash(bob, b"audio")
