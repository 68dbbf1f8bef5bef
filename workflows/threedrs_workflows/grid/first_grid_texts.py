"""The grid files that `workflows init` writes, one for each sort of scenes."""

from __future__ import annotations

_TAIL = """\
# More of the language (products, zips, exclusions, tuning) is explained in ablations.yaml, every
# setting in the documentation's reference; `workflows validate --settings @NAME@.yaml` lists all.
"""

MICRO = f"""\
# Rendered rooms, and a student and teachers that are trained here: nothing to download, no GPU.
#   workflows plan @NAME@.yaml              what would run, and for how long
#   workflows submit @NAME@.yaml --smoke    every step in its smallest size: half a minute
#   workflows submit @NAME@.yaml            the real thing: about ten minutes on two cores

version: 1
name: "@NAME@"

# What every cell starts from: workflows/presets/micro.yaml. Taken as it is, it is the baseline.
base:
  preset: micro
  teacher: none

# Repetitions of every cell. Nothing is tested below three.
seeds: [1, 2, 3]

# One change at a time: each value is a cell beside the base.
ablate:
  factors:
    teacher: [mae, vggt]               # learn from a 2D teacher, from a 3D teacher
    # alignment.weight: [1.0, 10.0]    # has an effect where there is a teacher: use include
include:
  - {{teacher: none, label: baseline}}   # the base cell, by a name
  # - {{teacher: vggt, alignment.weight: 10.0, label: vggt x10}}

# What the table shows; results --metric '*' shows everything that was measured.
report:
  compare_to: baseline
  metrics:
    - scanrefer/acc@0.25/position      # find the object that only its place tells
    - scanqa/em@1                      # answer questions
    - probe/position_xy                # can positions be read from the features?

{_TAIL}"""

_STEPS = """\
# What each kind of step occupies; in no key, so change it whenever you like.
steps:
  extract: {gpus: 1}
  finetune: {gpus: "${GPUS}"}
  probe: {gpus: 1}
  predict: {gpus: 1}
"""

RGBD = f"""\
# Your own rooms: folders of posed RGB-D frames. `workflows probe --scenes @SCENES@` scores them
# without weights; the docs page "My scenes" says what each file holds.
#   workflows plan @NAME@.yaml       what would run, and on how many GPUs
#   workflows submit @NAME@.yaml

version: 1
name: "@NAME@"
# Where things are; the shell's variables of these names go first.
env: {{SCENES: "@SCENES@", ANNOTATIONS: "@ANNOTATIONS@", DATA: data, GPUS: "8"}}

base:
  preset: clean                        # the paper's method at 7B; one GPU: see one_gpu_24g
  teacher: none
  scenes:
    kind: rgbd_folder
    root: ${{SCENES}}                    # has scenes/, and splits.json: text, probe and val
    num_frames: 32                     # of each scene, spread evenly
    depth_scale: 1000                  # units of 16-bit depth per metre
  prepare.on_bad_scene: skip           # a scene that cannot be used is named, and left out
  benchmarks:
    names: [@BENCHMARKS@]
    annotations: ${{ANNOTATIONS}}
    box_file: null                     # boxes of objects are in each scene's boxes.json
    label_map: null
    splits: {{}}
    protocols: {{}}
    candidates: ground_truth           # an oracle: the true boxes of boxes.json are chosen among

seeds: [1, 2, 3]

ablate:
  factors:
    teacher: [vggt]                    # 3D; a 2D one beside it: dinov2
include:
  - {{teacher: none, label: baseline}}

report: {{compare_to: baseline}}
{_STEPS}
{_TAIL}"""

SCANNET = f"""\
# ScanNet, as the paper: a student without a teacher, and with VGGT as its teacher.
#   workflows data check @DATA@      what is missing, and which grids can run
#   workflows plan @NAME@.yaml       what would run, and on how many GPUs
#   workflows submit @NAME@.yaml

version: 1
name: "@NAME@"
# Where `workflows prepare scannet --out` wrote; the shell's variables of these names go first.
env: {{DATA: "@DATA@", GPUS: "8"}}

# clean: the method as the paper describes it; as_released: as its code does it. One GPU: with
# one_gpu_80g or one_gpu_24g here, and GPUS=1.
base:
  preset: clean
  teacher: none

seeds: [42]                            # nothing is tested below three

ablate:
  factors:
    teacher: [vggt]
include:
  - {{teacher: none, label: baseline}}

report: {{compare_to: baseline}}
{_STEPS}
{_TAIL}"""

VIDEOS = f"""\
# Clips without depth or cameras, asked the questions of VSI-Bench. Nothing is trained: the student
# answers as it comes. To train on VG-LLM's questions first, see workflows/grids/table2.yaml.
#   workflows plan @NAME@.yaml
#   workflows submit @NAME@.yaml

version: 1
name: "@NAME@"
# Where things are; the shell's variables of these names go first.
env: {{CLIPS: "@CLIPS@", DATA: data, GPUS: "1"}}

base:
  preset: vsi
  teacher: none
  scenes: {{kind: videos, root: "${{CLIPS}}", num_frames: 32}}
  training.steps: 0
  benchmarks:
    names: [vsibench]
    training: null
    annotations: "@ANNOTATIONS@"       # holds VSI-Bench's questions: test.jsonl or test.parquet
    missing_scenes: leave_out          # questions on clips that are not there do not count

include:
  - {{label: start}}

# What each kind of step occupies; in no key, so change it whenever you like.
steps:
  predict: {{gpus: "${{GPUS}}"}}

{_TAIL}"""
