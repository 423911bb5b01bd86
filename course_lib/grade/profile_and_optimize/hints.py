"""The exercises of lab 05, and three hints for each."""

from course_lib.grade.checks import Exercise, Lab

LAB = Lab(
    [
        Exercise(
            name="own_time",
            parameters=("regions",),
            hints=(
                "A region's length counts in full for itself, and is taken away once: from the "
                "region that it stands in directly.",
                "Keep a list of the open regions. When one begins, first drop from its end those "
                "that have stopped by then; what is last is the region around the new one.",
                "For each name, start, stop:\n"
                "    while stack and stack[-1][1] <= start:\n"
                "        stack.pop()\n"
                "    own[name] = own.get(name, 0) + stop - start\n"
                "    if stack:\n"
                "        own[stack[-1][0]] -= stop - start\n"
                "    stack.append((name, stop))",
            ),
        ),
        Exercise(
            name="findings",
            hints=(
                "Six are guilty. Compare each number with the last column of the table.",
                "All nine numbers stand in what the cells above print: ms under `where the time "
                "went`, counts under the others. For heads and tiny_ops look at one layer.",
                'findings = {"loader": ...} with six entries, then '
                'hand_in("findings", found=findings). Innocent are those whose number is what a '
                "good run has, too.",
            ),
        ),
        Exercise(
            name="prefetch",
            parameters=("read", "steps"),
            hints=(
                "Reading and training are to go on at the same time: who reads, while training "
                "holds the batch that you have yielded?",
                "ThreadPoolExecutor(max_workers=1) has a thread. submit(read, step) returns at "
                "once; .result() waits for what it read, and raises what read has raised. Submit "
                "the next step before you yield this one.",
                "    with ThreadPoolExecutor(max_workers=1) as thread:\n"
                "        ahead = [thread.submit(read, step) for step in steps[:1]]\n"
                "        for step in steps:\n"
                "            batch = ahead.pop().result()\n"
                "            if step + 1 in steps:\n"
                "                ahead.append(thread.submit(read, step + 1))\n"
                "            yield batch",
            ),
        ),
        Exercise(
            name="attention",
            parameters=("q", "k", "v"),
            hints=(
                "torch has one function for all of this, for all heads and all sequences at once.",
                "torch.nn.functional.scaled_dot_product_attention(q, k, v, ...). A token must not "
                "see later ones: which argument says so?",
                "return F.scaled_dot_product_attention(q, k, v, is_causal=True)",
            ),
        ),
        Exercise(
            name="gradients_are_finite",
            parameters=("gradients",),
            hints=(
                "bool(tensor), tensor.item() and `if tensor:` wait for the device. Do everything "
                "with tensors, and that once, at the end.",
                "torch.isfinite(g).all() is a tensor with one truth in it. torch.stack puts a list "
                "of such tensors into one; is it all true?",
                "    found = [torch.isfinite(g).all() for g in gradients]\n"
                "    return not found or bool(torch.stack(found).all())",
            ),
        ),
        Exercise(
            name="optimized",
            hints=(
                "Three of the six are pieces of code, in train.slow. Three are settings.",
                "dataclasses.replace(slow, train=dataclasses.replace(slow.train, slow='', ...)). "
                "bucket_mib and checkpoint_every stand in train, recompute in layout.",
                'layout=dataclasses.replace(slow.layout, recompute="none"), and in train: slow="", '
                "bucket_mib=4.0, checkpoint_every=0. Everything else stays. Then "
                'hand_in_run("after", end.run_dir).',
            ),
        ),
    ]
)
hint = LAB.hint
