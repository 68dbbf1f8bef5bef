"""What the parts of metric names mean: the one list behind hints on pages and the glossary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

WORDS: Mapping[str, Mapping[str, str]] = {
    "Benchmarks and probes": {
        "scanrefer": "choose the one object that a description means",
        "multi3drefer": "choose none, one or several objects that a description means",
        "scan2cap": "describe the object in a box",
        "scanqa": "answer a question about a scene in a few words",
        "sqa3d": "answer a question from a described place in a scene",
        "vsibench": "spatial questions about a video: counts, sizes, distances, routes",
        "revsi": "spatial questions about a video, their truth checked for each number of frames",
        "mindcube": "choose what lies beside and behind, from two to four views of a place",
        "viewspatial": "choose a direction, seen by the camera or by a person in the picture",
        "embspatial": "choose how objects of a robot's view lie to each other",
        "blink": "fourteen kinds of seeing that people do within a blink, by choice",
        "mmsi": "choose where cameras, objects and regions are, over several images",
        "probe": "what a model's visual features know of places, without asking it anything",
        "training": "of the training itself; no result",
        "world": "of the rendered rooms",
        "scenes": "of the scenes that were prepared",
        "samples": "of the questions",
        "teacher": "of the teacher's own training (micro world)",
        "tower": "of the vision tower's pretraining (micro world)",
        "language": "of the language model's pretraining (micro world)",
    },
    "Scores": {
        "acc@0.25": "share of descriptions whose box has an IoU with the true one of at least 0.25",
        "acc@0.5": "share of descriptions whose box has an IoU with the true one of at least 0.5",
        "f1@0.25": "F1 of the chosen boxes against the true ones, matched at IoU 0.25; 1 where "
        "nothing is meant and nothing chosen",
        "f1@0.5": "F1 of the chosen boxes against the true ones, matched at IoU 0.5; 1 where "
        "nothing is meant and nothing chosen",
        "em": "exact match: the answer is one of the references",
        "em@1": "exact match: the first answer is one of the references",
        "em@10": "one of the first ten answers is a reference",
        "em_refined": "refined exact match: answer or reference contains the other",
        "cider": "CIDEr: agreement of weighted word sequences with the references",
        "cider@0.5": "CIDEr, counted where the box overlaps the true one with IoU of at least 0.5",
        "bleu4": "BLEU-4: share of word sequences up to four long that are in a reference",
        "bleu4@0.5": "BLEU-4, counted where the box overlaps the true one with IoU of at least 0.5",
        "rouge_l": "ROUGE-L: longest word sequence shared with a reference",
        "rouge_l@0.5": "ROUGE-L, counted where the box overlaps with IoU of at least 0.5",
        "meteor": "METEOR: aligned words, stems and synonyms",
        "meteor@0.5": "METEOR, counted where the box overlaps with IoU of at least 0.5",
        "direction@0.5": "the caption names the right direction (micro world)",
        "colour_category@0.5": "the caption names the right colour and category (micro world)",
        "accuracy": "share of right choices",
        "missing": "questions without an answer",
    },
    "Correspondence and position": {
        "score": "correspondence: mean cosine of features of one place in two views",
        "margin": "the score less the mean cosine of different places: 0 if all features are alike",
        "standardised": "the score after every dimension is standardised over a scene's tokens",
        "pairs": "pairs of tokens or pixels that show one place",
        "mean_of_voxels": "the score, every place counted once",
        "position_xy": "R2 of a linear map from features to where objects are, on other scenes",
        "content_free": "control: the same from where in a frame an object is seen alone",
        "seconds_per_scene": "training time per scene visited",
    },
    "Curves of a training": {
        "loss": "weighted sum of all losses, nats",
        "loss/text": "cross entropy of the words of answers, nats",
        "loss/grounding": "of the choice of a box among candidates, nats",
        "loss/alignment": "how far visual tokens are from the teacher's features, unweighted",
        "loss/correspondence": "how unlike tokens of one place in two views are, unweighted",
        "loss/depth": "of depth read from the visual tokens, unweighted",
        "loss/ray": "of camera rays read from the visual tokens, unweighted",
        "loss/gram": "how unlike the teacher's the likeness between tokens is, unweighted",
        "loss/reconstruction": "of teacher features filled in from the student's, unweighted",
        "grounding/accuracy": "share of training descriptions whose candidate was chosen, 0 to 1",
        "alignment/layer": "the same distance for one hidden layer alone; -1 is the last",
        "gradient_norm": "length of the gradient before it is clipped",
        "learning_rate": "step size of the optimiser under its schedule",
        "validation": "on training scenes that were held out for this",
        "speed": "of the machine, no result: tokens per second, share of time waiting for data",
        "memory": "GiB in use, no result",
    },
    "Question types of grounding": {
        "unique": "no other object of this class is in the scene",
        "multiple": "other objects of this class are in the scene",
        "position": "g_lm and g_dir pooled: what needs only position",
        "attribute": "g_attr: what needs no position",
        "g_lm": 'the object by a landmark of the room ("the object nearest to the door")',
        "g_dir": 'the object by its direction ("the object in the north-east")',
        "g_clm": "one of several of a category, by a landmark",
        "g_cdir": "one of several of a category, by its direction",
        "g_attr": "the object by its colour and category",
    },
    "Question types of multi3drefer": {
        "zt_wo_d": "zero targets, without distractors: nothing of the described class is there",
        "zt_w_d": "zero targets, with distractors: only others of the described class are there",
        "st_wo_d": "single target, without distractors",
        "st_w_d": "single target, with distractors: others of its class are there",
        "mt": "multiple targets",
    },
    "Question types of answers": {
        "qa_color": "what colour",
        "qa_count": "how many",
        "qa_exist": "is there",
        "qa_where": "in which direction",
    },
}
"""Heading -> part of a name -> its meaning."""
_MEANINGS = {part: meaning for group in WORDS.values() for part, meaning in group.items()}
_TASK = "m_"
"""Before question types that the micro world names itself, beside those of the benchmark."""


SHORT: Mapping[str, str] = {
    "scanrefer": "ScanRefer",
    "multi3drefer": "Multi3DRefer",
    "scan2cap": "Scan2Cap",
    "scanqa": "ScanQA",
    "sqa3d": "SQA3D",
    "vsibench": "VSI-Bench",
    "revsi": "ReVSI",
    "mindcube": "MindCube",
    "viewspatial": "ViewSpatial",
    "embspatial": "EmbSpatial",
    "blink": "BLINK",
    "mmsi": "MMSI",
    "acc": "accuracy",
    "f1": "F1",
    "em": "exact match",
    "em_refined": "refined exact match",
    "cider": "CIDEr",
    "bleu4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "colour_category": "colour and category",
    "position_xy": "position in the plan",
    "content_free": "control without content",
    "g_lm": "by a landmark",
    "g_dir": "by direction",
    "g_clm": "of a category, by a landmark",
    "g_cdir": "of a category, by direction",
    "g_attr": "by colour and category",
}
"""Part of a metric's name, before any "@" -> the same for a heading."""
PROBED = {
    "score": "correspondence score",
    "margin": "correspondence margin",
    "standardised": "standardised correspondence score",
}
"""Of a probe of visual features."""


def readable(name: str) -> str:
    """A metric for a heading: "ScanRefer: accuracy at IoU 0.25, position"."""
    step, _, path = name.rpartition(":")
    first, *rest = path.split("/")
    told = [_part(each) for each in rest]
    if first == "probe" and rest:
        told[0] = PROBED.get(rest[0], told[0])
        whose = "teacher's " if step == "probe_teacher" else ""
        return whose + ", ".join(told)
    return ": ".join(filter(None, (_part(first), ", ".join(told))))


def _part(part: str) -> str:
    known, at, number = part.removeprefix(_TASK).partition("@")
    words = SHORT.get(known, known.replace("_", " "))
    if at + number in ("", "@1"):
        return words
    return f"{words} at IoU {number}" if "." in number else f"{words} among {number}"


def explain(name: str) -> str:
    """A metric in words, part by part; empty where no part is known."""
    return "; ".join(f"{part}: {meaning}" for part, meaning in explained(name))


def explained(name: str) -> Iterator[tuple[str, str]]:
    """Parts behind the step ("probe_teacher:probe/score") that have a meaning.

    Two parts that mean something together ("loss/alignment") are one.
    """
    parts = name.rpartition(":")[2].split("/")
    while parts:
        first, *parts = parts
        pair = f"{first}/{parts[0].partition('-')[0]}" if parts else ""
        if pair in _MEANINGS:
            yield f"{first}/{parts.pop(0)}", _MEANINGS[pair]
        elif meaning := _MEANINGS.get(first) or _MEANINGS.get(first.removeprefix(_TASK)):
            yield first, meaning
