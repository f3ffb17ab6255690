"""The scene graph: the items of a picture and their places. Questions are answered from it, never from pixels."""

from dataclasses import dataclass

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 40, 40),
    "green": (45, 150, 60),
    "blue": (45, 80, 205),
    "yellow": (235, 205, 50),
    "orange": (235, 130, 35),
    "purple": (135, 60, 170),
    "pink": (240, 140, 185),
    "white": (245, 245, 245),
    "black": (30, 30, 30),
    "brown": (120, 75, 40),
}
BAR_COLOURS = tuple(colour for colour in COLOURS if colour not in ("white", "black"))
"""A bar stands on white, inside a black frame."""
SHAPES = ("circle", "square", "triangle", "star", "hexagon", "cross", "diamond", "ring")
TEXTURES = ("plain", "striped", "dotted", "checkered", "shiny")
DIRECTIONS = ("left", "right", "up", "down")
WORDS = (
    "exit", "open", "sale", "push", "pull", "stop", "menu", "taxi", "cafe", "hotel", "bank", "park", "shop", "milk",
    "bread", "fruit", "water", "coffee", "tea", "salt", "soap", "book", "key", "map", "ticket", "gate", "train",
    "bus", "room", "lift", "fire", "help", "info", "free", "new", "hot", "cold", "fresh", "today", "closed",
)  # fmt: skip
DIAL_MARKS = 11
"""A dial runs from 0 to 10."""
SPOILS = ("blurred", "smeared", "covered", "tiny")
"""Ways in which a sign, a card or a dial can be unreadable."""
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")


@dataclass(frozen=True)
class Place:
    """Centre and radius as shares of the picture's shorter side, from the top left corner."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Solid:
    """A coloured shape."""

    place: Place
    shape: str
    colour: str
    large: bool
    texture: str
    angle: float

    @property
    def name(self) -> str:
        """Name in questions."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Sign:
    """A board with a word, or a tag with a price; ``spoiled`` names one of SPOILS where nobody can read it."""

    place: Place
    text: str
    is_price: bool
    font: int
    angle: float
    small: bool = False
    spoiled: str = ""

    @property
    def name(self) -> str:
        """Name in questions."""
        return ("small " if self.small else "") + ("price tag" if self.is_price else "sign")


@dataclass(frozen=True)
class Card:
    """A card with digits, handwritten (``samples`` are indices of the digit collection) or in a font.

    ``spoiled`` names one of SPOILS where nobody can read it.
    """

    place: Place
    digits: str
    samples: tuple[int, ...] | None
    font: int
    small: bool = False
    spoiled: str = ""

    @property
    def name(self) -> str:
        """Name in questions."""
        return "small card" if self.small else "card"


@dataclass(frozen=True)
class Arrow:
    """An arrow that points along an axis."""

    place: Place
    direction: str
    colour: str

    name = "arrow"


@dataclass(frozen=True)
class Dial:
    """A gauge from 0 to 10 with a needle; ``spoiled`` names one of SPOILS where the needle cannot be seen."""

    place: Place
    value: int
    small: bool = False
    spoiled: str = ""

    @property
    def name(self) -> str:
        """Name in questions."""
        return "small dial" if self.small else "dial"


@dataclass(frozen=True)
class Bars:
    """A small bar chart: one colour and one height (share of the chart) a bar."""

    place: Place
    colours: tuple[str, ...]
    heights: tuple[float, ...]

    name = "bar chart"


Item = Solid | Sign | Card | Arrow | Dial | Bars


def readable(item: Sign | Card | Dial, small: bool = False) -> bool:
    """True for an item of the usual size, or a ``small`` one, that can be read."""
    return item.small == small and not item.spoiled


@dataclass(frozen=True)
class Look:
    """Appearance of the picture: ground, light falling from ``light_angle``, blur in pixels, noise, clutter."""

    ground: tuple[int, int, int]
    light: float
    light_angle: float
    blur: float
    noise: float
    clutter: int


@dataclass(frozen=True)
class Row:
    """Small shapes side by side, from left to right."""

    members: tuple[Solid, ...]


@dataclass(frozen=True)
class Scene:
    """All contents of a picture. ``key`` names its split and seed, and seeds its details.

    A scene without ``pixels`` is square and may be drawn at any size; others are made for their ``pixels``, width and
    height. Places count in shorter sides, so ``x`` runs to ``width`` and ``y`` to ``height``, one of which is 1.
    Frames of a sequence share their key and differ in their noise.
    """

    key: str
    items: tuple[Item, ...]
    look: Look
    pixels: tuple[int, int] | None = None
    rows: tuple[Row, ...] = ()
    frame: int = 0

    @property
    def solids(self) -> tuple[Solid, ...]:
        """The coloured shapes, without those of rows."""
        return tuple(item for item in self.items if isinstance(item, Solid))

    @property
    def width(self) -> float:
        """Width in shorter sides."""
        return self.pixels[0] / min(self.pixels) if self.pixels else 1.0

    @property
    def height(self) -> float:
        """Height in shorter sides."""
        return self.pixels[1] / min(self.pixels) if self.pixels else 1.0
