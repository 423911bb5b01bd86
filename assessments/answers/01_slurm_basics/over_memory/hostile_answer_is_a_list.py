# promised: was not written by hand_in

answer = [17, "OUT_OF_MEMORY"]
