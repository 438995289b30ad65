//! Random scripts: tables that hang together, statements that mostly work, and some that do not.
//!
//! Nothing here may depend on the clock, on randomness or on the order in which SQLite happens to find rows.

use rand::Rng;
use rand::seq::IndexedRandom as _;
use rusqlite::types::Value;

#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) arguments: Vec<Value>,
}

impl Statement {
    pub(crate) fn without_arguments(sql: &str) -> Self {
        Self {
            sql: sql.to_owned(),
            arguments: Vec::new(),
        }
    }
}

/// Constraints of every kind, cascades, a trigger, a view, a generated column, a table without rowid.
const SCHEMA: &[&str] = &[
    "create table person (id integer primary key, name text not null unique collate nocase, age int check (age < 150),
        born text default '2000-01-01', initial text generated always as (upper(substr(name, 1, 1))) stored)",
    "create table account (id integer primary key autoincrement, person integer references person (id) on delete cascade,
        balance real not null default 0.0, info text)",
    "create table tag (word text, account integer references account (id) on update cascade deferrable initially deferred,
        weight, primary key (word, account)) without rowid",
    "create table strictly (i integer, t text, b blob, r real, a any) strict",
    "create table history (what text, id integer)",
    "create index account_by_person on account (person, balance desc) where balance > 0",
    "create trigger account_changed after update of balance on account
        begin insert into history values ('balance', new.id); end",
    "create view rich (name, total) as select name, sum(balance) from person join account on person = person.id
        group by person.id having sum(balance) > 50",
];

const WORDS: &[&str] = &[
    "Ada",
    "ada",
    "Bob",
    "Čapek",
    "日本",
    "e\u{301}",
    "👩‍👧",
    "",
    "O'Hara",
    "a\nb",
    "50%",
    "x_y",
];

/// Set outside of a transaction, it lasts until SQLite ends one for whatever reason: it is meant for inside.
const DEFER: &str = "pragma defer_foreign_keys = on";

/// In each, `?` stands for one random argument and `#` for a small number.
const STATEMENTS: &[&str] = &[
    // Changes.
    "insert into person (name, age) values (?, #)",
    "insert into person (name, age) values ('person #', #) returning id, name, initial, born",
    "insert or ignore into person (id, name) values (#, ?)",
    "insert or replace into person (id, name, age) values (#, 'person #', #)",
    "insert into person (name) values ('person #') on conflict (name) do update set age = coalesce(age, 0) + 1 returning *",
    "insert into account (person, balance) values (#, #.5)",
    "insert into account (person, balance, info) select id, age, json_object('name', name, 'age', age) from person where id < #",
    "insert into tag values (?, #, ?)",
    "insert or ignore into tag values ('word #', #, #)",
    "insert into strictly values (#, ?, x'00ff', #.25, ?)",
    "insert into strictly values (?, ?, ?, ?, ?)",
    "update account set balance = balance * 1.5 - # where id % 3 = # % 3",
    "update account set info = json_set(coalesce(info, '{}'), '$.n', #) where person = # returning id, info",
    "update person set age = age + # where age is not null",
    "update person set name = name || '#' where id = #",
    "update or ignore person set id = id + # where id > 2",
    "update account set id = id + 1000 where id = #",
    "update account set person = p.id from (select min(id) as id from person) as p where account.id = #",
    "delete from person where id = #",
    "delete from account where balance < # and id % 2 = 0",
    "delete from tag where word = ? returning *",
    "delete from history where id < #",
    "replace into tag select 'word', id, balance from account where id < #",
    "with young as (select id from person where age < #) update account set info = null where person in (select id from young)",
    "insert into history select 'changes', changes() union all select 'total', total_changes()",
    // Questions.
    "select changes(), total_changes(), last_insert_rowid()",
    "select * from person order by id",
    "select id, person, balance, info from account order by id limit # offset 2",
    "select * from rich order by name, total",
    "select * from tag order by word, account, weight",
    "select name, typeof(age), quote(name), length(name), unicode(name), hex(name) from person order by id",
    "select person.name, count(account.id), total(balance), group_concat(account.id, ';' order by account.id)
        from person left join account on person = person.id group by person.id order by person.id",
    "select id, balance, row_number() over w, lag(balance, 1, -1) over w, sum(balance) over (order by id rows 2 preceding),
        rank() over (partition by person order by balance) from account window w as (order by id) order by id",
    "select a.id, b.id from account a join account b on a.person = b.person and a.id < b.id order by 1, 2",
    "select id from person where id in (select person from account) intersect select id from person where age > # order by 1",
    "select id from person except select person from account order by 1",
    "select name from person where name like ? escape '\\' or name glob 'p*' union all select word from tag order by 1",
    "with recursive n (i, f) as (select 1, 1 union all select i + 1, f * (i + 1) from n where i < # % 20 + 1) select * from n",
    "select json_extract(info, '$.name'), info ->> '$.age', json_type(info, '$.n'), json_valid(info) from account order by id",
    "select key, value, type, path from json_each('[1, 2.50, \"x\", null, true, {\"a\": [#]}]')",
    "select json_group_array(name order by id), json_group_object(id, age order by id) from person",
    "select date('2024-02-29', '+# months', 'weekday 1'), strftime('%j %W %s %f', '2026-01-01 12:34:56.789', '-# days'),
        julianday('2000-01-01') - #, unixepoch('1970-01-02', '+# seconds'), timediff('2024-03-01', '2023-02-28')",
    "select ?, typeof(?), ?, quote(?), ? is ?, ? < ?, coalesce(?, ?)",
    "select cast(? as integer), cast(? as real), cast(? as text), cast(? as blob), cast(? as numeric)",
    "select #, # / 7, # / 7.0, # % 7, -#, ~#, # << 3, 1e308 * 10 > 1, -0.0, 9223372036854775807 + 1, -9223372036854775808",
    "select printf('%05d|%.3f|%s|%x', #, #.125, ?, #), substr(?, 2, 3), instr(?, 'a'), replace(?, 'a', 'bb'), trim(?), nullif(?, ?)",
    "select max(?, ?), min(?, ?), abs(#), round(#.567, 2), sign(-#), iif(# > 20, 'more', 'less'), zeroblob(# % 5), char(#, 8364)",
    "select case when age is null then 'none' when age < 40 then 'young' else age end as how, count(*) filter (where id % 2)
        from person group by 1 order by 1",
    "select count(*), avg(age), max(name collate nocase), min(born), sum(age), total(null) from person",
    "values (1, ?), (#, null), (x'', '')",
    "explain query plan select * from person where id = 1",
    "pragma table_info(person)",
    // Schema.
    "create table extra_# (a, b default (1 + 1), unique (a))",
    "create table if not exists extra_# (a, b)",
    "drop table if exists extra_#",
    "insert into extra_# (a) values (?)",
    "select * from extra_# order by a, b",
    "alter table extra_# add column c text default 'new'",
    "alter table extra_# rename column b to renamed",
    "create table copy_# as select id, name, age + 0.5 as half from person",
    "create unique index by_age_# on person (age)",
    "drop index if exists by_age_#",
    "reindex",
    "analyze",
    "pragma user_version = #",
    // Transactions.
    "begin",
    "begin immediate",
    "commit",
    "end",
    "rollback",
    "savepoint a",
    "savepoint b",
    "release a",
    "rollback to a",
    "rollback to b",
    DEFER,
    // Mistakes.
    "selec #",
    "select * from nowhere",
    "select nothing from person",
    "insert into person (id) values (#)",
    "insert into account (person) values (-1)",
    "insert into account (id, balance) values ('no number', 1)",
    "insert into person (name, age) values ('person #', 1000)",
    "update person set initial = 'x'",
    "select abs(-9223372036854775808)",
    "select json('{')",
    "select count(*, 1) from person",
];

/// Scripts that are kept because a node gave other answers.
pub(crate) const FOUND: &[(&str, &[&str])] = &[("deferred-then-not", DEFERRED_THEN_NOT)];

/// A statement that was compiled while foreign keys were deferred runs while they are not.
const DEFERRED_THEN_NOT: &[&str] = &[
    "create table parent (id integer primary key)",
    "create table child (id integer primary key, parent integer references parent (id))",
    "savepoint a",
    DEFER,
    "insert into child (parent) values (-1)",
    "rollback",
    "begin",
    "insert into child (parent) values (-1)",
    "select * from child",
    "commit",
];

/// A schema and `length` statements.
pub(crate) fn random(random: &mut impl Rng, length: usize) -> Vec<Statement> {
    let schema = SCHEMA.iter().map(|sql| Statement::without_arguments(sql));
    let mut statements: Vec<Statement> = schema.collect();
    for _ in 0..length {
        let template = STATEMENTS.choose(random).expect("there are statements");
        if *template == DEFER {
            statements.push(Statement::without_arguments("savepoint a"));
        }
        statements.push(filled(template, random));
    }
    // Whatever is open is undone, and seen to be.
    statements.push(Statement::without_arguments("rollback"));
    statements
}

fn filled(template: &str, random: &mut impl Rng) -> Statement {
    let mut sql = String::new();
    let mut arguments = Vec::new();
    for letter in template.chars() {
        match letter {
            '#' => sql.push_str(&number(random).to_string()),
            '?' => {
                let value = value(random);
                match literal(&value).filter(|_| random.random_bool(0.3)) {
                    Some(literal) => sql.push_str(&literal),
                    None => {
                        sql.push('?');
                        arguments.push(value);
                    }
                }
            }
            letter => sql.push(letter),
        }
    }
    Statement { sql, arguments }
}

/// Small ones are frequent, so that rows meet.
fn number(random: &mut impl Rng) -> u32 {
    let most = *[5, 12, 60].choose(random).expect("there are bounds");
    random.random_range(0..most)
}

fn value(random: &mut impl Rng) -> Value {
    match random.random_range(0..10) {
        0 => Value::Null,
        1 => Value::Integer(random.random()),
        2 | 3 => Value::Integer(i64::from(number(random))),
        4 => Value::Real(f64::from(number(random)) / 4.0),
        5 => Value::Real(random.random_range(-1e18..1e18)),
        6 => Value::Blob((0..random.random_range(0..6)).map(|_| random.random()).collect()),
        7 => Value::Text(format!("person {}", number(random))),
        _ => Value::Text((*WORDS.choose(random).expect("there are words")).to_owned()),
    }
}

/// The value as it stands in SQL, if it can.
fn literal(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("null".to_owned()),
        // The smallest integer has no literal.
        Value::Integer(number) => (*number != i64::MIN).then(|| format!("({number})")),
        Value::Real(number) => Some(format!("({number:?})")),
        Value::Text(text) => Some(format!("'{}'", text.replace('\'', "''"))),
        Value::Blob(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Some(format!("x'{hex}'"))
        }
    }
}
