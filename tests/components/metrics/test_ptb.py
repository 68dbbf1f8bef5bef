"""PTB tokens; the expected texts are the output of CoreNLP 3.4.1 as captioning calls it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from threedrs_components.metrics.ptb import ptb_tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("This is a brown chair.", "this is a brown chair"),
        ("(a) [b] {c}", "-lrb- a -rrb- -lsb- b -rsb- -lcb- c -rcb-"),
        ("I can't, it's don't", "i ca n't it 's do n't"),
        ("cannot gonna", "can not gon na"),
        ("the chairs' legs", "the chairs legs"),
        ("o'clock rock 'n' roll", "o'clock rock 'n' roll"),
        ("left-hand a/b x@y.com 10:30 1,000 3.5", "left-hand a/b x@y.com 10:30 1,000 3.5"),
        ("3.5m 20cm 50% $5", "3.5 m 20cm 50 % $ 5"),
        ("Mr. Smith etc. the end.", "mr. smith etc. the end"),
        ("table a.", "table a."),
        ("no. 5 is no.", "no. 5 is no"),
        ("what?! why? ok...", "what ?! why ok"),
        ("\u00bd \u2018x\u2019 \u201cy\u201d a\u2013b", "1/2 x y a b"),
        ("so\u00adft \U0001f600 caf\u00e9", "soft caf\u00e9"),
        ("5 1/2 feet", "5\u00a01/2 feet"),
        ("-- - a - b", "a b"),
        ("", ""),
        ("...", ""),
    ],
)
def test_texts_become_tokens(text: str, tokens: str) -> None:
    assert ptb_tokenize([text]) == [tokens]


def test_a_text_may_depend_on_how_the_next_one_begins() -> None:
    assert ptb_tokenize(["it is no.", "5 chairs"])[0] == "it is no."
    assert ptb_tokenize(["it is no.", "five chairs"])[0] == "it is no"
    assert ptb_tokenize(["table b.", "The end"])[0] == "table b"


def test_line_breaks_inside_a_text_do_not_shift_the_others() -> None:
    assert ptb_tokenize(["a\nb", "c\u2028d", "e\u0085f"]) == ["a b", "c d", "e f"]


def test_as_many_texts_come_out_as_go_in() -> None:
    assert ptb_tokenize(["", "", "x", ""]) == ["", "", "x", ""]


SENTENCES = [
    "This is a black chair. It's on the left of the T.V. stand, near no. 5!",
    "the 2nd bed (w/ a white pillow); there're 3 of them: 3.5ft. x 2ft.",
    "I'm facing the window's right-hand side -- isn't it 10:30 a.m.?",
    "It is in front of table A. The lamp is 1 1/2 m away",
    "Mr. Smith's o'clock 'quoted' \"double\" `back` e.g. this & that etc.",
    "\u201cit\u2019s\u201d a\u2014b \u2026 \u00bd of $50, 100% & R&D #5 x_y a/b/c 1990's",
]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")
def test_java_gives_the_same_tokens(tmp_path: Path) -> None:
    tokenizer = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer")
    jar = Path(tokenizer.__file__).parent / tokenizer.STANFORD_CORENLP_3_4_1_JAR
    captions = tmp_path / "captions.txt"
    captions.write_text("\n".join(SENTENCES), encoding="utf-8")
    command = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
    output = subprocess.run(
        [*command, "-preserveLines", "-lowerCase", str(captions)], check=True, capture_output=True
    ).stdout.decode()
    expected = [
        " ".join(word for word in line.rstrip().split(" ") if word not in tokenizer.PUNCTUATIONS)
        for line in output.split("\n")[: len(SENTENCES)]
    ]
    assert ptb_tokenize(SENTENCES) == expected
