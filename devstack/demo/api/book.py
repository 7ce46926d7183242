"""The shop's book in SQLite: products and orders, seeded; every change is one transaction."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

Status = Literal["open", "shipped", "cancelled", "refunded"]
Category = Literal["tea", "kettle", "cup", "book"]
MAX_ORDERS: Final = 100_000

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS products (
  sku TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL, category TEXT NOT NULL,
  price INTEGER NOT NULL, stock INTEGER NOT NULL CHECK (stock >= 0)
);
CREATE TABLE IF NOT EXISTS orders (
  id INTEGER PRIMARY KEY AUTOINCREMENT, sku TEXT NOT NULL REFERENCES products, quantity INTEGER NOT NULL,
  price INTEGER NOT NULL, status TEXT NOT NULL, created_by TEXT NOT NULL, subject TEXT NOT NULL,
  created_at TEXT NOT NULL, note TEXT, refunded INTEGER
);
"""
_PRODUCTS: Final = (
    ("TEA-01", "Sencha", "Green tea, steamed, 100 g", "tea", 890, 120),
    ("TEA-02", "Assam", "Black tea, strong, 250 g", "tea", 1250, 80),
    ("TEA-03", "Rooibos", "No tea at all, 200 g", "tea", 690, 0),
    ("KET-01", "Kettle", "Steel, one litre", "kettle", 3900, 14),
    ("KET-02", "Teapot", "Cast iron, with a sieve", "kettle", 5400, 6),
    ("CUP-01", "Cup", "Stoneware, 200 ml", "cup", 1100, 45),
    ("CUP-02", "Two cups & a saucer", "Porcelain, blue", "cup", 2600, 12),
    ("BOOK-01", "The Book of Tea", "By Okakura, paperback", "book", 1400, 9),
)
_START: Final = datetime(2026, 1, 1, 9, tzinfo=UTC)


class NotThere(Exception):
    """There is no such product or order."""


class NotNow(Exception):
    """The state of things does not allow it; the text says which."""


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """What can be ordered; prices are in cents."""

    sku: str
    name: str
    description: str
    category: Category
    price: int
    stock: int


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What was ordered."""

    id: int
    sku: str
    quantity: int
    price: int
    status: Status
    created_by: str
    created_at: str
    note: str | None
    refunded: int | None


class Page(msgspec.Struct, frozen=True):
    """Which part of a list."""

    limit: int
    offset: int


class Book:
    """One connection, used from one thread; `path` is a file, or `:memory:` for as long as it is open."""

    def __init__(self, path: str = ":memory:") -> None:
        self._rows = sqlite3.connect(path, isolation_level=None)
        self._rows.row_factory = sqlite3.Row
        self._rows.executescript("PRAGMA foreign_keys = ON; PRAGMA synchronous = OFF;" + _TABLES)
        if not self._rows.execute("SELECT 1 FROM products LIMIT 1").fetchone():
            self._seed()

    def close(self) -> None:
        self._rows.close()

    def products(self, wanted: "Filter", page: Page) -> tuple[list[Product], int]:
        """A page of the products that pass, cheapest first, and how many pass."""
        rows, total = self._listed("products", wanted, "price, sku", page)
        return [msgspec.convert(dict(row), Product) for row in rows], total

    def product(self, sku: str) -> Product:
        """Raises `NotThere`."""
        row = self._rows.execute("SELECT * FROM products WHERE sku = ?", (sku,)).fetchone()
        if row is None:
            raise NotThere(f"there is no product {sku}")
        return msgspec.convert(dict(row), Product)

    def orders(self, wanted: "Filter", page: Page) -> tuple[list[Order], int]:
        """A page of the orders that pass, newest first, and how many pass."""
        rows, total = self._listed("orders", wanted, "id DESC", page)
        return [_order(row) for row in rows], total

    def order(self, number: int) -> Order:
        """Raises `NotThere`."""
        row = self._rows.execute("SELECT * FROM orders WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise NotThere(f"there is no order {number}")
        return _order(row)

    def create(self, sku: str, quantity: int, note: str | None, by: tuple[str, str]) -> Order:
        """Order a product for `by` (subject, name); raises `NotThere` or `NotNow`."""
        with self._change():
            product = self.product(sku)
            if product.stock < quantity:
                raise NotNow(f"there are {product.stock} of {sku}, not {quantity}")
            (kept,) = self._rows.execute("SELECT count(*) FROM orders").fetchone()
            if kept >= MAX_ORDERS:
                raise NotNow("the book is full")
            self._rows.execute("UPDATE products SET stock = stock - ? WHERE sku = ?", (quantity, sku))
            subject, name = by
            return self.order(self._insert(sku, quantity, product.price * quantity, "open", name, subject, note))

    def cancel(self, number: int) -> None:
        """Cancel an open order and put back what it took; raises `NotThere` or `NotNow`."""
        with self._change():
            order = self.order(number)
            if order.status != "open":
                raise NotNow(f"order {number} is {order.status}: only an open one can be cancelled")
            self._rows.execute("UPDATE orders SET status = 'cancelled' WHERE id = ?", (number,))
            self._rows.execute("UPDATE products SET stock = stock + ? WHERE sku = ?", (order.quantity, order.sku))

    def refund(self, number: int, amount: int | None) -> Order:
        """Pay a shipped order back, all of it unless said; raises `NotThere` or `NotNow`."""
        with self._change():
            order = self.order(number)
            if order.status != "shipped":
                raise NotNow(f"order {number} is {order.status}: only a shipped one can be refunded")
            paid = order.price if amount is None else amount
            if paid > order.price:
                raise NotNow(f"order {number} cost {order.price}, less than {paid}")
            self._rows.execute("UPDATE orders SET status = 'refunded', refunded = ? WHERE id = ?", (paid, number))
            return self.order(number)

    @contextmanager
    def _change(self) -> Iterator[None]:
        self._rows.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._rows.execute("ROLLBACK")
            raise
        self._rows.execute("COMMIT")

    def _listed(self, table: str, wanted: "Filter", order: str, page: Page) -> tuple[list[sqlite3.Row], int]:
        where, values = wanted.sql()
        (total,) = self._rows.execute(f"SELECT count(*) FROM {table}{where}", values).fetchone()  # nosec B608 # noqa: S608 - as below
        query = f"SELECT * FROM {table}{where} ORDER BY {order} LIMIT ? OFFSET ?"  # nosec B608 # noqa: S608 - names of ours alone
        return self._rows.execute(query, (*values, page.limit, page.offset)).fetchall(), total

    def _insert(self, *values: Any, at: datetime | None = None, refunded: int | None = None) -> int:
        moment = (at or datetime.now(UTC)).isoformat(timespec="milliseconds")
        sku, quantity, price, status, name, subject, note = values
        return int(
            self._rows.execute(
                "INSERT INTO orders (sku, quantity, price, status, created_by, subject, created_at, note, refunded)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (sku, quantity, price, status, name, subject, moment, note, refunded),
            ).lastrowid
            or 0
        )

    def _seed(self) -> None:
        with self._change():
            self._rows.executemany("INSERT INTO products VALUES (?, ?, ?, ?, ?, ?)", _PRODUCTS)
            for day in range(1, 31):
                sku, _, _, _, price, _ = _PRODUCTS[day % len(_PRODUCTS)]
                status = ("shipped", "open", "shipped", "cancelled")[day % 4]
                at = _START.replace(day=day)
                self._insert(sku, 1 + day % 3, price * (1 + day % 3), status, "shop", "shop", None, at=at)


class Filter:
    """Conditions that all must hold; the texts are of this module and `app`, what was sent goes in as values."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._values: list[Any] = []

    def add(self, text: str, *values: Any) -> None:
        """One more."""
        self._texts.append(text)
        self._values.extend(values)

    def sql(self) -> tuple[str, Sequence[Any]]:
        """As SQL, and its values."""
        return (" WHERE " + " AND ".join(self._texts) if self._texts else ""), tuple(self._values)


def _order(row: sqlite3.Row) -> Order:
    return msgspec.convert({name: row[name] for name in Order.__struct_fields__}, Order)
