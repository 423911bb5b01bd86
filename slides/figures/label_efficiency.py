"""Word error rate over hours of labelled speech, with and without pre-training.

wav2vec 2.0, LARGE (317 million parameters), pre-trained on 60,000 hours without labels (LV-60k),
decoded with a Transformer language model, on LibriSpeech test-other: Baevski et al. 2020
(arXiv:2006.11477), tables 1 and 2. Labels only, from the same tables: the better of the two systems
that use the 100 hours alone (TTS data augmentation), and LARGE from scratch on 960 hours.
"""

from matplotlib.figure import Figure

from slides.figures.style import BLUE, ORANGE, log_ticks, name_line, new_axes

ALT = (
    "Word error rate over hours of labels. Pre-trained on speech without labels, one hour of "
    "labels gives 5.8 percent, ten minutes 8.2; with labels alone, 100 hours give 13.5 percent."
)
SOURCE = (
    "Baevski et al. 2020 (wav2vec 2.0), arXiv:2006.11477, tables 1 and 2, LibriSpeech test-other"
)

HOURS = (1 / 6, 1, 10, 100, 960)
PRETRAINED = (8.2, 5.8, 4.9, 4.0, 3.3)
LABELS_ONLY = {100: 13.5, 960: 4.6}


def draw() -> Figure:
    """Draw both ways over a logarithmic axis of hours."""
    figure, axes = new_axes()
    axes.plot(HOURS, PRETRAINED, "o-", color=BLUE, markersize=12)
    for hours, wer in zip(HOURS, PRETRAINED, strict=True):
        name_line(axes, f"{wer:.1f}", (hours, wer), BLUE, xytext=(0, -20), ha="center")
    axes.plot(list(LABELS_ONLY), list(LABELS_ONLY.values()), "D", color=ORANGE, markersize=12)
    for hours, wer in LABELS_ONLY.items():
        name_line(axes, f"{wer:.1f}", (hours, wer), ORANGE, xytext=(12, 8))
    name_line(axes, "labels only", (100, 13.5), ORANGE, xytext=(-14, 0), ha="right")
    name_line(
        axes, "pre-trained on speech without labels", (1, 5.8), BLUE, xytext=(-4, 34), ha="left"
    )
    log_ticks(axes.xaxis, HOURS, ["10 minutes", "1", "10", "100", "960"])
    axes.set_xlim(0.07, 1800)
    axes.set_ylim(0, 15.5)
    axes.set_xlabel("labelled speech (hours)")
    axes.set_ylabel("word error rate (%)")
    return figure
