"""SQLAlchemy with the dialect `sqlite+libsql`. Arguments: the addresses (host:port) of the tenants roomy, frugal and small."""

import datetime
import decimal
import os
import sys
import time

import sqlalchemy as sa
from checks import Checks, equal, refused
from sqlalchemy import orm

ROOMY, FRUGAL, SMALL = sys.argv[1:4]
TOKENS = {address: os.environ[f"TOKEN_{name}"] for name, address in zip(("ROOMY", "FRUGAL", "SMALL"), sys.argv[1:4])}
# The node ends a stream with state when it hears nothing for 10 s.
PAUSE_SECONDS = 11


def engine(address=ROOMY, token=None, **options):
    arguments = {"auth_token": token or TOKENS[address]}
    return sa.create_engine(f"sqlite+libsql://{address}", connect_args=arguments, **options)


class Base(orm.DeclarativeBase):
    pass


class Owner(Base):
    __tablename__ = "owner"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(50), unique=True)
    things: orm.Mapped[list["Thing"]] = orm.relationship(back_populates="owner", cascade="all, delete-orphan")


class Thing(Base):
    __tablename__ = "thing"
    __table_args__ = (sa.CheckConstraint("size < 100"), sa.Index("thing_by_size", "size"))
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    owner_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("owner.id"))
    size: orm.Mapped[int | None]
    weight: orm.Mapped[float | None]
    price: orm.Mapped[decimal.Decimal | None] = orm.mapped_column(sa.Numeric(10, 2))
    made: orm.Mapped[datetime.datetime | None]
    is_new: orm.Mapped[bool | None]
    more: orm.Mapped[dict | None] = orm.mapped_column(sa.JSON)
    owner: orm.Mapped[Owner] = orm.relationship(back_populates="things")


def create_all():
    Base.metadata.create_all(engine())
    # A second time asks whether the tables are there.
    Base.metadata.create_all(engine())


def reflection():
    inspector = sa.inspect(engine())
    equal(inspector.get_table_names(), ["owner", "thing"])
    equal([column["name"] for column in inspector.get_columns("owner")], ["id", "name"])
    equal(inspector.get_pk_constraint("owner")["constrained_columns"], ["id"])
    equal(inspector.get_foreign_keys("thing")[0]["referred_table"], "owner")
    equal([index["name"] for index in inspector.get_indexes("thing")], ["thing_by_size"])


def insert_and_select_objects():
    values = {
        "size": 7,
        "weight": 1e-300,
        "price": decimal.Decimal("12.34"),
        "made": datetime.datetime(2026, 2, 28, 23, 59, 59, 999999),
        "is_new": True,
        "more": {"ü": [1, None, "👩‍👧"]},
    }
    with orm.Session(engine()) as session:
        owner = Owner(name="Ada", things=[Thing(**values), Thing()])
        session.add(owner)
        session.commit()
        equal(owner.id, 1)
    with orm.Session(engine()) as session:
        full, empty = session.scalars(sa.select(Thing).join(Owner).where(Owner.name == "Ada").order_by(Thing.id))
        equal({name: getattr(full, name) for name in values}, values)
        equal({name: getattr(empty, name) for name in values}, dict.fromkeys(values))
        equal(full.owner.name, "Ada")


def update_and_delete():
    with orm.Session(engine()) as session:
        equal(session.execute(sa.update(Thing).where(Thing.size == 7).values(size=8)).rowcount, 1)
        equal(session.execute(sa.delete(Thing).where(Thing.size.is_(None))).rowcount, 1)
        session.commit()
        equal(session.scalars(sa.select(Thing.size)).all(), [8])


def rollback():
    with orm.Session(engine()) as session:
        session.add(Owner(name="Bob"))
        session.flush()
        equal(session.scalar(sa.select(sa.func.count()).select_from(Owner)), 2)
        session.rollback()
        equal(session.scalar(sa.select(sa.func.count()).select_from(Owner)), 1)


def errors():
    cases = [
        (Owner(name="Ada"), "UNIQUE constraint failed: owner.name"),
        (Owner(), "NOT NULL constraint failed: owner.name"),
        (Thing(owner_id=1, size=100), "CHECK constraint failed"),
        (Thing(owner_id=77), "FOREIGN KEY constraint failed"),
    ]
    for value, words in cases:
        with orm.Session(engine()) as session:
            session.add(value)
            refused(session.commit, words, "SQLITE_CONSTRAINT")
    with engine().connect() as connection:
        refused(lambda: connection.execute(sa.text("select * from missing")), "no such table: missing")


def core_and_columns():
    with engine().connect() as connection:
        result = connection.execute(sa.text("select id, name as called from owner where name = :name"), {"name": "Ada"})
        equal(list(result.keys()), ["id", "called"])
        equal(result.mappings().all(), [{"id": 1, "called": "Ada"}])


def many_rows():
    with engine().begin() as connection:
        connection.execute(sa.insert(Owner), [{"name": f"owner {number}"} for number in range(500)])
    with engine().connect() as connection:
        equal(connection.scalar(sa.select(sa.func.count()).where(Owner.name.like("owner %"))), 500)


def a_connection_of_the_pool_goes_on_after_a_pause():
    pool = engine()
    with pool.connect() as connection:
        equal(connection.execute(sa.text("select 1")).all(), [(1,)])
    time.sleep(PAUSE_SECONDS)
    with pool.connect() as connection:
        equal(connection.execute(sa.text("select 2")).all(), [(2,)])


def refused_at_the_daily_limit():
    def use_up():
        with engine(FRUGAL).connect() as connection:
            for _ in range(40):
                connection.execute(sa.text("select 1")).all()

    refused(use_up, "429", "requests", "20")


def refused_when_the_database_is_full():
    pool = engine(SMALL)
    with pool.begin() as connection:
        connection.execute(sa.text("create table pile (value)"))

    def fill():
        for _ in range(200):
            with pool.begin() as connection:
                connection.execute(sa.text("insert into pile values (randomblob(20000))"))

    refused(fill, "storage quota exceeded", "1048576")
    with pool.begin() as connection:
        connection.execute(sa.text("delete from pile"))


def select_one(token):
    with engine(token=token).connect() as connection:
        return connection.execute(sa.text("select 1")).all()


def a_read_only_token_reads():
    pool = engine(token=os.environ["TOKEN_READ_ONLY"])
    with pool.connect() as connection:
        equal(connection.execute(sa.text("select count(*) >= 0 from owner")).all(), [(1,)])

    def write():
        with pool.begin() as connection:
            connection.execute(sa.text("insert into owner (name) values ('by a reader')"))

    refused(write, "SQLITE_READONLY", "allows reading only")


def refused_with_a_revoked_token():
    refused(lambda: select_one(os.environ["TOKEN_REVOKED"]), "401", "revoked")


def refused_with_anothers_token():
    refused(lambda: select_one(os.environ["TOKEN_SMALL"]), "403", "not made for this tenant")


checks = Checks()
for check in [
    create_all,
    reflection,
    insert_and_select_objects,
    update_and_delete,
    rollback,
    errors,
    core_and_columns,
    many_rows,
    a_connection_of_the_pool_goes_on_after_a_pause,
    refused_at_the_daily_limit,
    refused_when_the_database_is_full,
    a_read_only_token_reads,
    refused_with_a_revoked_token,
    refused_with_anothers_token,
]:
    checks.run(check.__name__, check)
checks.finish()
