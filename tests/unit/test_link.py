"""What the other end says, line by line."""

import subprocess
import sys

from edgepack.runtime.remote.link import _Talk


def test_a_line_that_a_lost_connection_cut_is_not_taken_for_a_whole_one() -> None:
    code = "print('mark a 11 12', flush=True); print('mark a 1', end='', flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        talk = _Talk(child, b"mark", None)
        said = [talk.next(60), talk.next(60)]
    assert [each and each.words for each in said] == ["a 11 12", None]
