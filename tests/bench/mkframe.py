#!/usr/bin/env python3
"""Makes raw 1920x1080 YUYV frames of a desktop for `fakev4l.c`: `mkframe.py SET FILE`.

SET is `still` (one frame: only the counter that fakev4l draws changes), `desktop` (three, in which one line of text differs, as at
somebody's typing) or `noise` (four, in which every pixel differs, as with an analogue source or a film: the worst case).
"""

import random
import sys

from PIL import Image, ImageChops, ImageDraw

SIZE = (1920, 1080)
WORDS = (
    "kernel: usb 1-1 new high-speed device number using dummy_hcd root@host systemd Started login prompt boot loader menu GRUB Linux 6.12 "
    "EFI stub"
).split()
WINDOWS = [  # left, top, right, bottom, ground, text
    (60, 60, 1000, 700, (12, 12, 12), (220, 220, 220)),
    (1060, 120, 1860, 560, (250, 250, 250), (20, 20, 20)),
    (300, 740, 1500, 1040, (238, 238, 238), (10, 10, 90)),
]


def desktop():
    """Windows with text on a gradient, and a corner like a photograph."""
    generator = random.Random(1)
    picture = Image.new("RGB", SIZE)
    draw = ImageDraw.Draw(picture)
    for y in range(SIZE[1]):
        draw.line((0, y, SIZE[0] - 1, y), fill=(20 + y // 20, 60 + y // 12, 110 + y // 9))
    for left, top, right, bottom, ground, text in WINDOWS:
        draw.rectangle((left, top, right, bottom), fill=ground)
        draw.rectangle((left, top - 24, right, top), fill=(60, 90, 160))
        for y in range(top + 6, bottom - 14, 16):
            draw.text((left + 8, y), " ".join(generator.choice(WORDS) for _ in range((right - left) // 55)), fill=text)
    picture.paste(Image.effect_noise((340, 300), 60).convert("RGB"), (1540, 600))
    return picture


def frames(kind):
    base = desktop()
    if kind == "still":
        yield base
    elif kind == "desktop":
        for number in range(3):
            picture = base.copy()
            ImageDraw.Draw(picture).text((70, 640), f"frame {number} " * 8, fill=(255, 255, 0))
            yield picture
    elif kind == "noise":
        for _ in range(4):
            grey = Image.effect_noise(SIZE, 20)  # a mean of 128
            noise = Image.merge("RGB", (grey, grey, grey))
            yield ImageChops.add(base, noise, offset=-128)
    else:
        sys.exit(__doc__)


def yuyv(picture):
    luma, blue, red = (plane.tobytes() for plane in picture.convert("YCbCr").split())
    packed = bytearray(SIZE[0] * SIZE[1] * 2)
    packed[0::2], packed[1::4], packed[3::4] = luma, blue[0::2], red[0::2]
    return packed


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[2], "wb") as out:
        for picture in frames(sys.argv[1]):
            out.write(yuyv(picture))


if __name__ == "__main__":
    main()
