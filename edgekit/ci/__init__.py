"""In other people's tests and CI: an assertion, a pytest plug-in, and the script of the GitHub Action."""
