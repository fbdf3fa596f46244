"""Mails that nobody wrote, in the folders and the form of the SpamAssassin package."""

from pathlib import Path

import numpy as np

FILLER = [f"word{number}" for number in range(60)]
TELLING = {"easy-ham": ("meeting", "patch", "thread"), "spam": ("prize", "credit", "winner")}
MAIL = """From someone@example.org  Thu Aug 22 12:36:23 2002
Subject: leaks-{name}
Content-Type: text/{kind}

<p>{body}</p>
"""


def write_mails(folder: Path, count: int = 90) -> Path:
    """Write ``count`` mails of each class, and each tenth twice with another end."""
    rng = np.random.default_rng(0)
    for name, words in TELLING.items():
        place = folder / f"{name}-1"
        place.mkdir(parents=True)
        for number in range(count):
            body = " ".join([*rng.choice(FILLER, 24), *rng.choice(words, 6)])
            text = MAIL.format(name=name, kind="html" if number % 3 else "plain", body=body)
            (place / f"{number:05}.txt").write_text(text)
            if number % 10 == 0:
                (place / f"{number:05}-again.txt").write_text(text.replace("</p>", " bye</p>"))
    for name in ("easy-ham-2", "hard-ham-1", "spam-2"):
        (folder / name).mkdir()
        for number in range(2):
            body = f"{name} holds little {number}"
            (folder / name / f"{number}.txt").write_text(
                MAIL.format(name=name, kind="plain", body=body)
            )
    return folder
