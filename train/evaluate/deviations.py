"""Deviations of a run from the papers: named wherever results are shown."""

from __future__ import annotations

from typing import Any

from shared.schema import CodecOptions


def deviations(recipe: dict[str, Any], store: CodecOptions) -> list[str]:
    """List a run's deviations, a short clause each.

    Args:
        recipe: as `Recipe.to_dict` gives it.
        store: options of its store.
    """
    space, autoencoder = recipe["space"], recipe["autoencoder"] or {}
    kind = autoencoder.get("kind")
    given = autoencoder.get("predictor") == "store"
    # Spaces of the store's own vectors.
    codec = space["kind"] in ("codec", "vectors") or given
    present = {
        "every frame is predicted from the first one, not from the one before": (
            codec and store.reference == "first"
        ),
        "each block is predicted from the frame before or from the first one": (
            codec and store.reference == "either"
        ),
        "long vectors pay a cost, so that fields are regular": (
            codec and (store.motion_cost or store.zero_bias)
        ),
        "fields of vectors are fitted to whole frames, not searched block by block": (
            codec and store.method == "variational"
        ),
        "vectors are generated alone, without residuals": space["kind"] == "vectors",
        "vectors and occlusion are generated without residuals, and the decoder fills in": given,
        "the decoder also learns from what it draws where frame 0 shows enough": (
            kind == "flow" and autoencoder.get("drawn_weight")
        ),
        "occlusion is found from the errors of the vectors' prediction": (
            given and autoencoder["store"].get("errors")
        ),
        "vectors are in fractions of a pixel": codec and store.vector_unit > 1,
        "pixels are predicted by the vectors of the nearest four blocks, averaged": (
            codec and store.compensation == "overlapped"
        ),
        "vectors are interpolated between blocks": (codec and store.compensation == "interpolated"),
        "differences are taken to the first frame, not to the one before": (
            space["kind"] == "difference" and space["reference"] == "first"
        ),
        "residuals are taken against the decoded frame before (closed loop)": (
            space.get("closed_loop") and store.reference != "first"
        ),
        "the autoencoder works block by block, from the optimal linear code": kind == "block",
        "each residual's linear code follows from what the decoder knows already": (
            kind == "contextual"
        ),
        "residuals have a fixed linear code, not an autoencoder": kind in ("zero", "dct", "klt"),
        "planes have linear codes of whole lines, at which the autoencoder starts": (
            kind == "planes" and recipe["autoencoder"]["lines"]
        ),
        "the first frame, held still, stands for the clip before": (
            space["kind"] == "planes" and space["first_frame"] > 0
        ),
        "the key frame is the first one, not the one in the middle": (
            space["kind"] == "guided" and space["key"] == "first"
        ),
        "depth is left out": space["kind"] in ("guided", "motion") and space["depth"] == "none",
        "flow is the store's vectors, which know no occlusion": (
            space["kind"] in ("guided", "motion") and space["flow"] == "store"
        ),
        "flow is standardised over the training split, not clip by clip": (
            (recipe.get("guide") or recipe)["space"].get("scale") == "split"
        ),
        "tokens of the key frame are learned features of its patches": bool(
            space["kind"] in ("guided", "motion") and recipe["denoiser"].get("patch")
        ),
        "the motion network is given the label": (
            space["kind"] == "guided"
            and recipe.get("guide") is not None
            and recipe["guide"]["label_dropout"] < 1
        ),
        "the label also chooses a learned map over frames and cells": (
            recipe["denoiser"].get("layout")
        ),
        "a network behind the decoder refines what was generated": recipe["refiner"] is not None,
    }
    return [clause for clause, used in present.items() if used]
