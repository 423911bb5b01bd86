# %% [markdown]
# # 12 Scaling laws: what a budget buys
#
# **You will be able to** foretell the loss of a model before it is trained, from smaller ones, with
# an interval; and say how large a model a budget is worth, and when to take a smaller one.
#
# **It takes** 35 to 45 minutes and two cores. Nothing here needs a GPU.
#
# **What it is good for.** The largest run of a project is done once. Nobody tries three sizes of
# it and takes the best. So one trains small models, lays a curve through their losses, and reads
# off what the large one will do. The loss of GPT-4 was foretold so, from models with at most a
# ten-thousandth of its compute (OpenAI 2023, arXiv:2303.08774, section 3.1). You will do the same,
# smaller: five runs, a law, a sixth run foretold, and then sent.
#
# Under each exercise stands a check. Stuck? `hint("steps_for_budget", 1)` gives a nudge; levels 2
# and 3 say more, once you have tried.

# %% [markdown]
# ## 1. From a budget to steps
#
# **Why.** Models are compared fairly when each has cost the same. The cost is counted in FLOPs.
# Forward and backward, a token costs 6 of them for each entry of a matrix that it is multiplied
# with (lab 02). So $N$ entries and $D$ tokens cost
#
# $$C = 6\, N D .$$
#
# A block of $h$ = `d_model` has $12 h^2$ entries, and the head $V h$. The tables of tokens and
# places are only looked up in: they do not count. (Nor do attention's scores, which these papers
# leave out; in models as small as ours they would add a tenth.)
#
# **Write** `steps_for_budget(flops, num_layers, d_model, vocab_size, batch_tokens)`: how many whole
# steps does a budget pay for, if a step reads `batch_tokens`? Whatever is left does not pay for one
# more.

# %%
from course_lib.grade.scaling_laws import hint

# Stuck? hint("steps_for_budget", 1)


# %% answer="steps_for_budget"
def steps_for_budget(flops, num_layers, d_model, vocab_size, batch_tokens):
    """Return the whole steps that a budget of training FLOPs pays for."""
    ### BEGIN SOLUTION
    entries = 12 * num_layers * d_model**2 + vocab_size * d_model
    tokens = flops / (6 * entries)
    return int(tokens / batch_tokens)
    ### END SOLUTION


# %% tests="steps_for_budget_test" points=3
from course_lib.grade.scaling_laws import check_steps_for_budget

check_steps_for_budget(steps_for_budget)
### BEGIN HIDDEN TESTS
check_steps_for_budget(steps_for_budget, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# ## 2. A ladder, and two beside it
#
# The five rungs are one model, with 1, 2, 3, 5 and 8 times as much text, and so as large a budget.
# Two more runs, `small` and `large`, have the budget of `rung_3`, but half its parameters, and
# four times as many. The steps in this table are yours:

# %%
from course_lib.grade.scaling_laws import BESIDE, FIRST_FLOPS, LADDER, ladder_runs, parameters

runs = ladder_runs()
print("run      d_model       N      steps   tokens for each parameter   budget")
for name, (d_model, budget) in (LADDER | BESIDE).items():
    steps = steps_for_budget(budget * FIRST_FLOPS, 1, d_model, 512, 16 * 32)
    each = steps * 16 * 32 / parameters(d_model)
    print(f"{name:9}{d_model:6} {parameters(d_model):9,} {steps:8,} {each:15.0f} {budget:22}")
    assert steps == runs[name].train.steps

# %% [markdown]
# **Predict.** `rung_3`, `small` and `large` cost the same. A small model sees much text but can
# hold little; a large one could hold more but sees little. Which of the three will have the lowest
# loss? Write down its number of parameters, $N$ in the table:
# `predict("best_parameters", your number)`.

# %% answer="prediction_valley"
from course_lib.grade.predictions import compare_prediction, lock_prediction, predict

### BEGIN SOLUTION
predict("best_parameters", 19_200)
### END SOLUTION

# %% [markdown]
# Send them: two jobs of one rank, side by side, each trains some of the runs one after the other.
# They take about half a minute. (Could one not train once, and read the losses off on the way? No:
# the learning rate falls along a cosine to the *end of the run*. Half-way it is still high, and the
# loss higher than that of a run which was planned for half.)

# %% demo=true
from course_lib.experiment import start_series

lock_prediction("best_parameters")
halves = (("rung_5", "small"), ("rung_1", "rung_2", "rung_3", "rung_4", "large"))
jobs = [start_series({name: runs[name] for name in half}, nodes=1) for half in halves]

# %% [markdown]
# ## 3. Meanwhile: what is a good fit?
#
# **Why.** Along the ladder only the budget changes, so the loss is a function of the budget alone.
# Let $x$ be a run's budget over that of the first rung: 1, 2, 3, 5, 8. The law is
#
# $$L(x) = E + A\, x^{-\alpha} .$$
#
# $E$ is what no amount of text takes away from this model: text is not wholly foreseeable, and
# 19,200 parameters hold only so much. $A$ is what the first rung loses above that, and $\alpha$
# says how fast it goes. Three constants, five runs. The best constants are those with the smallest
# *objective*. Two things that matter, both from Hoffmann et al. 2022 (arXiv:2203.15556, eq. 3):
#
# - compare **logarithms**, $r = \log L(x) - \log(\text{measured loss})$: an error in percent;
# - a run that went wrong must not pull the law away from all others. **Huber's loss** counts small
#   errors as squares, and large ones in a straight line:
#
# $$\text{Huber}(r) = \begin{cases} \tfrac12 r^2 & |r| \le \delta \\ \delta\,(|r| - \tfrac12 \delta)
# & \text{else.} \end{cases}$$
#
# **Write** `ladder_objective(E, A, alpha, budgets, losses, delta)`: the sum over the runs of
# $\text{Huber}(r)$. `budgets` and `losses` are lists, an entry for each run.


# %% answer="ladder_objective"
import math


def ladder_objective(E, A, alpha, budgets, losses, delta):
    """Return the sum over runs of Huber's loss of log L(x) - log(measured loss)."""
    ### BEGIN SOLUTION
    total = 0.0
    for x, loss in zip(budgets, losses, strict=True):
        r = abs(math.log(E + A * x**-alpha) - math.log(loss))
        total += r**2 / 2 if r <= delta else delta * (r - delta / 2)
    return total
    ### END SOLUTION


# %% tests="ladder_objective_test" points=4
from course_lib.grade.scaling_laws import check_ladder_objective

check_ladder_objective(ladder_objective)
### BEGIN HIDDEN TESTS
check_ladder_objective(ladder_objective, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# ## 4. The losses
#
# Each run was judged on the same 65,536 tokens that none of them has learned from.

# %% demo=true
from course_lib.runlog import read_result
from course_lib.widgets import live_series

folders = {name: folder for job in jobs for name, folder in live_series(job).items()}
losses = {name: read_result(folders[name])["val_loss_last"] for name in runs}
ladder = {name: losses[name] for name in LADDER}
budgets = [budget for _, budget in LADDER.values()]
for name, loss in losses.items():
    print(f"{name:7} {loss:.4f} nats per token")

# %% demo=true
from IPython.display import Image

from course_lib.plots import png_bytes
from course_lib.plots_scaling import ladder_figure

words = {"small": "small: half the parameters", "large": "large: four times the parameters"}
beside = {words[name]: (budget, losses[name]) for name, (_, budget) in BESIDE.items()}
Image(png_bytes(ladder_figure(budgets, list(ladder.values()), beside=beside)))

# %% demo=true
same_budget = ("small", "rung_3", "large")
best = min(same_budget, key=lambda name: losses[name])
compare_prediction("best_parameters", parameters((LADDER | BESIDE)[best][0]))

# %% [markdown]
# Three runs with one budget make a *valley*, with the loss going up on both sides. Its floor is the
# compute-optimal model. Hoffmann et al. drew nine such valleys, of budgets from 6e18 to 3e21 FLOPs;
# section 7 comes back to where their floors lie. (On the left of ours a model could not hold all
# that it read, on the right it did not read enough.)

# %% [markdown]
# ## 5. Fit, and foretell
#
# Your objective decides. `fit_ladder` looks for the constants for which it is smallest.
#
# How sure is the law? If you trained the same rung with another seed (other first weights, other
# order of the text), its loss would be another one by about 0.3 %. So: move every loss by such a
# chance, fit again, two hundred times, and look at what these two hundred laws say. (Nothing keeps
# you from drawing runs instead, with replacement, as one does where there are many: a *bootstrap*.
# Of five runs, too often fewer than four different ones would be drawn.)

# %% demo=true
from course_lib.grade.scaling_laws import NOISE
from course_lib.plan.ladder_fit import fit_ladder, interval, refit_with_noise

law = fit_ladder(budgets, list(ladder.values()), ladder_objective)
laws = refit_with_noise(law, budgets, list(ladder.values()), ladder_objective, noise=NOISE)
print(law)
for name in ("E", "A", "alpha"):
    values = sorted(getattr(each, name) for each in laws)
    print(
        f"{name:5} {getattr(law, name):.3f}, 90 % of the fits: {values[10]:.3f}..{values[-11]:.3f}"
    )
for x in (8, 24, 200):
    low, high = interval(laws, x)
    print(f"x = {x:3}: {float(law.loss(x)):.3f}, 90 % of the fits: {low:.3f} to {high:.3f}")

# %% [markdown]
# The constants are hardly known one by one: a larger $E$ with a larger $\alpha$ fits as well. What
# they say *together* about a budget nearby is known far better; and the further away the budget,
# the less.
#
# **Foretell the sixth run.** It is the same model with 24 times the first rung's budget, three
# times the fifth's. (It reads 4.8 million tokens, and the training text has some 3.9 million. To
# read a part of it again is nearly as good as new text: Muennighoff et al. 2023, arXiv:2305.16264.)
# What will its held-out loss be, and within which interval? Hand in the prediction together with
# the ladder that it comes from:
#
# - `predict("sixth_loss", ...)`, written as a number with three digits behind the point, as above;
# - `hand_in("forecast", ladder=ladder, said={"loss": ..., "low": ..., "high": ...})`.

# %% answer="forecast"
from course_lib.grade.scaling_laws import hand_in

### BEGIN SOLUTION
foretold = round(float(law.loss(24)), 4)
low, high = interval(laws, 24)
predict("sixth_loss", foretold)
hand_in("forecast", ladder=ladder, said={"loss": foretold, "low": low, "high": high})
### END SOLUTION

# %% tests="forecast_test" points=3
from course_lib.grade.scaling_laws import check_forecast

check_forecast()

# %% [markdown]
# Now it counts. `sixth_run()` puts your prediction into the run's *name*, so the job's folder and
# its sealed receipt hold it: it was there before the first step. From this cell on it stays.

# %% demo=true
from course_lib.experiment import start_run
from course_lib.grade.scaling_laws import sixth_run

lock_prediction("sixth_loss")
sixth_job = start_run(sixth_run(), nodes=1)

# %% [markdown]
# ## 6. Still running: the best size for a budget
#
# **Why.** The ladder had one size, and so one $E$. `small` and `large` show that the size matters,
# too. Whoever may choose both needs a law of both:
#
# $$L(N, D) = E + \frac{A}{N^\alpha} + \frac{B}{D^\beta} .$$
#
# $A / N^\alpha$ is what a model of finite size loses (with $N$ fixed, it was part of our $E$), and
# $B / D^\beta$ what finite text loses. With $C = 6 N D$ given, more of the one is less of the
# other. At the floor of the valley (Hoffmann et al. 2022, eq. 4)
#
# $$N = G \left(\frac C6\right)^{\beta / (\alpha + \beta)}, \qquad
# G = \left(\frac{\alpha A}{\beta B}\right)^{1 / (\alpha + \beta)} .$$
#
# **Write** `optimal_parameters(flops, A, B, alpha, beta)`, this $N$. (From a formula to code is
# quick, and so are its slips. The check looks at three laws.)


# %% answer="optimal_parameters"
def optimal_parameters(flops, A, B, alpha, beta):
    """Return the parameters of the least loss that so many training FLOPs can buy."""
    ### BEGIN SOLUTION
    balance = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    return balance * (flops / 6) ** (beta / (alpha + beta))
    ### END SOLUTION


# %% tests="optimal_parameters_test" points=3
from course_lib.grade.scaling_laws import check_optimal_parameters

check_optimal_parameters(optimal_parameters)
### BEGIN HIDDEN TESTS
check_optimal_parameters(optimal_parameters, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# **The sixth run.** It may have ended by now:

# %% demo=true
from course_lib.widgets import live_run

sixth = live_run(sixth_job)
reached = sixth.result["val_loss_last"]
compare_prediction("sixth_loss", reached)

# %% demo=true
said = (24, float(law.loss(24)), *interval(laws, 24))
figure = ladder_figure(
    budgets, list(ladder.values()), law, laws, beside=beside, foretold=said, measured=(24, reached)
)
Image(png_bytes(figure))

# %% [markdown]
# **Hand in** the run: `hand_in_run("sixth", sixth.run_dir)`. The check asks the receipt what was
# foretold, and whether it came out to within 3 %. (Ladders of three seeds were 0.1, 0.3 and 1.9 %
# off.) Is the star inside your interval? It need not be: one run in ten is outside of an interval
# of 90 %, and more where the law is not quite true.

# %% answer="sixth"
from course_lib.grade.runs import hand_in_run

### BEGIN SOLUTION
hand_in_run("sixth", sixth.run_dir)
### END SOLUTION

# %% tests="sixth_test" points=4
from course_lib.grade.scaling_laws import check_sixth

check_sixth()

# %% [markdown]
# ## 7. Was GPT-3 too large?
#
# The valleys of Hoffmann et al. came from more than 400 models. Here are those that their paper
# shows, as one law (its constants fitted anew by Besiroglu et al. 2024, arXiv:2404.10102, who found
# the paper's own fit to have stopped early). A star is the floor of a valley:

# %% demo=true
from course_lib.plan.scaling import BESIROGLU_2024 as published
from course_lib.plots_scaling import scaling_law_figure

valleys = {flops: ([], []) for flops in (6e18, 1e20, 3e21, 6 * 175e9 * 300e9)}
Image(png_bytes(scaling_law_figure(published, valleys)))

# %% [markdown]
# GPT-3 has 175 billion parameters and was trained on 300 billion tokens (Brown et al. 2020,
# arXiv:2005.14165, Table 2.1). Its valley is the lowest one.
#
# **Find three numbers**, with `optimal_parameters` and the constants below:
#
# - `optimal_parameters`: which $N$ would have been best for GPT-3's budget?
# - `optimal_tokens`: on how many tokens?
# - `tokens_for_175b`: how many tokens would 175 billion parameters have needed to be the best
#   choice? (For a larger budget than GPT-3's they are. For which?)
#
# Hand them in by these names, in ones and not in billions, to within 2 %:
# `hand_in("gpt3", found={"optimal_parameters": ..., ...})`

# %% answer="gpt3"
constants = {"A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
### BEGIN SOLUTION
flops = 6 * 175e9 * 300e9
n = optimal_parameters(flops, **constants)
larger = flops
while optimal_parameters(larger, **constants) < 175e9:
    larger *= 1.001
hand_in(
    "gpt3",
    found={
        "optimal_parameters": n,
        "optimal_tokens": flops / (6 * n),
        "tokens_for_175b": larger / (6 * 175e9),
    },
)
### END SOLUTION

# %% tests="gpt3_test" points=3
from course_lib.grade.scaling_laws import check_gpt3

check_gpt3()

# %% [markdown]
# Where some published models stand (Hoffmann et al. 2022, Table 1; Touvron et al. 2023,
# arXiv:2302.13971, Table 2). On the line lies what is best for its budget; below it, too large a
# model saw too little text.

# %% demo=true
from course_lib.plots_scaling import allocation_figure

models = {
    "Gopher 280B": (280e9, 300e9),
    "Chinchilla 70B": (70e9, 1.4e12),
    "LLaMA 7B": (6.7e9, 1.0e12),
    "GPT-3 175B": (175e9, 300e9),
}
Image(png_bytes(allocation_figure(published, models)))

# %% [markdown]
# ## 8. Smaller than optimal, on purpose
#
# LLaMA 7B lies far on the other side of the line. Its makers knew: a model is trained once, and
# serves ever after. Serving costs 2 FLOPs for each parameter and token. What does a smaller model
# cost that reaches the same loss, and how many tokens must it serve until that pays?

# %% demo=true
from course_lib.plan.scaling import overtrain

print("share of the optimal size   parameters   tokens   extra training   pays after serving")
for share in (0.7, 0.5, 0.3, 0.2):
    way = overtrain(published, 5.76e23, shrink=share)
    print(
        f"{share:25.0%} {way.parameters / 1e9:10.1f}B {way.tokens / 1e12:7.1f}T {way.extra:14.0%} "
        f"{way.break_even_tokens / 1e12:17.1f}T tokens"
    )

# %% [markdown] written="smaller" points=2
# **Explain** (two or three sentences; a person reads them). At half the optimal size the extra
# training is small, at a fifth it is huge: why, in terms of the valley? And name a case in which
# you would train the model at the line, and one in which you would train a much smaller one.
#
# ### BEGIN SOLUTION
# The floor of a valley is flat: near it a loss of parameters is made good by few tokens. Further
# down A / N^alpha alone comes close to the whole loss that is aimed at, and no text makes good what
# the model cannot hold; below some size never. At the line: a model that is there to answer one
# question about training, or to teach a smaller one, and hardly serves. Much smaller: a model that
# millions of people use, or that must fit one GPU, or a phone; every token served costs less.
# ### END SOLUTION

# %% [markdown]
# ## Summary
#
# - $C = 6 N D$. Compare models at equal cost, each planned for its own end.
# - At one budget the loss over the size is a valley; its floor moves with the budget.
# - $L(x) = E + A x^{-\alpha}$ through a ladder, fitted in logarithms with Huber's loss, foretells
#   the next run; an interval says how sure, and less the further it reaches.
# - Say it before you run it. A prediction made afterwards is none.
# - Compute-optimal is best for training alone. What is served a lot should be smaller.
#
# **On a GPU site** nothing in this notebook changes.
#
# **Hand in**, in a class, by JupyterLab's menu Nbgrader > Assignment List, or with
# `workshop submit-lab 12`.
#
# ## Going further
#
# Fit the law of both, $L(N, D)$, to runs of your own: `course_lib.plan.scaling_fit.fit_chinchilla`
# does it, and refuses a ladder alone, as there only $D$ changes. Add ladders of two more widths
# with `start_series` (`course_lib.grade.scaling_laws.run_of` makes the runs). Target: its
# compute-optimal tokens for each parameter at the fifth rung's budget, with a bootstrap interval of
# less than a factor of 4.
