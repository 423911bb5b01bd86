# A cell that crashes Python itself.
# marks: mean_of_parts_test 0, weights_test 1.5
# said: the kernel ended
import ctypes

ctypes.string_at(0)
