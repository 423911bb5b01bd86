"""How many labels a year experts can give at the very most, beside what a text is labelled with.

Radiologists: Royal College of Radiologists, clinical radiology UK workforce census 2018, table 1:
3,296 of consultant grade in England, 5,551 in the whole of the UK, all grades. Street scenes: 1.5
hours for an image with every pixel labelled (Cordts et al. 2016, Cityscapes, section 2.2). Tokens:
GPT-3 was trained on 300 billion (Brown et al. 2020, table 2.1), each the label of those before it.

Assumed: 1,600 working hours a year, 2 minutes to read and label an X-ray, cameras with 30 images a
second.
"""

from matplotlib.figure import Figure

from slides.figures.style import BLUE, GREY, INK, ORANGE, log_ticks, name_line, new_axes

ALT = (
    "Labels a year on a logarithmic axis: 1,500 labellers of street scenes 1.6 million, all "
    "radiologists of England in a tenth of their time 16 million, those of the UK in all of it 266 "
    "million. GPT-3's text came with 300 billion."
)
SOURCE = (
    "RCR census 2018, table 1; Cordts et al. 2016, sec. 2.2; Brown et al. 2020, table 2.1; "
    "assumed: 1,600 h a year, 2 min a reading"
)

HOURS_PER_YEAR = 1600
READINGS_PER_HOUR = 30
IMAGES_PER_SECOND = 30
HOURS_PER_STREET_SCENE = 1.5
LABELLERS = 1500
ENGLAND_CONSULTANTS = 3296
UK_RADIOLOGISTS = 5551
GPT3_TOKENS = 300e9


def labels_per_year() -> dict[str, float]:
    """Return the labels of a year by who gives them."""
    reader = HOURS_PER_YEAR * READINGS_PER_HOUR
    return {
        "1 radiologist,\n10 % of the time": 0.1 * reader,
        "1,500 labellers,\nstreet scenes": LABELLERS * HOURS_PER_YEAR / HOURS_PER_STREET_SCENE,
        "all 3,296 of England,\n10 % of the time": 0.1 * ENGLAND_CONSULTANTS * reader,
        "all 5,551 of the UK,\nall of their time": UK_RADIOLOGISTS * reader,
        "text of GPT-3:\nits own label": GPT3_TOKENS,
    }


def draw() -> Figure:
    """Draw the labels as bars over a logarithmic axis."""
    figure, axes = new_axes()
    labels = labels_per_year()
    film_hours = labels["1,500 labellers,\nstreet scenes"] / IMAGES_PER_SECOND / 3600
    for place, (who, count) in enumerate(labels.items()):
        colour = BLUE if who.startswith("text") else GREY if "labellers" in who else ORANGE
        axes.barh(place, count, color=colour, height=0.62)
        words = _count(count)
        if "labellers" in who:
            words += f" = {film_hours:.0f} hours of film"
        inside = count == GPT3_TOKENS
        if inside:
            most = max(each for each in labels.values() if each < count)
            words += f": {round(count / most, -2):,.0f} times more"
        side, right = ("right", -8) if inside else ("left", 8)
        name_line(axes, words, (count, place), "w" if inside else INK, xytext=(right, 0), ha=side)
    axes.set_yticks(range(len(labels)), list(labels))
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    ticks = ["1 thousand", "1 million", "1 billion", "1 trillion"]
    log_ticks(axes.xaxis, [1e3, 1e6, 1e9, 1e12], ticks)
    axes.set_xlim(300, 2e12)
    axes.set_xlabel("labels (those of experts: in a year, at the very most)")
    return figure


def _count(value: float) -> str:
    """Write a count in words."""
    for size, name in ((1e9, " billion"), (1e6, " million"), (1, "")):
        if value >= size:
            digits = 1 if name and value / size < 10 else 0
            return f"{value / size:,.{digits}f}{name}"
    return f"{value:g}"
