"""What a run keeps and shows: state, log, snapshots, memory, stop request, report, history, release."""
