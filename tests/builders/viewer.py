"""The report's viewer in a browser: what a test sets, what it sees, and which letters stand at the edges."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

VIEWER = "document.getElementById('viewer')"
CANVAS = f"{VIEWER}.querySelector('canvas')"
LETTERS = "LRAPSI"
FONT_BLUE = 12  # by which the blue of a letter is above its red; images are grey


class ViewerTab:
    """A tab that shows a report with volumes."""

    def __init__(self, tab):
        self.tab = tab
        tab.run(f"{VIEWER}.scrollIntoView({{behavior: 'instant'}})")
        tab.wait(f"{VIEWER}.dataset.ready")

    @property
    def where(self):
        return self.tab.run(f"{VIEWER}.querySelector('.where').textContent")

    @property
    def position(self):
        """Of the crosshair in mm (RAS)."""
        name, _, rest = self.where.partition(" ")
        assert name == "RAS"
        return np.array(rest.partition(" mm")[0].split(", "), float)

    def choose(self, label, text):
        """An entry of the list with a label, by how it begins."""
        self.tab.run(f"""(() => {{
            const labels = [...{VIEWER}.querySelectorAll('label')];
            const list = labels.find((it) => it.textContent.startsWith('{label}')).querySelector('select');
            const index = [...list.options].findIndex((it) => it.textContent.startsWith('{text}'));
            if (index === list.selectedIndex) return;
            list.selectedIndex = index;
            list.dispatchEvent(new Event('change'));
        }})()""")

    def show(self, case):
        self.choose("Case", case)
        self.tab.wait(f"{VIEWER}.dataset.case === '{case}'")

    def overlays(self, **opacity):
        """Opacity of reference, prediction and mistakes in percent; those that are not named are off."""
        for what in ("reference", "prediction", "mistakes"):
            self.tab.run(f"""(() => {{
                const range = {VIEWER}.querySelector('input[aria-label="opacity of {what}"]');
                const box = range.closest('.overlay').querySelector('input[type=checkbox]');
                if (box.checked !== {"true" if what in opacity else "false"}) box.click();
                if (range.value === '{opacity.get(what, 50)}') return;
                range.value = {opacity.get(what, 50)};
                range.dispatchEvent(new Event('input'));
            }})()""")

    def focus(self):
        self.tab.run(f"{CANVAS}.focus({{preventScroll: true}})")

    def picture(self):
        """(height, width, 3) of the canvas."""
        self.tab.run(f"{VIEWER}.querySelector('.stage').scrollIntoView({{behavior: 'instant', block: 'start'}})")
        self.tab.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        x, y, width, height = (
            round(its)
            for its in self.tab.run(f"(({{x, y, width, height}}) => [x, y, width, height])({CANVAS}.getBoundingClientRect())")
        )
        return self.tab.picture()[y : y + height, x : x + width]


def pixels_of(picture, colour):
    """(n, 2) rows and columns of the pixels of exactly a colour, "#rrggbb"."""
    return np.argwhere((picture == [int(colour[at : at + 2], 16) for at in (1, 3, 5)]).all(-1))


def edge_letters(picture):
    """Letters at the left, right, top and bottom of a view, told by their shape."""
    red, _, blue = np.moveaxis(picture.astype(int), -1, 0)
    parts, _ = ndimage.label(blue - red > FONT_BLUE, np.ones((3, 3)))
    found = [box for box in ndimage.find_objects(parts) if box[0].stop - box[0].start > 6]
    height, width = red.shape
    centres = [((box[0].start + box[0].stop) / 2 / height, (box[1].start + box[1].stop) / 2 / width) for box in found]
    picked = [
        min(range(len(found)), key=lambda at: side * centres[at][axis]) for axis, side in ((1, 1), (1, -1), (0, 1), (0, -1))
    ]
    return "".join(_letter((blue - red)[found[at]] > 2 * FONT_BLUE) for at in picked)


def _letter(mask):
    return max(LETTERS, key=lambda letter: np.corrcoef(_normal(mask).ravel(), _normal(_drawn(letter)).ravel())[0, 1])


def _drawn(letter):
    canvas = Image.new("L", (80, 80))
    ImageDraw.Draw(canvas).text((20, 10), letter, fill=255, font=ImageFont.load_default(size=40))
    return np.asarray(canvas) > 127


def _normal(mask):
    """Of a height of 24 pixels, in the middle of a square: an I stays narrow."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    part = Image.fromarray(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8) * 255)
    width = min(32, max(1, round(part.width * 24 / part.height)))
    square = np.zeros((24, 32))
    left = (32 - width) // 2
    square[:, left : left + width] = np.asarray(part.resize((width, 24)))
    return square
