# A cell that never ends.
# marks: mean_of_parts_test 0, weights_test 1.5
# ends: never
# said: This cell was not done after
# said: mean_of_parts
while True:
    pass
