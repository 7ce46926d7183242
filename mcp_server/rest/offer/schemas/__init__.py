"""The schemas of a document as tools show them: each part leaned and encoded once, each tool put together of bytes."""
