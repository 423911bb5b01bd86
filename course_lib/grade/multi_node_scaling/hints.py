"""The exercises of lab 04, and three hints for each."""

from course_lib.grade.checks import Exercise, Lab

LAB = Lab(
    [
        Exercise(
            name="survived",
            hints=(
                "A run that is started again begins with its last checkpoint, if it has one. Which "
                "field of the run says how often it saves?",
                "dataclasses.replace(run.train, checkpoint_every=8) gives the training part with "
                "a checkpoint every 8 steps; put it into the run the same way. Hand the run in by "
                "its folder, when it has ended: hand_in_run takes a name and a folder.",
                "    train = dataclasses.replace(run.train, checkpoint_every=8)\n"
                "    surviving = start_run(dataclasses.replace(run, train=train), nodes=2)\n"
                "and at the end\n"
                '    hand_in_run("survived", survivor.run_dir)',
            ),
        ),
        Exercise(
            name="fit_alpha_beta",
            parameters=("sizes_bytes", "seconds"),
            hints=(
                "A message of 64 bytes takes a millisecond, one of 16 MiB a second, and each is "
                "measured to some percent. How wrong may a line be at either, in seconds?",
                "Least squares with weights: each difference is divided by the time itself before "
                "it is squared. numpy.polyfit(x, y, 1, w=...) multiplies each difference by w, and "
                "returns the slope first.",
                "    w = 1 / numpy.array(seconds)\n"
                "    beta, alpha_s = numpy.polyfit(sizes_bytes, seconds, 1, w=w)\n"
                "    return alpha_s, beta",
            ),
        ),
        Exercise(
            name="all_reduce_s",
            parameters=("num_bytes", "ranks", "alpha_s", "beta"),
            hints=(
                "How many bytes leave a rank in a ring? Lab 03 counted them. beta is the price of "
                "one byte.",
                "The ring goes round twice, n - 1 rounds each, and each time one n-th of the "
                "tensor leaves a rank: 2 (n - 1) / n of it. One rank alone sends nothing.",
                "    if ranks == 1:\n"
                "        return 0.0\n"
                "    return alpha_s + 2 * (ranks - 1) / ranks * num_bytes * beta",
            ),
        ),
        Exercise(
            name="tokens_per_s",
            parameters=("tokens", "compute_s", "gradient_bytes", "ranks", "alpha_s", "beta"),
            hints=(
                "How long does the step take? First everybody computes, then all sum.",
                "The step takes compute_s + all_reduce_s(...), with your function from before. "
                "compute_s is already that of a rank's own share.",
                "    step_s = compute_s + all_reduce_s(gradient_bytes, ranks, alpha_s, beta)\n"
                "    return tokens / step_s",
            ),
        ),
        Exercise(
            name="efficiency",
            parameters=("step_1_s", "step_n_s", "ranks", "scaling"),
            hints=(
                "If nothing were lost, how long would the step of n ranks be, for the same batch? "
                "And for n times the batch?",
                "Strong: it would be step_1_s / ranks. Weak: step_1_s. The efficiency is this best "
                "time over the measured one.",
                '    best_s = step_1_s / ranks if scaling == "strong" else step_1_s\n'
                "    return best_s / step_n_s",
            ),
        ),
        Exercise(
            name="smallest_batch",
            parameters=("sequence_s", "sum_s", "ranks", "micro_batch", "share"),
            hints=(
                "Write the step of a batch B: each rank computes B / ranks sequences, then comes "
                "the sum, which is the same for every B. When is the sum a quarter of it?",
                "sum_s <= share * (B / ranks * sequence_s + sum_s). Solve for B, then round up to "
                "a multiple of ranks x micro_batch: everybody takes whole micro-batches.",
                "    batch = ranks * sum_s * (1 - share) / share / sequence_s\n"
                "    portion = ranks * micro_batch\n"
                "    return max(1, math.ceil(batch / portion)) * portion",
            ),
        ),
        Exercise(
            name="scaled_lr",
            parameters=("lr", "batch", "new_batch", "rule"),
            hints=(
                "Both rules multiply lr by a factor that is made from k = new_batch / batch.",
                "linear: the factor is k. sqrt: it is the square root of k, k ** 0.5.",
                '    k = new_batch / batch\n    return lr * (k if rule == "linear" else k ** 0.5)',
            ),
        ),
        Exercise(
            name="published_step_s",
            parameters=("row", "flops_per_s", "alpha_s", "beta"),
            hints=(
                "Three terms: what a GPU computes, what it idles in the pipeline, and the sum of "
                "its gradients. Which of row's numbers does each need?",
                "Computing: row.step_flops / row.num_gpus / flops_per_s, and with the bubble times "
                "1 + (p - 1) / (v m), m = global_batch / (dp x micro_batch). The sum: all_reduce_s "
                "of 2 bytes x parameters / (tp x pp), over dp ranks.",
                "    compute_s = row.step_flops / row.num_gpus / flops_per_s\n"
                "    m = row.global_batch / (row.dp * row.micro_batch)\n"
                "    bubble = (row.pp - 1) / (row.virtual_stages * m)\n"
                "    gradient_bytes = 2 * row.parameters / (row.tp * row.pp)\n"
                "    sum_s = all_reduce_s(gradient_bytes, row.dp, alpha_s, beta)\n"
                "    return compute_s * (1 + bubble) + sum_s",
            ),
        ),
    ]
)
hint = LAB.hint
