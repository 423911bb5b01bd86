# promised: larger than 200 kB, which no answer is


def hand_in(file):
    with file.open("wb") as written:
        written.truncate(60_000_000)
