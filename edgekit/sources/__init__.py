"""What a user hands in, and what may not be loaded."""

#: Distributions whose versions change what is done here.
PACKAGES = ("h5py",)
