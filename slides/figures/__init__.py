"""One module a figure, NAME.py with ALT, SOURCE and draw(), and its picture beside it, NAME.svg."""
