"""Where a run takes place: fixed blocks, devices, processes, memory, progress."""
