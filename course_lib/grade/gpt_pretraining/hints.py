"""The exercises of lab 02, and three hints for each."""

from course_lib.grade.checks import Exercise, Lab

LAB = Lab(
    [
        Exercise(
            name="merge_pair",
            parameters=("tokens", "pair", "new"),
            hints=(
                "Read the list with your finger. At each place: do this token and the next one "
                "make the pair? If so, how far does the finger move?",
                "A while loop with a place of its own can move by one or by two; a for loop "
                "cannot. The slice tokens[place : place + 2] is shorter at the end of the list, "
                "and that does no harm.",
                "    merged, place = [], 0\n"
                "    while place < len(tokens):\n"
                "        if tuple(tokens[place : place + 2]) == pair:\n"
                "            ...append new, and go on two places further...\n"
                "        else:\n"
                "            ...append tokens[place], and go on one place further...\n"
                "    return merged",
            ),
        ),
        Exercise(
            name="learning_rate",
            parameters=("step", "steps", "warmup_steps", "peak", "floor"),
            hints=(
                "Two cases: step < warmup_steps, or not. For the first, what has step 0, and what "
                "has step warmup_steps - 1?",
                "In the warm-up it is peak * (step + 1) / warmup_steps. Afterwards p goes from 0 "
                "in step warmup_steps to 1 in step steps - 1.",
                "    if step < warmup_steps:\n"
                "        return peak * (step + 1) / warmup_steps\n"
                "    p = (step - warmup_steps) / (steps - 1 - warmup_steps)\n"
                "and then the formula above: floor + (peak - floor) * half of (1 + cos(pi p)).",
            ),
        ),
        Exercise(
            name="count_parameters",
            parameters=("num_layers", "d_model", "vocab_size", "seq_len"),
            hints=(
                "Three kinds: two tables, once; the blocks, num_layers times; the last norm, once. "
                "How many numbers has each line of the table above?",
                "In a block, with d = d_model: qkv 3 d d + 3 d, out d d + d, up 4 d d + 4 d, down "
                "4 d d + d, and two norms of 2 d each.",
                "A block has 12 d d + 13 d numbers. To num_layers of them add the tables, "
                "vocab_size * d and seq_len * d, and the last norm, 2 d. The head is the token "
                "table, so it adds nothing.",
            ),
        ),
        Exercise(
            name="flops_per_iteration",
            parameters=(
                "batch",
                "seq_len",
                "num_layers",
                "d_model",
                "vocab_size",
                "recompute",
            ),
            hints=(
                "Count forward first: the blocks' matrices, attention, the head. Then ask of each "
                "how many times forward's work is done in an iteration.",
                "Backward is twice forward. So the head counts 3 times, and what is in the blocks "
                "(matrices and attention) 3 times, or 4 with recomputation.",
                "    blocks = num_layers * (24 * batch * seq_len * d_model**2\n"
                "                           + 4 * batch * seq_len**2 * d_model)\n"
                "    head = 2 * batch * seq_len * d_model * vocab_size\n"
                "Return blocks times 4 or 3, plus 3 times the head.",
            ),
        ),
        Exercise(
            name="training_days",
            parameters=("parameters", "tokens", "num_gpus", "flops_per_gpu"),
            hints=(
                "Work divided by speed is time. What is the work, in FLOPs? And the speed of all "
                "GPUs together, in FLOP/s?",
                "The work is 8 * tokens * parameters, the speed num_gpus * flops_per_gpu. That "
                "gives seconds.",
                "Divide 8 * tokens * parameters by (num_gpus * flops_per_gpu), and by the "
                "24 * 3600 seconds of a day.",
            ),
        ),
        Exercise(
            name="state_bytes",
            parameters=("num_parameters", "precision", "grad_dtype"),
            hints=(
                "Four lines of a table: which type has each part, and how many numbers for each "
                "parameter? Only two of them depend on precision, and one on grad_dtype.",
                "weights: the type precision. gradients: the type grad_dtype. master: float32, "
                "and only beside bf16 weights. optimizer: two numbers in float32, always.",
                '    size = {"float32": 4, "bf16": 2}\n'
                "    return {\n"
                '        "weights": size[precision] * num_parameters,\n'
                '        "gradients": ...the same with grad_dtype...,\n'
                '        "master": ...0 if precision is "float32", else 4 for each parameter...,\n'
                '        "optimizer": ...2 x 4 for each parameter...,\n'
                "    }",
            ),
        ),
        Exercise(
            name="trained",
            hints=(
                "A run is handed in by its folder. What live_run returned knows it.",
                "hand_in_run takes a name and the folder. If the loss is too high: was the rate "
                "near 3e-3, with a warm-up of a tenth of the steps?",
                'hand_in_run("trained", end.run_dir). For a lower loss change peak_lr and '
                "warmup_steps in section 3, and run the cells from there to here again.",
            ),
        ),
    ]
)
hint = LAB.hint
