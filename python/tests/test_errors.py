"""Errors: their places among Python's own, and their way from process to process."""

import pickle

import pytest

import smolvm_vsock
from smolvm_vsock import CommandResult, errors

ERRORS = [
    errors.CannotConnectError("sentence", 111),
    errors.ConnectionClosedError("sentence"),
    errors.ProtocolError("sentence"),
    errors.RefusedError("sentence", "no"),
    errors.SpawnFailedError("sentence", "no", 7),
    errors.ControlRefusedError("sentence", ("no",), CommandResult(0)),
    errors.InputClosedError("sentence"),
    errors.OutputTooLongError("sentence", "stdout", 10),
    errors.UnsupportedError("sentence"),
    errors.CommandTimedOutError("sentence", 1.5, "true", b"out", b"err"),
    errors.NoAnswerError("sentence", 3),
    errors.FileMismatchError("sentence"),
    errors.ShortFileError("sentence"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_error_arrives_in_another_process_as_it_was(error):
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == back.message == "sentence"
    assert vars(back) == vars(error)
    assert getattr(back, "errno", None) == getattr(error, "errno", None)


def test_every_error_of_the_package_is_its_own_and_none_is_forgotten_here():
    kinds = {each for each in vars(smolvm_vsock).values() if isinstance(each, type) and issubclass(each, BaseException)}
    assert all(issubclass(each, errors.SmolVMError) for each in kinds)
    assert kinds - {type(error) for error in ERRORS} == {errors.SmolVMError, errors.OperationTimeoutError}


def test_too_long_a_sentence_of_a_peer_is_cut():
    shown = errors.printable("x" * 1_000_000)
    assert shown == "x" * errors.MAX_SHOWN_CHARACTERS + "…"
