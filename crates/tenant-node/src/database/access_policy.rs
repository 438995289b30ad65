//! What a tenant's SQL may touch: a pure decision per action that SQLite's authorizer asks about.

use rusqlite::hooks::AuthAction;

/// When SQLite asks. It also asks about SQL that it makes up itself while a statement runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The node's own SQL: everything is allowed.
    Internal,
    /// The tenant's text is being compiled.
    Preparing,
    /// The tenant's statement runs.
    Running {
        /// Whether VACUUM, which builds its copy in memory, fits into the tenant's memory.
        vacuum_fits: bool,
        /// Whether it was let through as a writing statement.
        writes: bool,
    },
}

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    /// Allowed, and the connection is no longer like a new one: the next user must not get it.
    AllowAndTaint,
    /// Refused, with the words for the tenant.
    Deny(String),
}

/// Pragmas that only tell something, whatever their argument.
const TELLING: &[&str] = &[
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    "foreign_key_check",
    "integrity_check",
    "quick_check",
    "compile_options",
    "function_list",
    "collation_list",
    "page_count",
    "freelist_count",
];

/// Pragmas whose value may be read and not set. `data_version` is asked by FTS5, `read_uncommitted` by SQLAlchemy on each connection.
const READABLE: &[&str] = &[
    "encoding",
    "page_size",
    "schema_version",
    "data_version",
    "read_uncommitted",
];

/// Pragmas kept in the database file.
const STORED: &[&str] = &["user_version", "application_id", "optimize", "incremental_vacuum"];

/// Pragmas of the connection: setting one taints it.
const OF_THE_CONNECTION: &[&str] = &[
    "foreign_keys",
    "defer_foreign_keys",
    "recursive_triggers",
    "case_sensitive_like",
];

const VIRTUAL_TABLES: &[&str] = &["fts3", "fts4", "fts4aux", "fts5", "fts5vocab", "rtree", "rtree_i32"];

const FORBIDDEN_FUNCTIONS: &[&str] = &["load_extension", "fts3_tokenizer", "sqlite_log"];

pub(super) fn decide(action: &AuthAction<'_>, phase: Phase) -> Verdict {
    if phase == Phase::Internal {
        return Verdict::Allow;
    }
    match action {
        _ if matches!(phase, Phase::Running { writes: false, .. }) && analyzes(action) => {
            deny("PRAGMA optimize and ANALYZE write: they cannot be part of a reading statement")
        }
        AuthAction::Attach { filename: "" } if matches!(phase, Phase::Running { .. }) => vacuum(phase),
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
            deny("ATTACH, DETACH and VACUUM INTO are not available: a tenant has one database")
        }
        AuthAction::Unknown { .. } => {
            deny("this statement is not available (ATTACH and DETACH are not, whatever their argument)")
        }
        AuthAction::Function { function_name } if contains(FORBIDDEN_FUNCTIONS, function_name) => {
            deny(&format!("the function {function_name} is not available"))
        }
        AuthAction::CreateVtable { module_name, .. } if !contains(VIRTUAL_TABLES, module_name) => deny(&format!(
            "virtual tables of {module_name} are not available; {VIRTUAL_TABLES:?} are"
        )),
        AuthAction::Pragma {
            pragma_name,
            pragma_value,
        } => pragma(pragma_name, pragma_value.is_some()),
        AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. } => Verdict::AllowAndTaint,
        _ => Verdict::Allow,
    }
}

/// `PRAGMA optimize` runs ANALYZE, and yet SQLite calls it a statement that only reads.
pub(super) fn analyzes(action: &AuthAction<'_>) -> bool {
    match action {
        AuthAction::Analyze { .. } => true,
        AuthAction::Pragma { pragma_name, .. } => pragma_name.eq_ignore_ascii_case("optimize"),
        _ => false,
    }
}

fn vacuum(phase: Phase) -> Verdict {
    if matches!(
        phase,
        Phase::Running {
            vacuum_fits: true,
            writes: true
        }
    ) {
        Verdict::Allow
    } else {
        deny(
            "VACUUM needs memory for a copy of the database, more than memory_bytes allows; use PRAGMA incremental_vacuum",
        )
    }
}

fn pragma(name: &str, sets: bool) -> Verdict {
    if contains(TELLING, name) || contains(STORED, name) || (!sets && contains(READABLE, name)) {
        Verdict::Allow
    } else if contains(READABLE, name) {
        deny(&format!("PRAGMA {name} can be read, not set"))
    } else if contains(OF_THE_CONNECTION, name) {
        if sets { Verdict::AllowAndTaint } else { Verdict::Allow }
    } else {
        deny(&format!(
            "PRAGMA {name} is not available: the node sets what concerns files, memory and durability"
        ))
    }
}

fn contains(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn deny(words: &str) -> Verdict {
    Verdict::Deny(words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: Phase = Phase::Running {
        vacuum_fits: true,
        writes: true,
    };

    fn set(name: &str) -> AuthAction<'_> {
        AuthAction::Pragma {
            pragma_name: name,
            pragma_value: Some("1"),
        }
    }

    fn get(name: &str) -> AuthAction<'_> {
        AuthAction::Pragma {
            pragma_name: name,
            pragma_value: None,
        }
    }

    #[test]
    fn pragmas_follow_the_allow_list() {
        let cases = [
            (set("table_info"), "allow"),
            (get("page_size"), "allow"),
            (set("page_size"), "deny"),
            (get("read_uncommitted"), "allow"),
            (set("read_uncommitted"), "deny"),
            (set("user_version"), "allow"),
            (set("USER_VERSION"), "allow"),
            (get("foreign_keys"), "allow"),
            (set("foreign_keys"), "taint"),
            (set("max_page_count"), "deny"),
            (get("max_page_count"), "deny"),
            (set("journal_mode"), "deny"),
            (set("synchronous"), "deny"),
            (set("writable_schema"), "deny"),
            (set("trusted_schema"), "deny"),
            (set("query_only"), "deny"),
            (set("hard_heap_limit"), "deny"),
            (set("temp_store_directory"), "deny"),
            (get("database_list"), "deny"),
            (set("wal_checkpoint"), "deny"),
        ];
        for (action, expected) in cases {
            let verdict = match decide(&action, Phase::Preparing) {
                Verdict::Allow => "allow",
                Verdict::AllowAndTaint => "taint",
                Verdict::Deny(_) => "deny",
            };
            assert_eq!(verdict, expected, "{action:?}");
            assert_eq!(decide(&action, Phase::Internal), Verdict::Allow, "{action:?}");
        }
    }

    #[test]
    fn only_the_attach_inside_a_vacuum_that_fits_is_let_through() {
        let inside_vacuum = AuthAction::Attach { filename: "" };
        assert_eq!(decide(&inside_vacuum, RUNNING), Verdict::Allow);
        let cases = [
            (inside_vacuum, Phase::Preparing),
            (
                inside_vacuum,
                Phase::Running {
                    vacuum_fits: false,
                    writes: true,
                },
            ),
            (AuthAction::Attach { filename: "/tmp/x" }, RUNNING),
            (AuthAction::Attach { filename: ":memory:" }, RUNNING),
            (AuthAction::Detach { database_name: "main" }, RUNNING),
        ];
        for (action, phase) in cases {
            assert!(
                matches!(decide(&action, phase), Verdict::Deny(_)),
                "{action:?} {phase:?}"
            );
        }
    }
}
