"""The person who signals: build, clothes, surroundings and manner, drawn from a seed."""

from dataclasses import dataclass, replace

import numpy as np

Colour = tuple[int, int, int]

# Deck crews wear their task's colour.
JERSEYS: tuple[Colour, ...] = (
    (232, 186, 34),
    (44, 138, 74),
    (198, 46, 44),
    (36, 84, 176),
    (112, 60, 148),
    (122, 78, 44),
    (238, 238, 232),
    (226, 112, 36),
    (34, 128, 140),
)
VESTS: tuple[Colour, ...] = (
    (238, 204, 40),
    (72, 78, 54),
    (46, 52, 66),
    (232, 104, 30),
    (120, 124, 132),
    (62, 44, 38),
)
TROUSERS: tuple[Colour, ...] = (
    (40, 48, 74),
    (64, 66, 52),
    (104, 92, 68),
    (38, 38, 42),
    (70, 78, 96),
)
GLOVES: tuple[Colour, ...] = (
    (250, 248, 240),
    (255, 122, 24),
    (28, 28, 32),
    (120, 220, 52),
    (248, 216, 60),
    (222, 44, 56),
    (70, 206, 236),
)
SKINS: tuple[Colour, ...] = (
    (248, 210, 182),
    (232, 184, 148),
    (206, 152, 110),
    (166, 112, 76),
    (122, 80, 54),
    (88, 56, 40),
)
HAIRS: tuple[Colour, ...] = ((36, 28, 26), (84, 54, 32), (150, 104, 52), (112, 108, 106))
WANDS: tuple[Colour, ...] = ((255, 66, 40), (255, 170, 40), (70, 240, 120))
# Upper wall or sky, lower wall or sky, floor: muted, so that clothes stand out.
SURROUNDINGS: tuple[tuple[Colour, Colour, Colour], ...] = (
    ((152, 190, 222), (214, 228, 236), (122, 126, 130)),
    ((196, 204, 210), (222, 224, 222), (140, 138, 132)),
    ((214, 206, 190), (232, 226, 214), (150, 140, 124)),
    ((96, 112, 134), (150, 164, 180), (78, 84, 92)),
    ((246, 200, 160), (252, 230, 204), (130, 118, 116)),
    ((170, 186, 176), (206, 216, 206), (116, 124, 116)),
    ((58, 66, 92), (112, 116, 142), (56, 58, 66)),
    ((180, 178, 198), (216, 212, 224), (124, 120, 134)),
)


def shaded(colour: Colour, factor: float) -> Colour:
    """Darken (factor < 1) or lighten a colour, clipped to 0..255."""
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in colour)
    return red, green, blue


def colour_distance(one: Colour, other: Colour) -> float:
    """Weighted RGB distance (0 to about 765): green counts most, as in luma."""
    difference = np.subtract(one, other, dtype=float)
    return float(np.sqrt(difference**2 @ np.array([2.0, 4.0, 3.0])))


def contrasting(
    rng: np.random.Generator,
    choices: tuple[Colour, ...],
    against: tuple[Colour, ...],
    minimum: float,
) -> Colour:
    """Draw a colour at a distance of at least `minimum` from all of `against`, or the farthest."""
    distances = [min(colour_distance(choice, other) for other in against) for choice in choices]
    far = [choice for choice, d in zip(choices, distances, strict=True) if d >= minimum]
    return far[rng.integers(len(far))] if far else choices[int(np.argmax(distances))]


BACKDROPS: tuple[str, ...] = ("wall", "carrier", "hangar", "airfield")
HEADGEAR: tuple[str, ...] = ("helmet", "ear protectors", "cap", "hair")

# From the wrist to the end, before a subject's scale.
HAND_LENGTH = 0.1
WAND_LENGTH = 0.15
_FRAME_MARGIN = 0.02


@dataclass(frozen=True)
class Build:
    """Lengths in frame heights, before `Subject.scale`; half widths where a side is meant."""

    shoulder: float
    waist: float
    hip: float
    upper_arm: float
    forearm: float
    arm_radius: float
    torso: float
    head_width: float
    head_height: float


@dataclass(frozen=True)
class Clothes:
    """Colours of clothes, skin and wands; `vest` and `wands` are None if there are none."""

    shirt: Colour
    vest: Colour | None
    trousers: Colour
    headgear: str
    headgear_colour: Colour
    skin: Colour
    hair: Colour
    hands: Colour
    gloved: bool
    wands: Colour | None
    goggles: bool


@dataclass(frozen=True)
class Scene:
    """Static surroundings and lighting; `light` is -1 (from the viewer's left) to 1."""

    backdrop: str
    colours: tuple[Colour, Colour, Colour]
    horizon: float
    layout_seed: int
    light: float
    brightness: float


@dataclass(frozen=True)
class Subject:
    """One person: `neck` is the point between the shoulders, in frame units from the top left."""

    build: Build
    clothes: Clothes
    scene: Scene
    scale: float
    neck: tuple[float, float]
    tempo: float
    amplitude: float
    onset: float

    @property
    def hand_length(self) -> float:
        """Length from the wrist to the end of the fingers or of the wand, before `scale`."""
        return HAND_LENGTH if self.clothes.wands is None else WAND_LENGTH

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Frame position of a point on the body, given from the neck at build scale."""
        return self.neck[0] + x * self.scale, self.neck[1] + y * self.scale

    def lit(self, colour: Colour, factor: float = 1.0) -> Colour:
        """A colour in the scene's light, further shaded by `factor`."""
        return shaded(colour, factor * self.scene.brightness)


def draw_subject(seed: int, index: int, repetition: int = 1, outfits: int = 0) -> Subject:
    """Draw subject `index` of `seed`, with the small variation of one of its repetitions.

    With `outfits`, clothes and scene are those of subject `index % outfits`: a crew in uniform.
    """
    rng = np.random.default_rng([seed, index % outfits if outfits else index])
    scene = _draw_scene(rng)
    clothes = _draw_clothes(rng, scene)
    if outfits:
        rng = np.random.default_rng([seed, index])
    build = _draw_build(rng)
    hand = HAND_LENGTH if clothes.wands is None else WAND_LENGTH
    scale, neck = _placed(rng, build, hand)
    subject = Subject(
        build=build,
        clothes=clothes,
        scene=scene,
        scale=scale,
        neck=neck,
        tempo=rng.uniform(0.92, 1.08),
        amplitude=rng.uniform(0.97, 1.03),
        onset=0.0,
    )
    return _repeated(subject, np.random.default_rng([seed, index, repetition]))


def _repeated(subject: Subject, rng: np.random.Generator) -> Subject:
    return replace(
        subject,
        tempo=subject.tempo * rng.uniform(0.94, 1.06),
        amplitude=subject.amplitude * rng.uniform(0.98, 1.02),
        onset=rng.uniform(0.0, 0.04),
    )


def _draw_scene(rng: np.random.Generator) -> Scene:
    return Scene(
        backdrop=BACKDROPS[rng.integers(len(BACKDROPS))],
        colours=SURROUNDINGS[rng.integers(len(SURROUNDINGS))],
        horizon=rng.uniform(0.66, 0.8),
        layout_seed=int(rng.integers(2**31)),
        light=float(rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.0)),
        brightness=rng.uniform(0.9, 1.06),
    )


def _draw_clothes(rng: np.random.Generator, scene: Scene) -> Clothes:
    shirt = contrasting(rng, JERSEYS, scene.colours[:2], 110)
    vest = contrasting(rng, VESTS, (shirt,), 110) if rng.random() < 0.6 else None
    skin = SKINS[rng.integers(len(SKINS))]
    behind = (shirt, vest or shaded(shirt, 0.7), *scene.colours[:2])
    gloved = rng.random() < 0.75 or min(colour_distance(skin, other) for other in behind) < 120
    hands = contrasting(rng, GLOVES, behind, 120) if gloved else skin
    headgear = HEADGEAR[rng.choice(len(HEADGEAR), p=[0.5, 0.2, 0.15, 0.15])]
    return Clothes(
        shirt=shirt,
        vest=vest,
        trousers=contrasting(rng, TROUSERS, (scene.colours[2], hands), 60),
        headgear=headgear,
        headgear_colour=shirt if rng.random() < 0.7 else JERSEYS[rng.integers(len(JERSEYS))],
        skin=skin,
        hair=contrasting(rng, HAIRS, (skin,), 70),
        hands=hands,
        gloved=gloved,
        wands=WANDS[rng.integers(len(WANDS))] if rng.random() < 0.15 else None,
        goggles=bool(rng.random() < 0.5),
    )


def _draw_build(rng: np.random.Generator) -> Build:
    girth = rng.uniform(0.9, 1.12)
    return Build(
        shoulder=0.112 * rng.uniform(0.95, 1.06),
        waist=0.092 * girth,
        hip=0.104 * girth,
        upper_arm=0.152 * rng.uniform(0.95, 1.05),
        forearm=0.138 * rng.uniform(0.95, 1.05),
        arm_radius=0.043 * rng.uniform(0.96, 1.12),
        torso=0.25 * rng.uniform(0.95, 1.06),
        head_width=0.06 * rng.uniform(0.95, 1.08),
        head_height=0.074 * rng.uniform(0.96, 1.06),
    )


def _placed(
    rng: np.random.Generator, build: Build, hand: float
) -> tuple[float, tuple[float, float]]:
    """Draw scale and neck point so that no stretched arm can leave the frame."""
    arm = build.upper_arm + build.forearm + hand
    reach = build.shoulder + arm
    x = 0.5 + rng.uniform(-0.015, 0.015)
    y = 0.44 + rng.uniform(-0.01, 0.02)
    side = min(x, 1 - x) - _FRAME_MARGIN
    scale = min(side / reach, (y - _FRAME_MARGIN) / arm) * rng.uniform(0.95, 1.0)
    return scale, (x, y)
