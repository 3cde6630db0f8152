"""Daemons that are forked from a process which has imported everything: why, and what is the same and what is not.

A test suite that starts the daemon nine hundred times spends most of its time importing the same modules nine hundred
times. So each process of pytest has a nursery: a process that has imported them once (``__main__.py``), and forks a
daemon when it is asked to (``forking.py``). The daemon that it forks runs ``rkllmd.__main__.main`` as any other does.
It is a child of the test's own process, in its process group, with its folder, umask and resource limits; it has no
other descriptors than those it would have, and dies with the test's process.

A daemon may have a keeper, its parent, which executes the next daemon after a crash. In a process from the nursery
``execve`` becomes the program instead, with what the kernel would leave of the process
before (``execution.py``). Under coverage the nursery is measured from its start, and each daemon from its fork.

What is not the same: what the interpreter does at its start, and the modules' import, happened earlier and elsewhere;
``/proc/PID/cmdline`` is the nursery's; memory is shared, so that figures of it mean little; and at its end nothing of
the interpreter is taken apart, which would copy all that memory for nothing. Where that matters, tests start "cold"
(``Daemon(cold=True)``): each kind of start and of end is tested so at least once. These always start cold:

- with a launcher or descriptors: they are about the process that is executed;
- with a variable that acts when an interpreter or a library is loaded (``PYTHONPATH``, ``LD_PRELOAD`` …) or that a
  service manager sets;
- outside pytest: ``make bench`` measures the real thing. ``make crashes`` and ``make kills`` may fork.
"""
