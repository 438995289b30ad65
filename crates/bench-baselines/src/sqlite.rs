//! SQLite in this process, with the node's settings for durability and no network: what any server over SQLite can at most
//! be.
//!
//! Prints `calls N` and `cpu_nanos N`, of the warm-up too, then the duration of each call that was counted, in nanoseconds,
//! a line each.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rusqlite::{Connection, OpenFlags};
use rustix::time::{ClockId, clock_gettime};

/// One of so many calls of the mixed load is an INSERT.
const MIXED_INSERT_EVERY: u64 = 5;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// What the threads do.
    #[arg(long)]
    load: Load,
    /// Where the databases are made, or found.
    #[arg(long)]
    folder: PathBuf,
    /// Threads, each with databases of its own, except that SELECTs alone share one.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Databases over all threads.
    #[arg(long, default_value_t = 1)]
    databases: usize,
    /// Rows in one commit of the grouped load; commits to one sync of the synced-together load, over all threads.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Statements that make and fill a database.
    #[arg(long, default_value = "")]
    setup: String,
    /// Takes a key from 1 to `keys`.
    #[arg(long, default_value = "")]
    select: String,
    #[arg(long, default_value_t = 1)]
    keys: u64,
    /// Takes `text`.
    #[arg(long, default_value = "")]
    insert: String,
    #[arg(long, default_value = "")]
    text: String,
    #[arg(long, default_value_t = 0)]
    warm_up_ms: u64,
    #[arg(long, default_value_t = 0)]
    length_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Load {
    /// One row by primary key, compiled once.
    Select,
    /// One row in a transaction of its own.
    Insert,
    /// One row; `batch` of them share a transaction.
    GroupedInsert,
    /// One row in a transaction of its own, which is not synced; `batch` of them share a write and a sync of one file, as long as what they
    /// have added to their logs.
    SyncedTogether,
    /// Four SELECTs, then an INSERT.
    Mixed,
    /// A database file is opened, asked for one row and closed; each file below the folder once.
    Open,
}

/// What one thread did, or all of them.
#[derive(Default)]
struct Done {
    calls: u64,
    /// Of the whole process, for all these calls.
    cpu: Duration,
    durations: Vec<Duration>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let done = match arguments.load {
        Load::Open => open_each(arguments)?,
        _ => on_threads(arguments)?,
    };
    let mut text = String::new();
    writeln!(text, "calls {}", done.calls)?;
    writeln!(text, "cpu_nanos {}", done.cpu.as_nanos())?;
    for duration in done.durations {
        writeln!(text, "{}", duration.as_nanos())?;
    }
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot write the result")
}

fn on_threads(arguments: &Arguments) -> Result<Done> {
    let shared = arguments.load == Load::Select;
    let databases = if shared { 1 } else { arguments.databases };
    for database in 0..databases {
        let connection = connect(&database_file(&arguments.folder, database))?;
        connection.execute_batch(&arguments.setup)?;
    }
    let begin = Instant::now() + Duration::from_millis(arguments.warm_up_ms);
    let end = begin + Duration::from_millis(arguments.length_ms);
    let work = |thread: usize| -> Result<Done> {
        let owned: Vec<usize> = if shared {
            vec![0]
        } else {
            (thread..databases).step_by(arguments.threads).collect()
        };
        let connections = owned
            .into_iter()
            .map(|database| connect(&database_file(&arguments.folder, database)));
        let connections = connections.map(|connection| {
            let connection = connection?;
            if arguments.load == Load::SyncedTogether {
                connection.execute_batch("PRAGMA synchronous=NORMAL")?;
            }
            anyhow::Ok(connection)
        });
        Worker {
            arguments,
            connections: connections.collect::<Result<_>>()?,
            log: (arguments.load == Load::SyncedTogether)
                .then(|| SharedLog::make(&arguments.folder.join(format!("{thread}.log"))))
                .transpose()?,
            random: u64::try_from(thread)? + 1,
        }
        .run(begin, end)
    };
    let before = cpu_time();
    let mut done = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..arguments.threads)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        let mut all = Done::default();
        for thread in threads {
            let Ok(done) = thread.join() else {
                bail!("a thread panicked")
            };
            let done = done?;
            all.calls += done.calls;
            all.durations.extend(done.durations);
        }
        Ok(all)
    })?;
    done.cpu = cpu_time().saturating_sub(before);
    Ok(done)
}

struct Worker<'a> {
    arguments: &'a Arguments,
    connections: Vec<Connection>,
    log: Option<SharedLog>,
    random: u64,
}

/// Stands for a log that all databases of a thread share: written over from its beginning, so that a sync need not make a file longer.
struct SharedLog {
    file: File,
    offset: u64,
}

impl SharedLog {
    const BYTES: u64 = 16 << 20;
    /// A row's commit is two pages with their headers in the log of its database.
    const COMMIT_BYTES: usize = 2 * (4096 + 24);

    fn make(path: &Path) -> Result<Self> {
        let file = File::create_new(path).with_context(|| format!("cannot make {}", path.display()))?;
        file.write_all_at(&vec![0; usize::try_from(Self::BYTES)?], 0)?;
        file.sync_all()?;
        Ok(Self { file, offset: 0 })
    }

    fn commit(&mut self, commits: usize) -> Result<()> {
        let bytes = vec![0x5a; commits * Self::COMMIT_BYTES];
        let length = u64::try_from(bytes.len())?;
        if self.offset + length > Self::BYTES {
            self.offset = 0;
        }
        self.file.write_all_at(&bytes, self.offset)?;
        self.file.sync_data()?;
        self.offset += length;
        Ok(())
    }
}

impl Worker<'_> {
    fn run(mut self, begin: Instant, end: Instant) -> Result<Done> {
        let mut done = Done::default();
        if self.connections.is_empty() {
            return Ok(done);
        }
        let mut round = 0_u64;
        let mut start = Instant::now();
        while start < end {
            let rows = self.call(round)?;
            let now = Instant::now();
            done.calls += rows;
            if now >= begin && now < end {
                // All rows of a commit wait for it.
                done.durations.extend((0..rows).map(|_| now - start));
            }
            start = now;
            round += 1;
        }
        Ok(done)
    }

    /// Gives back how many calls it stands for.
    fn call(&mut self, round: u64) -> Result<u64> {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let random = self.random >> 33;
        let arguments = self.arguments;
        let databases = self.connections.len();
        let index = usize::try_from(random)? % databases;
        if let Some(log) = &mut self.log {
            let commits = arguments.batch.div_ceil(arguments.threads);
            for more in 0..commits {
                let connection = self.connections.get((index + more) % databases);
                insert(connection.context("a thread has databases")?, arguments)?;
            }
            log.commit(commits)?;
            return Ok(u64::try_from(commits)?);
        }
        let connection = self.connections.get_mut(index).context("a thread has databases")?;
        match arguments.load {
            Load::Select => select(connection, arguments, random),
            Load::Insert => insert(connection, arguments),
            Load::Mixed if round.is_multiple_of(MIXED_INSERT_EVERY) => insert(connection, arguments),
            Load::Mixed => select(connection, arguments, random),
            Load::GroupedInsert => {
                let transaction = connection.transaction()?;
                for _ in 0..arguments.batch {
                    insert(&transaction, arguments)?;
                }
                transaction.commit()?;
                Ok(u64::try_from(arguments.batch)?)
            }
            Load::Open | Load::SyncedTogether => bail!("a load of its own kind"),
        }
    }
}

fn select(connection: &Connection, arguments: &Arguments, random: u64) -> Result<u64> {
    let key = random % arguments.keys + 1;
    let mut statement = connection.prepare_cached(&arguments.select)?;
    let text: String = statement.query_row([i64::try_from(key)?], |row| row.get(0))?;
    if text.is_empty() {
        bail!("row {key} is empty");
    }
    Ok(1)
}

fn insert(connection: &Connection, arguments: &Arguments) -> Result<u64> {
    let changed = connection
        .prepare_cached(&arguments.insert)?
        .execute([&arguments.text])?;
    Ok(u64::try_from(changed)?)
}

fn open_each(arguments: &Arguments) -> Result<Done> {
    let (mut done, before) = (Done::default(), cpu_time());
    for folder in std::fs::read_dir(&arguments.folder)? {
        let file = folder?.path().join("db.sqlite");
        let start = Instant::now();
        let connection =
            Connection::open_with_flags(&file, flags()).with_context(|| format!("cannot open {}", file.display()))?;
        select(&connection, arguments, done.calls)?;
        done.durations.push(start.elapsed());
        done.calls += 1;
    }
    done.cpu = cpu_time().saturating_sub(before);
    Ok(done)
}

/// As the node opens a tenant's database, as far as it matters for time.
fn connect(file: &Path) -> Result<Connection> {
    let connection =
        Connection::open_with_flags(file, flags()).with_context(|| format!("cannot open {}", file.display()))?;
    connection.execute_batch("PRAGMA page_size=4096; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")?;
    Ok(connection)
}

fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn database_file(folder: &Path, database: usize) -> PathBuf {
    folder.join(format!("{database}.sqlite"))
}

/// Of this process, its own and the system's on its behalf.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default())
}
