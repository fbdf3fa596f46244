"""Texts to tokens, against the tokenizers package and numbers worked by hand."""

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from edgepack.runtime.raw import text
from edgepack.spec.preprocess import Text

WORDS = "[PAD] [UNK] [CLS] [SEP] the cat s ##at ##s mat on café ! , ' 42 ##2 4 über"
VOCABULARY = text.read_vocabulary("\n".join(WORDS.split()).encode() + b"\n")
TEXTS = [
    "The cat sat on the mat, the cats' mat!",
    "UNHEARD of; 422 4 42",
    "",
    "a-b_c\tthe\n\nthe ## [CLS]",
    f"{'s' * 101} {'s' * 100} s",
]


def rule(**fields: object) -> Text:
    plain = {"input": "ids", "vocabulary": "vocabulary.txt", "length": 8}
    return Text(**{**plain, **fields})  # type: ignore[arg-type]


def numbers(said: str, **fields: object) -> list[int]:
    return list(text.tokens(said, rule(**fields), VOCABULARY))


@pytest.mark.parametrize("said", TEXTS)
def test_pieces_of_ascii_are_those_of_bert(said: str) -> None:
    known = {word.decode(): number for word, number in VOCABULARY.items()}
    oracle = Tokenizer(models.WordPiece(known, unk_token="[UNK]"))
    oracle.normalizer = normalizers.BertNormalizer()
    oracle.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # `[CLS]` of a user is three tokens, as text must not forge what frames it.
    assert numbers(said, split="wordpiece") == oracle.encode(said, add_special_tokens=False).ids


@pytest.mark.parametrize("split", ["ascii", "words"])
@pytest.mark.parametrize("said", TEXTS)
def test_words_of_ascii_are_those_of_a_word_level_tokenizer(said: str, split: str) -> None:
    known = {word.decode(): number for word, number in VOCABULARY.items()}
    oracle = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    oracle.normalizer = normalizers.Lowercase()
    oracle.pre_tokenizer = pre_tokenizers.Split(Regex("[^0-9a-zA-Z]+"), "removed")
    assert numbers(said, split=split) == oracle.encode(said, add_special_tokens=False).ids


def test_letters_beyond_ascii_belong_to_words_and_are_not_folded() -> None:
    assert numbers("Café über ÜBER") == [
        VOCABULARY["café".encode()],
        VOCABULARY["über".encode()],
        1,
    ]


def test_letters_beyond_ascii_part_words_where_that_is_declared() -> None:
    assert numbers("caf\u00e9 t\u00fche\u00efcat", split="ascii") == [1, 1, 1, VOCABULARY[b"cat"]]


def test_a_text_is_framed_cut_and_padded() -> None:
    ids, mask = text.sample("the cat", rule(begin=2, end=3, length=6), VOCABULARY)
    assert (ids.tolist(), mask.tolist()) == ([[2, 4, 5, 3, 0, 0]], [[1, 1, 1, 1, 0, 0]])
    ids, mask = text.sample("the cat the cat", rule(begin=2, end=3, length=4), VOCABULARY)
    assert (ids.tolist(), mask.tolist()) == ([[2, 4, 5, 3]], [[1, 1, 1, 1]])
    ids, mask = text.sample("", rule(length=2, pad=7), VOCABULARY)
    assert (ids.tolist(), mask.tolist()) == ([[7, 7]], [[0, 0]])


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="a text is a str"):
        text.sample(b"the", rule(), VOCABULARY)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="surrogates not allowed"):
        text.sample("\ud800", rule(), VOCABULARY)
