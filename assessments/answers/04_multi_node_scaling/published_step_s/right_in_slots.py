# right


def published_step_s(row, flops_per_s, alpha_s, beta):
    """The pipeline as slots of one micro-batch through one group of layers: v m + p - 1 of them."""
    slots = row.virtual_stages * row.global_batch // row.dp // row.micro_batch
    slot_s = row.step_flops / (row.num_gpus * flops_per_s) / slots
    layout = row.layout
    sent = 2 * (layout.dp - 1) / layout.dp * 2 * row.parameters / layout.tp / layout.pp
    return (slots + row.pp - 1) * slot_s + alpha_s + sent * beta
