"""Whether pages of a relation are as the server wrote them, told by their checksums."""


def bad_pages(data: memoryview, first_block: int, *, begun: int | None = None) -> list[int]:
    """Numbers of blocks whose checksum is wrong, or that are new but not all zeros.

    `first_block`: the relation's number of the first one. A rest that is no whole page is left
    out. Give it pages by the hundred: a few at a time are slow. `begun`: the start LSN of the
    backup that they come from; pages written since then may be torn, and its WAL repairs them.
    """
    from drkit.postgres import lanes  # noqa: PLC0415  numpy takes a tenth of a second

    return lanes.bad_pages(data, first_block, begun)
