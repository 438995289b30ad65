// npm `@libsql/client` over HTTP. Arguments: the flavour (`http` or `web`), then the nodes' addresses (host:port) for the
// tenants roomy, forgotten, frugal and small, then the names of the checks to run.

const [flavour, roomyNode, forgottenNode, frugalNode, smallNode, ...wanted] = process.argv.slice(2);
const { createClient } = await import(`@libsql/client/${flavour}`);

const CLIENTS = 1000;
// The node ends an open transaction when it hears nothing for 10 s.
const PAUSE_MS = 11_000;
const started = Date.now();

const token = (name) => process.env[`TOKEN_${name.toUpperCase()}`];

// A name that ends in .localhost does not resolve everywhere: the header names the tenant instead.
function connect(tenant = "roomy", node = roomyNode, options = {}) {
    const named = (request) => {
        request.headers.set("x-tenant-id", tenant);
        return fetch(request);
    };
    return createClient({ url: `http://${node}`, authToken: token(tenant), fetch: named, ...options });
}

const client = connect();
const big = connect("roomy", roomyNode, { intMode: "bigint" });

const shown = (value) =>
    JSON.stringify(value, (_, part) => {
        if (typeof part === "bigint") return `${part}n`;
        if (part instanceof ArrayBuffer || ArrayBuffer.isView(part)) return `bytes ${Buffer.from(part).toString("hex")}`;
        return part;
    })?.slice(0, 300);

function equal(found, expected) {
    const same = (a, b) => {
        if (a instanceof ArrayBuffer || ArrayBuffer.isView(a)) return Buffer.from(a).equals(Buffer.from(b));
        if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((part, at) => same(part, b[at]));
        return Object.is(a, b);
    };
    if (!same(found, expected)) throw new Error(`${shown(found)} instead of ${shown(expected)}`);
}

/** `action` must fail with an error that a developer understands: all `words` are in its code or text. */
async function refused(action, ...words) {
    let found;
    try {
        found = await action();
    } catch (error) {
        const text = `${error.code} ${error.message}`;
        for (const word of words) {
            if (!text.includes(word)) throw new Error(`"${word}" is not in: ${text}`);
        }
        return error;
    }
    throw new Error(`no error, but ${shown(found)}`);
}

const rows = async (sql, args = [], by = client) =>
    (await by.execute({ sql, args })).rows.map((row) => Array.from({ length: row.length }, (_, at) => row[at]));

/** What comes back of `values`, written as arguments and read from the table. */
async function kept(values, by = client) {
    await by.batch(
        ["delete from kept", ...values.map((value) => ({ sql: "insert into kept values (?)", args: [value] }))],
        "write",
    );
    return (await rows("select value from kept order by rowid", [], by)).flat();
}

const SCHEMA = `
drop table if exists child;
drop table if exists thing;
drop table if exists owner;
drop table if exists kept;
create table owner (id integer primary key, name text not null unique);
create table thing (id integer primary key, owner integer references owner (id), size integer check (size < 100));
create table kept (value);
`;

const checks = {
    async create_insert_select() {
        await client.executeMultiple(SCHEMA);
        await client.execute("insert into owner (name) values ('Ada')");
        equal(await rows("select id, name from owner"), [[1, "Ada"]]);
    },

    async positional_arguments() {
        equal(await rows("select ?, ?2, ?1", ["a", "b"]), [["a", "b", "a"]]);
    },

    async named_arguments() {
        equal(await rows("select :a, @b, $c", { a: "a", b: "b", c: null }), [["a", "b", null]]);
    },

    async nulls_and_numbers() {
        const values = [null, 0.1, -1.5, 1e308, -1e308, 5e-324];
        equal(await kept(values), values);
    },

    async integers_of_64_bits() {
        const values = [0n, -1n, 2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 63n)];
        equal(await kept(values, big), values);
        await refused(() => rows("select 9007199254740993"), "too large");
    },

    async unicode() {
        const values = ["", "grüße", "👩‍👩‍👧‍👦", "e\u0301", "\u202eabc", "a\0b", "\"'\\\n\r\t\u2028", "\u{10ffff}"];
        equal(await kept(values), values);
    },

    async blobs() {
        const all = Uint8Array.from({ length: 256 }, (_, at) => at);
        const values = [new Uint8Array(0), new Uint8Array(1), all, Uint8Array.from({ length: 1 << 20 }, (_, at) => at)];
        equal(await kept(values), values);
    },

    async affected_rows_and_last_insert_id() {
        await client.execute("delete from kept");
        const result = await client.execute("insert into kept values (1), (2), (3)");
        equal([result.rowsAffected, result.lastInsertRowid], [3, 3n]);
        equal((await client.execute("update kept set value = 9 where value > 1")).rowsAffected, 2);
        equal((await client.execute("delete from kept where value = 9")).rowsAffected, 2);
    },

    async column_names_and_declared_types() {
        const result = await client.execute("select id, name as called, 1 + 1 as two from owner");
        equal(result.columns, ["id", "called", "two"]);
        equal(result.columnTypes.slice(0, 2), ["INTEGER", "TEXT"]);
        equal(result.rows[0].called, "Ada");
    },

    async errors() {
        const cases = [
            ["selec 1", "SQL", "syntax error"],
            ["select * from missing", "SQLITE_ERROR", "no such table: missing"],
            ["insert into owner (name) values ('Ada')", "SQLITE_CONSTRAINT", "UNIQUE constraint failed: owner.name"],
            ["insert into owner (name) values (null)", "SQLITE_CONSTRAINT", "NOT NULL constraint failed: owner.name"],
            ["insert into thing (size) values (100)", "SQLITE_CONSTRAINT", "CHECK constraint failed: size < 100"],
            ["insert into thing (owner) values (77)", "SQLITE_CONSTRAINT", "FOREIGN KEY constraint failed"],
        ];
        for (const [sql, ...words] of cases) await refused(() => client.execute(sql), ...words);
        equal(await rows("select count(*) from thing"), [[0]]);
    },

    async a_batch_is_one_transaction() {
        await client.execute("delete from kept");
        const failing = ["insert into kept values (1)", "insert into owner (name) values ('Ada')", "select 1"];
        const error = await refused(() => client.batch(failing, "write"), "SQLITE_CONSTRAINT", "UNIQUE");
        equal(error.statementIndex, 1);
        equal(await rows("select count(*) from kept"), [[0]]);
        const results = await client.batch(["insert into kept values (1)", "select value from kept"], "write");
        equal(results[1].rows[0].value, 1);
        equal((await client.batch(["select 1 as one", "select 2 as two"], "read"))[1].rows[0].two, 2);
    },

    async a_batch_of_a_thousand_different_statements() {
        const statements = Array.from({ length: 1000 }, (_, number) => `insert into kept values (${number})`);
        await client.batch(["delete from kept", ...statements], "write");
        equal(await rows("select count(*), sum(value) from kept"), [[1000, 499_500]]);
    },

    async migrations_run_without_foreign_keys() {
        await client.migrate(["create table child (parent references owner (id))", "insert into child values (77)"]);
        equal(await rows("select parent from child"), [[77]]);
        await refused(() => client.execute("insert into child values (78)"), "FOREIGN KEY");
    },

    async transaction_commits_and_rolls_back() {
        await client.execute("delete from kept");
        const first = await client.transaction("write");
        await first.execute("insert into kept values ('seen later')");
        equal(await rows("select count(*) from kept"), [[0]]);
        await refused(() => first.execute("insert into owner (name) values ('Ada')"), "UNIQUE");
        equal((await first.execute("select value from kept")).rows[0].value, "seen later");
        await first.commit();
        equal(await rows("select value from kept"), [["seen later"]]);
        const second = await client.transaction("write");
        await second.batch(["insert into kept values ('never seen')", "delete from owner"]);
        await second.rollback();
        equal(await rows("select value from kept"), [["seen later"]]);
        const third = await client.transaction("deferred");
        await third.execute("insert into kept values ('never seen')");
        third.close();
        equal(await rows("select value from kept"), [["seen later"]]);
    },

    async two_writers_wait_for_each_other() {
        await client.execute("delete from kept");
        const first = await client.transaction("write");
        await first.execute("insert into kept values ('first')");
        const second = connect().execute("insert into kept values ('second')");
        await first.execute("insert into kept values ('first again')");
        await first.commit();
        await second;
        equal(await rows("select value from kept order by rowid"), [["first"], ["first again"], ["second"]]);
    },

    async script() {
        await client.executeMultiple("begin; delete from kept; insert into kept values (1), (';'); commit; -- the end");
        equal(await rows("select value from kept order by rowid"), [[1], [";"]]);
        await refused(() => client.executeMultiple("delete from kept; selec; delete from owner"), "syntax error");
        equal(await rows("select count(*) from owner"), [[1]]);
    },

    async hundred_thousand_rows() {
        const sql = `with recursive n (i) as (select 1 union all select i + 1 from n where i < 100000)
                     select i, 'row ' || i, i / 2.0, null from n`;
        equal(
            await rows(sql),
            Array.from({ length: 100_000 }, (_, at) => [at + 1, `row ${at + 1}`, (at + 1) / 2, null]),
        );
    },

    async ten_mebibytes() {
        const value = Uint8Array.from({ length: 10 << 20 }, (_, at) => at);
        equal(await rows("select ?", [value]), [[value]]);
    },

    async thousand_clients() {
        await client.executeMultiple("drop table if exists crowd; create table crowd (id integer primary key, client)");
        const speak = async (number) => {
            const own = connect();
            equal(await rows("select ?, ?", [number, `of ${number}`], own), [[number, `of ${number}`]]);
            await own.execute({ sql: "insert into crowd (client) values (?)", args: [number] });
            await own.batch([{ sql: "update crowd set client = client + 1 where client = ?", args: [number + 0.5] }], "write");
            equal(await rows("select ?", [`again ${number}`], own), [[`again ${number}`]]);
            own.close();
        };
        const outcomes = await Promise.allSettled(Array.from({ length: CLIENTS }, (_, number) => speak(number)));
        const wrong = outcomes.filter((outcome) => outcome.status === "rejected");
        if (wrong.length > 0) throw new Error(`${wrong.length} went wrong, such as ${wrong[0].reason}`);
        const sum = (CLIENTS * (CLIENTS - 1)) / 2;
        equal(await rows("select count(*), count(distinct client), sum(client) from crowd"), [[CLIENTS, CLIENTS, sum]]);
    },

    async refused_at_the_daily_limit() {
        const frugal = connect("frugal", frugalNode);
        await refused(
            async () => {
                for (let turn = 0; turn < 40; turn++) await frugal.execute("select 1");
            },
            "requests",
            "20",
        );
    },

    async refused_when_the_database_is_full() {
        const small = connect("small", smallNode);
        await small.execute("create table if not exists pile (value)");
        await refused(
            async () => {
                for (let turn = 0; turn < 200; turn++) await small.execute("insert into pile values (randomblob(20000))");
            },
            "storage quota exceeded",
            "1048576",
        );
    },

    async refused_with_words_whatever_the_size() {
        // Such an answer comes while the client still sends. More than once: whether it is lost is a matter of luck.
        const beyondTheLimit = "x".repeat(20 << 20);
        for (let turn = 0; turn < 5; turn++) await refused(() => rows("select ?", [beyondTheLimit]), "request_bytes");
        const withinIt = "x".repeat(14 << 20);
        const frugal = connect("frugal", frugalNode);
        for (let turn = 0; turn < 5; turn++) await refused(() => rows("select ?", [withinIt], frugal), "requests");
    },

    async a_read_only_token_reads() {
        const reader = connect("roomy", roomyNode, { authToken: token("read_only") });
        equal(await rows("select count(*) >= 0 from kept", [], reader), [[1]]);
        await refused(() => reader.execute("insert into kept values (1)"), "SQLITE_READONLY", "allows reading only");
    },

    async refused_with_a_revoked_token() {
        const revoked = connect("roomy", roomyNode, { authToken: token("revoked") });
        await refused(() => revoked.execute("select 1"), "TOKEN_REVOKED");
    },

    async refused_with_anothers_token() {
        const another = connect("roomy", roomyNode, { authToken: token("small") });
        await refused(() => another.execute("select 1"), "NOT_YOUR_TENANT", "not made for this tenant");
    },

    async a_forgotten_transaction_is_rolled_back() {
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, started + PAUSE_MS - Date.now())));
        await refused(() => forgotten.execute("insert into kept values ('more')"), "baton");
        const after = connect("forgotten", forgottenNode);
        equal(await rows("select count(*) from kept", [], after), [[0]]);
    },
};

const forgetful = connect("forgotten", forgottenNode);
await forgetful.executeMultiple("drop table if exists kept; create table kept (value)");
const forgotten = await forgetful.transaction("write");
await forgotten.execute("insert into kept values ('forgotten')");

let well = 0;
for (const name of wanted) {
    try {
        await checks[name]();
        well += 1;
        console.log(`ok ${name}`);
    } catch (error) {
        console.log(`failed ${name}: ${String(error.stack ?? error).replace(/\s+/g, " ").slice(0, 600)}`);
    }
}
console.log(`${well} of ${wanted.length} checks are well`);
