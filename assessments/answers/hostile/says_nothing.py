# Does not answer at all.
# marks: mean_of_parts_test 0, weights_test 0
# said: did not answer
from course_lib.grade import border

border.MIME = "text/plain"
border.serve = lambda request, names: 1 / 0
