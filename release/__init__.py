"""What a release is made of, and how anybody checks it: `python -m release --help`, docs/supply-chain.md."""
