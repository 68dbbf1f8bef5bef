"""Who is asked about what: a cell under a seed, and a scene of its run or a folder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """One conversation's subject."""

    run_id: str
    cell_id: str
    seed: int
    scene: str = ""
    """Id of a scene that was prepared for the cell."""
    room: str = ""
    """In place of it: a folder below the root that the server was given."""

    @property
    def title(self) -> str:
        """What is asked about, in words."""
        return f"folder {self.room}" if self.room else f"scene {self.scene}"

    def words(self) -> dict[str, str | int | None]:
        """As words of a query string."""
        return {
            "run": self.run_id,
            "cell": self.cell_id,
            "seed": self.seed,
            "scene": self.scene,
            "room": self.room,
        }
