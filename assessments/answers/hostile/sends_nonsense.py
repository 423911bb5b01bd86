# Sends bytes that mean nothing.
# marks: mean_of_parts_test 0, weights_test 0
# said: what came back is damaged
from course_lib.grade import border

border.pack = lambda answer: b"T" + b"no zip at all"
