"""Students: multimodal LLMs that show their hidden states at visual tokens. The union lists them.

One student so far, so the union is that one config; a second makes it
`Annotated[A | B, Field(discriminator="kind")]`.
"""

from threedrs_components.students.config import LlavaVideoConfig, MicroPretrainingConfig

StudentConfig = LlavaVideoConfig

__all__ = ["LlavaVideoConfig", "MicroPretrainingConfig", "StudentConfig"]
