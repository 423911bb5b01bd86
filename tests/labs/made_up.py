"""A made-up lab with a cell of each kind, small enough to be built and run in a moment."""

LAB = '''\
# %% [markdown]
# # Means
#
# A mean of means is a mean only when all parts are equally long.

# %% readonly="means_setup"
from statistics import fmean

parts = [[1.0, 2.0, 3.0], [4.0]]

# %% answer="mean_of_parts"
def mean_of_parts(parts):
    """Return the mean of all numbers of all parts."""
    ### BEGIN SOLUTION
    everything = [number for part in parts for number in part]
    return fmean(everything)
    ### END SOLUTION


# %% tests="mean_of_parts_test" points=2
assert mean_of_parts(parts) == 2.5, "all numbers count alike: do not average the parts' means"

### BEGIN HIDDEN TESTS
assert mean_of_parts([[8.0], [0.0, 0.0, 0.0]]) == 2.0
### END HIDDEN TESTS

# %% answer="weights"
### BEGIN SOLUTION
weights = [len(part) / sum(map(len, parts)) for part in parts]
### END SOLUTION

# %% tests="weights_test" points=1.5 partial=true
0.75 * (weights[0] == 0.75) + 0.75 * (weights[1] == 0.25)

# %% [markdown]
# When is the mean of means right all the same?

# %% [markdown] written="why" points=1
# ### BEGIN SOLUTION
# When every part has as many numbers as any other one.
# ### END SOLUTION
'''
GRADE_IDS = ("means_setup mean_of_parts mean_of_parts_test weights weights_test why").split()
