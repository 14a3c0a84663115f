"""Paint the picture that this example resizes: a lake below mountains, 4032 by 3024 pixels, as a camera would give.

    python make_photo.py photo.jpg

Needs Pillow. It is painted from noise with a fixed seed, not taken: so it is nobody's, and the file is small.
"""

from __future__ import annotations

import itertools
import random
import sys

from PIL import Image, ImageChops, ImageDraw, ImageFilter

WIDTH, HEIGHT = 4032, 3024
HORIZON = 1860
SEED = 20


def noise(rng: random.Random, size: tuple[int, int], coarsest: int, octaves: int, stretch: int = 1) -> Image.Image:
    """Return smooth grey noise: each octave is twice as fine as the one before, and counts half as much."""
    result = Image.new("L", size, 128)
    for octave in range(octaves):
        cells = coarsest * 2**octave
        columns, rows = max(2, cells // stretch), max(2, cells * size[1] // size[0])
        layer = Image.frombytes("L", (columns, rows), rng.randbytes(columns * rows))
        result = Image.blend(result, layer.resize(size, Image.Resampling.BICUBIC), 0.55 ** (octave + 1))
    return result


def tinted(mask: Image.Image, dark: tuple[int, int, int], light: tuple[int, int, int]) -> Image.Image:
    """Return a picture that goes from one colour to the other as the mask goes from black to white."""
    return Image.composite(Image.new("RGB", mask.size, light), Image.new("RGB", mask.size, dark), mask)


def sky(rng: random.Random) -> Image.Image:
    """Return an evening sky with clouds and a low sun."""
    size = (WIDTH, HORIZON)
    down = Image.linear_gradient("L").resize(size)
    picture = tinted(down, (52, 96, 158), (250, 205, 160))
    clouds = noise(rng, size, 4, 6, stretch=2).point(lambda level: max(0, min(255, (level - 120) * 5)))
    picture.paste(tinted(down, (228, 232, 240), (255, 214, 190)), mask=clouds.point(lambda level: level * 3 // 4))
    radius = 900
    # The gradient is at 181 where its circle meets the sides; beyond that there is no glow.
    glow = Image.radial_gradient("L").point(lambda level: max(0, 181 - level)).resize((2 * radius, 2 * radius))
    picture.paste(Image.new("RGB", glow.size, (255, 240, 205)), (2500 - radius, 1450 - radius), glow)
    return picture


def ridge(rng: random.Random, base: int, height: int, roughness: float) -> list[tuple[int, int]]:
    """Return the outline of a mountain range by midpoint displacement, from left to right."""
    points = [rng.uniform(0, 1) for _ in range(3)]
    spread = 0.6
    while len(points) < WIDTH // 6:
        finer = []
        for left, right in itertools.pairwise(points):
            finer += [left, (left + right) / 2 + rng.uniform(-spread, spread) / 2]
        points = [*finer, points[-1]]
        spread *= roughness
    step = WIDTH / (len(points) - 1)
    return [(round(index * step), round(base - height * (0.3 + point))) for index, point in enumerate(points)]


def mountains(rng: random.Random, picture: Image.Image) -> None:
    """Paint four ranges, from the farthest and palest to the nearest."""
    ranges = (
        (1700, 700, (126, 138, 172), (176, 178, 200)),
        (1780, 520, (84, 98, 130), (140, 146, 168)),
        (1830, 330, (44, 62, 74), (96, 108, 108)),
        (1870, 150, (20, 34, 28), (58, 74, 46)),
    )
    for base, height, dark, light in ranges:
        mask = Image.new("L", picture.size, 0)
        outline = ridge(rng, base, height, 0.58)
        ImageDraw.Draw(mask).polygon([(0, HORIZON), *outline, (WIDTH, HORIZON)], fill=255)
        rock = noise(rng, picture.size, 24, 8)
        slopes = ImageChops.subtract(rock, ImageChops.offset(rock, 9, 7), scale=0.6, offset=110)
        picture.paste(tinted(slopes, dark, light), mask=mask.filter(ImageFilter.GaussianBlur(1)))


def lake(rng: random.Random, above: Image.Image) -> Image.Image:
    """Return the water: what is above it, mirrored, darker and broken by waves."""
    size = (WIDTH, HEIGHT - HORIZON)
    mirrored = above.transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize(size).filter(ImageFilter.GaussianBlur(7))
    water = Image.blend(mirrored, Image.new("RGB", size, (18, 40, 58)), 0.45)
    waves = noise(rng, size, 60, 7, stretch=6).point(lambda level: max(0, min(255, (level - 135) * 4)))
    water.paste(Image.new("RGB", size, (226, 206, 190)), mask=waves.point(lambda level: level // 5))
    return water


def paint() -> Image.Image:
    """Return the whole picture."""
    rng = random.Random(SEED)
    above = sky(rng)
    mountains(rng, above)
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    picture.paste(above, (0, 0))
    picture.paste(lake(rng, above), (0, HORIZON))
    return picture


if __name__ == "__main__":
    paint().save(sys.argv[1] if len(sys.argv) > 1 else "photo.jpg", quality=80, optimize=True, progressive=False)
