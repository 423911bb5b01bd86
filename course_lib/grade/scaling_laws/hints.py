"""The exercises of lab 12, and three hints for each."""

from course_lib.grade.checks import Exercise, Lab

LAB = Lab(
    [
        Exercise(
            name="steps_for_budget",
            parameters=("flops", "num_layers", "d_model", "vocab_size", "batch_tokens"),
            hints=(
                "From the budget to the tokens, from the tokens to the steps. What does a token "
                "cost, forward and backward, for each entry of a matrix?",
                "N = 12 x num_layers x d_model^2 + vocab_size x d_model. C = 6 N D gives the "
                "tokens D, and a step reads batch_tokens of them. Whole steps, rounded down.",
                "    entries = 12 * num_layers * d_model**2 + vocab_size * d_model\n"
                "    return int(flops / (6 * entries) / batch_tokens)",
            ),
        ),
        Exercise(
            name="ladder_objective",
            parameters=("E", "A", "alpha", "budgets", "losses", "delta"),
            hints=(
                "One run after the other: what does the law say, how far is its logarithm from the "
                "measured one, and what does Huber make of that distance?",
                "r = log(E + A x^-alpha) - log(loss). Where |r| is at most delta it counts "
                "r^2 / 2, beyond it delta (|r| - delta / 2). Return the sum over all runs.",
                "    total = 0.0\n"
                "    for x, loss in zip(budgets, losses):\n"
                "        r = abs(math.log(E + A * x**-alpha) - math.log(loss))\n"
                "        total += r**2 / 2 if r <= delta else delta * (r - delta / 2)\n"
                "    return total",
            ),
        ),
        Exercise(
            name="forecast",
            hints=(
                "The law knows the loss of any budget. Which is the sixth's, in units of the first "
                "rung's? And what do the 200 other laws say of it?",
                "law.loss(24) is the prediction, interval(laws, 24) its two bounds. Hand in the "
                "losses of the five rungs with it, as a dict by name: the two other runs are no "
                "rungs.",
                "    foretold = float(law.loss(24))\n"
                "    low, high = interval(laws, 24)\n"
                '    predict("sixth_loss", round(foretold, 4))\n'
                '    said = {"loss": round(foretold, 4), "low": low, "high": high}\n'
                '    hand_in("forecast", ladder=ladder, said=said)',
            ),
        ),
        Exercise(
            name="sixth",
            hints=(
                "It is the run that sixth_run() gives, sent as a job of its own, and handed in by "
                "its folder when it has ended.",
                "Send it with start_run(sixth_run(), nodes=1), follow it with live_run, and hand "
                "in what live_run returns: hand_in_run takes a name and a folder.",
                '    hand_in_run("sixth", sixth.run_dir)',
            ),
        ),
        Exercise(
            name="optimal_parameters",
            parameters=("flops", "A", "B", "alpha", "beta"),
            hints=(
                "Put D = C / (6 N) into the law. Then only N is left: where is its derivative 0?",
                "alpha A / N^alpha = beta B / D^beta at the minimum: what one percent more "
                "parameters gain, one percent fewer tokens lose. Put D = C / (6 N) into it and "
                "solve for N.",
                "    balance = (alpha * A / (beta * B)) ** (1 / (alpha + beta))\n"
                "    return balance * (flops / 6) ** (beta / (alpha + beta))",
            ),
        ),
        Exercise(
            name="gpt3",
            hints=(
                "Two of the three numbers are about GPT-3's own budget. For the third, 175 billion "
                "is the best N: of which budget?",
                "The budget is 6 x 175e9 x 300e9. optimal_parameters gives N, C / (6 N) its "
                "tokens. For the third raise the budget until optimal_parameters gives 175e9; then "
                "C / (6 x 175e9).",
                "    flops = 6 * 175e9 * 300e9\n"
                "    n = optimal_parameters(flops, **constants)\n"
                "    larger = flops\n"
                "    while optimal_parameters(larger, **constants) < 175e9:\n"
                "        larger *= 1.001\n"
                '    hand_in("gpt3", found={"optimal_parameters": n, "optimal_tokens": flops / (6 '
                '* n),\n        "tokens_for_175b": larger / (6 * 175e9)})',
            ),
        ),
    ]
)
