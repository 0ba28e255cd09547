"""How a comparison was made, in sentences: stands beside every one of its numbers."""

from __future__ import annotations

from train.compare.comparison import Comparison
from train.compare.systems import SPLIT
from train.machine import processor


def protocol(comparison: Comparison) -> list[str]:
    """Data, budget, what all systems have in common, judges, hardware."""
    options, store = comparison.options, comparison.attributes
    clips, recipe = store.options, comparison.runs[0].recipe
    training = recipe.diffusion_training
    size = f"{clips.frames} frames of {clips.size}x{clips.size}"
    return [
        f"Data: {store.dataset}, {store.clips} clips of {size}, {len(store.labels)} labels,"
        f" {len(store.subjects)} subjects; split {SPLIT}: nobody in a test clip was trained on."
        " One generated video for each of"
        f" {len(comparison.chosen)} test clips, {options.clips_a_label} a label, subjects taking"
        " turns, from its first frame and its label.",
        f"Equal FLOPs: {options.budget_tflop:g} TFLOP of training a run, forward and backward"
        " passes of the denoiser, two operations a multiply-accumulate. Autoencoders and cached"
        " latents are not in it, and stand beside. Equal steps: as many as rgb has at equal FLOPs.",
        "The same in every space: about as many parameters (stated), a learned"
        f" embedding of the label, {recipe.noise.prediction}-prediction, {recipe.noise.schedule}"
        f" schedule, {training.optimiser}, learning rate {training.learning_rate:g} falling along"
        f" half a cosine, batch {training.batch}, averaged weights, {recipe.sampler.name} with"
        f" {recipe.sampler.steps} steps, guidance {recipe.sampler.guidance:g}; the seed decides"
        " weights, data order and noise.",
        "Additions of ours, none of them in the papers: the block-wise autoencoder from the optimal"
        " linear code, which latent and codec both have; in the table within the codec the vector"
        " cost, the closed loop, the references first and per block, and the filter.",
        "Scores are this project's own, none is FVD. Gestures and persons are read by networks"
        f" trained on real training clips ({options.judge_steps} steps), Fréchet distances are"
        " between their features of generated and of all real test clips; the row of real clips"
        " says how well they do. Frame 0 is given and does not count; 100 dB stands for equal."
        " Warping error: what a search for motion in the generated clip itself cannot explain;"
        " flicker: change where the real clip stands still; both in grey levels. PSNR"
        " restored: real test clips through the space and back, the most it can show.",
        f"Seeds 0-{options.seeds - 1} for the spaces, {options.codec_seeds} within the codec; ±"
        " is the standard deviation over seeds. CPU seconds are of all threads of a process of one"
        f" thread, on {processor()}, which other work may have shared.",
    ]
