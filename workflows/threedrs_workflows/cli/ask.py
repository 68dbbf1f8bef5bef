"""`workflows ask`: a trained student answers questions about a scene, in words or by a box."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.storage import place_errors
from threedrs_workflows.cli.laps import Laps
from threedrs_workflows.cli.model_arguments import (
    Named,
    add_model_arguments,
    find_model,
    output_folder,
)
from threedrs_workflows.cli.output import emit, say
from threedrs_workflows.cli.scene_arguments import (
    MILLIMETRES,
    MIN_FRAMES,
    positive_count,
    positive_number,
)

if TYPE_CHECKING:
    from threedrs_components.models.asking import Answer, Choice, Kind
    from threedrs_components.models.recipe import Recipe
    from threedrs_components.models.scenes import AskedScene

SUMMARY = "ask a trained student about a scene: answers in words, or boxes drawn into frames"

EXAMPLES = """\
examples:
  workflows ask teacher=vggt --scene val00003 "what color is the lamp"
                                        a cell of the newest run, a scene that it prepared
  workflows ask teacher=vggt --scene /data/redkitchen "find the red mug" --out answers
                                        your own frames; the box is drawn into answers/*.png
  workflows ask models/3DRS --preset 3drs --scene /data/rooms/attic --boxes "the oldest chair"
                                        published weights, laid into a folder
  workflows ask teacher=vggt --scene val00003 "what color is the lamp" "find the lamp"
  workflows ask teacher=vggt --run ablations --seed 2 --scene val00003 --questions asked.txt
                                        one question a line; the frames are run through once for
                                        all questions

Questions that begin with "find", "locate", "identify" or "point at" are answered by a box, all
others in words; --boxes and --words decide for all. A box is chosen among candidates: those of
--proposals, else the proposals or the boxes.json that come with the scene. The model draws none of
its own, so a scene without candidates answers in words only. Frames need depth and poses, as in
`workflows probe --help`.
"""

ANSWERS_FILE = "answers.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_model_arguments(parser)
    asked = parser.add_argument(
        "question",
        nargs="+",
        metavar="QUESTION",
        help='what to ask, any number of questions; "-" reads them from stdin, one a line',
    )
    asked.required = False  # --questions may bring all of them
    parser.add_argument(
        "--questions", type=Path, metavar="FILE", help="further questions, one a line"
    )
    parser.add_argument(
        "--question", dest="more", action="append", default=[], help=argparse.SUPPRESS
    )
    parser.add_argument(
        "--scene",
        required=True,
        metavar="DIR|ID",
        help="a posed RGB-D scene folder (file names of 7-Scenes, ScanNet or SensReader), or the "
        "id of a scene that the cell's run prepared",
    )
    parser.add_argument(
        "--proposals",
        type=Path,
        metavar="FILE",
        help='candidate boxes of a folder: {"SCENE": [[x, y, z, dx, dy, dz], ...]}, metres',
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--boxes", action="store_true", help="answer every question by a box")
    kinds.add_argument("--words", action="store_true", help="answer every question in words")
    parser.add_argument(
        "--out", type=output_folder, metavar="DIR", help="draw boxes and keep answers there"
    )
    parser.add_argument(
        "--as-is", action="store_true", help="no prompt of a benchmark round the question"
    )
    parser.add_argument(
        "--max-tokens",
        type=positive_count,
        metavar="N",
        help="longest answer; default: as the model was evaluated",
    )
    parser.add_argument(
        "--depth-scale",
        type=positive_number,
        default=MILLIMETRES,
        metavar="UNITS",
        help="units of whole-number depth images per metre; default: %(default)g",
    )
    parser.add_argument(
        "--min-frames",
        type=positive_count,
        default=MIN_FRAMES,
        metavar="N",
        help="frames that must be left of a scene that lost bad ones",
    )


def run(args: argparse.Namespace) -> int:
    """Answer, then print the answers or one JSON object."""
    asked, laps = _questions(args), Laps()
    with ExitStack() as opened:
        recipe, steps = find_model(Named.of(args), opened)
        # Torch is not imported before this line, so that mistakes above are told at once.
        from threedrs_components.models.asking import ask, cautions, kind_of, require_candidates
        from threedrs_workflows.models.scenes import open_scene

        laps.end("start")
        say(args, f"{recipe.title}: scenes and prompts as in {recipe.source}")
        scene = open_scene(
            args.scene,
            recipe,
            steps,
            lambda line: say(args, line),
            proposals=args.proposals,
            min_frames=args.min_frames,
            depth_scale=args.depth_scale,
        )
        questions: list[tuple[str, Kind]] = [
            (each, "ground" if args.boxes else "text" if args.words else kind_of(each))
            for each in asked
        ]
        require_candidates(scene, questions)
        laps.end("read the scene")
        student = _opened(args, recipe)
        laps.end("load the student")
        say(args, f"asking {len(questions)} about {len(scene.prepared.frame_names)} frames ...")
        answers = ask(
            recipe, student, scene, questions, max_new_tokens=args.max_tokens, as_is=args.as_is
        )
        laps.end("answer")
        notes = [*(steps.cautions() if steps else ()), *cautions(student, answers)]
    drawn = _draw(args, scene, answers)
    seconds = {part: round(each, 2) for part, each in laps.seconds.items()}
    content = {**as_content(recipe, scene, answers, drawn), "notes": notes, "seconds": seconds}
    if args.out is not None:
        _keep(args.out / ANSWERS_FILE, content)
    say(args, laps.text())
    emit(args, content, as_text(content))
    return 0


def _questions(args: argparse.Namespace) -> list[str]:
    """All that is asked, in order.

    Raises:
        ConfigError: nothing is, one of the questions is empty, or their file cannot be read; empty
            lines are no questions.
    """
    asked: list[str] = []
    for each in (*(args.question or ()), *args.more):
        if not each.strip():
            raise ConfigError([Fault("the question is empty", "QUESTION")])
        asked += _lines(sys.stdin.read()) if each == "-" else [each.strip()]
    if args.questions is not None:
        asked += _lines(_read(args.questions))
    if not asked:
        message = "no question: name some, or lines of --questions FILE or stdin that are not empty"
        raise ConfigError([Fault(message, "QUESTION")])
    return asked


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no text in UTF-8"
        message = f"{file}: {reason}; name a file with a question on each line"
        raise ConfigError([Fault(message, "--questions")]) from error


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _opened(args: argparse.Namespace, recipe: Recipe) -> Any:
    from threedrs_components.models.recipe import open_model

    say(args, f"loading {recipe.student.kind} ({recipe.student.size}) ...")
    student = open_model(recipe, args.device)
    say(args, f"loaded on {student.device}")
    return student


def _draw(
    args: argparse.Namespace, scene: AskedScene, answers: Sequence[Answer]
) -> Mapping[int, Path]:
    """Pictures by the number of the answer."""
    if args.out is None:
        return {}
    from threedrs_components.models.pictures import draw_answers

    drawn = draw_answers(scene, answers, args.out)
    for number, answer in enumerate(answers, 1):
        if answer.choices and answer.choices[0].box is not None and number not in drawn:
            say(args, f"not drawn, no frame shows its box: {answer.question!r}")
    return drawn


def _keep(path: Path, content: Mapping[str, Any]) -> None:
    with place_errors(f"write {path}"):
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def as_content(
    recipe: Recipe, scene: AskedScene, answers: Sequence[Answer], drawn: Mapping[int, Path]
) -> dict[str, Any]:
    """All answers, JSON-ready."""
    return {
        "model": recipe.title,
        "settings": recipe.source,
        "scene": scene.prepared.scene_id,
        "frames": list(scene.prepared.frame_names),
        "candidates": {"from": scene.choice, "count": len(scene.candidates.boxes)},
        "answers": [
            {
                "question": answer.question,
                "kind": answer.kind,
                "prompt": answer.prompt,
                "text": answer.text if answer.kind == "text" else None,
                "box": _best(answer),
                "choices": [_choice_json(each) for each in answer.choices],
                "picture": str(drawn[number]) if number in drawn else None,
            }
            for number, answer in enumerate(answers, 1)
        ],
    }


def _best(answer: Answer) -> list[float] | None:
    box = answer.choices[0].box if answer.choices else None
    return None if box is None else list(box)


def _choice_json(choice: Choice) -> dict[str, Any]:
    box = None if choice.box is None else list(choice.box)
    return {"box": box, "score": choice.score, "label": choice.label, "candidate": choice.row}


def as_text(content: Mapping[str, Any]) -> str:
    """Every question with its answer below; at the end what keeps one from believing them."""
    count = content["candidates"]["count"]
    lines = []
    for answer in content["answers"]:
        lines.append(answer["question"])
        if answer["kind"] == "text":
            lines.append(f"  {answer['text'] or '(an empty answer)'}")
            continue
        best, *others = answer["choices"]
        lines.append(f"  {_choice_text(best)}; best of {count} candidates")
        lines += [f"    then {_choice_text(each)}" for each in others[:2]]
        if answer["picture"]:
            lines.append(f"    drawn in {answer['picture']}")
    lines += [f"note: {note}" for note in content["notes"]]
    return "\n".join(lines)


def _choice_text(choice: Mapping[str, Any]) -> str:
    """Name, centre and size in metres, and the score."""
    if choice["box"] is None:
        return f"no object (score {choice['score']:.2f})"
    numbers = [f"{value:.2f}" for value in choice["box"]]
    place = f"at ({', '.join(numbers[:3])}) m, {' x '.join(numbers[3:])} m"
    name = f"{choice['label']} " if choice["label"] else ""
    return f"{name}{place} (score {choice['score']:.2f})"
