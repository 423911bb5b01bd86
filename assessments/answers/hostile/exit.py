# A cell that ends the kernel.
# marks: mean_of_parts_test 0, weights_test 1.5
# said: the kernel ended: did the cell call os._exit
import os

os._exit(0)
