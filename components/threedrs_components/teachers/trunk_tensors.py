"""The tensors of the trunks of VGGT, Pi3 and Depth Anything 3: names and shapes, without torch.

So that a header alone tells whether a file fits; the tests hold them against the models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threedrs_components.teachers.da3.architecture import DA3Architecture
    from threedrs_components.teachers.pi3.architecture import TrunkSizes
    from threedrs_components.teachers.vggt.architecture import VGGTArchitecture

Shapes = dict[str, tuple[int, ...]]


def da3_trunk(sizes: DA3Architecture) -> Shapes:
    """Of a Depth Anything 3, by names inside its trunk."""
    width, head = sizes.embed_dim, sizes.embed_dim // sizes.heads
    found = {
        **_patches("", width, sizes.patch_size, sizes.side),
        "camera_token": (1, 2, width),
    }
    for number in range(sizes.depth):
        normed = head if number >= sizes.start else None
        found |= _block(f"blocks.{number}.", width, sizes.hidden, normed, gated=sizes.gated)
    return found


def vggt_aggregator(sizes: VGGTArchitecture) -> Shapes:
    """Of a VGGT, by names inside its aggregator."""
    width, head = sizes.embed_dim, sizes.embed_dim // sizes.heads
    hidden = round(width * sizes.mlp_ratio)
    found = {
        **_encoder("patch_embed.", "patch_embed.patch_embed.", sizes),
        "patch_embed.mask_token": (1, width),
        "camera_token": (1, 2, 1, width),
        "register_token": (1, 2, sizes.num_registers, width),
    }
    for stack in ("frame_blocks", "global_blocks"):
        for number in range(sizes.depth):
            found |= _block(f"{stack}.{number}.", width, hidden, head)
    return found


def pi3_trunk(sizes: TrunkSizes) -> Shapes:
    """Of a Pi3's encoder and decoder, by whole names."""
    width = sizes.encoder.embed_dim
    hidden = round(width * sizes.mlp_ratio)
    found = {
        **_encoder("encoder.", "encoder.patch_embed.", sizes.encoder),
        "register_token": (1, 1, sizes.registers, width),
        "image_mean": (1, 3, 1, 1),
        "image_std": (1, 3, 1, 1),
    }
    for number in range(sizes.depth):
        found |= _block(f"decoder.{number}.", width, hidden, width // sizes.encoder.heads)
    return found


def _encoder(prefix: str, projection: str, sizes: VGGTArchitecture) -> Shapes:
    """The vision transformer with registers that makes the tokens of each frame."""
    width, side = sizes.embed_dim, sizes.image_size // sizes.patch_size
    found = {
        **_patches(prefix, width, sizes.patch_size, side, projection),
        f"{prefix}register_tokens": (1, sizes.num_registers, width),
    }
    for number in range(sizes.patch_embed_depth):
        hidden = round(width * sizes.mlp_ratio)
        found |= _block(f"{prefix}blocks.{number}.", width, hidden, None)
    return found


def _patches(
    prefix: str, width: int, patch: int, side: int, projection: str = "patch_embed."
) -> Shapes:
    return {
        f"{projection}proj.weight": (width, 3, patch, patch),
        f"{projection}proj.bias": (width,),
        f"{prefix}cls_token": (1, 1, width),
        f"{prefix}pos_embed": (1, 1 + side**2, width),
        **_norm(f"{prefix}norm", width),
    }


def _block(
    prefix: str, width: int, hidden: int, head: int | None, *, gated: bool = False
) -> Shapes:
    """One block; `head` is the width of one, where queries and keys are normalised."""
    first, second = ("w12", "w3") if gated else ("fc1", "fc2")
    found = {
        **_norm(f"{prefix}norm1", width),
        **_norm(f"{prefix}norm2", width),
        **_linear(f"{prefix}attn.qkv", width, 3 * width),
        **_linear(f"{prefix}attn.proj", width, width),
        **_linear(f"{prefix}mlp.{first}", width, 2 * hidden if gated else hidden),
        **_linear(f"{prefix}mlp.{second}", hidden, width),
        f"{prefix}ls1.gamma": (width,),
        f"{prefix}ls2.gamma": (width,),
    }
    if head is not None:
        found |= _norm(f"{prefix}attn.q_norm", head) | _norm(f"{prefix}attn.k_norm", head)
    return found


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
