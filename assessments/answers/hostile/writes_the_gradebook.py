# Tries to write whatever is not its own.
# marks: mean_of_parts_test 0, weights_test 1.5
# said: written: nothing
import os
import sys

import course_lib

library = os.path.dirname(course_lib.__file__)
written = []
for folder in ("/usr/bin", sys.prefix, library, "/submission", "/etc", "/dev", "/"):
    try:
        with open(os.path.join(folder, "mine"), "w") as file:
            file.write("mine")
        written.append(folder)
    except OSError:
        pass
print("written:", ", ".join(written) or "nothing")
