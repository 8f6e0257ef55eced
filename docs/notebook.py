# %% [markdown]
# # A run as data frames
#
# `testbed.load(RUN)` reads a run's folder into three pandas data frames: `cells` has a row for each
# call, `steps` one for each second of each direction, `events` one for each event of the middlebox.
# Make the run first, as in the tutorial: `./lab run quick --messenger whatsapp --out first`.

# %%
import testbed

run = testbed.load("first")
run.cells[["messenger", "transport", "censor", "seed", "verdict"]]

# %% [markdown]
# ## Which calls were usable?
#
# Count the calls of all seeds. A share of few calls is uncertain: `testbed compare first` prints
# its interval, and no share of two calls says much.

# %%
usable = run.cells.groupby(["censor", "transport"])["usable"].agg(["sum", "count"])
usable

# %% [markdown]
# ## How did the quality change during a call?
#
# R is the rating of the E-model: 70 and more is good. The worse direction decides on a call, so
# take the lower of both in each second, and then the median over the seeds. A call that was never
# set up has no seconds, and is missing here.

# %%
worse = run.steps.groupby(["censor", "transport", "seed", "from_s"])["r_fullband_100"].min()
by_second = worse.groupby(["censor", "transport", "from_s"]).median().unstack("from_s")
by_second.round()

# %% [markdown]
# ## What did the middlebox recognise?
#
# What a flow was recognised as, and in how many calls. "Recognised" is what the lab's detectors
# state, which are hypotheses about middleboxes.

# %%
recognised = run.events[run.events["event"].str.startswith("recognised as ")]
recognised.groupby(["censor", "transport", "event"])["cell"].nunique()

# %% [markdown]
# ## Why did calls fail?
#
# The reasons of each call that was not usable, in words.

# %%
failed = run.cells[~run.cells["usable"]]
reasons = failed[["censor", "transport", "seed", "reasons"]].explode("reasons")
reasons
