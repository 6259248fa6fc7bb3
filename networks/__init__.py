"""What is learned, and the geometry it lives in; nothing about training or files of videos."""
