"""Children that load what somebody else made: they see little, reach nothing, and write into one folder.

Checks of a file (``edgekit/sources``) can have holes, and so can the libraries that read it. A confined child therefore
has nothing that would be worth taking, whatever runs in it:

- it *reads* Python and every folder on Python's path, the system's libraries (/usr, /lib, /nix/store, LD_LIBRARY_PATH),
  facts about the processor, its own entry in /proc, and what it was handed; neither the user's files, nor /etc, nor the
  environment variables of the user;
- it *writes* into the ``out`` folder of its room: files and folders, no links, pipes, sockets or devices;
- it has no sockets, in a network without devices, and cannot send signals to other processes;
- it gains no rights by what it executes, holds no capabilities, and ends with all that it started;
- its memory, CPU time, and the size of a file that it writes are limited.

It stays so for its life, and serves one source only. The parent believes nothing that it says beyond what it checks:
what it wrote is copied out file by file, its answers are JSON of limited size.

``kernel`` is what Linux offers for that, ``entering`` runs in the child, ``room`` in the parent. Where a system lacks a
part of it the rest holds; ``edgekit doctor`` shows what was found to hold by trying it.
"""
