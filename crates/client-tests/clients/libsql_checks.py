"""PyPI `libsql`, remote. Arguments: the URLs of the tenants roomy, forgotten, frugal and small."""

import multiprocessing
import os
import sys
import time

import libsql
from checks import Checks, equal, refused

ROOMY, FORGOTTEN, FRUGAL, SMALL = sys.argv[1:5]
TOKENS = {url: os.environ[f"TOKEN_{name}"] for name, url in zip(("ROOMY", "FORGOTTEN", "FRUGAL", "SMALL"), sys.argv[1:5])}
# The node ends an open transaction when it hears nothing for 10 s.
PAUSE_SECONDS = 11
# This SDK stops all threads of its process while it waits: clients at once are clients in several processes.
PROCESSES = 8
CLIENTS_EACH = 125

SCHEMA = """
create table owner (id integer primary key, name text not null unique);
create table thing (id integer primary key, owner integer references owner (id), size integer check (size < 100));
create table kept (value);
"""


def connect(url=ROOMY, token=None):
    return libsql.connect(url, auth_token=token or TOKENS[url])


def rows(connection, sql, arguments=()):
    return connection.execute(sql, arguments).fetchall()


def kept(values):
    """What comes back of `values`, written as arguments and read from the table."""
    connection = connect()
    connection.execute("delete from kept")
    connection.executemany("insert into kept values (?)", [(value,) for value in values])
    connection.commit()
    return [value for (value,) in rows(connection, "select value from kept order by rowid")]


def create_insert_select():
    connection = connect()
    connection.executescript(SCHEMA)
    connection.execute("insert into owner (name) values ('Ada')")
    connection.commit()
    equal(rows(connection, "select id, name from owner"), [(1, "Ada")])


def arguments():
    equal(rows(connect(), "select ?, ?2, ?1", ("a", "b")), [("a", "b", "a")])


def nulls_and_numbers():
    values = [None, 0, 1, -1, 2**31 - 1, -(2**31), -0.0, 0.1, 1e308, -1e308, 5e-324]
    equal(kept(values), values)


def integers_of_64_bits():
    # As arguments this SDK makes floats of what is beyond 32 bits: they come as literals.
    sql = "select 9007199254740993, 9223372036854775807, -9223372036854775807 - 1, -2147483649"
    equal(rows(connect(), sql), [(2**53 + 1, 2**63 - 1, -(2**63), -(2**31) - 1)])


def unicode():
    values = ["", "grüße", "日本語", "👩‍👩‍👧‍👦", "e\u0301", "\u202eabc", "a\0b", "\"'\\\n\r\t\u2028", "\U0010ffff"]
    equal(kept(values), values)


def blobs():
    values = [b"", b"\0", bytes(range(256)), bytes(range(256)) * 4096]
    equal(kept(values), values)


def affected_rows_and_last_insert_id():
    connection = connect()
    connection.execute("delete from kept")
    cursor = connection.execute("insert into kept values (1), (2), (3)")
    equal((cursor.rowcount, cursor.lastrowid), (3, 3))
    equal(connection.execute("update kept set value = 9 where value > 1").rowcount, 2)
    equal(connection.execute("delete from kept where value = 9").rowcount, 2)
    connection.rollback()


def column_names():
    cursor = connect().execute("select id, name as called, count(*) over () from owner")
    equal([column[0] for column in cursor.description], ["id", "called", "count(*) over ()"])


def errors():
    connection = connect()
    cases = [
        ("selec 1", "syntax error"),
        ("select * from missing", "no such table: missing"),
        ("insert into owner (name) values ('Ada')", "UNIQUE constraint failed: owner.name"),
        ("insert into owner (name) values (null)", "NOT NULL constraint failed: owner.name"),
        ("insert into thing (size) values (100)", "CHECK constraint failed: size < 100"),
        ("insert into thing (owner) values (77)", "FOREIGN KEY constraint failed"),
    ]
    for sql, words in cases:
        code = "SQLITE_CONSTRAINT" if "constraint" in words else ""
        refused(lambda sql=sql: rows(connection, sql), words, code)
        connection.rollback()
    equal(rows(connection, "select count(*) from thing"), [(0,)])


def transaction_commits_and_rolls_back():
    first, second = connect(), connect()
    first.execute("delete from kept")
    first.execute("insert into kept values ('seen later')")
    equal(first.in_transaction, True)
    equal(rows(second, "select value from kept where value = 'seen later'"), [])
    first.commit()
    equal(first.in_transaction, False)
    equal(rows(second, "select value from kept"), [("seen later",)])
    first.execute("insert into kept values ('never seen')")
    equal(rows(first, "select count(*) from kept"), [(2,)])
    first.rollback()
    equal(rows(first, "select value from kept"), [("seen later",)])


def a_failed_statement_keeps_the_transaction():
    connection = connect()
    connection.execute("delete from kept")
    connection.execute("insert into kept values (1)")
    refused(lambda: connection.execute("insert into owner (name) values ('Ada')"), "UNIQUE")
    connection.execute("insert into kept values (2)")
    connection.commit()
    equal(rows(connection, "select value from kept order by 1"), [(1,), (2,)])


def write_one(value):
    connection = connect()
    connection.execute("insert into kept values (?)", (value,))
    connection.commit()


def two_writers_wait_for_each_other():
    first = connect()
    first.execute("delete from kept")
    with multiprocessing.get_context("spawn").Pool(1) as other:
        writing = other.apply_async(write_one, ("second",))
        first.execute("insert into kept values ('first')")
        first.commit()
        writing.get(60)
    equal(sorted(rows(first, "select value from kept")), [("first",), ("second",)])


def executemany_is_one_transaction():
    connection = connect()
    connection.execute("delete from kept")
    connection.commit()
    refused(lambda: connection.executemany("insert into owner (name) values (?)", [("Bob",), ("Ada",)]), "UNIQUE")
    connection.rollback()
    equal(rows(connection, "select name from owner"), [("Ada",)])


def script():
    connection = connect()
    connection.executescript("begin; delete from kept; insert into kept values (1), (';'); commit; -- the end")
    equal(rows(connection, "select value from kept order by rowid"), [(1,), (";",)])


def hundred_thousand_rows():
    sql = """with recursive n (i) as (select 1 union all select i + 1 from n where i < 100000)
             select i, 'row ' || i, i / 2.0, null from n"""
    expected = [(i, f"row {i}", i / 2.0, None) for i in range(1, 100001)]
    found = rows(connect(), sql)
    equal(len(found), len(expected))
    if found != expected:
        raise AssertionError("the rows differ")
    cursor = connect().execute(sql)
    equal(cursor.fetchone(), expected[0])
    equal(cursor.fetchmany(2), expected[1:3])
    equal(cursor.fetchall()[-1], expected[-1])


def ten_mebibytes():
    value = bytes(range(256)) * (10 << 12)
    if rows(connect(), "select ?", (value,)) != [(value,)]:
        raise AssertionError("the value differs")


def crowd(number):
    """Clients that are all connected and have all read before the first of them writes; answers with what went wrong."""
    clients = {number * CLIENTS_EACH + index: connect() for index in range(CLIENTS_EACH)}

    def speak(client):
        equal(rows(clients[client], "select ?, ?", (client, f"of {client}")), [(client, f"of {client}")])

    def write(client):
        clients[client].execute("insert into crowd (client) values (?)", (client,))
        clients[client].commit()

    wrong = []
    for step in (speak, write, speak):
        for client in clients:
            try:
                step(client)
            except Exception as error:
                wrong.append(f"client {client}: {error}")
    return wrong


def thousand_clients():
    connect().executescript("drop table if exists crowd; create table crowd (id integer primary key, client integer)")
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as processes:
        wrong = sum(processes.map(crowd, range(PROCESSES), chunksize=1), [])
    if wrong:
        raise AssertionError(f"{len(wrong)} went wrong, such as {wrong[0]:.400}")
    count = PROCESSES * CLIENTS_EACH
    found = rows(connect(), "select count(*), count(distinct client), sum(client) from crowd")
    equal(found, [(count, count, count * (count - 1) // 2)])


def refused_at_the_daily_limit():
    def use_up():
        for _ in range(40):
            rows(connect(FRUGAL), "select 1")

    refused(use_up, "429", "requests", "20")


def refused_when_the_database_is_full():
    connection = connect(SMALL)
    connection.executescript("create table pile (value)")

    def fill():
        for _ in range(200):
            connection.execute("insert into pile values (randomblob(20000))")
            connection.commit()

    refused(fill, "storage quota exceeded", "1048576")
    connection.rollback()
    connection.execute("delete from pile")
    connection.commit()
    equal(rows(connection, "select count(*) from pile"), [(0,)])


def a_read_only_token_reads():
    connection = connect(token=os.environ["TOKEN_READ_ONLY"])
    equal(rows(connection, "select count(*) >= 0 from kept"), [(1,)])
    refused(lambda: rows(connection, "insert into kept values (1) returning value"), "SQLITE_READONLY", "allows reading only")


def refused_with_a_revoked_token():
    refused(lambda: rows(connect(token=os.environ["TOKEN_REVOKED"]), "select 1"), "401", "revoked")


def refused_with_anothers_token():
    refused(lambda: rows(connect(token=os.environ["TOKEN_SMALL"]), "select 1"), "403", "not made for this tenant")


def main():
    checks = Checks()
    started = time.monotonic()
    idle = connect()
    rows(idle, "select 1")
    forgetful = connect(FORGOTTEN)
    forgetful.executescript("create table kept (value)")
    forgetful.execute("insert into kept values ('forgotten')")

    def an_idle_connection_goes_on():
        equal(rows(idle, "select 2"), [(2,)])

    def a_forgotten_transaction_is_rolled_back():
        refused(lambda: forgetful.execute("insert into kept values ('more')"))
        equal(rows(connect(FORGOTTEN), "select count(*) from kept"), [(0,)])

    for check in [
        create_insert_select,
        arguments,
        nulls_and_numbers,
        integers_of_64_bits,
        unicode,
        blobs,
        affected_rows_and_last_insert_id,
        column_names,
        errors,
        transaction_commits_and_rolls_back,
        a_failed_statement_keeps_the_transaction,
        two_writers_wait_for_each_other,
        executemany_is_one_transaction,
        script,
        hundred_thousand_rows,
        ten_mebibytes,
        thousand_clients,
        refused_at_the_daily_limit,
        refused_when_the_database_is_full,
        a_read_only_token_reads,
        refused_with_a_revoked_token,
        refused_with_anothers_token,
    ]:
        checks.run(check.__name__, check)
    time.sleep(max(0.0, started + PAUSE_SECONDS - time.monotonic()))
    checks.run("an_idle_connection_goes_on", an_idle_connection_goes_on)
    checks.run("a_forgotten_transaction_is_rolled_back", a_forgotten_transaction_is_rolled_back)
    checks.finish()


if __name__ == "__main__":
    main()
