"""PyPI `libsql-client` over HTTP. Arguments: the URLs of the tenants roomy, frugal and small."""

import asyncio
import os
import sys

import libsql_client
from checks import Checks, equal, refused

ROOMY, FRUGAL, SMALL = sys.argv[1:4]
TOKENS = {url: os.environ[f"TOKEN_{name}"] for name, url in zip(("ROOMY", "FRUGAL", "SMALL"), sys.argv[1:4])}
CLIENTS = 1000

SCHEMA = [
    "create table owner (id integer primary key, name text not null unique)",
    "create table thing (id integer primary key, owner integer references owner (id), size integer check (size < 100))",
    "create table kept (value)",
]


def connect(url=ROOMY, token=None):
    return libsql_client.create_client_sync(url, auth_token=token or TOKENS[url])


def run(sql, arguments=None, url=ROOMY, token=None):
    with connect(url, token) as client:
        return client.execute(sql, arguments)


def rows(sql, arguments=None):
    return [tuple(row) for row in run(sql, arguments).rows]


def kept(values):
    with connect() as client:
        insert = [libsql_client.Statement("insert into kept values (?)", [value]) for value in values]
        client.batch(["delete from kept", *insert])
    return [value for (value,) in rows("select value from kept order by rowid")]


def create_insert_select():
    with connect() as client:
        client.batch([*SCHEMA, "insert into owner (name) values ('Ada')"])
    equal(rows("select id, name from owner"), [(1, "Ada")])


def positional_arguments():
    equal(rows("select ?, ?2, ?1", ["a", "b"]), [("a", "b", "a")])


def named_arguments():
    equal(rows("select :a, @b, $c", {"a": 1, "b": "b", "c": None}), [(1, "b", None)])


def nulls_and_numbers():
    values = [None, 0, 2**53 + 1, 2**63 - 1, -(2**63), -0.0, 0.1, 1e308, 5e-324]
    equal(kept(values), values)


def unicode():
    values = ["", "grüße", "👩‍👩‍👧‍👦", "e\u0301", "\u202eabc", "a\0b", "\"'\\\n\r\t\u2028", "\U0010ffff"]
    equal(kept(values), values)


def blobs():
    values = [b"", b"\0", bytes(range(256)), bytes(range(256)) * 4096]
    equal(kept(values), values)


def affected_rows_and_last_insert_id():
    run("delete from kept")
    result = run("insert into kept values (1), (2), (3)")
    equal((result.rows_affected, result.last_insert_rowid), (3, 3))
    equal(run("update kept set value = 9 where value > 1").rows_affected, 2)


def column_names():
    equal(tuple(run("select id, name as called from owner").columns), ("id", "called"))


def errors():
    cases = [
        ("selec 1", "syntax error"),
        ("select * from missing", "no such table: missing"),
        ("insert into owner (name) values ('Ada')", "UNIQUE constraint failed: owner.name"),
        ("insert into owner (name) values (null)", "NOT NULL constraint failed: owner.name"),
        ("insert into thing (size) values (100)", "CHECK constraint failed: size < 100"),
        ("insert into thing (owner) values (77)", "FOREIGN KEY constraint failed"),
    ]
    for sql, words in cases:
        code = "SQLITE_CONSTRAINT" if "constraint" in words else "SQL"
        refused(lambda sql=sql: run(sql), words, code)


def a_batch_is_one_transaction():
    run("delete from kept")
    with connect() as client:
        refused(
            lambda: client.batch(["insert into kept values (1)", "insert into owner (name) values ('Ada')"]), "UNIQUE"
        )
        equal(rows("select count(*) from kept"), [(0,)])
        results = client.batch(["insert into kept values (1)", "select value from kept"])
    equal([tuple(row) for row in results[1].rows], [(1,)])


def hundred_thousand_rows():
    sql = """with recursive n (i) as (select 1 union all select i + 1 from n where i < 100000)
             select i, 'row ' || i, i / 2.0, null from n"""
    if rows(sql) != [(i, f"row {i}", i / 2.0, None) for i in range(1, 100001)]:
        raise AssertionError("the rows differ")


def ten_mebibytes():
    value = bytes(range(256)) * (10 << 12)
    if rows("select ?", [value]) != [(value,)]:
        raise AssertionError("the value differs")


def thousand_clients():
    run("drop table if exists crowd")
    run("create table crowd (id integer primary key, client integer)")

    async def speak(client):
        async with libsql_client.create_client(ROOMY, auth_token=TOKENS[ROOMY]) as connection:
            equal([tuple(row) for row in (await connection.execute("select ?", [client])).rows], [(client,)])
            await connection.execute("insert into crowd (client) values (?)", [client])

    async def all_at_once():
        return await asyncio.gather(*(speak(client) for client in range(CLIENTS)), return_exceptions=True)

    wrong = [outcome for outcome in asyncio.run(all_at_once()) if outcome is not None]
    if wrong:
        raise AssertionError(f"{len(wrong)} went wrong, such as {wrong[0]!r:.400}")
    found = rows("select count(*), count(distinct client), sum(client) from crowd")
    equal(found, [(CLIENTS, CLIENTS, CLIENTS * (CLIENTS - 1) // 2)])


def refused_at_the_daily_limit():
    def use_up():
        for _ in range(40):
            run("select 1", url=FRUGAL)

    refused(use_up, "requests", "20")


def refused_when_the_database_is_full():
    run("create table pile (value)", url=SMALL)

    def fill():
        for _ in range(200):
            run("insert into pile values (randomblob(20000))", url=SMALL)

    refused(fill, "storage quota exceeded", "1048576")


def a_read_only_token_reads():
    token = os.environ["TOKEN_READ_ONLY"]
    equal([tuple(row) for row in run("select count(*) >= 0 from kept", token=token).rows], [(1,)])
    refused(lambda: run("insert into kept values (1)", token=token), "SQLITE_READONLY", "allows reading only")


def refused_with_a_revoked_token():
    refused(lambda: run("select 1", token=os.environ["TOKEN_REVOKED"]), "revoked")


def refused_with_anothers_token():
    refused(lambda: run("select 1", token=os.environ["TOKEN_SMALL"]), "not made for this tenant")


checks = Checks()
for check in [
    create_insert_select,
    positional_arguments,
    named_arguments,
    nulls_and_numbers,
    unicode,
    blobs,
    affected_rows_and_last_insert_id,
    column_names,
    errors,
    a_batch_is_one_transaction,
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
checks.finish()
