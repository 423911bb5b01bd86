# promised: it must be an ordinary file, as hand_in writes it


def hand_in(file):
    file.mkdir()
