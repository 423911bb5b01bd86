# promised: is no number
def hand_in(file):
    file.write_text('{"findings": {"found": {"loader": 1e999}}}')
