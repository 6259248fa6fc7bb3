"""What is in the cache that the fixture `fresh` made."""


def cached(tmp_path):
    """Names of what is kept, without the lock's and the checksums'."""
    folder = tmp_path / "the cache" / "aniportraitgan"
    return sorted(path.name for path in folder.iterdir() if path.suffix not in (".lock", ".sha256"))
