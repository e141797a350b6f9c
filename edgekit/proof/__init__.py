"""What a file is worth: run it, compare it with the framework's own run, score it, judge it."""

#: Distributions whose versions change what is done here.
PACKAGES = ("scipy",)
