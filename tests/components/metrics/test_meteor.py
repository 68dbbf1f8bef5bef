"""METEOR: normalising, matching, aligning and scoring, with small lexicons and the real data."""

import gzip
import os
import random
import re
import shutil
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threedrs_components.metrics.meteor.alignment import align, count_chunks
from threedrs_components.metrics.meteor.beam import MOST_WORDS
from threedrs_components.metrics.meteor.data import MeteorData, installed_data
from threedrs_components.metrics.meteor.matching import (
    EXACT,
    PARAPHRASE,
    STEM,
    SYNONYM,
    Lexicon,
    Match,
    Phrase,
    Text,
    all_matches,
    all_phrases,
    regular_base,
)
from threedrs_components.metrics.meteor.normalise import DotRules, normalise
from threedrs_components.metrics.meteor.paraphrases import (
    LONGEST_PHRASE,
    ParaphraseIndex,
    build_index,
    index_of,
    line_hashes,
    open_index,
)
from threedrs_components.metrics.meteor.scoring import (
    COLUMNS,
    MeteorReferences,
    meteor_from_statistics,
    pair_statistics,
    segment_statistics,
)
from threedrs_platform.errors import DataError

RULES = DotRules(always={"Mr", "e.g"}, before_numbers={"No"})


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The chair, the table.", "the chair , the table ."),
        ("It's left-hand", "it 's left hand"),
        ("1,000 chairs (red)", "1,000 chairs ( red )"),
        ("Mr. Smith, no. 5. No. 5", "mr. smith , no . 5 . no. 5"),
        ("the U.S. army", "the us army"),
        ("end. it goes on", "end. it goes on"),
        ("wait... what?!", "wait ... what ? !"),
        ("\u201chi\u201d \u2018x\u2019 a\u2013b a--b", "\" hi \" ' x ' a - b a b"),
        ("\u4e2d\u6587 caf\u00e9", "\u4e2d \u6587 caf\u00e9"),
        ("", ""),
    ],
)
def test_texts_are_normalised(text: str, tokens: str) -> None:
    assert " ".join(normalise(text, RULES)) == tokens


def lexicon() -> Lexicon:
    words = ["the", "a", "red", "lamp", "lamps", "light", "is", "on", "table", "of"]
    related: dict[str, dict[str, tuple[int, ...]]] = {word: {word: (EXACT,)} for word in words}
    related["lamp"] |= {"lamps": (STEM,), "light": (SYNONYM,)}
    related["lamps"] |= {"lamp": (STEM,)}
    related["light"] |= {"lamp": (SYNONYM,)}
    return Lexicon(related, index(("on the", "of a")), {"the", "a", "is", "on", "of"})


def index(*entries: tuple[str, str]) -> ParaphraseIndex:
    """Of a table with these entries."""
    sides = zip(*entries, strict=True)
    lines = ("".join(f"{phrase}\n" for phrase in side) for side in sides)
    return index_of(*(line_hashes(each.encode()) for each in lines))


def read(*texts: str) -> list[Text]:
    return lexicon().read([tuple(text.split()) for text in texts])


def aligned(hypothesis: str, reference: str) -> list[Match]:
    one, other = read(hypothesis, reference)
    found = all_matches(one, other, lexicon())
    return align(found, len(hypothesis.split()))


def test_words_match_by_stem_meaning_and_paraphrase() -> None:
    assert [match.stage for match in aligned("a lamps", "a lamp")] == [EXACT, STEM]
    assert [match.stage for match in aligned("red light", "red lamp")] == [EXACT, SYNONYM]
    [match] = aligned("of a", "on the")
    assert (match.stage, match.length, match.other_length) == (PARAPHRASE, 2, 2)


def test_equal_texts_match_exactly_and_in_no_other_way() -> None:
    [text] = read("lamp lamps light on the")
    found = all_matches(text, text, lexicon())
    assert [[match.stage for match in matches] for matches in found] == [[EXACT]] * 5


def test_the_table_of_paraphrases_is_used_in_both_directions() -> None:
    assert [match.stage for match in aligned("on the", "of a")] == [PARAPHRASE]


def test_of_several_alignments_the_one_in_fewest_chunks_is_taken() -> None:
    # "the" could be the first or the second; only "the lamp" together is one chunk.
    matches = aligned("the red table the lamp", "the lamp")
    assert [match.other_start for match in matches] == [3, 4]
    assert count_chunks(matches) == 1


def test_an_exact_word_counts_more_than_a_stem_in_the_search() -> None:
    [match] = aligned("lamps lamp", "lamp")
    assert match.other_start == 1 and match.stage == EXACT


WORDS = st.sampled_from(["the", "a", "red", "lamp", "lamps", "light", "is", "on", "table", "of"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(*[st.lists(WORDS, max_size=24).map(tuple)] * 2), max_size=5))
def test_pairs_at_once_are_counted_as_one_by_one(texts: list[tuple[Phrase, Phrase]]) -> None:
    words = ambiguous()
    read = words.read([text for pair in texts for text in pair])
    pairs = list(zip(read[::2], read[1::2], strict=True))
    single = [segment_statistics(*pair, words) for pair in pairs]
    assert pair_statistics(pairs, words).tolist() == single


@pytest.mark.parametrize("length", [MOST_WORDS - 1, MOST_WORDS, MOST_WORDS + 1])
def test_long_texts_are_counted_too(length: int) -> None:
    words, draw = ambiguous(), random.Random(length)
    known = sorted(words.related)
    texts = [tuple(draw.choices(known, k=length)) for _ in range(4)]
    first, *others = words.read(texts)
    pairs = [(first, other) for other in (first, *others)]
    single = [segment_statistics(*pair, words) for pair in pairs]
    assert pair_statistics(pairs, words).tolist() == single


def ambiguous() -> Lexicon:
    """Words and phrases that overlap in many ways, in both directions, some of them twice."""
    known = lexicon().related
    paraphrases = index(
        ("on the", "of a"),
        ("on the", "a"),
        ("on the", "of a"),
        ("of a", "on the"),
        ("of a", "is"),
        ("the red lamp", "light"),
        ("the red lamp", "a lamp"),
        ("light", "the red lamp"),
        ("light", "red"),
        ("is on", "on"),
        ("is on", "the table is"),
    )
    return Lexicon(known, paraphrases, {"the", "a", "is", "on", "of"})


def test_chunks_are_runs_adjacent_on_both_sides() -> None:
    def matches(*places: tuple[int, int]) -> list[Match]:
        return [Match(start, 1, other, 1, EXACT) for start, other in places]

    assert count_chunks(matches()) == 0
    assert count_chunks(matches((0, 0), (1, 1), (2, 2))) == 1
    assert count_chunks(matches((0, 0), (2, 1))) == 2
    assert count_chunks(matches((0, 1), (1, 0))) == 2


def score(hypothesis: str, reference: str) -> float:
    one, other = read(hypothesis, reference)
    statistics = segment_statistics(one, other, lexicon())
    assert len(statistics) == COLUMNS
    return float(meteor_from_statistics(statistics))


def test_score_of_a_worked_example() -> None:
    # "red light" against "red lamp on": matches red (exact) and light/lamp (synonym, 0.8), all
    # content words. Weights: content .75, function ("on") .25.
    # P = .75 (1 + .8) / (.75 * 2) = .9; R = .75 (1 + .8) / (.75 * 2 + .25) = 1.35 / 1.75.
    precision, recall = 0.9, 1.35 / 1.75
    mean = 1 / (0.15 / precision + 0.85 / recall)
    # One chunk over two matched words on either side: penalty .6 * (1/2)^.2.
    expected = mean * (1 - 0.6 * 0.5**0.2)
    assert score("red light", "red lamp on") == pytest.approx(expected, rel=1e-12)


def test_a_perfect_match_has_no_penalty() -> None:
    assert score("the red lamp", "the red lamp") == pytest.approx(1.0)


@pytest.mark.parametrize(("hypothesis", "reference"), [("", "lamp"), ("table", "lamp"), ("", "")])
def test_nothing_in_common_scores_zero(hypothesis: str, reference: str) -> None:
    assert score(hypothesis, reference) == 0.0


def test_base_forms_follow_the_rules_in_order() -> None:
    known = {"chair", "box", "woman", "sit", "bake", "glassful"}
    assert regular_base("chairs", known) == "chair"
    assert regular_base("boxes", known) == "box"
    assert regular_base("women", known) == "woman"
    assert regular_base("baking", known) == "bake"
    assert regular_base("glass", known) == ""
    assert regular_base("is", known) == ""


def table(folder: Path, *pairs: tuple[str, str]) -> Path:
    path = folder / "paraphrase-en.gz"
    lines = "".join(f"0.5\n{source}\n{target}\n" for source, target in pairs)
    path.write_bytes(gzip.compress(lines.encode()))
    return path


PAIRS = (
    ("on the left", "to the left"),
    ("couch", "sofa"),
    ("couch", "settee"),
    ("caf\u00e9", "bar"),
)


def test_the_index_holds_the_table(tmp_path: Path) -> None:
    built = build_index(table(tmp_path, *PAIRS))

    def among(*phrases: str) -> dict[str, list[str]]:
        lines = {int(line_hashes(f"{phrase}\n".encode())[0]): phrase for phrase in phrases}
        hashes = np.array(sorted(lines), dtype=np.uint64)
        names = [lines[each] for each in sorted(lines)]
        found = built.among(hashes)
        return {names[one]: [names[other] for other in others] for one, others in found.items()}

    assert among(*(phrase for pair in PAIRS for phrase in pair)) == {
        "on the left": ["to the left"],
        "couch": ["sofa", "settee"],
        "caf\u00e9": ["bar"],
    }
    assert among("couch", "sofa", "chair") == {"couch": ["sofa"]}
    assert among() == {}


@given(st.lists(st.lists(WORDS | st.just("caf\u00e9"), max_size=9).map(tuple), max_size=4))
def test_every_phrase_is_found_with_its_place(texts: list[Phrase]) -> None:
    found = all_phrases(texts)
    rows = zip(found.text, found.place, found.length, found.hashes, strict=True)
    assert {tuple(map(int, row)) for row in rows} == {
        (text, start, length, int(line_hashes((phrase + "\n").encode())[0]))
        for text, words in enumerate(texts)
        for start in range(len(words))
        for length in range(1, min(LONGEST_PHRASE, len(words) - start) + 1)
        for phrase in (" ".join(words[start : start + length]),)
    }


@given(st.text("abA1 .'-\u00e9\u00a0", max_size=12))
def test_plain_texts_are_normalised_as_all_others(text: str) -> None:
    quick = normalise(text, RULES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("threedrs_components.metrics.meteor.normalise._PLAIN", re.compile("(?!)"))
        assert normalise(text, RULES) == quick


def test_the_index_is_built_once_and_then_read_from_the_cache(tmp_path: Path) -> None:
    data = MeteorData(tmp_path / "no.jar", table(tmp_path, *PAIRS), "1.2")
    first = open_index(data, tmp_path / "cache")
    size = os.path.getsize(data.paraphrases)
    data.paraphrases.write_bytes(b"x" * size)
    again = open_index(data, tmp_path / "cache")
    np.testing.assert_array_equal(first.targets, again.targets)


def test_a_cache_that_cannot_be_written_is_named_with_the_cure(tmp_path: Path) -> None:
    data = MeteorData(tmp_path / "no.jar", table(tmp_path, *PAIRS), "1.2")
    with pytest.raises(DataError, match=r"paraphrase-en\.gz: .*THREEDRS_CACHE"):
        open_index(data, data.paraphrases)


def test_an_index_that_failed_leaves_nothing_behind(tmp_path: Path) -> None:
    data = MeteorData(tmp_path / "no.jar", table(tmp_path, *PAIRS), "1.2")
    data.paraphrases.write_bytes(b"no table")
    with pytest.raises(DataError, match="Not a gzipped file"):
        open_index(data, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def wheel(folder: Path) -> MeteorData:
    """A jar and a table with next to nothing in them."""
    members = {
        "function/english.words": "the\n",
        "nonbreaking/english.prefixes": "",
        "synonym/english.synsets": "",
        "synonym/english.exceptions": "",
    }
    with zipfile.ZipFile(folder / "meteor.jar", "w") as jar:
        for name, text in members.items():
            jar.writestr(name, text)
    return MeteorData(folder / "meteor.jar", table(folder, ("couch", "sofa")), "0")


def test_captions_scored_again_have_the_same_counts(tmp_path: Path) -> None:
    references = [["the couch", "a red couch"], ["the lamp"]]
    data, cache = wheel(tmp_path), tmp_path / "cache"
    first, second = ["the sofa", "a lamp"], ["the sofa", ""]
    kept = MeteorReferences(references, data, cache)
    kept.statistics(first)
    fresh = MeteorReferences(references, data, cache).statistics(second)
    np.testing.assert_array_equal(kept.statistics(second), fresh)
    # "the" exactly, "sofa" as a paraphrase, in one chunk; the empty text matches nothing.
    assert fresh[0].tolist()[-3:] == [2, 2, 0] and fresh[1].tolist()[-3:] == [0, 0, 0]


def test_half_characters_are_no_phrase_of_the_table(tmp_path: Path) -> None:
    scores = MeteorReferences([["the couch"]], wheel(tmp_path), tmp_path / "cache")
    assert scores.statistics(["the \ud83d couch"])[0, -1] == 2.0


def test_hashes_do_not_depend_on_where_a_line_stands() -> None:
    lines = [f"line {number}\n".encode() for number in range(2000)]
    together = line_hashes(b"".join(lines))
    apart = np.concatenate([line_hashes(line) for line in lines])
    np.testing.assert_array_equal(together, apart)
    assert len(set(together.tolist())) == len(lines)


def test_without_the_extra_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(DataError, match=r"pip install -e '\.\[eval\]'"):
        installed_data.__wrapped__()


HYPOTHESES = [
    "this is a brown chair . it's next to the desk .",
    "the couch is located in the middle of the room",
    "two lamps are standing on the left hand side of the bed",
    "the the the chair the",
    "",
    "it is a white cabinet , to the right of the sofa (near the door)",
]
REFERENCES = [
    ["a brown chair beside the desk", "there is a chair that is brown . it sits by a desk ."],
    ["the sofa is in the center of the room", "this is the couch in the room's middle"],
    ["the lamp stands to the left of the bed", "2 lamps"],
    ["the chair is the one by the table the"],
    ["nothing"],
    ["a white cupboard on the right side of the couch", "the cabinet near the door"],
]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")
def test_java_gives_the_same_scores(tmp_path: Path) -> None:
    module = pytest.importorskip("pycocoevalcap.meteor.meteor")
    statistics = MeteorReferences(REFERENCES, cache=tmp_path).statistics(HYPOTHESES)
    java = module.Meteor()
    corpus, segments = java.compute_score(
        dict(enumerate(REFERENCES)), {row: [text] for row, text in enumerate(HYPOTHESES)}
    )
    for stream in (java.meteor_p.stdout, java.meteor_p.stderr):
        stream.close()
    np.testing.assert_allclose(meteor_from_statistics(statistics), segments, rtol=1e-9)
    assert meteor_from_statistics(statistics.sum(axis=0)) == pytest.approx(corpus, rel=1e-9)
