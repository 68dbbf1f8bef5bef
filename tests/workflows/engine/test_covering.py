from itertools import combinations, product

from threedrs_platform.steps import Cell
from threedrs_workflows.engine.covering import covering_order


def grid(*axes: int, seeds: int = 1) -> list[Cell]:
    """A product of axes with so many values each."""
    return [
        Cell(
            str(values),
            "",
            seed,
            {"a": {str(i): v for i, v in enumerate(values)}, "seed": seed},
            {},
        )
        for seed in range(seeds)
        for values in product(*(range(n) for n in axes))
    ]


def pairs(cells: list[Cell]) -> set[tuple[object, ...]]:
    found: set[tuple[object, ...]] = set()
    for cell in cells:
        found |= set(combinations(sorted(cell.params["a"].items()), 2))
    return found


def test_every_pair_of_values_comes_early_and_no_cell_is_lost() -> None:
    cells = grid(3, 3, 3, 3)
    ordered = covering_order(cells)
    assert pairs(ordered[:15]) == pairs(cells)
    assert pairs(cells[:15]) != pairs(cells)
    assert ordered[0] is cells[0]
    assert sorted(map(id, ordered)) == sorted(map(id, cells))


def test_one_seed_comes_after_the_other() -> None:
    assert [cell.seed for cell in covering_order(grid(3, 3, 3, seeds=2))] == [0] * 27 + [1] * 27


def test_small_grids_keep_their_order() -> None:
    assert covering_order(grid(4, 6)) == grid(4, 6)
