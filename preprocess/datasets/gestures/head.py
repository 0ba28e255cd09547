"""The figure's head: face and headgear."""

from .canvas import Canvas, Point
from .palette import shaded
from .subject import Subject


def draw_head(canvas: Canvas, look: float, subject: Subject) -> None:
    """Draw the head above the neck; `look` is -1 to 1, 1 towards the viewer's right."""
    clothes = subject.clothes
    width = subject.build.head_width * subject.scale
    height = subject.build.head_height * subject.scale
    skin = subject.lit(clothes.skin)
    centre = x, y = subject.at(0, -0.09 - subject.build.head_height * 0.72)
    canvas.disc(centre, width + 0.006, shaded(skin, 0.5), height + 0.006)
    canvas.disc(centre, width, shaded(skin, 0.92), height)
    lit = x + 0.14 * width * (1 if subject.scene.light > 0 else -1)
    canvas.disc((lit, y), width * 0.84, skin, height * 0.94)
    _face(canvas, (x + look * width * 0.38, y), width, height, subject)
    _HEADGEAR[clothes.headgear](canvas, centre, width, height, look, subject)


def _face(canvas: Canvas, centre: Point, width: float, height: float, subject: Subject) -> None:
    x, y = centre
    skin = subject.lit(subject.clothes.skin)
    for side in (-0.4, 0.4):
        canvas.disc((x + side * width, y + 0.05 * height), width * 0.12, (28, 24, 24), width * 0.15)
    nose = (x, y + 0.16 * height), (x, y + 0.34 * height)
    canvas.capsule(*nose, width * 0.06, width * 0.1, shaded(skin, 0.8))
    mouth = (x - width * 0.22, y + 0.6 * height), (x + width * 0.22, y + 0.6 * height)
    canvas.capsule(*mouth, width * 0.07, width * 0.07, shaded(skin, 0.6))


def _hair(
    canvas: Canvas, centre: Point, width: float, height: float, look: float, subject: Subject
) -> None:
    x, y = centre
    hair = subject.lit(subject.clothes.hair)
    canvas.dome((x, y - 0.34 * height), width * 1.02, height * 0.74, hair)
    for side in (-1.0, 1.0):
        temple = x + side * width * 0.94
        canvas.capsule(
            (temple, y - 0.4 * height), (temple, y - 0.05 * height), width * 0.14, width * 0.1, hair
        )


def _ear_protectors(
    canvas: Canvas, centre: Point, width: float, height: float, look: float, subject: Subject
) -> None:
    _hair(canvas, centre, width, height, look, subject)
    x, y = centre
    colour = subject.lit(subject.clothes.headgear_colour)
    canvas.dome((x, y - 0.34 * height), width * 1.14, height * 0.86, shaded(colour, 0.55))
    canvas.dome((x, y - 0.34 * height), width, height * 0.7, subject.lit(subject.clothes.hair))
    _cups(canvas, centre, width, height, subject)


def _cups(canvas: Canvas, centre: Point, width: float, height: float, subject: Subject) -> None:
    colour = subject.lit(subject.clothes.headgear_colour)
    for side in (-1.0, 1.0):
        cup = (centre[0] + side * width * 1.04, centre[1] + 0.06 * height)
        canvas.disc(cup, width * 0.34, shaded(colour, 0.45), height * 0.42)
        canvas.disc(cup, width * 0.25, shaded(colour, 0.75), height * 0.33)


def _helmet(
    canvas: Canvas, centre: Point, width: float, height: float, look: float, subject: Subject
) -> None:
    x, y = centre
    colour = subject.lit(subject.clothes.headgear_colour)
    light = 1 if subject.scene.light > 0 else -1
    canvas.dome((x, y - 0.2 * height), width * 1.2, height * 0.98, shaded(colour, 0.5))
    canvas.dome((x, y - 0.22 * height), width * 1.1, height * 0.88, shaded(colour, 0.86))
    canvas.disc(
        (x + light * width * 0.3, y - 0.72 * height),
        width * 0.5,
        shaded(colour, 1.1),
        height * 0.26,
    )
    _cups(canvas, centre, width, height, subject)
    if subject.clothes.goggles:
        band = (x - width * 0.95, y - 0.36 * height), (x + width * 0.95, y - 0.36 * height)
        canvas.capsule(*band, width * 0.16, width * 0.16, (36, 36, 40))
        for side in (-0.42, 0.42):
            lens = x + (side + 0.3 * look) * width, y - 0.36 * height
            canvas.disc(lens, width * 0.36, (44, 44, 50), height * 0.22)
            canvas.disc(lens, width * 0.26, (150, 196, 214), height * 0.14)


def _cap(
    canvas: Canvas, centre: Point, width: float, height: float, look: float, subject: Subject
) -> None:
    _hair(canvas, centre, width, height, look, subject)
    x, y = centre
    colour = subject.lit(subject.clothes.headgear_colour)
    canvas.dome((x, y - 0.26 * height), width * 1.12, height * 0.86, shaded(colour, 0.55))
    canvas.dome((x, y - 0.28 * height), width * 1.04, height * 0.78, shaded(colour, 0.95))
    middle = x + look * width * 0.5
    brim = (middle - width * 0.7, y - 0.28 * height), (middle + width * 0.7, y - 0.28 * height)
    canvas.capsule(*brim, width * 0.16, width * 0.16, shaded(colour, 0.6))


_HEADGEAR = {
    "hair": _hair,
    "ear protectors": _ear_protectors,
    "helmet": _helmet,
    "cap": _cap,
}
