"""Colours of clothes, skin and surroundings, and how they are told apart."""

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
    """The colour made darker (factor < 1) or lighter, clipped to 0..255."""
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
    """A random choice at least `minimum` from all of `against`; else the farthest one."""
    distances = [min(colour_distance(choice, other) for other in against) for choice in choices]
    far = [choice for choice, d in zip(choices, distances, strict=True) if d >= minimum]
    return far[rng.integers(len(far))] if far else choices[int(np.argmax(distances))]
