"""What runs in child processes: each step is a function of the folder that its files go into, and of a frozen request.

It returns a frozen answer; both cross the pipe as ``jobs/wire.py`` says. ``pipeline.py`` says in which order, and in
which kind of child.
"""

from os import PathLike

#: A file or folder in a request: a ``Ref`` or ``Given`` of ``jobs/run.py`` where it is asked, a path where it runs.
File = PathLike[str]
