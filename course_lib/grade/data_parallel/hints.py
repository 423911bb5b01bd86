"""The exercises of lab 03, and three hints for each."""

from course_lib.grade.checks import Exercise, Lab

LAB = Lab(
    [
        Exercise(
            name="all_reduce",
            parameters=("tensor", "axis"),
            hints=(
                "With two ranks: each sends its tensor to the other, waits, and adds what came. "
                "Where does each rank find its own place and the number of ranks?",
                "Simplest for more ranks: hand the neighbour on the right what came last from the "
                "left, n - 1 times, and add each one that arrives. Post Send and Receive in one "
                "comm.exchange call, or all wait for each other.",
                "Begin with\n"
                "    right, left = (axis.rank + 1) % axis.size, (axis.rank - 1) % axis.size\n"
                "    result, passing = tensor.clone(), tensor\n"
                "and in each of the n - 1 rounds\n"
                "    came = torch.empty_like(passing)\n"
                "    ...exchange Send(passing, right) and Receive(came, left), wait for both...\n"
                "    result += came\n"
                "    passing = came",
            ),
        ),
        Exercise(
            name="average_gradients",
            parameters=("model", "mesh", "num_tokens"),
            hints=(
                "A mean over all tokens is a sum over all tokens, divided once. Which sum does a "
                "rank's mean over its own tokens come from?",
                "mean x num_tokens is the sum. Sum those over the ranks, sum the token counts too, "
                "and divide the one by the other.",
                "    count = torch.tensor(num_tokens)\n"
                "    comm.all_reduce(count, mesh.dp)\n"
                "and for every parameter p of the model\n"
                "    p.grad.mul_(num_tokens)\n"
                "    comm.all_reduce(p.grad, mesh.dp)\n"
                "    p.grad.div_(count)",
            ),
        ),
        Exercise(
            name="sum_gradients",
            parameters=("model", "mesh"),
            hints=(
                "Every parameter of the model has a p.grad, and every rank meets the parameters in "
                "the same order. What must happen to each?",
                "comm.all_reduce(tensor, axis) sums in place, over the axis that you name. The "
                "trainer divides by the tokens of the whole batch, so you do not.",
                "    for p in model.parameters():\n        comm.all_reduce(p.grad, mesh.dp)",
            ),
        ),
        Exercise(
            name="make_buckets",
            parameters=("parameters", "bucket_bytes"),
            hints=(
                "Backward begins at the loss: which parameter's gradient arrives first?",
                "Go through reversed(list(parameters)) and keep count of the bytes in the bucket "
                "that is being filled: p.numel() * p.element_size() each.",
                "For each parameter p of that size:\n"
                "    if not buckets or filled + size > bucket_bytes:\n"
                "        buckets.append([])\n"
                "        filled = 0\n"
                "Then append p to the last list and add its size to filled.",
            ),
        ),
        Exercise(
            name="overlap_buckets",
            parameters=("buckets", "axis"),
            hints=(
                "p.register_post_accumulate_grad_hook(f) calls f(p) the moment p.grad is complete. "
                "How does a bucket know that its last one has come?",
                "Count arrivals by bucket. At the last: flat = torch.cat of the bucket's "
                "gradients, pending = comm.start_all_reduce(flat, axis), and keep (bucket, flat, "
                "pending). Do not wait there: that is finish's part.",
                "finish does for each bucket, flat and pending that were kept\n"
                "    pending.wait()\n"
                "    parts = flat.split([p.numel() for p in bucket])\n"
                "    for p, part in zip(bucket, parts):\n"
                "        p.grad.copy_(part.view_as(p))\n"
                "Then empty the list and set the counts to 0: there is a next step.",
            ),
        ),
        Exercise(
            name="two_nodes",
            hints=(
                "A run is handed in by its folder. Which of the two runs had two nodes?",
                "hand_in_run takes a name and the folder; what live_run returns knows its own.",
                'hand_in_run("two_nodes", two.run_dir)',
            ),
        ),
    ]
)
hint = LAB.hint
