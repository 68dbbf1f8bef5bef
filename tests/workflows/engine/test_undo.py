from threedrs_workflows.engine.undo import Undoable


def test_a_lost_turn_leaves_no_trace() -> None:
    known: Undoable[str, int] = Undoable()
    known["kept"], known["changed"], known["gone"] = 1, 2, 3
    known.mark()
    known["changed"] += 1
    known["changed"] += 1
    del known["gone"]
    known["new"] = 4
    known.roll_back()
    assert known == {"kept": 1, "changed": 2, "gone": 3}
