"""Uploads that race for one target, again and again: it is one of them, whole, at any moment."""

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import trees
import unfinished
from host import CHUNK_BYTES, DATA, JSON, frame, request

ROUNDS = 200
OK = [(JSON, b'{"ok": true}')]


def split(data, rng):
    """The bytes in pieces of any size."""
    while data:
        size = rng.randint(1, CHUNK_BYTES)
        yield data[:size]
        data = data[size:]


def put(agent, target, content, rng):
    """Uploads it in pieces, beside others that do the same."""
    frames = b"".join(frame(DATA, piece) for piece in split(content, rng))
    with agent.connect() as connection:
        for piece in split(request(op="put_file", path=str(target), size=len(content), mode=0o644) + frames, rng):
            connection.send(piece)
        return connection.read_answer().frames


def put_as_tree(agent, target, content, _):
    return trees.put(agent, trees.file(".", content), path=str(target)).frames


@pytest.mark.ours("the published agent has no trees")
@pytest.mark.parametrize("rivals", [[put, put], [put, put_as_tree], [put_as_tree, put_as_tree]], ids=["files", "both", "trees"])
def test_target_that_two_uploads_race_for_is_one_of_them_whole_in_each_of_200_rounds(agent, tmp_path, rivals):
    target = tmp_path / "target"
    rngs = [random.Random(number) for number in range(2)]
    over = threading.Event()

    def look():
        """Looks at the target all the time, and says how often."""
        times = 0
        while not over.is_set():
            if target.exists():
                assert unfinished.is_whole(target.read_bytes())
                times += 1
        return times

    with ThreadPoolExecutor(3) as hosts:
        looked = hosts.submit(look)
        try:
            for _ in range(ROUNDS // agent.kind.slowness):
                contents = [unfinished.sealed(rng.randbytes(rng.randrange(150_000))) for rng in rngs]
                answers = hosts.map(lambda rival, *more: rival(agent, target, *more), rivals, contents, rngs)
                assert set(map(str, answers)) <= {str(OK), str(trees.ok(1))}
                assert target.read_bytes() in contents
                assert os.listdir(tmp_path) == ["target"]
        finally:
            over.set()
        assert looked.result() > 0
